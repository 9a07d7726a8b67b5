"""The recurrent layers of this package: how they get their cell, and how they run it.

`CellLayer` applies the masks of the cell once a call. `RecurrenceLayer` runs the recurrences whose
backward pass is written by hand where they fit.
"""

import inspect
from collections.abc import Sequence
from typing import Any, NamedTuple

import keras
import tensorflow as tf
from keras import ops

from hlstm_tf.keras_check import refuse_keras_2
from hlstm_tf.layers.activations import is_elementwise
from hlstm_tf.layers.cells import GRUForm, LSTMForm
from hlstm_tf.layers.gate_networks import Activations, GateNetworks
from hlstm_tf.layers.gates import as_flag
from hlstm_tf.layers.gru_recurrence import GRUEquations, GRUWeights, recur_gru
from hlstm_tf.layers.kernels import gradients_are_dense
from hlstm_tf.layers.lstm_recurrence import recur
from hlstm_tf.layers.masking import set_weights_under_masks
from hlstm_tf.layers.observers import is_noting
from hlstm_tf.layers.operators import Operator, as_matmul_dtype, as_operands, multiply_in
from hlstm_tf.layers.passes import Settings, flat, unflat
from hlstm_tf.layers.recurrent_notes import note_recurrence


def cell_in_place_of(
    cell: keras.layers.Layer, cell_class: type[keras.layers.Layer], **more: Any
) -> keras.layers.Layer:
    """Makes a cell of another class with the arguments, and the random seeds, of a plain one.

    `keras.layers.LSTM` and its like make their own cell; the layers here replace it before it is
    built. The seeds that the plain cell drew are handed on, so that after
    `keras.utils.set_random_seed` a masked twin has its Keras layer's weights and dropout.

    Args:
        cell: The plain, unbuilt cell.
        cell_class: The class to make.
        more: Further arguments, beside or instead of the plain cell's.
    """
    arguments = [
        name
        for name, parameter in inspect.signature(type(cell).__init__).parameters.items()
        if name != "self" and parameter.kind is not parameter.VAR_KEYWORD
    ]
    # The objects themselves and not their configurations: a lambda has none.
    config = {name: getattr(cell, name) for name in arguments}
    if hasattr(cell, "implementation"):
        config["implementation"] = cell.implementation
    with tf.init_scope():
        config["seed"] = int(ops.convert_to_numpy(cell.seed_generator.state)[0])
    config = {**config, "name": cell.name, "trainable": cell.trainable, "dtype": cell.dtype_policy}
    made = cell_class(**{**config, **more})
    made.seed = cell.seed
    return made


class CellLayer:
    """Mixin of the recurrent layers here, in front of their Keras layer.

    The cell's masks are applied once a call, outside the loop over time, and a call that fails
    leaves no dropout mask behind for the next one.
    """

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        refuse_keras_2(args, f"{type(self).__name__} '{self.name}'")  # type: ignore[attr-defined]
        return super().__call__(*args, **kwargs)  # type: ignore[misc]

    def call(
        self, sequences: Any, initial_state: Any = None, mask: Any = None, training: bool = False
    ) -> Any:
        try:
            return super().call(  # type: ignore[misc]
                sequences, initial_state=initial_state, mask=mask, training=training
            )
        finally:
            self.cell.reset_dropout_mask()  # type: ignore[attr-defined]
            self.cell.reset_recurrent_dropout_mask()  # type: ignore[attr-defined]

    def inner_loop(
        self, sequences: Any, initial_state: Any, mask: Any, training: bool = False
    ) -> Any:
        if is_noting():
            note_recurrence(self, sequences, initial_state, mask)
        with self.cell.effective_kernels():  # type: ignore[attr-defined]
            return self._run(sequences, initial_state, mask, training)

    def _run(self, sequences: Any, initial_state: Any, mask: Any, training: bool) -> Any:
        return super().inner_loop(sequences, initial_state, mask, training=training)  # type: ignore[misc]

    def set_weights(self, weights: Any) -> None:
        """Sets all weights, masks included, or those of the unmasked layer under the masks."""
        set_weights_under_masks(self, super().set_weights, weights)  # type: ignore[misc]

    def get_config(self) -> dict[str, Any]:
        config = super().get_config()  # type: ignore[misc]
        if hasattr(self.cell, "implementation"):  # type: ignore[attr-defined]
            # Keras leaves it out, so that a clone with dropout would draw other masks.
            config["implementation"] = self.cell.implementation  # type: ignore[attr-defined]
        return config


Ran = tuple[tf.Tensor, tf.Tensor, list[tf.Tensor]]
"""The last output, all outputs (one, without `return_sequences`), and the last states."""


class Flags(NamedTuple):
    """How a layer runs over time: its arguments of the same names."""

    go_backwards: bool = False
    return_sequences: bool = True
    zero_output_for_mask: bool = False

    @classmethod
    def of(cls, layer: keras.layers.RNN) -> "Flags":
        return cls(*(getattr(layer, name) for name in cls._fields))


def fits_recurrence(cell: keras.layers.Layer) -> bool:
    """Whether a recurrence covers the LSTM, H-LSTM or GRU cell.

    It does not cover recurrent dropout, whose masks differ from gate to gate; activations that are
    not known to be elementwise; and compute dtypes other than float32 and bfloat16.
    """
    return (
        cell.compute_dtype in ("float32", "bfloat16")
        and cell.recurrent_dropout == 0
        and all(map(is_elementwise, _activations(cell)))
    )


def project(
    cell: keras.layers.Layer,
    sequences: tf.Tensor,
    kernel: Operator,
    bias: Any,
    training: bool,
    flags: Flags,
    settings: Settings,
    widths: Sequence[int] = (),
) -> tf.Tensor:
    """The input's share of a cell's gates for all steps at once, in the order of the loop.

    Args:
        cell: The cell, whose dropout acts on the inputs in training.
        sequences: `(batch, time, inputs)`.
        kernel: `(inputs, n)`, the gates side by side.
        bias: `(n,)`; `None` for none.
        training: Whether dropout acts.
        flags: How the layer runs over time.
        settings: How the passes compute.
        widths: The gates' widths, for a cell that may drop other inputs for each of them.

    Returns:
        `(time, batch, n)`, float32. Inputs are put in time's order before they are projected:
        they are a fraction of what comes out.
    """
    dtype = _matmul_dtype(cell, settings)
    dropped = cell.get_dropout_mask(sequences[:, 0]) if training else None
    x = _float32(_in_order(sequences, flags))
    kernel = _float32(kernel)
    if isinstance(dropped, list):
        gates = zip(dropped, kernel.columns(widths), strict=True)
        projected = tf.concat([_product(x * _float32(d), gate, dtype) for d, gate in gates], axis=2)
    else:
        x = x if dropped is None else x * _float32(dropped)
        projected = _product(x, kernel, dtype)
    return projected if bias is None else projected + _float32(bias)


def _product(x: tf.Tensor, kernel: Operator, dtype: str) -> tf.Tensor:
    [kernel] = as_operands([kernel], dtype)
    return unflat(kernel.apply(flat(x), multiply_in(dtype)), x)


def run_lstm(
    cell: keras.layers.LSTMCell,
    networks: GateNetworks,
    projected: tf.Tensor,
    states: list[tf.Tensor],
    mask: Any,
    flags: Flags,
    settings: Settings,
) -> Ran:
    """Does what `scan` does with `cell.step`, with the same results.

    The states and all sums are float32; outputs and states come back in the compute dtype.

    Args:
        cell: A cell for which `fits_recurrence` is true; its activations are used.
        networks: The cell's gates; without kernels they are a plain LSTM's.
        projected: What `project` gives for the first layer of the gates.
        states: `[h, c]`, each `(batch, units)`.
        mask: `(batch, time)` or `(batch, time, 1)`, or `None`.
        flags: How the layer runs over time.
        settings: How the passes compute.
    """
    networks, states = _float32((networks, states))
    valid = None if mask is None else _in_order(tf.cast(mask, tf.bool), flags)
    activations = Activations(*_activations(cell))
    settings = settings._replace(matmul_dtype=_matmul_dtype(cell, settings))
    h, c = recur(projected, valid, states[0], states[1], networks, activations, settings)
    return _layer_results(cell, h, [h[-1], c], valid, flags)


def run_gru(
    cell: keras.layers.GRUCell,
    recurrent: Operator,
    projected: tf.Tensor,
    h: tf.Tensor,
    mask: Any,
    flags: Flags,
    settings: Settings,
) -> Ran:
    """`run_lstm` for a GRU cell, whose gates read the state through `recurrent`."""
    own_bias = cell.use_bias and cell.reset_after
    bias = tf.convert_to_tensor(cell.bias)[1] if own_bias else None
    kernels = [recurrent] if cell.reset_after else recurrent.columns([2 * cell.units, cell.units])
    weights, h = _float32((GRUWeights(tuple(kernels), bias), h))
    valid = None if mask is None else _in_order(tf.cast(mask, tf.bool), flags)
    form = GRUEquations(cell.recurrent_activation, cell.activation, bool(cell.reset_after))
    settings = settings._replace(matmul_dtype=_matmul_dtype(cell, settings))
    outputs = recur_gru(projected, valid, h, weights, form, settings)
    return _layer_results(cell, outputs, [outputs[-1]], valid, flags)


def _activations(cell: keras.layers.Layer) -> tuple[Any, Any, Any]:
    hidden = getattr(cell, "hidden_activation", keras.activations.linear)
    return hidden, cell.recurrent_activation, cell.activation


def _matmul_dtype(cell: keras.layers.Layer, settings: Settings) -> str:
    return settings.matmul_dtype or cell.compute_dtype


def _float32(structure: Any) -> Any:
    return tf.nest.map_structure(
        lambda value: None if value is None else tf.cast(value, tf.float32), structure
    )


def _in_order(values: tf.Tensor, flags: Flags) -> tf.Tensor:
    """`(batch, time, n)`, or a mask `(batch, time)`, as `(time, batch, n)` as the loop runs."""
    if len(values.shape) == 2:
        values = values[:, :, None]
    time_major = tf.transpose(values, [1, 0, 2])
    return tf.reverse(time_major, [0]) if flags.go_backwards else time_major


def _layer_results(
    cell: keras.layers.Layer,
    h: tf.Tensor,
    states: list[tf.Tensor],
    valid: tf.Tensor | None,
    flags: Flags,
) -> Ran:
    outputs = h if valid is None else _mask_outputs(h, valid, flags.zero_output_for_mask)
    kept = outputs if flags.return_sequences else outputs[-1:]
    ran = outputs[-1], tf.transpose(kept, [1, 0, 2]), states
    return tf.nest.map_structure(lambda value: tf.cast(value, cell.compute_dtype), ran)


def _mask_outputs(h: tf.Tensor, valid: tf.Tensor, zero_output_for_mask: bool) -> tf.Tensor:
    if zero_output_for_mask:
        return tf.where(valid, h, 0.0)
    # A masked step repeats the output before it, which the state does too; but before the first
    # valid step the output is zero, whatever the initial state.
    begun = tf.cumsum(tf.cast(valid, tf.int32), axis=0) > 0
    return tf.where(begun, h, 0.0)


TRAINING_ARGUMENTS = ("matmul_dtype", "recompute")
"""Constructor arguments that Keras's own layers do not have."""


class RecurrenceLayer(CellLayer):
    """Mixin of the recurrent layers that train through a recurrence written by hand.

    A subclass has `_run_recurrence(sequences, initial_state, mask, training)`, which is called with
    the masks applied, and `_fits_recurrence`.
    """

    supports_jit: bool

    def __init__(
        self,
        units: int,
        *args: Any,
        matmul_dtype: str | None = None,
        recompute: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(units, *args, **kwargs)  # type: ignore[call-arg]
        self.matmul_dtype = as_matmul_dtype(matmul_dtype)
        self.recompute = as_flag(recompute, "recompute")
        self._left_to_cudnn = not self.supports_jit
        if self.recompute:
            self.supports_jit = False  # XLA takes no chunks whose length is unknown

    def _run(self, sequences: Any, initial_state: Any, mask: Any, training: bool) -> Any:
        mask = mask[0] if isinstance(mask, (list, tuple)) else mask
        wants_gradients = training or gradients_are_dense()
        if wants_gradients and self._fits_recurrence() and fits_recurrence(self.cell):  # type: ignore[attr-defined]
            return self._run_recurrence(
                sequences, keras.tree.flatten(initial_state), mask, training
            )
        return self._run_plain(sequences, initial_state, mask, training)

    def _run_plain(self, sequences: Any, initial_state: Any, mask: Any, training: bool) -> Any:
        return super()._run(sequences, initial_state, mask, training)

    def _fits_recurrence(self) -> bool:
        # One product for all gates, and no cuDNN, whose own loop is faster.
        return not self.unroll and self.cell.implementation == 2 and not self._left_to_cudnn  # type: ignore[attr-defined]

    def _run_recurrence(self, sequences: Any, states: list[Any], mask: Any, training: bool) -> Ran:
        raise NotImplementedError

    def _how(self) -> tuple[Flags, Settings]:
        return Flags.of(self), Settings(self.matmul_dtype, self.recompute)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "matmul_dtype": self.matmul_dtype,
            "recompute": self.recompute,
        }


class LSTMRecurrence(RecurrenceLayer):
    """Mixin of the layers whose cell has the form of an LSTM, whatever its matrices are."""

    cell: Any

    def _run_recurrence(self, sequences: Any, states: list[Any], mask: Any, training: bool) -> Any:
        form, how = LSTMForm(self.cell), self._how()
        kernel, recurrent = form.operator("kernel"), form.operator("recurrent_kernel")
        projected = project(self.cell, sequences, kernel, self.cell.bias, training, *how)
        return run_lstm(self.cell, GateNetworks(recurrent), projected, states, mask, *how)


class GRURecurrence(RecurrenceLayer):
    """Mixin of the layers whose cell has the form of a GRU, whatever its matrices are."""

    cell: Any

    def _run_recurrence(self, sequences: Any, states: list[Any], mask: Any, training: bool) -> Any:
        form, how = GRUForm(self.cell), self._how()
        kernel, recurrent = form.operator("kernel"), form.operator("recurrent_kernel")
        bias, _ = form.biases
        projected = project(self.cell, sequences, kernel, bias, training, *how)
        return run_gru(self.cell, recurrent, projected, states[0], mask, *how)
