"""A recurrent cell in two parts: what can be computed for all frames at once, and what cannot.

The input's share of a step does not depend on the state: for a whole sequence it is one matrix
product before the loop. What is left for the loop is written so that an engine sees few, plain
operations: gates side by side in one axis, one product for the recurrence, and one a gate for each
further layer of a gate.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import keras
from keras import ops

from hlstm_tf.layers import HLSTMCell
from hlstm_tf.layers.elementwise import is_elementwise


class SplitCell(NamedTuple):
    """The two parts of a cell, in inference.

    Attributes:
        project: `(batch, time, inputs)` to the frames that `step` takes, `(batch, time, ...)`.
        step: A frame `(batch, ...)` and the list of states to the output and the new states.
    """

    project: Callable[[Any], Any]
    step: Callable[[Any, list[Any]], tuple[Any, list[Any]]]


def split_cell(cell: keras.Layer) -> SplitCell:
    """Splits a built cell without masks; one that is not known projects nothing."""
    if isinstance(cell, HLSTMCell) and cell.hidden_units:
        return _split_hlstm(cell)
    if isinstance(cell, HLSTMCell) or type(cell) is keras.layers.LSTMCell:
        return _split_lstm(cell)
    if type(cell) is keras.layers.GRUCell:
        return _split_gru(cell)
    if type(cell) is keras.layers.SimpleRNNCell:
        return _split_simple(cell)
    return SplitCell(lambda sequence: sequence, lambda frame, states: cell(frame, states))


def _split_hlstm(cell: HLSTMCell) -> SplitCell:
    def project(sequence: Any) -> Any:
        gates = cell.project(sequence, cell.gate_weights())
        return ops.reshape(gates, (*ops.shape(gates)[:2], 4 * cell.hidden_units[0]))

    def step(frame: Any, states: list[Any]) -> tuple[Any, list[Any]]:
        weights = cell.gate_weights()
        recurrent = ops.reshape(weights.recurrent_kernel, (cell.units, -1))
        gates = _activated(cell.hidden_activation, frame + ops.matmul(states[0], recurrent))
        for layer, (kernels, biases) in enumerate(weights.deeper):
            if layer:
                gates = [cell.hidden_activation(gate) for gate in gates]
            biases = biases or [None] * 4
            gates = list(map(_affine, gates, kernels, biases))
        return _lstm_states(cell, gates, states[1])

    return SplitCell(project, step)


def _activated(activation: Any, gates: Any) -> list[Any]:
    """The four gates side by side in the last axis, activated and apart."""
    if is_elementwise(activation):  # one operation in place of four
        return ops.split(activation(gates), 4, axis=-1)
    return [activation(gate) for gate in ops.split(gates, 4, axis=-1)]


def _split_lstm(cell: keras.layers.LSTMCell) -> SplitCell:
    def step(frame: Any, states: list[Any]) -> tuple[Any, list[Any]]:
        gates = frame + ops.matmul(states[0], cell.recurrent_kernel)
        return _lstm_states(cell, ops.split(gates, 4, axis=-1), states[1])

    return SplitCell(lambda sequence: _affine(sequence, cell.kernel, cell.bias), step)


def _lstm_states(cell: keras.layers.LSTMCell, gates: list[Any], c: Any) -> tuple[Any, list[Any]]:
    i, f, g, o = gates
    c = cell.recurrent_activation(f) * c + cell.recurrent_activation(i) * cell.activation(g)
    h = cell.recurrent_activation(o) * cell.activation(c)
    return h, [h, c]


def _split_gru(cell: keras.layers.GRUCell) -> SplitCell:
    """Equations as in `keras.layers.GRUCell`: gates in the order z, r, h."""
    after, units = cell.reset_after, cell.units
    bias = cell.bias if cell.use_bias else None
    input_bias = bias[0] if after and bias is not None else bias

    def step(frame: Any, states: list[Any]) -> tuple[Any, list[Any]]:
        h = states[0]
        kernel = ops.convert_to_tensor(cell.recurrent_kernel)
        x_z, x_r, x_h = ops.split(frame, 3, axis=-1)
        if after:
            inner = _affine(h, kernel, None if bias is None else bias[1])
            h_z, h_r, h_h = ops.split(inner, 3, axis=-1)
            h_h = cell.recurrent_activation(x_r + h_r) * h_h
        else:
            h_z, h_r = ops.split(ops.matmul(h, kernel[:, : 2 * units]), 2, axis=-1)
            h_h = ops.matmul(cell.recurrent_activation(x_r + h_r) * h, kernel[:, 2 * units :])
        z = cell.recurrent_activation(x_z + h_z)
        h = z * h + (1 - z) * cell.activation(x_h + h_h)
        return h, [h]

    return SplitCell(lambda sequence: _affine(sequence, cell.kernel, input_bias), step)


def _split_simple(cell: keras.layers.SimpleRNNCell) -> SplitCell:
    def step(frame: Any, states: list[Any]) -> tuple[Any, list[Any]]:
        h = cell.activation(frame + ops.matmul(states[0], cell.recurrent_kernel))
        return h, [h]

    return SplitCell(lambda sequence: _affine(sequence, cell.kernel, cell.bias), step)


def _affine(values: Any, kernel: Any, bias: Any) -> Any:
    product = ops.matmul(values, kernel)
    return product if bias is None else product + bias
