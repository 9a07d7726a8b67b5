"""The H-LSTM cell: an LSTM whose four gates are small networks with hidden layers."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import keras
import numpy as np
from keras import ops

from hlstm_tf.layers.cells import LSTMForm, compact_kernels, lstm_states, register_form
from hlstm_tf.layers.compact_kernels import CompactLayer, KernelForm
from hlstm_tf.layers.gate_networks import GateNetworks, HLSTMForm, Observer, gate_layers
from hlstm_tf.layers.gates import (
    FourWidths,
    add_gate_weight,
    as_flag,
    as_hidden_units,
    as_units,
    four_widths,
    gate_axis,
    gate_weights_of,
    widths_config,
)
from hlstm_tf.layers.kernels import EffectiveKernel
from hlstm_tf.layers.low_rank import LowRank
from hlstm_tf.layers.matrix_forms import KernelShape, MatrixForm, as_kernel_forms, forms_config
from hlstm_tf.layers.observers import crossing_of
from hlstm_tf.layers.operators import Operator


class GateWeights(NamedTuple):
    """The weights of the gate networks as one call uses them: masked and cast.

    Attributes:
        kernel: The matrix `(inputs, sum of H1)`: the four gates side by side.
        bias: `(sum of H1,)` or `None`.
        networks: All that the previous output goes through.
    """

    kernel: Operator
    bias: Any
    networks: GateNetworks


@keras.saving.register_keras_serializable(package="hlstm_tf")
class HLSTMCell(CompactLayer, keras.layers.LSTMCell):
    r"""LSTM cell whose gates have hidden layers (arXiv 1805.11797, section 3.1, equations 1-2).

    Each of the four gates is its own small network on the input and the previous output:

    $$
    \begin{aligned}
    a_g &= \phi(x_t W_g + h_{t-1} R_g + b_g), \quad g \in \{i, f, c, o\} \\
    z_g &= a_g O_g + d_g \\
    c_t &= \sigma(z_f) \odot c_{t-1} + \sigma(z_i) \odot \tanh(z_c) \\
    h_t &= \sigma(z_o) \odot \tanh(c_t)
    \end{aligned}
    $$

    with further hidden layers between the two lines where `hidden_units` names several. Without
    hidden layers, `hidden_units=()`, it is `keras.layers.LSTMCell`: the same variables and the
    same numbers to the last bit.

    Variables, gates in the order input, forget, cell, output: `kernel (inputs, 4, H1)`,
    `recurrent_kernel (units, 4, H1)`, `bias (4, H1)`; for hidden layer k = 2..L
    `hidden_kernel_k (4, H(k-1), Hk)` and `hidden_bias_k (4, Hk)`; `output_kernel (4, HL, units)`
    and `output_bias (4, units)`; and for each kernel a boolean `NAME_mask` of its shape. The forget
    gate's output bias starts at one with `unit_forget_bias`, all others at `bias_initializer`.

    Where the gates of any hidden layer differ in width, each gate has variables of its own, plain
    matrices and vectors: `kernel_input (inputs, H1 of that gate)`, `kernel_forget`, `kernel_cell`,
    `kernel_output`, `recurrent_kernel_input` ... `output_bias_output (units,)`.

    Args:
        units: Width of the state and the output.
        hidden_units: Width of the gates' hidden layers: an int for one layer, a tuple with an entry
            a layer, `()` for none. An entry is an int or, for gates of different widths, four of
            them: input, forget, cell and output gate. Default `None`: one hidden layer as wide as
            `units`.
        hidden_activation: Activation of the hidden layers. ReLU by default: its zeros save
            work at inference; leaky ReLU while connections grow, so that no gradient is cut off.
        hidden_dropout: Fraction of each hidden layer dropped in training, one choice a sequence as
            Keras's recurrent layers drop their inputs. The paper's dropout in the gates, 0.2 there.
        *args: `keras.layers.LSTMCell`'s arguments after `units`, in its order.
        masked: Whether each kernel has a mask. Default `None`: yes with hidden layers, no without.
        kernel_form: A form of few weights, such as `hl.LowRank(32)`, for all kernels, or a
            dictionary of forms by kernel; `None` or no entry leaves a kernel dense. Default `None`:
            all dense. Where the gates differ in width, low rank is the only form. Hidden neurons of
            a cell with such kernels neither grow nor are pruned as neurons.
        **kwargs: `keras.layers.LSTMCell`'s arguments. `kernel_initializer`, `kernel_regularizer`
            and `kernel_constraint` hold for the hidden and output kernels too. With hidden layers,
            initializers, regularizers and constraints see one gate's matrix at a time.

    Call arguments:
        inputs: `(batch, inputs)`.
        states: `[h, c]`, each `(batch, units)`.
        training: Whether dropout acts.

    Returns:
        The output `(batch, units)` and the new states `[h, c]`.

    Raises:
        ValueError: A width is not a positive integer, or `hidden_dropout` is not in [0, 1).

    Example:

    >>> import numpy as np, hlstm_tf as hl
    >>> cell = hl.HLSTMCell(4, hidden_units=(6, 5))
    >>> h, states = cell(np.ones((2, 3), "float32"), [np.zeros((2, 4), "float32")] * 2)
    >>> h.shape, cell.hidden_kernel_2.shape
    (TensorShape([2, 4]), TensorShape([4, 6, 5]))
    >>> cell = hl.HLSTMCell(4, hidden_units=((6, 5, 2, 1),))
    >>> cell.build((None, 3))
    >>> cell.kernel_forget.shape, cell.output_kernel_forget.shape
    (TensorShape([3, 5]), TensorShape([5, 4]))
    """

    kernel = EffectiveKernel()
    recurrent_kernel = EffectiveKernel()

    def __init__(
        self,
        units: int,
        hidden_units: int | tuple[int | FourWidths, ...] | None = None,
        hidden_activation: Any = "relu",
        hidden_dropout: float = 0.0,
        *args: Any,
        masked: bool | None = None,
        kernel_form: KernelForm = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(as_units(units), *args, **kwargs)
        self.hidden_units = as_hidden_units(hidden_units, units)
        self.hidden_activation = hidden_activation
        self._set_forms(as_kernel_forms(kernel_form, HLSTMForm(self).kernels))
        self.hidden_dropout = _as_dropout(hidden_dropout)
        self.masked = bool(self.hidden_units) if masked is None else as_flag(masked, "masked")
        self._hidden_dropout_masks: list[Any] | None = None

    @property
    def hidden_activation(self) -> Any:
        """Activation of the gates' hidden layers; may be assigned on a built layer.

        A model that has traced its training step already must trace it again to see the change:
        `hlstm_tf.ActivationShift` does both.
        """
        return self._hidden_activation

    @hidden_activation.setter
    def hidden_activation(self, activation: Any) -> None:
        # Past Keras's attribute tracking, which takes a layer such as `LeakyReLU` for new state
        # and refuses it once the cell is built.
        self.__dict__["_hidden_activation"] = keras.activations.get(activation)

    def _set_forms(self, forms: Mapping[str, MatrixForm]) -> None:
        if forms and not self.hidden_units:
            raise ValueError(
                "kernel_form was given with hidden_units=(): take hl.CompactLSTM, the LSTM without "
                "hidden layers whose kernels have forms."
            )
        for name, form in forms.items():
            if not self.has_equal_gates and not isinstance(form, LowRank):
                raise ValueError(
                    f"{name}: gates of different widths, hidden_units={self.hidden_units}, take "
                    f"low-rank forms only; got {form!r}."
                )
        super()._set_forms(forms)

    def kernel_shape(self, name: str, shape: Sequence[int]) -> KernelShape:
        if len(shape) == 2:  # one gate's own
            return KernelShape(shape[0], shape[1])
        if gate_axis(name) == 1:
            return KernelShape(shape[0], shape[2], 4)
        return KernelShape(shape[1], shape[2], 4, apart=True)

    def to_matrices(self, name: str, array: np.ndarray) -> np.ndarray:
        if array.ndim == 2:
            return super().to_matrices(name, array)
        return np.moveaxis(array, gate_axis(name), 0)

    def from_matrices(self, name: str, matrices: np.ndarray) -> np.ndarray:
        if len(matrices) == 1:
            return super().from_matrices(name, matrices)
        return np.moveaxis(matrices, 0, gate_axis(name))

    @property
    def gate_widths(self) -> tuple[FourWidths, ...]:
        """For each hidden layer the widths of its four gates."""
        return tuple(map(four_widths, self.hidden_units))

    @property
    def has_equal_gates(self) -> bool:
        """Whether the gates are equally wide in every hidden layer, and share their variables."""
        return all(isinstance(entry, int) for entry in self.hidden_units)

    @property
    def form(self) -> "HLSTMForm":
        """How the weights of the gates lie, and the cell's step."""
        return HLSTMForm(self)

    @property
    def kernel_names(self) -> tuple[str, ...]:
        """The names of the kernels, in the order their variables are made."""
        form = self.form
        return tuple(each for kernel in form.kernels for each in form.variables(kernel))

    @property
    def _dense_kernels(self) -> tuple[str, ...]:
        compact = compact_kernels(self)
        return tuple(name for name in self.kernel_names if name not in compact)

    def build(self, input_shape: Any) -> None:
        if not self.hidden_units:
            super().build(input_shape)
            if self.masked:
                self._add_masks(self._dense_kernels, gates=4)
            return
        for weight in gate_weights_of(self, input_shape[-1]):
            add_gate_weight(self, weight)
        if self.masked:
            self.add_factor_masks()
            gates = 4 if self.has_equal_gates else 1
            for name in self._dense_kernels:
                self._add_masks((name,), gates, gates_first=gates > 1 and gate_axis(name) == 0)

    def gate_weights(self) -> GateWeights:
        """The weights as a forward pass uses them, computed once for a whole sequence."""
        form = self.form
        deeper = form.layers[1:]
        kernels = tuple(form.gate_operators(name) for each in deeper for name, _ in each.kernels)
        biases = tuple(tuple(form.of_gates(each.bias)) for each in deeper if each.bias)
        return GateWeights(
            form.operator("kernel"),
            form.side_by_side("bias") if self.use_bias else None,
            GateNetworks(form.operator("recurrent_kernel"), kernels, biases),
        )

    def project(self, inputs: Any, weights: GateWeights, training: bool = False) -> Any:
        """The input's share of the first hidden layer, biases included.

        Args:
            inputs: `(..., inputs)`: one step or a whole sequence.
            weights: From `gate_weights`.
            training: Whether input dropout acts.

        Returns:
            `(..., sum of H1)`: the four gates side by side.
        """
        masks = self.get_dropout_mask(_first_step(inputs)) if training else None
        projected = self._first_product(inputs, weights.kernel, masks)
        return projected if weights.bias is None else projected + weights.bias

    def step(
        self,
        projected: Any,
        states: Any,
        networks: GateNetworks,
        training: bool = False,
        observe: Observer | None = None,
    ) -> tuple[Any, list[Any]]:
        """One step.

        Args:
            projected: The projected input, `(batch, sum of H1)`.
            states: `[h, c]`.
            networks: From `gate_weights`; `with_dropout` makes them those of training.
            training: Whether recurrent dropout acts.
            observe: Told of the gates' hidden layers; see `gate_layers`.
        """
        masks = self.get_recurrent_dropout_mask(states[0]) if training else None
        first = projected + self._first_product(states[0], networks.recurrent, masks)
        layers = gate_layers(first, networks, self.hidden_activation, observe=observe)
        return lstm_states(self, layers[-1], states[1])

    def with_dropout(self, networks: GateNetworks, inputs: Any, training: bool) -> GateNetworks:
        """The gates' networks with their dropout masks, where dropout acts.

        Args:
            networks: From `gate_weights`.
            inputs: Any tensor whose first axis is the batch, in the compute dtype.
            training: Whether dropout acts.
        """
        masks = self.get_hidden_dropout_masks(inputs) if training else None
        return networks._replace(dropped=tuple(masks or ()))

    def _first_product(self, values: Any, kernel: Operator, masks: Any) -> Any:
        """`(..., n)` times `(n, sum of H1)`, with dropout masks: none, one, or one a gate."""
        if isinstance(masks, list):
            gates = zip(masks, kernel.columns(self.gate_widths[0]), strict=True)
            products = [each.apply(values * _over_time(m, values)) for m, each in gates]
            return ops.concatenate(products, axis=-1)
        if masks is not None:
            values = values * _over_time(masks, values)
        return kernel.apply(values)

    def call(self, inputs: Any, states: Any, training: bool = False) -> Any:
        with self.effective_kernels():
            if not self.hidden_units:
                return super().call(inputs, states, training=training)
            weights = self.gate_weights()
            projected = self.project(inputs, weights, training)
            networks = self.with_dropout(weights.networks, inputs, training)
            crossing = crossing_of(self, inputs, states[0], training)
            observe = None if crossing is None else crossing.cross
            return self.step(projected, states, networks, training, observe)

    # Keras's recurrent layers ask for the dropout masks before the loop, so that a mask is one for
    # all steps, and drop them after it. The hidden layers' masks live and die with them.

    def get_dropout_mask(self, step_input: Any) -> Any:
        self.get_hidden_dropout_masks(step_input)
        return super().get_dropout_mask(step_input)

    def get_hidden_dropout_masks(self, step_input: Any) -> list[Any] | None:
        """For each hidden layer a mask `(batch, sum of Hk)`, the same for all steps of a sequence.

        Args:
            step_input: Any tensor whose first axis is the batch, in the compute dtype.
        """
        if self._hidden_dropout_masks is None and self.hidden_dropout > 0:
            batch = ops.shape(step_input)[0]
            self._hidden_dropout_masks = [
                keras.random.dropout(
                    ops.ones((batch, sum(widths)), dtype=step_input.dtype),
                    rate=self.hidden_dropout,
                    seed=self.seed_generator,
                )
                for widths in self.gate_widths
            ]
        return self._hidden_dropout_masks

    def reset_dropout_mask(self) -> None:
        super().reset_dropout_mask()
        self._hidden_dropout_masks = None

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "hidden_units": widths_config(self.hidden_units),
            "hidden_activation": keras.activations.serialize(self.hidden_activation),
            "hidden_dropout": self.hidden_dropout,
            "masked": self.masked,
            "kernel_form": forms_config(self.kernel_form),
            "implementation": self.implementation,
        }


register_form(HLSTMCell, lambda cell: HLSTMForm(cell) if cell.hidden_units else LSTMForm(cell))


def _as_dropout(hidden_dropout: Any) -> float:
    try:
        fraction = float(hidden_dropout)
    except (TypeError, ValueError):
        fraction = -1.0
    if not 0.0 <= fraction < 1.0:
        raise ValueError(
            "hidden_dropout must be a fraction from 0 to below 1 of each hidden layer; "
            f"got {hidden_dropout!r}."
        )
    return fraction


def _first_step(inputs: Any) -> Any:
    return inputs if len(inputs.shape) == 2 else inputs[:, 0]


def _over_time(mask: Any, values: Any) -> Any:
    return mask if len(values.shape) == 2 else mask[:, None]
