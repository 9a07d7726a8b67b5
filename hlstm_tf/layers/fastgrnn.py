"""FastGRNN: a gated unit whose gate and candidate share their matrices (arXiv 1901.02358)."""

from typing import Any

import keras
import numpy as np
from keras import ops

from hlstm_tf.layers.cells import CellForm, Step, register_form
from hlstm_tf.layers.compact_layers import CompactCell, CompactRNN, PlainLoopLayer
from hlstm_tf.layers.kernels import EffectiveKernel

_register = keras.saving.register_keras_serializable(package="hlstm_tf")


class FastGRNNForm(CellForm):
    """The form of a `FastGRNNCell`."""

    gates = ("candidate",)
    content = "candidate"

    def project(self, sequence: Any) -> Any:
        return self.operator("kernel").apply(sequence)

    def prepare(self) -> Step:
        cell, recurrent = self.cell, self.operator("recurrent_kernel")
        zeta, nu = ops.sigmoid(cell.zeta), ops.sigmoid(cell.nu)
        gate_bias, bias = (cell.gate_bias, cell.bias) if cell.use_bias else (0.0, 0.0)

        def step(frame: Any, states: list[Any]) -> tuple[Any, list[Any]]:
            [h] = states
            both = frame + recurrent.apply(h)
            z = cell.recurrent_activation(both + gate_bias)
            h = (zeta * (1 - z) + nu) * cell.activation(both + bias) + z * h
            return h, [h]

        return step


@_register
class FastGRNNCell(CompactCell, keras.layers.SimpleRNNCell):
    r"""The cell of `FastGRNN` (arXiv 1901.02358, section 3.2).

    $$
    \begin{aligned}
    p_t &= x_t W + h_{t-1} U \\
    z_t &= \sigma(p_t + b_z) \\
    h_t &= (\zeta (1 - z_t) + \nu) \odot \tanh(p_t + b_h) + z_t \odot h_{t-1}
    \end{aligned}
    $$

    Variables: `kernel` W `(inputs, units)`, `recurrent_kernel` U `(units, units)`, or their
    factors; `gate_bias` and `bias`; and two scalars, of which zeta and nu are the sigmoid, as in
    the authors' code. They start at 1 and at -4. Its units are not pruned as units.

    Args:
        units: Width of the state and the output.
        *args: `keras.layers.SimpleRNNCell`'s arguments after `units`, in its order.
        recurrent_activation: Of the gate.
        kernel_form: As for `CompactLSTM`; the paper's is `hl.LowRank` under masks.
        masked: As for `CompactLSTM`.
        **kwargs: `keras.layers.SimpleRNNCell`'s arguments.

    Call arguments:
        inputs: `(batch, inputs)`.
        states: `[h]`, `(batch, units)`.
        training: Whether dropout acts.

    Returns:
        The output `(batch, units)` and the new state `[h]`.

    Example:

    >>> import hlstm_tf as hl
    >>> cell = hl.FastGRNNCell(4, kernel_form=hl.LowRank(2))
    >>> cell.build((None, 3))
    >>> [weight.name for weight in cell.trainable_weights if "kernel" not in weight.name]
    ['bias', 'gate_bias', 'zeta', 'nu']
    """

    _gates = 1
    kernel = EffectiveKernel()
    recurrent_kernel = EffectiveKernel()

    def __init__(
        self, units: int, *args: Any, recurrent_activation: Any = "sigmoid", **kwargs: Any
    ) -> None:
        super().__init__(units, *args, **kwargs)
        self.recurrent_activation = keras.activations.get(recurrent_activation)

    def build(self, input_shape: Any) -> None:
        super().build(input_shape)
        self.gate_bias = None
        if self.use_bias:
            self.gate_bias = self.add_weight(
                name="gate_bias", shape=(self.units,), initializer="ones"
            )
        for name, start in (("zeta", 1.0), ("nu", -4.0)):
            constant = keras.initializers.Constant(np.float32(start))
            setattr(self, name, self.add_weight(name=name, shape=(), initializer=constant))

    def call(self, sequence: Any, states: Any, training: bool = False) -> Any:
        return super().call(sequence, states, training=training)

    def get_config(self) -> dict[str, Any]:
        activation = keras.activations.serialize(self.recurrent_activation)
        return {**super().get_config(), "recurrent_activation": activation}


register_form(FastGRNNCell, FastGRNNForm)


@_register
class FastGRNN(PlainLoopLayer, keras.layers.SimpleRNN, CompactRNN):
    """FastGRNN: a gated recurrent layer with the weights of a plain one (arXiv 1901.02358).

    Gate and candidate share both matrices, so that it has a quarter of an LSTM's weights at equal
    width. `kernel_form=hl.LowRank(...)` and masks make it the paper's FastGRNN-LSQ.

    Args:
        units: Width of the state and the output.
        *args: `keras.layers.SimpleRNN`'s arguments after `units`, in its order.
        kernel_form: As for `CompactLSTM`. Default `None`: dense.
        masked: As for `CompactLSTM`.
        **kwargs: `keras.layers.SimpleRNN`'s arguments; `recurrent_dropout` is an error.

    Call arguments:
        sequences: `(batch, time, inputs)`.
        initial_state: `[h]`, `(batch, units)`; zeros by default.
        mask: `(batch, time)`, `True` at valid steps.
        training: Whether dropout acts.

    Returns:
        `(batch, units)`, or `(batch, time, units)` with `return_sequences`; with `return_state` h
        after it.

    Example:

    >>> import numpy as np, hlstm_tf as hl
    >>> layer = hl.FastGRNN(64, kernel_form=hl.LowRank(8))
    >>> layer(np.zeros((2, 5, 32), "float32")).shape
    TensorShape([2, 64])
    >>> layer.count_params(), 4 * 64 * (32 + 64 + 1)
    (1922, 24832)
    """

    _cell_class = FastGRNNCell
