"""TensorBoard: how sparse each matrix is, and pictures of the masks."""

import os
from typing import Any

import numpy as np
import tensorflow as tf

from hlstm_tf.callbacks.base import CopiedWithoutData
from hlstm_tf.layers.masking import MaskedKernel, require_masked_kernels
from hlstm_tf.pruning.architecture import count_connections

_GATES = {4: ("i", "f", "c", "o"), 3: ("z", "r", "h")}


class SparsityBoard(CopiedWithoutData):
    """Writes sparsity and connections of each epoch, and pictures of the masks, for TensorBoard.

    Scalars `sparsity/...` and `connections/...` for the model, each layer, each kernel and each
    gate's matrix; images `mask/...`, a row of pixels for an input, a column for an output, white
    where a connection exists. TensorBoard is needed to look at them, not to write them.

    What is written is the state at the end of an epoch; place this callback after those that
    change masks to see what they made of it.

    Args:
        log_dir: Directory of the event files; that of `keras.callbacks.TensorBoard` will do.
        images: Whether to write pictures of the masks.
        image_freq: Epochs from one picture to the next.
        max_pixels: Longest side of a picture; a larger mask is averaged down to it, so gray means
            some connections.

    Raises:
        ValueError: A number is not positive; at training, the model has no masked kernel.

    Example:

    >>> import keras, numpy as np, tempfile, os, hlstm_tf as hl
    >>> from hlstm_tf.callbacks import SparsityBoard
    >>> model = keras.Sequential([keras.Input((4,)), hl.MaskedDense(5)])
    >>> model.compile("sgd", "mse")
    >>> folder = tempfile.mkdtemp()
    >>> _ = model.fit(np.ones((8, 4)), np.ones((8, 5)), callbacks=[SparsityBoard(folder)],
    ...               verbose=0)
    >>> len(os.listdir(folder))
    1
    """

    def __init__(
        self,
        log_dir: str | os.PathLike,
        images: bool = True,
        image_freq: int = 1,
        max_pixels: int = 1024,
    ) -> None:
        super().__init__()
        for name, value in (("image_freq", image_freq), ("max_pixels", max_pixels)):
            if value < 1:
                raise ValueError(f"{name} must be 1 or more; got {value!r}.")
        self.log_dir = os.fspath(log_dir)
        self.images = images
        self.image_freq = image_freq
        self.max_pixels = max_pixels

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        self._kernels = require_masked_kernels(self.model)
        self._writer = tf.summary.create_file_writer(self.log_dir, filename_suffix=".sparsity")

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        with self._writer.as_default(step=epoch):
            for name, kernels in self._groups().items():
                existing, places = count_connections(kernels)
                _write_count(name, existing, places)
            for kernel in self._kernels:
                self._write_matrices(kernel, with_image=epoch % self.image_freq == 0)
        self._writer.flush()

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        self._writer.close()

    def _groups(self) -> dict[str, list[MaskedKernel]]:
        """The model, its layers and its kernels, each with the kernels it is made of."""
        groups: dict[str, list[MaskedKernel]] = {"model": self._kernels}
        for kernel in self._kernels:
            groups.setdefault(kernel.path.rpartition("/")[0] or kernel.layer.name, []).append(
                kernel
            )
        return {**groups, **{kernel.path: [kernel] for kernel in self._kernels}}

    def _write_matrices(self, kernel: MaskedKernel, with_image: bool) -> None:
        gates = _GATES.get(kernel.gates, tuple(map(str, range(kernel.gates))))
        for gate, matrix in zip(gates, kernel.to_matrices(kernel.mask), strict=False):
            name = kernel.path if kernel.gates == 1 else f"{kernel.path}/{gate}"
            if kernel.gates > 1:
                _write_count(name, int(matrix.sum()), matrix.size)
            if self.images and with_image:
                picture = shrink_picture(matrix, self.max_pixels)
                _write_picture(f"mask/{name}", picture)


def shrink_picture(mask: np.ndarray, max_pixels: int) -> np.ndarray:
    """Returns a mask as gray values in [0, 1], averaged down to `max_pixels` a side at most.

    >>> shrink_picture(np.array([[True, True], [False, True], [False, False]]), 2).tolist()
    [[0.5, 1.0], [0.0, 0.0]]
    """
    values = mask.astype(np.float32)
    for axis in (0, 1):
        length = values.shape[axis]
        size = -(-length // max_pixels)
        starts = np.arange(0, length, size)
        sums = np.add.reduceat(values, starts, axis=axis)
        counts = np.minimum(size, length - starts)
        values = sums / np.expand_dims(counts, 1 - axis)
    return values.astype(np.float32)


# `tf.summary.scalar` and `tf.summary.image` are TensorBoard's; `tf.summary.write` is TensorFlow's.


def _write_count(name: str, existing: int, places: int) -> None:
    _write_scalar(f"connections/{name}", existing)
    _write_scalar(f"sparsity/{name}", 1 - existing / places)


def _write_scalar(tag: str, value: float) -> None:
    tf.summary.write(tag, tf.constant(value, tf.float32), metadata=_metadata("scalars"))


def _write_picture(tag: str, picture: np.ndarray) -> None:
    pixels = tf.image.convert_image_dtype(picture[:, :, None], tf.uint8, saturate=True)
    height, width = picture.shape
    parts = [str(width).encode(), str(height).encode(), tf.io.encode_png(pixels)]
    tf.summary.write(tag, tf.stack(parts), metadata=_metadata("images"))


def _metadata(plugin: str) -> tf.compat.v1.SummaryMetadata:
    """What tells TensorBoard how to show a value: as "scalars" or as "images"."""
    metadata = tf.compat.v1.SummaryMetadata()
    metadata.plugin_data.plugin_name = plugin
    return metadata
