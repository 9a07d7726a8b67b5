"""Writers and readers: the two ends of the layers that neuron groups connect."""

from collections.abc import Callable
from typing import Any

import keras
import numpy as np

from hlstm_tf.layers import PartialAreaConv2D
from hlstm_tf.transforms.editing import Edited, Workshop, apply, is_elementwise, zero
from hlstm_tf.transforms.groups import ManyReaders, Reader, Writer, merged
from hlstm_tf.transforms.recurrent import cell_reader, state_writer_of
from hlstm_tf.transforms.twins import keras_class

_DENSE = (keras.layers.Dense,)
_CONVOLUTIONS = (keras.layers.Conv1D, keras.layers.Conv2D, keras.layers.Conv3D)


def writer_of(layer: keras.Layer, workshop: Workshop) -> Writer | None:
    """Returns the end of a layer whose neurons can be taken out; `None` where there is none."""
    layer = _unwrapped(layer)
    if keras_class(layer) is keras.layers.Embedding and _is_plain(layer):
        return EmbeddingWriter(workshop.open(layer, "embeddings"))
    if isinstance(layer, (keras.layers.RNN, keras.layers.Bidirectional)):
        return state_writer_of(layer, workshop) if _is_known(layer) else None
    if not _is_matrix_layer(layer) or not is_elementwise(layer.activation):
        return None
    if isinstance(layer, PartialAreaConv2D):
        return AreaWriter(_opened_area(layer, workshop), "filters", layer.activation)
    argument = "units" if isinstance(layer, _DENSE) else "filters"
    return MatrixWriter(workshop.open(layer, "kernel", "bias"), argument, layer.activation)


def reader_of(layer: keras.Layer, workshop: Workshop) -> Reader | None:
    """Returns the end of a layer that reads neurons row by row; `None` where there is none."""
    layer = _unwrapped(layer)
    if isinstance(layer, PartialAreaConv2D):
        return AreaReader(_opened_area(layer, workshop))
    if _is_matrix_layer(layer):
        return MatrixReader(workshop.open(layer, "kernel", "bias"))
    if isinstance(layer, keras.layers.Bidirectional):
        ends = [reader_of(side, workshop) for side in (layer.forward_layer, layer.backward_layer)]
        known = [end for end in ends if end is not None]
        return ManyReaders(known) if len(known) == 2 else None
    if not isinstance(layer, keras.layers.RNN) or not _is_known(layer):
        return None
    workshop.touched.add(id(layer))
    cell = layer.cell
    if type(cell) is keras.layers.StackedRNNCells:
        cell = cell.cells[0]  # the others read the one before them
    return cell_reader(cell, workshop)


def _unwrapped(layer: keras.Layer) -> keras.Layer:
    return layer.layer if type(layer) is keras.layers.TimeDistributed else layer


def _is_known(layer: keras.Layer) -> bool:
    return type(layer).__module__.split(".")[0] in ("keras", "hlstm_tf")


def _is_plain(layer: Any) -> bool:
    quantized = getattr(layer, "quantization_mode", None) is not None
    return not quantized and not getattr(layer, "lora_enabled", False)


def _opened_area(layer: keras.Layer, workshop: Workshop) -> Edited:
    edited = workshop.open(layer, "kernel", "bias", "area")
    # A slice of the kernel that is used nowhere might as well be zero.
    unused = (edited.arrays["area"] == 0).all(axis=(0, 1))
    edited.arrays["kernel"][:, :, unused] = 0
    return edited


def _is_matrix_layer(layer: Any) -> bool:
    if type(layer) is PartialAreaConv2D:
        return True
    if keras_class(layer) in _DENSE:
        return _is_plain(layer)
    return (
        keras_class(layer) in _CONVOLUTIONS
        and _is_plain(layer)
        and layer.groups == 1
        and layer.data_format == "channels_last"
    )


class MatrixWriter(Writer):
    """The units of a dense layer, or the filters of a convolution: the kernel's last axis."""

    def __init__(self, edited: Edited, argument: str, activation: Callable[[Any], Any]) -> None:
        self._edited, self._argument, self._activation = edited, argument, activation

    @property
    def layer(self) -> keras.Layer:
        """The dense layer or convolution."""
        return self._edited.layer

    @property
    def width(self) -> int:
        return self._edited.arrays["kernel"].shape[-1]

    def constants(self) -> np.ndarray:
        kernel = self._edited.arrays["kernel"]
        bias = self._edited.arrays.get("bias", np.zeros(self.width))
        depends = np.any(kernel != 0, axis=tuple(range(kernel.ndim - 1)))
        return apply(self._activation, np.where(depends, np.nan, bias))

    def incoming(self) -> np.ndarray:
        kernel = self._edited.arrays["kernel"]
        return np.asarray(kernel.sum(axis=tuple(range(kernel.ndim - 1))))

    def silence(self, dead: np.ndarray) -> bool:
        changed = False
        for name in ("kernel", "bias"):
            if name in self._edited.arrays:
                changed |= zero(self._edited.arrays[name], (..., dead))
        return changed

    def keep(self, indices: np.ndarray) -> None:
        for name in ("kernel", "bias"):
            self._edited.select(name, -1, indices)
        self._edited.arguments[self._argument] = len(indices)


class EmbeddingWriter(Writer):
    """The columns of an embedding's table; a column is constant if all its entries are equal."""

    def __init__(self, edited: Edited) -> None:
        self._edited = edited

    @property
    def width(self) -> int:
        return self._edited.arrays["embeddings"].shape[1]

    def constants(self) -> np.ndarray:
        table = self._edited.arrays["embeddings"]
        return np.where((table == table[0]).all(axis=0), table[0], np.nan)

    def incoming(self) -> np.ndarray:
        return np.asarray(self._edited.arrays["embeddings"].sum(axis=0))

    def silence(self, dead: np.ndarray) -> bool:
        return zero(self._edited.arrays["embeddings"], (..., dead))

    def keep(self, indices: np.ndarray) -> None:
        self._edited.select("embeddings", 1, indices)
        self._edited.arguments["output_dim"] = len(indices)


class MatrixReader:
    """The inputs of a dense layer, or the input channels of a convolution."""

    def __init__(self, edited: Edited) -> None:
        self._edited = edited
        # Where zeros are padded, a constant input is no constant at the border.
        self._pads = getattr(edited.layer, "padding", "valid") != "valid"

    @property
    def layer(self) -> keras.Layer:
        """The dense layer or convolution."""
        return self._edited.layer

    @property
    def rows(self) -> int:
        return self._edited.arrays["kernel"].shape[-2]

    def reads(self) -> np.ndarray:
        kernel = self._edited.arrays["kernel"]
        return (kernel != 0).any(axis=(*range(kernel.ndim - 2), -1))

    def outgoing(self) -> np.ndarray:
        kernel = self._edited.arrays["kernel"]
        return np.asarray(kernel.sum(axis=(*range(kernel.ndim - 2), -1)))

    def absorb(self, values: np.ndarray) -> bool:
        constant = np.isfinite(values) & self.reads()
        if self._pads:
            constant &= values == 0
        if not constant.any():
            return False
        kernel = self._edited.arrays["kernel"]
        share = kernel[..., constant, :].sum(axis=tuple(range(kernel.ndim - 2)))
        self._add_to_bias(values[constant] @ share)
        kernel[..., constant, :] = 0
        return True

    def keep(self, indices: np.ndarray, width: int) -> None:
        self._edited.select("kernel", -2, merged(indices, width, self.rows))

    def _add_to_bias(self, share: np.ndarray) -> None:
        if not share.any():
            return
        if "bias" not in self._edited.arrays:
            self._edited.arrays["bias"] = np.zeros_like(share)
            self._edited.arguments["use_bias"] = True
        self._edited.arrays["bias"] += share


class AreaWriter(MatrixWriter):
    """The filters of a partial-area convolution."""

    def keep(self, indices: np.ndarray) -> None:
        super().keep(indices)
        self._edited.select("area", -1, indices)


class AreaReader(MatrixReader):
    """The input channels of a partial-area convolution."""

    def absorb(self, values: np.ndarray) -> bool:
        # A constant that is used in a part of the picture is no constant of the whole.
        whole = (self._edited.arrays["area"] != 0).all(axis=(0, 1))
        unread = (self._edited.arrays["kernel"] == 0).all(axis=(0, 1))
        constant = (whole | unread).all(axis=1)
        return super().absorb(np.where(constant | (values == 0), values, np.nan))

    def keep(self, indices: np.ndarray, width: int) -> None:
        self._edited.select("area", -2, merged(indices, width, self.rows))
        super().keep(indices, width)
