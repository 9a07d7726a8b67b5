"""The H-LSTM cell: an LSTM whose four gates are small networks with hidden layers."""

from collections.abc import Callable
from numbers import Integral
from typing import Any, NamedTuple

import keras
from keras import ops

from hlstm_tf.layers.effective import EffectiveKernel
from hlstm_tf.layers.gatewise import gate_constraint, gate_initializer, gate_regularizer
from hlstm_tf.layers.masking import MaskedLayer

GATES = ("input", "forget", "cell", "output")


class GateWeights(NamedTuple):
    """The weights of the gate networks as one call uses them: masked, cast, split by gate.

    Attributes:
        kernel: `(inputs, 4, H1)`.
        recurrent_kernel: `(units, 4, H1)`.
        bias: `(4, H1)` or `None`.
        deeper: For each layer after the first, its four kernels `(fan_in, fan_out)` and its four
            biases `(fan_out,)` or `None`; the last one gives the gates before their activation.
    """

    kernel: Any
    recurrent_kernel: Any
    bias: Any
    deeper: tuple[tuple[list[Any], list[Any] | None], ...]


@keras.saving.register_keras_serializable(package="hlstm_tf")
class HLSTMCell(MaskedLayer, keras.layers.LSTMCell):
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

    Args:
        units: Width of the state and the output.
        hidden_units: Width of the gates' hidden layers: an int for one layer, a tuple with an entry
            a layer, `()` for none. Default `None`: one hidden layer as wide as `units`.
        hidden_activation: Activation of the hidden layers. ReLU by default: its zeros save
            work at inference; leaky ReLU while connections grow, so that no gradient is cut off.
        hidden_dropout: Fraction of each hidden layer dropped in training, one choice a sequence as
            Keras's recurrent layers drop their inputs. The paper's dropout in the gates, 0.2 there.
        *args: `keras.layers.LSTMCell`'s arguments after `units`, in its order.
        masked: Whether each kernel has a mask. Default `None`: yes with hidden layers, no without.
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
    """

    kernel = EffectiveKernel()
    recurrent_kernel = EffectiveKernel()

    def __init__(
        self,
        units: int,
        hidden_units: int | tuple[int, ...] | None = None,
        hidden_activation: Any = "relu",
        hidden_dropout: float = 0.0,
        *args: Any,
        masked: bool | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(units, *args, **kwargs)
        self.hidden_units = _as_widths(hidden_units, units)
        self.hidden_activation = hidden_activation
        self.hidden_dropout = _as_dropout(hidden_dropout)
        self.masked = bool(self.hidden_units) if masked is None else masked
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

    @property
    def kernel_names(self) -> tuple[str, ...]:
        """The names of the kernels, in the order their variables are made."""
        if not self.hidden_units:
            return ("kernel", "recurrent_kernel")
        deeper = tuple(f"hidden_kernel_{k}" for k in range(2, len(self.hidden_units) + 1))
        return ("kernel", "recurrent_kernel", *deeper, "output_kernel")

    def build(self, input_shape: Any) -> None:
        if not self.hidden_units:
            super().build(input_shape)
            if self.masked:
                self._add_masks(self.kernel_names, gates=4)
            return
        self._build_first_layer(input_shape[-1])
        widths = (*self.hidden_units, self.units)
        for k in range(2, len(widths) + 1):
            last = k == len(widths)
            name, bias_name = (
                ("output_kernel", "output_bias")
                if last
                else (f"hidden_kernel_{k}", f"hidden_bias_{k}")
            )
            self._add_gate_kernel(name, (4, widths[k - 2], widths[k - 1]), gate_axis=0)
            self._add_gate_bias(bias_name, widths[k - 1], forget_one=last and self.unit_forget_bias)
        if self.masked:
            self._add_masks(self.kernel_names[:2], gates=4)
            self._add_masks(self.kernel_names[2:], gates=4, gates_first=True)

    def _build_first_layer(self, input_dim: int) -> None:
        width = self.hidden_units[0]
        self._add_gate_kernel("kernel", (input_dim, 4, width), gate_axis=1)
        self.recurrent_kernel = self.add_weight(
            name="recurrent_kernel",
            shape=(self.units, 4, width),
            initializer=gate_initializer(self.recurrent_initializer, 1, "recurrent_kernel"),
            regularizer=gate_regularizer(self.recurrent_regularizer, 1),
            constraint=gate_constraint(self.recurrent_constraint, 1),
        )
        self._add_gate_bias("bias", width, forget_one=False)

    def _add_gate_kernel(self, name: str, shape: tuple[int, int, int], gate_axis: int) -> None:
        kernel = self.add_weight(
            name=name,
            shape=shape,
            initializer=gate_initializer(self.kernel_initializer, gate_axis, name),
            regularizer=gate_regularizer(self.kernel_regularizer, gate_axis),
            constraint=gate_constraint(self.kernel_constraint, gate_axis),
        )
        setattr(self, name, kernel)

    def _add_gate_bias(self, name: str, width: int, forget_one: bool) -> None:
        if not self.use_bias:
            setattr(self, name, None)
            return
        initializer = gate_initializer(self.bias_initializer, 0, name)
        bias = self.add_weight(
            name=name,
            shape=(4, width),
            initializer=_forget_gate_at_one(initializer) if forget_one else initializer,
            regularizer=gate_regularizer(self.bias_regularizer, 0),
            constraint=gate_constraint(self.bias_constraint, 0),
        )
        setattr(self, name, bias)

    def gate_weights(self) -> GateWeights:
        """The weights as a forward pass uses them, computed once for a whole sequence."""
        deeper = []
        for name in self.kernel_names[2:]:
            bias = getattr(self, name.replace("kernel", "bias"))
            deeper.append(
                (
                    ops.unstack(self.effective(name), 4, axis=0),
                    None if bias is None else ops.unstack(ops.convert_to_tensor(bias), 4, axis=0),
                )
            )
        bias = None if self.bias is None else ops.convert_to_tensor(self.bias)
        return GateWeights(
            self.effective("kernel"), self.effective("recurrent_kernel"), bias, tuple(deeper)
        )

    def project(self, inputs: Any, weights: GateWeights, training: bool = False) -> Any:
        """The input's share of the first hidden layer, biases included.

        Args:
            inputs: `(..., inputs)`: one step or a whole sequence.
            weights: From `gate_weights`.
            training: Whether input dropout acts.

        Returns:
            `(..., 4, H1)`.
        """
        masks = self.get_dropout_mask(_first_step(inputs)) if training else None
        projected = _gate_matmul(inputs, weights.kernel, masks)
        return projected if weights.bias is None else projected + weights.bias

    def step(
        self, projected: Any, states: Any, weights: GateWeights, training: bool = False
    ) -> tuple[Any, list[Any]]:
        """One step from the projected input `(batch, 4, H1)` and the states `[h, c]`."""
        h, c = states[0], states[1]
        masks = self.get_recurrent_dropout_mask(h) if training else None
        hidden = projected + _gate_matmul(h, weights.recurrent_kernel, masks)
        i, f, g, o = self._gate_networks(hidden, weights, training)
        c = self.recurrent_activation(f) * c + self.recurrent_activation(i) * self.activation(g)
        h = self.recurrent_activation(o) * self.activation(c)
        return h, [h, c]

    def _gate_networks(self, first: Any, weights: GateWeights, training: bool) -> list[Any]:
        dropped = self.get_hidden_dropout_masks(first) if training else None
        values = ops.unstack(first, 4, axis=-2)
        for layer, (kernels, biases) in enumerate(weights.deeper):
            values = [self.hidden_activation(value) for value in values]
            if dropped is not None:
                values = [v * dropped[layer][:, gate] for gate, v in enumerate(values)]
            values = [ops.matmul(v, kernel) for v, kernel in zip(values, kernels, strict=True)]
            if biases is not None:
                values = [v + bias for v, bias in zip(values, biases, strict=True)]
        return values

    def call(self, inputs: Any, states: Any, training: bool = False) -> Any:
        with self.effective_kernels():
            if not self.hidden_units:
                return super().call(inputs, states, training=training)
            weights = self.gate_weights()
            return self.step(self.project(inputs, weights, training), states, weights, training)

    # Keras's recurrent layers ask for the dropout masks before the loop, so that a mask is one for
    # all steps, and drop them after it. The hidden layers' masks live and die with them.

    def get_dropout_mask(self, step_input: Any) -> Any:
        self.get_hidden_dropout_masks(step_input)
        return super().get_dropout_mask(step_input)

    def get_hidden_dropout_masks(self, step_input: Any) -> list[Any] | None:
        """For each hidden layer a mask `(batch, 4, Hk)`, the same for all steps of a sequence.

        Args:
            step_input: Any tensor whose first axis is the batch, in the compute dtype.
        """
        if self._hidden_dropout_masks is None and self.hidden_dropout > 0:
            batch = ops.shape(step_input)[0]
            self._hidden_dropout_masks = [
                keras.random.dropout(
                    ops.ones((batch, 4, width), dtype=step_input.dtype),
                    rate=self.hidden_dropout,
                    seed=self.seed_generator,
                )
                for width in self.hidden_units
            ]
        return self._hidden_dropout_masks

    def reset_dropout_mask(self) -> None:
        super().reset_dropout_mask()
        self._hidden_dropout_masks = None

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "hidden_units": list(self.hidden_units),
            "hidden_activation": keras.activations.serialize(self.hidden_activation),
            "hidden_dropout": self.hidden_dropout,
            "masked": self.masked,
            "implementation": self.implementation,
        }


def _as_widths(hidden_units: Any, units: int) -> tuple[int, ...]:
    if hidden_units is None:
        return (units,)
    widths = hidden_units if isinstance(hidden_units, (tuple, list)) else (hidden_units,)
    for width in widths:
        if isinstance(width, bool) or not isinstance(width, Integral) or width <= 0:
            raise ValueError(
                "hidden_units must be a positive integer, a tuple of them (one a hidden layer), or "
                f"() for none; got {hidden_units!r}."
            )
    return tuple(int(width) for width in widths)


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


def _forget_gate_at_one(initializer: Callable[..., Any]) -> Callable[..., Any]:
    forget = GATES.index("forget")

    def initialize(shape: Any, dtype: Any = None) -> Any:
        gates = ops.unstack(initializer(shape, dtype=dtype), shape[0])
        gates[forget] = ops.ones(shape[1:], dtype=dtype)
        return ops.stack(gates)

    return initialize


def _first_step(inputs: Any) -> Any:
    return inputs if len(inputs.shape) == 2 else inputs[:, 0]


def _gate_matmul(values: Any, kernel: Any, masks: Any) -> Any:
    """`(..., n)` times `(n, 4, H)`, with dropout masks `(batch, n)`: none, one, or one a gate."""
    if isinstance(masks, list):
        gates = [
            ops.matmul(values * _over_time(mask, values), kernel[:, gate])
            for gate, mask in enumerate(masks)
        ]
        return ops.stack(gates, axis=-2)
    if masks is not None:
        values = values * _over_time(masks, values)
    fused = ops.matmul(values, ops.reshape(kernel, (kernel.shape[0], -1)))
    return ops.reshape(fused, (*ops.shape(values)[:-1], 4, kernel.shape[2]))


def _over_time(mask: Any, values: Any) -> Any:
    return mask if len(values.shape) == 2 else mask[:, None]
