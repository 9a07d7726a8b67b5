"""Learning from a trained recogniser, frame by frame."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf


class Teacher:
    """A trained recogniser whose outputs another one learns to give.

    A transcript says which letters; a teacher says, for each frame, also which letters it nearly
    was, and when: a small network that hears both is better than one that finds its own alignment
    (Hinton et al., arXiv 1503.02531, section 2, at temperature 1; for CTC's frames Kim et al.,
    "Improved Training for Online End-to-end Speech Recognition Systems", arXiv 1711.02212).

    Args:
        model: A `SpeechRecognizer` with the pupil's front end, alphabet and time stride.
        share: Of the loss that is the distance to the teacher, 0 to 1; the rest is CTC.

    Raises:
        ValueError: `share` is out of range.

    Example:

    >>> x = keras.Input((None, 2), name="features")
    >>> teacher = Teacher(keras.Model({"features": x}, x), share=0.5)
    >>> inputs = {"features": tf.constant([[[0.0, 2.0], [1.0, 0.0]]])}
    >>> teacher.blend(tf.constant([3.0]), inputs, inputs["features"], tf.constant([1])).numpy()
    array([1.5], dtype=float32)
    """

    # No Keras object, and the model in none: a model keeps track of the layers of those that are
    # its attributes, and would save and train the teacher's.
    def __init__(self, model: keras.Model, share: float) -> None:
        if not 0 <= share <= 1:
            raise ValueError(f"share must be from 0 to 1; got {share}.")
        self._model = model
        self.share = share

    def blend(self, losses: Any, x: Any, logits: Any, lengths: Any) -> tf.Tensor:
        """Return the losses of a batch, the teacher's part blended in.

        Args:
            losses: `(batch,)`, in nats.
            x: The model's inputs, of which the teacher hears the same.
            logits: `(batch, frames, symbols)` of the pupil.
            lengths: `(batch,)` frames of the logits that mean something.

        Returns:
            `(batch,)` float32. The teacher's part is the Kullback-Leibler divergence of the pupil's
            probabilities from the teacher's, added up over the frames.
        """
        wanted = tf.stop_gradient(tf.cast(self._model(x, training=False), tf.float32))
        told = tf.nn.log_softmax(wanted)
        said = tf.nn.log_softmax(tf.cast(logits, tf.float32))
        distances = tf.reduce_sum(tf.exp(told) * (told - said), axis=-1)
        valid = tf.sequence_mask(lengths, tf.shape(distances)[1], dtype=tf.float32)
        distance = tf.reduce_sum(distances * valid, axis=1)
        return (1 - self.share) * losses + self.share * distance
