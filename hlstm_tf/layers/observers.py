"""Reports of layers while a forward pass runs: inputs, outputs, and gradients of bridges.

Layers are called deep inside Keras, which hands no arguments of ours on to them. So whoever wants
to know enters a block, and the layers that are called in its thread report to it.
"""

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import keras
import tensorflow as tf

from hlstm_tf.layers.cells import compact_kernels
from hlstm_tf.layers.gates import GATES
from hlstm_tf.layers.kernels import MaskedKernel
from hlstm_tf.layers.scoped import Scoped

Tap = Callable[[keras.Layer, Any, Any, Any], None]
"""Takes a layer, its inputs, its output before the activation, and its output."""


_tap = Scoped(None)


@contextlib.contextmanager
def tapping(tap: Tap) -> Iterator[None]:
    """While entered, masked dense layers and convolutions that are called tell `tap` what passes.

    Args:
        tap: Called in the graph of the forward pass, once for each call of a layer, with the very
            tensors of that pass: a gradient by them can be taken.
    """
    with _tap.holding(tap):
        yield


@contextlib.contextmanager
def tapped(layer: Any, inputs: Any) -> Iterator[None]:
    """While entered, a call of `layer` tells the tap in force, if there is one.

    Keras's layers apply their activation last, so that is where the tap sits.
    """
    tap, activation = _tap.value, getattr(layer, "activation", None)
    if tap is None or activation is None:
        yield
        return

    def through(value: Any) -> Any:
        output = activation(value)
        tap(layer, inputs, value, output)
        return output

    # Past Keras's attribute tracking, as the masks' dictionary.
    layer.__dict__["activation"] = through
    try:
        yield
    finally:
        layer.__dict__["activation"] = activation


Note = Callable[[MaskedKernel, tf.Tensor, tf.Tensor], None]
"""Takes a kernel, the measure of its inputs `(gates or 1, inputs, ...)`, and over how many."""


Measure = Callable[[Any, tf.Tensor | None], tf.Tensor]
"""Takes inputs `(..., n)` and the weights of their places, or `None`; returns a sum over them."""


def sum_of_squares(values: Any, valid: tf.Tensor | None) -> tf.Tensor:
    """For each input the sum of its squares, `(n,)`."""
    squares = tf.square(tf.cast(values, tf.float32))
    if valid is not None:
        squares *= valid[..., None]
    return tf.reduce_sum(squares, axis=range(len(squares.shape) - 1))


def sum_of_products(values: Any, valid: tf.Tensor | None) -> tf.Tensor:
    """For each pair of inputs the sum of their products, `(n, n)`."""
    rows = tf.cast(values, tf.float32)
    weighted = rows if valid is None else rows * valid[..., None]
    width = rows.shape[-1]
    left, right = tf.reshape(rows, [-1, width]), tf.reshape(weighted, [-1, width])
    return tf.matmul(left, right, transpose_a=True)


_note = Scoped(None)
_measure = Scoped(sum_of_squares)


@contextlib.contextmanager
def noting_inputs(note: Note | None, measure: Measure = sum_of_squares) -> Iterator[None]:
    """While entered, masked layers that are called tell `note` what their kernels multiply.

    Args:
        note: Called in the graph of the forward pass, once for each call of a layer and each of its
            masked kernels; `None` for nobody.
        measure: What it is told of the inputs.
    """
    with _note.holding(note), _measure.holding(measure):
        yield


def is_noting() -> bool:
    """Whether `noting_inputs` is entered in the running thread."""
    return _note.value is not None


def note_input(
    layer: Any, name: str, values: Any | Sequence[Any], valid: tf.Tensor | None = None
) -> None:
    """Reports what a masked kernel of a layer multiplies, while `noting_inputs` is entered.

    Args:
        layer: The layer that owns the kernel; of a recurrent layer, its cell.
        name: The kernel's name, where each gate has a variable of its own the name they share.
        values: `(..., inputs)`; a list of four where each gate has inputs of its own.
        valid: Weights of the places `(...)`; all count by default.
    """
    if _note.value is None:
        return
    compact = compact_kernels(layer).get(name)
    if compact is not None:
        for factor, inputs in compact.inputs(values).items():
            note_input(layer, factor, inputs, valid)
        return
    kernels = {kernel.name: kernel for kernel in layer.own_masked_kernels()}
    by_gate = isinstance(values, (list, tuple))
    sums = [_measure.value(each, valid) for each in (values if by_gate else [values])]
    count = _places(values[0] if by_gate else values, valid)
    if name in kernels:
        _tell(kernels[name], sums, count)
        return
    for gate, own in zip(GATES, sums if by_gate else sums * len(GATES), strict=True):
        if f"{name}_{gate}" in kernels:
            _tell(kernels[f"{name}_{gate}"], [own], count)


def note_ids(layer: Any, name: str, ids: Any) -> None:
    """Tells how often an embedding reads each row of its table: a one-hot input, squared."""
    kernels = {kernel.name: kernel for kernel in layer.own_masked_kernels()}
    if _note.value is None or name not in kernels:
        return
    flat = tf.reshape(tf.cast(ids, tf.int32), [-1])
    rows = kernels[name].matrices_shape[1]
    counts = tf.math.bincount(flat, minlength=rows, maxlength=rows, dtype=tf.float32)
    _note.value(kernels[name], counts[None], tf.cast(tf.size(flat), tf.float32))


def _tell(kernel: MaskedKernel, sums: list[tf.Tensor], count: tf.Tensor) -> None:
    assert _note.value is not None
    stacked = tf.stack(sums)
    # A convolution reads each channel at every place of its window, about equally often.
    windows = kernel.matrices_shape[1] // stacked.shape[1]
    if windows > 1 and len(stacked.shape) == 2:
        stacked = tf.tile(stacked, [1, windows])
    _note.value(kernel, stacked, count)


def _places(values: Any, valid: tf.Tensor | None) -> tf.Tensor:
    if valid is not None:
        return tf.reduce_sum(valid)
    return tf.cast(tf.reduce_prod(tf.shape(values)[:-1]), tf.float32)


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
