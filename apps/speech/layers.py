"""The three small layers that make a recogniser respect each utterance's own length.

Lengths travel through the network as an explicit input. Nothing relies on Keras's implicit
masks: a mask is made here, once a time resolution, and handed to every layer that needs it.
"""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from apps.speech.lengths import reduced_lengths


@keras.saving.register_keras_serializable("hlstm_tf.speech")
class SpeechInput(keras.layers.Layer):
    """Zero the padded frames of a batch of features and add the channel axis of a convolution.

    The layer also carries what a model file must know in order to be used on audio: the
    configuration of its front end and the symbols of its alphabet. They are part of the layer's
    configuration rather than of the model's, so that they survive whatever clones the network
    layer by layer.

    Args:
        front_end: Configuration of the front end that makes the features, as plain JSON data.
        alphabet: The output symbols after the blank, in order; the blank has index 0.

    Call arguments:
        features: `(batch, frames, bands)` floats.
        lengths: `(batch,)` integers, the valid frames of each utterance.

    Returns:
        `(batch, frames, bands, 1)`; exactly zero in every frame from the utterance's length on.

    Example:

    >>> layer = SpeechInput(front_end={}, alphabet="ab")
    >>> x = layer(keras.ops.ones((1, 3, 2)), keras.ops.array([2]))
    >>> keras.ops.convert_to_numpy(x)[0, :, 0, 0].tolist()
    [1.0, 1.0, 0.0]
    """

    def __init__(self, front_end: dict[str, Any], alphabet: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.front_end = dict(front_end)
        self.alphabet = str(alphabet)

    def call(self, features: Any, lengths: Any) -> Any:
        valid = ops.arange(ops.shape(features)[1])[None, :] < ops.cast(lengths, "int32")[:, None]
        # where, not a product: padding may hold anything, NaN included.
        kept = ops.where(valid[:, :, None], features, ops.zeros_like(features))
        return ops.expand_dims(kept, -1)

    def compute_output_shape(self, features_shape: Any, lengths_shape: Any = None) -> Any:
        return (*features_shape, 1)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "front_end": dict(self.front_end),
            "alphabet": self.alphabet,
        }


@keras.saving.register_keras_serializable("hlstm_tf.speech")
class ValidFrames(keras.layers.Layer):
    """Return the mask of valid frames at one time resolution.

    Args:
        stride: Frames of the input a frame of this resolution stands for.

    Call arguments:
        x: `(batch, frames', ...)`: only its number of frames is used.
        lengths: `(batch,)` integers, in frames of the network's input.

    Returns:
        `(batch, frames')` booleans.

    Example:

    >>> mask = ValidFrames(stride=4)(keras.ops.ones((2, 3, 5)), keras.ops.array([12, 5]))
    >>> keras.ops.convert_to_numpy(mask).tolist()
    [[True, True, True], [True, True, False]]
    """

    def __init__(self, stride: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.stride = int(stride)

    def call(self, x: Any, lengths: Any) -> Any:
        left = reduced_lengths(ops.cast(lengths, "int32"), self.stride)
        return ops.arange(ops.shape(x)[1])[None, :] < left[:, None]

    def compute_output_spec(self, x: Any, lengths: Any) -> keras.KerasTensor:
        return keras.KerasTensor((x.shape[0], x.shape[1]), dtype="bool")

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "stride": self.stride}


@keras.saving.register_keras_serializable("hlstm_tf.speech")
class ZeroInvalid(keras.layers.Layer):
    """Zero every frame that its mask marks as padding.

    Convolutions look past an utterance's end; there they must find the zeros that they would find
    had the utterance not been padded at all.

    Call arguments:
        x: `(batch, frames, ...)`.
        mask: `(batch, frames)` booleans.

    Returns:
        `x`'s shape and dtype.

    Example:

    >>> x = ZeroInvalid()(keras.ops.ones((1, 2, 1)), keras.ops.array([[True, False]]))
    >>> keras.ops.convert_to_numpy(x).ravel().tolist()
    [1.0, 0.0]
    """

    neuronwise = True  # `hl.shrink` may remove channels before it

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.supports_masking = True

    def compute_mask(self, x: Any, mask: Any = None) -> None:
        # Keras would carry the mask on by itself, up to a layer that warns of losing it.
        return None

    def call(self, x: Any, mask: Any) -> Any:
        for _ in range(len(x.shape) - len(mask.shape)):
            mask = ops.expand_dims(mask, -1)
        return x * ops.cast(mask, x.dtype)

    def compute_output_shape(self, x_shape: Any, mask_shape: Any = None) -> Any:
        return x_shape
