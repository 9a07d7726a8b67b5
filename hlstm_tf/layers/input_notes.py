"""The sizes of kernels' inputs, which layers report while a forward pass runs."""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import tensorflow as tf

from hlstm_tf.layers.gate_widths import GATES
from hlstm_tf.layers.kernels import MaskedKernel
from hlstm_tf.layers.scoped import Scoped

Note = Callable[[MaskedKernel, tf.Tensor, tf.Tensor], None]
"""Takes a kernel, the sum of its inputs' squares `(gates or 1, inputs)`, and over how many."""


_note = Scoped(None)


@contextlib.contextmanager
def noting_inputs(note: Note | None) -> Iterator[None]:
    """While entered, masked layers that are called tell `note` what their kernels multiply.

    Args:
        note: Called in the graph of the forward pass, once for each call of a layer and each of its
            masked kernels; `None` for nobody.
    """
    with _note.holding(note):
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
    kernels = {kernel.name: kernel for kernel in layer.own_masked_kernels()}
    by_gate = isinstance(values, (list, tuple))
    sums = [_sum_of_squares(each, valid) for each in (values if by_gate else [values])]
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
    _note.value(kernel, tf.tile(stacked, [1, windows]), count)


def _sum_of_squares(values: Any, valid: tf.Tensor | None) -> tf.Tensor:
    squares = tf.square(tf.cast(values, tf.float32))
    if valid is not None:
        squares *= valid[..., None]
    return tf.reduce_sum(squares, axis=range(len(squares.shape) - 1))


def _places(values: Any, valid: tf.Tensor | None) -> tf.Tensor:
    if valid is not None:
        return tf.reduce_sum(valid)
    return tf.cast(tf.reduce_prod(tf.shape(values)[:-1]), tf.float32)
