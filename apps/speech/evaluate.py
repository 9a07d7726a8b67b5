"""What a model recognises in a set of batches, and how often it is wrong."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import keras
import tensorflow as tf

from apps.common.progress import Progress
from apps.speech.alphabet import Alphabet
from apps.speech.decode import Search, greedy
from apps.speech.features import extract_all
from apps.speech.metrics import ErrorRates, score
from apps.speech.utterance import Utterance

if TYPE_CHECKING:
    from apps.speech.recognizer import Recognizer

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


def references(batch: Batch, alphabet: Alphabet) -> list[str]:
    """Return the transcripts of a batch, from its labels."""
    lengths = batch["label_lengths"]
    return [
        alphabet.decode(row[: int(length)])
        for row, length in zip(batch["labels"].numpy(), lengths, strict=True)
    ]


def error_rates(
    recognition: Recognition,
    batches: Iterable[Batch],
    alphabet: Alphabet,
    search: Search = greedy,
) -> ErrorRates:
    """Recognise every batch and score the texts against the labels.

    Args:
        recognition: Of the model.
        batches: As `apps.speech.batches.batches` makes them.
        alphabet: The model's.
        search: How the text is found.

    Returns:
        Error counts and rates over all batches together.
    """
    expected: list[str] = []
    found: list[str] = []
    for batch in batches:
        expected += references(batch, alphabet)
        found += recognition.texts(batch, alphabet, search)
    return score(expected, found)


def recognize_all(
    recognizer: Recognizer,
    utterances: Sequence[Utterance],
    cache: str | os.PathLike[str] | None = None,
    search: Search = greedy,
) -> list[str]:
    """Return the text that a model of any format hears in each utterance, in their order.

    Args:
        recognizer: As `load_recognizer` gives it.
        utterances: What to listen to.
        cache: Folder of the features' cache; None for none.
        search: How the text is found.
    """
    features = extract_all(utterances, recognizer.card.front_end, cache)
    texts = []
    with Progress(len(utterances), "recognise") as progress:
        for rows in features:
            texts.append(recognizer.transcript(recognizer.logits(rows), search).text)
            progress.step()
    return texts
