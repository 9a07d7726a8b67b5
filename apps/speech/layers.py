"""The layers that make a recogniser respect each utterance's own length, and its loss.

Lengths travel through the network as an explicit input. Nothing relies on Keras's implicit
masks: a mask is made here, once a time resolution, and handed to every layer that needs it.
"""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf
from keras import ops


def reduced_lengths(lengths: Any, stride: int) -> Any:
    """Return how many frames are left of `lengths` frames after striding by `stride`.

    Rounds up, as a convolution with "same" padding does, and works on integers, NumPy arrays and
    tensors alike.

    >>> reduced_lengths(9, 4)
    3
    """
    return (lengths + (stride - 1)) // stride


@keras.saving.register_keras_serializable("hlstm_tf.speech")
class SpeechInput(keras.layers.Layer):
    """Zero the padded frames of a batch of features and add the channel axis of a convolution.

    The layer also carries what a model file must know in order to be used on audio: the
    configuration of its front end and the symbols of its alphabet. In a layer's configuration they
    survive whatever clones the network layer by layer.

    Args:
        front_end: Configuration of the front end that makes the features, as plain JSON data.
        alphabet: The output symbols after the blank, in order; the blank has index 0.

    Call with features `(batch, frames, bands)` and lengths `(batch,)`; returns `(batch, frames,
    bands, 1)`, exactly zero in every frame from the utterance's length on.

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
    """Return the mask of valid frames `(batch, frames')`, booleans, at one time resolution.

    Args:
        stride: Frames of the input a frame of this resolution stands for.

    Call with `(batch, frames', ...)`, of which only the number of frames is used, and lengths
    `(batch,)` in frames of the network's input.

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
    """Zero every frame of `(batch, frames, ...)` that its mask `(batch, frames)` marks as padding.

    Convolutions look past an utterance's end; there they must find the zeros that they would find
    had the utterance not been padded at all.

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


def ctc_loss(labels: Any, logits: Any, label_lengths: Any, logit_lengths: Any) -> tf.Tensor:
    """Return the CTC loss of every utterance, blank = 0, in nats: `(batch,)` float32.

    Graves et al., "Connectionist Temporal Classification" (ICML 2006), equations 14 to 16.

    This is TensorFlow's compiled CPU kernel, which computes the loss and its gradient in one go:
    seven times faster than the same loss on dense labels (`keras.ops.ctc_loss`), a scan in
    TensorFlow ops that would take longer than the network itself for small recognisers.

    Args:
        labels: `(batch, max_labels)` integers in 1..symbols-1; what lies beyond an utterance's
            label length is ignored. An utterance may have none at all (silence).
        logits: `(batch, frames, symbols)` unnormalised scores.
        label_lengths, logit_lengths: `(batch,)` integers.

    Raises:
        tf.errors.InvalidArgumentError: If an utterance has more labels than frames. Where only the
            blanks between equal neighbours do not fit, the loss is infinite; check transcripts
            with `apps.speech.batches.usable` before training.

    Example:

    Two frames of even odds over {blank, 1} give the transcript "1" in three of four paths.

    >>> loss = ctc_loss([[1]], tf.zeros((1, 2, 2)), [1], [2])
    >>> round(float(tf.exp(-loss)[0]), 6)
    0.75
    """
    logits = tf.cast(logits, tf.float32)
    label_lengths = tf.cast(label_lengths, tf.int32)
    logit_lengths = tf.cast(logit_lengths, tf.int32)
    # The kernel refuses utterances without labels, so it is shown one label for them.
    indices = tf.where(tf.sequence_mask(tf.maximum(label_lengths, 1), tf.shape(labels)[1]))
    values = tf.maximum(tf.gather_nd(tf.cast(labels, tf.int32), indices), 1)
    losses = tf.raw_ops.CTCLoss(
        # It wants time first and the blank last.
        inputs=tf.transpose(tf.concat([logits[..., 1:], logits[..., :1]], axis=-1), (1, 0, 2)),
        labels_indices=indices,
        labels_values=values - 1,
        sequence_length=logit_lengths,
    )[0]
    return tf.where(label_lengths > 0, losses, _only_blanks(logits, logit_lengths))


def _only_blanks(logits: tf.Tensor, logit_lengths: tf.Tensor) -> tf.Tensor:
    """Return the loss of empty transcripts: every valid frame must be blank."""
    log_blank = tf.nn.log_softmax(logits)[..., 0]
    valid = tf.sequence_mask(logit_lengths, tf.shape(logits)[1])
    return -tf.reduce_sum(tf.where(valid, log_blank, 0.0), axis=1)
