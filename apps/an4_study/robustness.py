"""Word error rates of a model on recordings that were disturbed."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from apps.an4_study.disturb import DISTURBANCES, Disturbance
from apps.common.errors import InputError
from apps.common.progress import Progress
from apps.speech.audio import load_audio
from apps.speech.evaluate import ErrorRates, score
from apps.speech.recognizer import Recognizer
from apps.speech.utterance import Utterance

LONG = 60.0
"""Seconds of the recordings that many utterances are joined to."""
PAUSE = 0.5
"""Seconds between two of them."""
COLUMNS = ("recordings", "WER", "substituted", "left out", "made up")


def robustness(
    recognizer: Recognizer,
    utterances: Sequence[Utterance],
    disturbances: Sequence[Disturbance] = DISTURBANCES,
    *,
    seed: int = 0,
    quiet: bool = False,
) -> dict[str, ErrorRates]:
    """Transcribe every utterance under each disturbance, from real files.

    Args:
        recognizer: Of the model.
        utterances: What to disturb; noise is drawn anew for each, the same under every disturbance.
        disturbances: How.
        seed: Of the noise.
        quiet: No progress on standard error.

    Returns:
        The error rates by name; at the end those of the utterances joined to minutes. Where nothing
        can be heard the reference is empty, and every word is an error.

    Raises:
        InputError: No utterances, or a recording cannot be used.
    """
    if not utterances:
        raise InputError("robustness: got no utterances; expected at least one")
    alphabet = recognizer.card.alphabet
    said = [alphabet.normalise(utterance.text) for utterance in utterances]
    rate = recognizer.card.front_end.sample_rate
    found: dict[str, ErrorRates] = {}
    recordings = [load_audio(utterance.audio, rate) for utterance in utterances]
    with (
        tempfile.TemporaryDirectory(prefix="robustness-") as folder,
        Progress(len(disturbances) + 1, "disturb and transcribe", quiet=quiet) as progress,
    ):
        path = Path(folder) / "disturbed.wav"
        for disturbance in disturbances:
            heard = []
            for number, samples in enumerate(recordings):
                rng = np.random.default_rng((seed, number))
                _write(path, *disturbance.change(samples, rate, rng))
                heard.append(recognizer.transcribe(path).text)
            expected = said if disturbance.words else [""] * len(said)
            found[disturbance.name] = score(expected, heard)
            progress.step()
        texts, heard = [], []
        for text, samples in _joined(said, recordings, rate):
            _write(path, samples, rate)
            texts.append(text)
            heard.append(recognizer.transcribe(path).text)
        found[f"joined to {LONG:g} s"] = score(texts, heard)
        progress.step()
    return found


def _joined(
    texts: Sequence[str], recordings: Sequence[np.ndarray], rate: int
) -> Iterator[tuple[str, np.ndarray]]:
    pause = np.zeros(round(PAUSE * rate), np.float32)
    words: list[str] = []
    parts: list[np.ndarray] = []
    for text, samples in zip(texts, recordings, strict=True):
        words.append(text)
        parts += [samples, pause]
        if sum(map(len, parts)) >= LONG * rate:
            yield " ".join(words), np.concatenate(parts)
            words, parts = [], []
    if words:
        yield " ".join(words), np.concatenate(parts)


def _write(path: Path, samples: np.ndarray, rate: int) -> None:
    import soundfile

    soundfile.write(path, samples, rate, subtype="PCM_16")


def rows(found: dict[str, ErrorRates]) -> list[tuple[str, ...]]:
    """Return the cells of a table: what, its WER, and substitutions, deletions, insertions."""
    made = []
    for name, rates in found.items():
        wer = str(rates.words) if rates.words.total else f"{rates.insertions} words made up"
        counts = (rates.substitutions, rates.deletions, rates.insertions)
        made.append((name, wer, *map(str, counts)))
    return made
