"""How often a model is wrong: on batches, at the end of an epoch, and on utterances."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterable, Sequence
from typing import Any

import keras

from apps.common.errors import InputError
from apps.common.progress import Progress
from apps.common.rate import Rate
from apps.speech.alphabet import Alphabet
from apps.speech.decode import Search, greedy
from apps.speech.features import extract_all
from apps.speech.model import Batch, Recognition
from apps.speech.recognizer import Recognizer
from apps.speech.utterance import Utterance


@dataclasses.dataclass(frozen=True)
class ErrorRates:
    """What `score` found.

    Args:
        words: word errors over reference words: the WER.
        characters: character errors (spaces count) over reference characters: the CER.
        sentences: utterances with any word error over utterances.
        substitutions, deletions, insertions: of words; they add up to `words.errors`.
    """

    words: Rate
    characters: Rate
    sentences: Rate
    substitutions: int
    deletions: int
    insertions: int

    @property
    def wer(self) -> float:
        """Word error rate as a share."""
        return self.words.value

    @property
    def cer(self) -> float:
        """Character error rate as a share."""
        return self.characters.value

    def __str__(self) -> str:
        return f"WER {self.words}, CER {self.characters}"

    def as_dict(self) -> dict[str, Any]:
        """Plain values for a run record."""
        return {
            "wer": self.wer,
            "wer_interval": list(self.words.interval),
            "cer": self.cer,
            **dataclasses.asdict(self),
        }


def score(references: Sequence[str], hypotheses: Sequence[str]) -> ErrorRates:
    """Counts errors over a whole set (not the mean of the utterances' rates).

    Args:
        references: what was said, one string an utterance; where nothing was, every word that was
            recognised is an insertion.
        hypotheses: what was recognised, in the same order.

    Raises:
        InputError: not as many hypotheses as references; the package jiwer is missing.

    Example:
        >>> print(score(["GO TO NINE", "YES"], ["GO NINE", "YES"]))
        WER 25.0 % (1/4) [4.6, 69.9], CER 23.1 % (3/13) [8.2, 50.3]
    """
    if len(references) != len(hypotheses):
        raise InputError(
            f"score: got {len(references)} references and {len(hypotheses)} hypotheses; expected"
            " one hypothesis a reference"
        )
    pairs = [
        (" ".join(reference.split()), " ".join(hypothesis.split()))
        for reference, hypothesis in zip(references, hypotheses, strict=True)
    ]
    words, characters = _align(pairs, "words"), _align(pairs, "characters")
    return ErrorRates(
        Rate(sum(words[1:]), sum(words[:3])),
        Rate(sum(characters[1:]), sum(characters[:3])),
        Rate(sum(reference != hypothesis for reference, hypothesis in pairs), len(pairs)),
        *words[1:],
    )


def _align(pairs: Sequence[tuple[str, str]], unit: str) -> tuple[int, int, int, int]:
    """Hits, substitutions, deletions and insertions."""
    try:
        import jiwer
    except ImportError as error:
        raise InputError(
            'scoring needs the package jiwer, which is not installed; pip install "hlstm_tf[audio]"'
        ) from error
    # jiwer refuses empty references: all that was recognised in one is an insertion.
    spoken = [(reference, hypothesis) for reference, hypothesis in pairs if reference]
    invented = [hypothesis for reference, hypothesis in pairs if not reference]
    extra = sum(len(text.split() if unit == "words" else text) for text in invented)
    if not spoken:
        return 0, 0, 0, extra
    process = getattr(jiwer, f"process_{unit}")
    found = process(*map(list, zip(*spoken, strict=True)))
    return found.hits, found.substitutions, found.deletions, found.insertions + extra


def error_rates(
    recognition: Recognition,
    batches: Iterable[Batch],
    alphabet: Alphabet,
    search: Search = greedy,
) -> ErrorRates:
    """Recognise batches (`apps.speech.batches.batches`), and score all texts against the labels.

    Args:
        recognition: Of the model.
        batches: All count together.
        alphabet: The model's.
        search: How the text is found.
    """
    expected, found = [], []
    for batch in batches:
        rows = zip(batch["labels"].numpy(), batch["label_lengths"], strict=True)
        expected += [alphabet.decode(row[: int(length)]) for row, length in rows]
        found += [alphabet.decode(ids) for ids in search(*recognition.logits(batch))]
    return score(expected, found)


class WordErrorRate(keras.callbacks.Callback):
    """Put the greedy error rates of a split into the epoch's logs.

    They are `val_wer` and `val_cer`, shares (0.087 for 8.7 %), and `val_word_errors`, a count.
    Place it before whatever reads them in `model.fit(callbacks=[...])`.

    Args:
        batches: The split's batches, unshuffled.
        alphabet: The model's.
    """

    def __init__(self, batches: Iterable[Batch], alphabet: Alphabet) -> None:
        super().__init__()
        self.batches = batches
        self.alphabet = alphabet
        self._recognition: Recognition | None = None

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        if self._recognition is None or self._recognition.model is not self.model:
            self._recognition = Recognition(self.model)
        rates = error_rates(self._recognition, self.batches, self.alphabet)
        if logs is not None:
            logs["val_wer"] = rates.wer
            logs["val_cer"] = rates.cer
            logs["val_word_errors"] = rates.words.errors


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
