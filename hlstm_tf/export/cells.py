"""A recurrent cell in two parts: what can be computed for all frames at once, and what cannot.

The input's share of a step does not depend on the state: for a whole sequence it is one matrix
product before the loop. What is left for the loop is written so that an engine sees few, plain
operations: gates side by side in one axis, one product for the recurrence, and one a gate for each
further layer of a gate. What that needs of the weights is made ready once, so that a loop in a
graph does nothing with them but multiply.
"""

from collections.abc import Callable
from itertools import accumulate
from typing import Any, NamedTuple

import keras
from keras import ops

from hlstm_tf.layers import HLSTMCell
from hlstm_tf.layers.elementwise import is_elementwise

Step = Callable[[Any, list[Any]], tuple[Any, list[Any]]]


class SplitCell(NamedTuple):
    """The two parts of a cell, in inference.

    Attributes:
        project: `(batch, time, inputs)` to the frames that the step takes, `(batch, time, ...)`.
        prepare: Reads the weights, outside of any loop, and returns the step: a frame
            `(batch, ...)` and the list of states to the output and the new states.
    """

    project: Callable[[Any], Any]
    prepare: Callable[[], Step]

    def step(self, frame: Any, states: list[Any]) -> tuple[Any, list[Any]]:
        """One step by itself."""
        return self.prepare()(frame, states)


def split_cell(cell: keras.Layer) -> SplitCell:
    """Splits a built cell without masks; one that is not known projects nothing."""
    split = _splitter(cell)
    return SplitCell(lambda sequence: sequence, lambda: cell) if split is None else split(cell)


def is_known(cell: keras.Layer) -> bool:
    """Whether `split_cell` finds something to project."""
    return _splitter(cell) is not None


def _splitter(cell: keras.Layer) -> Callable[[Any], SplitCell] | None:
    if isinstance(cell, HLSTMCell):
        return _split_hlstm if cell.hidden_units else _split_lstm
    splitters = {
        keras.layers.LSTMCell: _split_lstm,
        keras.layers.GRUCell: _split_gru,
        keras.layers.SimpleRNNCell: _split_simple,
    }
    return splitters.get(type(cell))


def _split_hlstm(cell: HLSTMCell) -> SplitCell:
    def project(sequence: Any) -> Any:
        return cell.project(sequence, cell.gate_weights())

    def prepare() -> Step:
        weights = cell.gate_weights()

        def step(frame: Any, states: list[Any]) -> tuple[Any, list[Any]]:
            gates = _activated(cell, frame + ops.matmul(states[0], weights.recurrent_kernel))
            for layer, (kernels, biases) in enumerate(weights.deeper):
                if layer:
                    gates = [cell.hidden_activation(gate) for gate in gates]
                gates = list(map(_affine, gates, kernels, biases or [None] * 4))
            return _lstm_states(cell, gates, states[1])

        return step

    return SplitCell(project, prepare)


def _activated(cell: HLSTMCell, gates: Any) -> list[Any]:
    """The four gates side by side in the last axis, activated and apart."""
    activation = cell.hidden_activation
    if is_elementwise(activation):  # one operation in place of four
        return _apart(cell, activation(gates))
    return [activation(gate) for gate in _apart(cell, gates)]


def _apart(cell: HLSTMCell, gates: Any) -> list[Any]:
    widths = cell.gate_widths[0]
    if len(set(widths)) == 1:
        return ops.split(gates, 4, axis=-1)
    ends = accumulate(widths)
    # XNNPACK takes slices, but no split into unequal parts: that would cut the step in two.
    return [gates[..., end - width : end] for width, end in zip(widths, ends, strict=True)]


def _split_lstm(cell: keras.layers.LSTMCell) -> SplitCell:
    def prepare() -> Step:
        kernel = ops.convert_to_tensor(cell.recurrent_kernel)

        def step(frame: Any, states: list[Any]) -> tuple[Any, list[Any]]:
            gates = frame + ops.matmul(states[0], kernel)
            return _lstm_states(cell, ops.split(gates, 4, axis=-1), states[1])

        return step

    return SplitCell(lambda sequence: _affine(sequence, cell.kernel, cell.bias), prepare)


def _lstm_states(cell: keras.layers.LSTMCell, gates: list[Any], c: Any) -> tuple[Any, list[Any]]:
    i, f, g, o = gates
    c = cell.recurrent_activation(f) * c + cell.recurrent_activation(i) * cell.activation(g)
    h = cell.recurrent_activation(o) * cell.activation(c)
    return h, [h, c]


def _split_gru(cell: keras.layers.GRUCell) -> SplitCell:
    """Equations as in `keras.layers.GRUCell`: gates in the order z, r, h."""
    after, units = cell.reset_after, cell.units

    def biases() -> tuple[Any, Any]:
        """Of the input's share, and inside the reset gate's product."""
        if not cell.use_bias:
            return None, None
        return (cell.bias[0], cell.bias[1]) if after else (cell.bias, None)

    def project(sequence: Any) -> Any:
        return _affine(sequence, cell.kernel, biases()[0])

    def prepare() -> Step:
        kernel = ops.convert_to_tensor(cell.recurrent_kernel)
        gate_kernel, state_kernel = kernel[:, : 2 * units], kernel[:, 2 * units :]
        inner_bias = biases()[1]

        def step(frame: Any, states: list[Any]) -> tuple[Any, list[Any]]:
            h = states[0]
            x_z, x_r, x_h = ops.split(frame, 3, axis=-1)
            if after:
                h_z, h_r, h_h = ops.split(_affine(h, kernel, inner_bias), 3, axis=-1)
                h_h = cell.recurrent_activation(x_r + h_r) * h_h
            else:
                h_z, h_r = ops.split(ops.matmul(h, gate_kernel), 2, axis=-1)
                h_h = ops.matmul(cell.recurrent_activation(x_r + h_r) * h, state_kernel)
            z = cell.recurrent_activation(x_z + h_z)
            h = z * h + (1 - z) * cell.activation(x_h + h_h)
            return h, [h]

        return step

    return SplitCell(project, prepare)


def _split_simple(cell: keras.layers.SimpleRNNCell) -> SplitCell:
    def prepare() -> Step:
        kernel = ops.convert_to_tensor(cell.recurrent_kernel)

        def step(frame: Any, states: list[Any]) -> tuple[Any, list[Any]]:
            h = cell.activation(frame + ops.matmul(states[0], kernel))
            return h, [h]

        return step

    return SplitCell(lambda sequence: _affine(sequence, cell.kernel, cell.bias), prepare)


def _affine(values: Any, kernel: Any, bias: Any) -> Any:
    product = ops.matmul(values, kernel)
    return product if bias is None else product + bias
