"""How long the models of trainings take in LiteRT, one thread, measured in turns."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from apps.speech.export import TFLITE, export_recognizer
from apps.speech.recognizer import load_recognizer

REPEATS = 31


def exported(model: Path) -> Path:
    """Return the TFLite file of a model, in step form with 8-bit weights; made if it is missing.

    Args:
        model: A `.keras` file; the folder beside it that is named after it gets the file.
    """
    folder = model.with_suffix("")
    if not (folder / TFLITE).exists():
        export_recognizer(model, folder, saved_model=False)
    return folder / TFLITE


def latencies(
    files: Iterable[Path], features: np.ndarray, repeats: int = REPEATS
) -> Mapping[Path, float]:
    """Return the milliseconds from features to logits of each TFLite file.

    The files take turns, so that what else the machine does meets them alike; the median of the
    turns counts.

    Args:
        files: TFLite files of recognisers.
        features: Of an utterance, `(frames, bands)`.
        repeats: Turns.
    """
    recognizers = {path: load_recognizer(path, threads=1) for path in files}
    times: dict[Path, list[float]] = {path: [] for path in recognizers}
    for turn in range(repeats + 1):
        for path, recognizer in recognizers.items():
            began = time.perf_counter()
            recognizer.logits(features)
            if turn:  # the first call of each plans its memory
                times[path].append(1000 * (time.perf_counter() - began))
    return {path: float(np.median(found)) for path, found in times.items()}


def middle(features: list[np.ndarray]) -> np.ndarray:
    """Return the utterance of median length.

    >>> len(middle([np.zeros((n, 1)) for n in (5, 9, 7)]))
    7
    """
    return sorted(features, key=len)[len(features) // 2]


def facts(features: np.ndarray, hop: float) -> dict[str, Any]:
    """Return how the milliseconds were measured, for the records."""
    return {
        "seconds_of_speech": round(len(features) * hop, 2),
        "engine": "LiteRT, step form, 8-bit weights, one thread",
        "repeats": REPEATS,
    }
