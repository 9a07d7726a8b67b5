"""Producers and consumers that hold a kernel: dense layers and convolutions of every kind."""

from collections.abc import Callable
from typing import Any

import keras
import numpy as np

from hlstm_tf.layers import PartialAreaConv2D
from hlstm_tf.transforms.editing import Edited, WeightStore, apply, is_elementwise, zero
from hlstm_tf.transforms.groups import Producer, merged
from hlstm_tf.transforms.twins import is_plain, keras_class, uses_all


class KernelProducer(Producer):
    """Neurons that are an axis of a kernel.

    Args:
        edited: The layer.
        argument: Which of its arguments says how many they are.
        activation: What is applied to them.
        kernel: The kernel's name.
        axis: The axis.
    """

    def __init__(
        self,
        edited: Edited,
        argument: str,
        activation: Callable[[Any], Any],
        kernel: str = "kernel",
        axis: int = -1,
    ) -> None:
        self._edited, self._argument, self._activation = edited, argument, activation
        self._kernel, self._axis = kernel, axis

    @property
    def layer(self) -> keras.Layer:
        """The layer that the neurons belong to."""
        return self._edited.layer

    @property
    def width(self) -> int:
        return int(self._edited.arrays[self._kernel].shape[self._axis])

    def constants(self) -> np.ndarray:
        bias = self._edited.arrays.get("bias", np.zeros(self.width))
        depends = (self._by_neuron() != 0).reshape(self.width, -1).any(axis=1)
        return apply(self._activation, np.where(depends, np.nan, bias))

    def incoming(self) -> np.ndarray:
        return np.asarray(self._by_neuron().reshape(self.width, -1).sum(axis=1))

    def zero(self, dead: np.ndarray) -> bool:
        changed = zero(self._by_neuron(), dead)
        if "bias" in self._edited.arrays:
            changed |= zero(self._edited.arrays["bias"], dead)
        return changed

    def keep(self, indices: np.ndarray) -> None:
        self._edited.select(self._kernel, self._axis, indices)
        self._edited.select("bias", -1, indices)
        self._edited.arguments[self._argument] = len(indices)

    def _by_neuron(self) -> np.ndarray:
        return np.moveaxis(self._edited.arrays[self._kernel], self._axis, 0)


class MatrixProducer(KernelProducer):
    """The units of a dense layer, or the filters of a convolution: the kernel's last axis."""


class KernelConsumer:
    """Inputs that are an axis of a kernel.

    Args:
        edited: The layer.
        axis: The axis.
        varies: Whether a constant input is no constant in all positions of the output.
    """

    def __init__(self, edited: Edited, axis: int = -2, varies: bool = False) -> None:
        self._edited, self._axis = edited, axis
        self._varies = varies or pads(edited.layer)

    @property
    def layer(self) -> keras.Layer:
        """The layer that reads."""
        return self._edited.layer

    @property
    def rows(self) -> int:
        return int(self._edited.arrays["kernel"].shape[self._axis])

    def reads(self) -> np.ndarray:
        return np.asarray((self._by_row() != 0).reshape(self.rows, -1).any(axis=1))

    def outgoing(self) -> np.ndarray:
        return np.asarray(self._by_row().reshape(self.rows, -1).sum(axis=1))

    def fold(self, values: np.ndarray) -> bool:
        constant = np.isfinite(values) & self.reads()
        if self._varies:
            constant &= values == 0
        if not constant.any():
            return False
        rows = self._by_row()
        # Of each constant row the window is summed up; outputs are the last axis.
        share = rows[constant].sum(axis=tuple(range(1, rows.ndim - 1)))
        add_to_bias(self._edited, values[constant] @ share)
        rows[constant] = 0
        return True

    def keep(self, indices: np.ndarray, width: int) -> None:
        self._edited.select("kernel", self._axis, merged(indices, width, self.rows))

    def _by_row(self) -> np.ndarray:
        return np.moveaxis(self._edited.arrays["kernel"], self._axis, 0)


class MatrixConsumer(KernelConsumer):
    """The inputs of a dense layer, or the input channels of a convolution."""


class AreaProducer(MatrixProducer):
    """The filters of a partial-area convolution."""

    def keep(self, indices: np.ndarray) -> None:
        super().keep(indices)
        self._edited.select("area", -1, indices)


class AreaConsumer(MatrixConsumer):
    """The input channels of a partial-area convolution."""

    def fold(self, values: np.ndarray) -> bool:
        if "area" not in self._edited.arrays:
            return super().fold(values)
        # A constant that is used in a part of the picture is no constant of the whole.
        whole = (self._edited.arrays["area"] != 0).all(axis=(0, 1))
        unread = (self._edited.arrays["kernel"] == 0).all(axis=(0, 1))
        constant = (whole | unread).all(axis=1)
        return super().fold(np.where(constant | (values == 0), values, np.nan))

    def keep(self, indices: np.ndarray, width: int) -> None:
        self._edited.select("area", -2, merged(indices, width, self.rows))
        super().keep(indices, width)


def opened_area(layer: PartialAreaConv2D, store: WeightStore) -> Edited:
    """Returns the working copy of a partial-area convolution, with `area` where it is partial."""
    if uses_all(layer):
        return store.open(layer, "kernel", "bias")
    edited = store.open(layer, "kernel", "bias", "area")
    # A slice of the kernel that is used nowhere might as well be zero.
    unused = (edited.arrays["area"] == 0).all(axis=(0, 1))
    edited.arrays["kernel"][:, :, unused] = 0
    return edited


def pads(layer: Any) -> bool:
    """Whether a convolution reads zeros around the picture: a constant is none at the border."""
    window = getattr(layer, "kernel_size", (1,))
    return getattr(layer, "padding", "valid") != "valid" and max(window) > 1


def add_to_bias(edited: Edited, share: np.ndarray) -> None:
    """Adds the share of constant inputs to a layer's bias, and gives it one where it has none."""
    if not share.any():
        return
    if "bias" not in edited.arrays:
        edited.arrays["bias"] = np.zeros_like(share)
        edited.arguments["use_bias"] = True
    edited.arrays["bias"] += share


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

    @property
    def layer(self) -> keras.Layer:
        """The convolution."""
        return self._edited.layer

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
