"""Runs recurrent layers through the recurrences whose backward pass is written by hand."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import keras
import tensorflow as tf

from hlstm_tf.layers.elementwise import is_elementwise
from hlstm_tf.layers.gate_networks import Activations, GateNetworks
from hlstm_tf.layers.gru_recurrence import GRUForm, GRUWeights, recur_gru
from hlstm_tf.layers.operators import Operator
from hlstm_tf.layers.passes import Settings, flat, unflat
from hlstm_tf.layers.products import multiply_in, operand
from hlstm_tf.layers.recurrence import recur

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


def has_fast_gradient(cell: keras.layers.Layer) -> bool:
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
    kernel = kernel.with_weights([operand(weight, dtype) for weight in kernel.weights])
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
        cell: A cell for which `has_fast_gradient` is true; its activations are used.
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
    form = GRUForm(cell.recurrent_activation, cell.activation, bool(cell.reset_after))
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
