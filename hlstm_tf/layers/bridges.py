"""Bridges past the hidden layers of H-LSTM gates, by which a bridging gradient is taken.

A bridge leads from what a hidden layer of a gate reads to what that layer's readers are before
their activation: to the gate itself, or to the next hidden layer. It is a matrix of zeros, so that
it changes nothing; the loss's gradient by it, summed over all steps, is the bridging gradient.
"""

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import keras
import tensorflow as tf

from hlstm_tf.layers.gate_widths import GATES
from hlstm_tf.layers.scoped import Scoped

Bridges = Mapping[tuple[int, int], tf.Tensor]
"""Bridges of one cell by hidden layer, from 0, and gate, in the order of `GATES`."""


_bridges = Scoped({})


@contextlib.contextmanager
def bridging(bridges: Mapping[int, Bridges]) -> Iterator[None]:
    """While entered, H-LSTM cells that are called have bridges past their gates' hidden layers.

    The layers around them then take Keras's own loop.

    Args:
        bridges: By `id` of the cell, from `zero_bridge`. Enter it in the graph that they belong to.
    """
    with _bridges.holding(dict(bridges)):
        yield


def bridges_of(cell: keras.Layer) -> Bridges | None:
    """The bridges in force in the running thread of a cell; `None` where there are none."""
    return _bridges.value.get(id(cell))


def zero_bridge(inputs: int, outputs: int) -> tf.Tensor:
    """A bridge, float32; `inputs` of the first hidden layer are the cell's inputs and its units.

    Returns:
        `(inputs, outputs + 1)`. The gradient by its last column is no gradient but what the hidden
        layer reads, the mean over the batch of the sum over the steps that matter to the loss:
        padding does not.
    """
    return tf.zeros((inputs, outputs + 1))


class Crossing:
    """One step of a cell across its bridges.

    Args:
        bridges: From `bridges_of`.
        reads: For each gate what its first hidden layer reads, `(batch, inputs + units)`.
    """

    def __init__(self, bridges: Bridges, reads: Sequence[Any]) -> None:
        self._bridges = bridges
        self._reads = reads

    def cross(self, layer: int, neurons: Sequence[Any], values: list[Any]) -> list[Any]:
        """The values of the layer after a hidden layer, their gradient now told to its bridges.

        Call it for one layer after another.

        Args:
            layer: Of the hidden layer, from 0.
            neurons: For each gate what the hidden layer puts out.
            values: For each gate the layer after it, before its activation.
        """
        told = [
            _told(value, read, self._bridges[layer, gate])
            if (layer, gate) in self._bridges
            else value
            for gate, (value, read) in enumerate(zip(values, self._reads, strict=True))
        ]
        self._reads = neurons
        return told


def crossing_of(cell: Any, inputs: Any, h: Any, training: bool) -> Crossing | None:
    """One step of an `HLSTMCell` across the bridges in force; `None` where there are none.

    Args:
        cell: The cell.
        inputs: `(batch, inputs)`.
        h: The previous output, `(batch, units)`.
        training: Whether dropout acts: a bridge begins after it.
    """
    bridges = bridges_of(cell)
    if bridges is None:
        return None
    masks = [None, None]
    if training:
        masks = [cell.get_dropout_mask(inputs), cell.get_recurrent_dropout_mask(h)]
    parts = [_dropped(values, mask) for values, mask in zip((inputs, h), masks, strict=True)]
    return Crossing(bridges, [tf.concat(gate, axis=-1) for gate in zip(*parts, strict=True)])


def _dropped(values: Any, masks: Any) -> list[Any]:
    """What each gate reads of the values: dropout masks are none, one, or one a gate."""
    gates = masks if isinstance(masks, list) else [masks] * len(GATES)
    return [values if mask is None else values * mask for mask in gates]


@tf.custom_gradient
def _told(value: Any, read: Any, bridge: Any) -> Any:
    """`value`, which is the same as `value + read @ bridge[:, :-1]` as a bridge is zero."""

    def grad(gradient: Any) -> tuple[Any, Any, Any]:
        # Sums over many steps, in float16 too.
        wide, inputs = tf.cast(gradient, tf.float32), tf.cast(read, tf.float32)
        matters = tf.cast(tf.reduce_any(wide != 0, axis=1, keepdims=True), tf.float32)
        share = matters / tf.cast(tf.shape(read)[0], tf.float32)
        columns = tf.concat([wide, share], axis=1)
        return gradient, tf.zeros_like(read), tf.matmul(inputs, columns, transpose_a=True)

    return tf.identity(value), grad
