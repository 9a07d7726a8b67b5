"""Depthwise and separable convolutions as pass-through layers, consumers and producers."""

from typing import Any

import keras
import numpy as np

from hlstm_tf.transforms.editing import Edited, WeightStore, apply, is_elementwise, zero
from hlstm_tf.transforms.groups import merged
from hlstm_tf.transforms.matrix_ends import KernelProducer, add_to_bias, pads
from hlstm_tf.transforms.twins import is_plain, keras_class

DEPTHWISE = (keras.layers.DepthwiseConv1D, keras.layers.DepthwiseConv2D)
SEPARABLE = (keras.layers.SeparableConv1D, keras.layers.SeparableConv2D)
TRANSPOSED = (
    keras.layers.Conv1DTranspose,
    keras.layers.Conv2DTranspose,
    keras.layers.Conv3DTranspose,
)


def is_convolution(layer: Any, classes: tuple[type[keras.Layer], ...]) -> bool:
    """Whether a layer is of one of some classes of convolution, as Keras or its twin makes it."""
    return (
        keras_class(layer) in classes and is_plain(layer) and layer.data_format == "channels_last"
    )


def channel_filter_of(layer: Any, width: int, store: WeightStore) -> "ChannelFilter | None":
    """Returns a depthwise convolution that gives one channel for each of `width`, else `None`."""
    if not is_convolution(layer, DEPTHWISE) or not is_elementwise(layer.activation):
        return None
    edited = store.open(layer, "kernel", "bias")
    fits = edited.arrays["kernel"].shape[-2:] == (width, 1)
    return ChannelFilter(edited) if fits else None


class ChannelFilter:
    """A depthwise convolution with a multiplier of 1: a filter for each channel by itself."""

    def __init__(self, edited: Edited) -> None:
        self._edited = edited
        self._pads = pads(edited.layer)

    def constants(self, values: np.ndarray) -> np.ndarray:
        kernel = self._edited.arrays["kernel"][..., 0]
        window = tuple(range(kernel.ndim - 1))
        filters = (kernel != 0).any(axis=window)
        passed = np.where(filters, values * kernel.sum(axis=window), 0.0)
        if self._pads:
            passed = np.where(filters & (values != 0), np.nan, passed)
        bias = self._edited.arrays.get("bias", np.zeros(len(passed)))
        return apply(self._edited.layer.activation, passed + bias)

    def zero(self, dead: np.ndarray) -> bool:
        changed = zero(self._edited.arrays["kernel"], (..., dead, slice(None)))
        if "bias" in self._edited.arrays:
            changed |= zero(self._edited.arrays["bias"], dead)
        return changed

    def keep(self, indices: np.ndarray, width: int) -> None:
        self._edited.select("kernel", -2, indices)
        self._edited.select("bias", -1, indices)


class SeparableProducer(KernelProducer):
    """The filters of a separable convolution: the last axis of its pointwise kernel."""

    def __init__(self, layer: Any, store: WeightStore) -> None:
        edited = _opened(layer, store)
        super().__init__(edited, "filters", layer.activation, kernel="pointwise_kernel")


class SeparableConsumer:
    """The input channels of a separable convolution, each filtered by itself and then mixed."""

    def __init__(self, layer: Any, store: WeightStore) -> None:
        self._edited = _opened(layer, store)
        self._pads = pads(layer)

    @property
    def rows(self) -> int:
        return int(self._depthwise().shape[-2])

    def reads(self) -> np.ndarray:
        mixed = (self._mixing() != 0).any(axis=-1)
        return np.asarray(((self._depthwise() != 0).any(axis=self._window()) & mixed).any(axis=1))

    def outgoing(self) -> np.ndarray:
        filtering = self._depthwise().sum(axis=self._window()).sum(axis=1)
        return np.asarray(filtering + self._mixing().sum(axis=(1, 2)))

    def fold(self, values: np.ndarray) -> bool:
        constant = np.isfinite(values) & self.reads()
        if self._pads:
            constant &= values == 0
        if not constant.any():
            return False
        filtered = values[constant, None] * self._depthwise().sum(axis=self._window())[constant]
        add_to_bias(self._edited, np.einsum("cm,cmf->f", filtered, self._mixing()[constant]))
        self._depthwise()[..., constant, :] = 0
        self._edited.arrays["pointwise_kernel"][..., self._mixed(np.flatnonzero(constant)), :] = 0
        return True

    def keep(self, indices: np.ndarray, width: int) -> None:
        chosen = merged(indices, width, self.rows)
        self._edited.select("pointwise_kernel", -2, self._mixed(chosen))
        self._edited.select("depthwise_kernel", -2, chosen)

    def _depthwise(self) -> np.ndarray:
        return self._edited.arrays["depthwise_kernel"]

    def _window(self) -> tuple[int, ...]:
        return tuple(range(self._depthwise().ndim - 2))

    def _mixing(self) -> np.ndarray:
        """The pointwise kernel as `(channels, multiplier, filters)`."""
        kernel = self._edited.arrays["pointwise_kernel"]
        return kernel.reshape(*self._depthwise().shape[-2:], kernel.shape[-1])

    def _mixed(self, channels: np.ndarray) -> np.ndarray:
        """The rows of the pointwise kernel that belong to channels."""
        multiplier = self._depthwise().shape[-1]
        return np.asarray((channels[:, None] * multiplier + np.arange(multiplier)).ravel())


def _opened(layer: Any, store: WeightStore) -> Edited:
    edited = store.open(layer, "depthwise_kernel", "pointwise_kernel", "bias")
    depthwise, pointwise = (edited.arrays[f"{name}_kernel"] for name in ("depthwise", "pointwise"))
    # What the depthwise kernel leaves out might as well not be mixed.
    unfiltered = (depthwise == 0).all(axis=tuple(range(depthwise.ndim - 2))).ravel()
    pointwise[..., unfiltered, :] = 0
    return edited
