"""Masked twins of Keras's convolutions.

A kernel is seen as a matrix of inputs by outputs. A depthwise kernel has an output for each channel
and multiplier, and the places of its window are the inputs: what can be left out of it is a place
in a channel's window, or the whole channel.
"""

from collections.abc import Mapping
from typing import Any, ClassVar

import keras
from keras import ops

from hlstm_tf.layers.feed_forward import MaskedFeedForward, OutputAxes
from hlstm_tf.layers.kernels import EffectiveKernel
from hlstm_tf.layers.observers import note_input

_register = keras.saving.register_keras_serializable(package="hlstm_tf")


@_register
class MaskedConv1D(MaskedFeedForward, keras.layers.Conv1D):
    """`keras.layers.Conv1D` with a mask of the kernel's shape `(window, channels, filters)`.

    Example:

    >>> import hlstm_tf as hl
    >>> layer = hl.MaskedConv1D(4, 3)
    >>> layer.build((None, 8, 2))
    >>> layer.kernel_mask.shape
    TensorShape([3, 2, 4])
    """

    _kernel = EffectiveKernel()


@_register
class MaskedConv2D(MaskedFeedForward, keras.layers.Conv2D):
    """`keras.layers.Conv2D` with a mask of the kernel's shape `(height, width, channels, filters)`.

    Example:

    >>> import hlstm_tf as hl
    >>> layer = hl.MaskedConv2D(4, 3)
    >>> layer.build((None, 8, 8, 1))
    >>> layer.kernel_mask.shape
    TensorShape([3, 3, 1, 4])
    """

    _kernel = EffectiveKernel()


@_register
class MaskedConv3D(MaskedFeedForward, keras.layers.Conv3D):
    """`keras.layers.Conv3D` with a mask of the kernel's shape `(*window, channels, filters)`.

    Example:

    >>> import hlstm_tf as hl
    >>> layer = hl.MaskedConv3D(4, 2)
    >>> layer.build((None, 5, 5, 5, 3))
    >>> layer.kernel_mask.shape
    TensorShape([2, 2, 2, 3, 4])
    """

    _kernel = EffectiveKernel()


@_register
class MaskedConv1DTranspose(MaskedFeedForward, keras.layers.Conv1DTranspose):
    """`keras.layers.Conv1DTranspose` with a mask of `(*window, filters, channels)`.

    Example:

    >>> import hlstm_tf as hl
    >>> layer = hl.MaskedConv1DTranspose(4, 3)
    >>> layer.build((None, 8, 2))
    >>> layer.kernel_mask.shape
    TensorShape([3, 4, 2])
    """

    _kernels: ClassVar[Mapping[str, OutputAxes]] = {"kernel": (-2,)}
    kernel = EffectiveKernel()


@_register
class MaskedConv2DTranspose(MaskedFeedForward, keras.layers.Conv2DTranspose):
    """`keras.layers.Conv2DTranspose` with a mask of `(*window, filters, channels)`.

    Example:

    >>> import hlstm_tf as hl
    >>> layer = hl.MaskedConv2DTranspose(4, 3)
    >>> layer.build((None, 8, 8, 2))
    >>> layer.kernel_mask.shape
    TensorShape([3, 3, 4, 2])
    """

    _kernels: ClassVar[Mapping[str, OutputAxes]] = {"kernel": (-2,)}
    kernel = EffectiveKernel()


@_register
class MaskedConv3DTranspose(MaskedFeedForward, keras.layers.Conv3DTranspose):
    """`keras.layers.Conv3DTranspose` with a mask of `(*window, filters, channels)`.

    Example:

    >>> import hlstm_tf as hl
    >>> layer = hl.MaskedConv3DTranspose(4, 2)
    >>> layer.build((None, 5, 5, 5, 3))
    >>> layer.kernel_mask.shape
    TensorShape([2, 2, 2, 4, 3])
    """

    _kernels: ClassVar[Mapping[str, OutputAxes]] = {"kernel": (-2,)}
    kernel = EffectiveKernel()


class _Depthwise(MaskedFeedForward):
    """A twin whose kernel is `(*window, channels, depth_multiplier)`."""

    _kernels: ClassVar[Mapping[str, OutputAxes]] = {"kernel": (-2, -1)}

    def _note(self, inputs: Any) -> None:
        note_input(self, "kernel", _mean_channel(inputs, _channel_axis(self)))


@_register
class MaskedDepthwiseConv1D(_Depthwise, keras.layers.DepthwiseConv1D):
    """`keras.layers.DepthwiseConv1D` with a mask of `(*window, channels, depth_multiplier)`.

    Example:

    >>> import hlstm_tf as hl
    >>> layer = hl.MaskedDepthwiseConv1D(3)
    >>> layer.build((None, 8, 2))
    >>> layer.kernel_mask.shape
    TensorShape([3, 2, 1])
    """

    kernel = EffectiveKernel()


@_register
class MaskedDepthwiseConv2D(_Depthwise, keras.layers.DepthwiseConv2D):
    """`keras.layers.DepthwiseConv2D` with a mask of `(*window, channels, depth_multiplier)`.

    Example:

    >>> import hlstm_tf as hl
    >>> layer = hl.MaskedDepthwiseConv2D(3)
    >>> layer.build((None, 8, 8, 2))
    >>> layer.kernel_mask.shape
    TensorShape([3, 3, 2, 1])
    """

    kernel = EffectiveKernel()


class _Separable(MaskedFeedForward):
    """A twin with a depthwise kernel, and a pointwise one that reads what it puts out."""

    _kernels: ClassVar[Mapping[str, OutputAxes]] = {
        "depthwise_kernel": (-2, -1),
        "pointwise_kernel": (-1,),
    }

    def _note(self, inputs: Any) -> None:
        layer: Any = self
        axis = _channel_axis(layer)
        note_input(layer, "depthwise_kernel", _mean_channel(inputs, axis))
        between = ops.depthwise_conv(
            inputs,
            self.effective("depthwise_kernel"),
            strides=layer.strides,
            padding=layer.padding,
            dilation_rate=layer.dilation_rate,
            data_format=layer.data_format,
        )
        note_input(layer, "pointwise_kernel", ops.moveaxis(between, axis, -1))


@_register
class MaskedSeparableConv1D(_Separable, keras.layers.SeparableConv1D):
    """`keras.layers.SeparableConv1D` with a mask for each of its two kernels.

    Example:

    >>> import hlstm_tf as hl
    >>> layer = hl.MaskedSeparableConv1D(4, 3)
    >>> layer.build((None, 8, 2))
    >>> layer.pointwise_kernel_mask.shape
    TensorShape([1, 2, 4])
    """

    depthwise_kernel = EffectiveKernel()
    pointwise_kernel = EffectiveKernel()


@_register
class MaskedSeparableConv2D(_Separable, keras.layers.SeparableConv2D):
    """`keras.layers.SeparableConv2D` with a mask for each of its two kernels.

    Example:

    >>> import hlstm_tf as hl
    >>> layer = hl.MaskedSeparableConv2D(4, 3)
    >>> layer.build((None, 8, 8, 2))
    >>> layer.pointwise_kernel_mask.shape
    TensorShape([1, 1, 2, 4])
    """

    depthwise_kernel = EffectiveKernel()
    pointwise_kernel = EffectiveKernel()


def _channel_axis(layer: Any) -> int:
    return 1 if layer.data_format == "channels_first" else -1


def _mean_channel(inputs: Any, axis: int) -> Any:
    """The root mean square over channels: every place of a window sees all of them alike."""
    return ops.sqrt(ops.mean(ops.square(ops.moveaxis(inputs, axis, -1)), axis=-1, keepdims=True))
