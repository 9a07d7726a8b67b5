"""How often a model is wrong: on batches, at the end of an epoch, and on utterances."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from typing import Any

import keras

from apps.common.progress import Progress
from apps.speech.alphabet import Alphabet
from apps.speech.decode import Search, greedy
from apps.speech.features import extract_all
from apps.speech.metrics import ErrorRates, score
from apps.speech.recognition import Batch, Recognition
from apps.speech.recognizer import Recognizer
from apps.speech.utterance import Utterance


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


class WordErrorRate(keras.callbacks.Callback):
    """Put the greedy word and character error rates of a split into the epoch's logs.

    Place it before whatever reads `val_wer` in `model.fit(callbacks=[...])`.

    Args:
        batches: The split's batches, unshuffled.
        alphabet: The model's.
        prefix: Of the names in the logs: `val_wer` and `val_cer` with the default, shares
            (0.087 for 8.7 %), and `val_word_errors`, a count.
    """

    def __init__(self, batches: Iterable[Batch], alphabet: Alphabet, prefix: str = "val_") -> None:
        super().__init__()
        self.batches = batches
        self.alphabet = alphabet
        self.prefix = prefix
        self._recognition: Recognition | None = None

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        if self._recognition is None or self._recognition.model is not self.model:
            self._recognition = Recognition(self.model)
        rates = error_rates(self._recognition, self.batches, self.alphabet)
        if logs is not None:
            logs[f"{self.prefix}wer"] = rates.wer
            logs[f"{self.prefix}cer"] = rates.cer
            logs[f"{self.prefix}word_errors"] = rates.words.errors


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
