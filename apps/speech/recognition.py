"""What a Keras model makes of batches of features."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras
import tensorflow as tf

from apps.speech.alphabet import Alphabet
from apps.speech.decode import Search, greedy

Batch = Mapping[str, Any]


class Recognition:
    """A model's outputs for whole batches, through one compiled function.

    The function is traced once for all lengths and batch sizes, and reads the model's current
    weights and masks; it is traced anew where the model's hidden activation was changed. So one
    object serves every epoch of a training.

    Args:
        model: A `SpeechRecognizer`.

    Example:

    >>> from apps.speech.model import ModelConfig, build
    >>> model = build(ModelConfig({}, " AB", bands=8, channels=(2, 2),
    ...                           kernels=((3, 3), (3, 3)), cell="lstm", layers=1, units=3))
    >>> batch = {"features": tf.zeros((2, 9, 8)), "lengths": tf.constant([9, 5])}
    >>> logits, lengths = Recognition(model).logits(batch)
    >>> logits.shape, lengths.tolist()
    ((2, 3, 4), [3, 2])
    """

    def __init__(self, model: keras.Model) -> None:
        self.model = model
        self._infer = self._compiled()
        self._activations = self._hidden_activations()

    def _compiled(self) -> Any:
        bands = self.model.input["features"].shape[-1]
        return tf.function(
            lambda features, lengths: self.model(
                {"features": features, "lengths": lengths}, training=False
            ),
            input_signature=[
                tf.TensorSpec((None, None, bands), tf.float32),
                tf.TensorSpec((None,), tf.int32),
            ],
        )

    def _hidden_activations(self) -> list[Any]:
        layers = self.model._flatten_layers()
        return [getattr(layer, "hidden_activation", None) for layer in layers]

    def logits(self, batch: Batch) -> tuple[Any, Any]:
        """Return `(batch, frames, symbols)` logits and `(batch,)` output lengths, as NumPy."""
        activations = self._hidden_activations()
        if activations != self._activations:  # they are part of what was traced
            self._infer, self._activations = self._compiled(), activations
        logits = self._infer(batch["features"], batch["lengths"])
        return logits.numpy(), self.model.output_lengths(
            tf.cast(batch["lengths"], tf.int32)
        ).numpy()

    def texts(self, batch: Batch, alphabet: Alphabet, search: Search = greedy) -> list[str]:
        """Return the text recognised in each utterance."""
        logits, lengths = self.logits(batch)
        found = search(logits, lengths)
        return [" ".join(alphabet.decode(ids).split()) for ids in found]
