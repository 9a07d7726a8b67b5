"""The latency of TFLite files from features to logits, measured in turns."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from apps.speech.recognizer import load_recognizer

REPEATS = 31


def milliseconds(
    files: Iterable[str | os.PathLike[str]], features: np.ndarray, repeats: int = REPEATS
) -> dict[Path, float]:
    """Return the median milliseconds that each file takes for an utterance, on one thread.

    The files take turns, so that whatever else the machine does meets all of them.

    Args:
        files: TFLite files of recognisers.
        features: Of the utterance, `(frames, bands)`.
        repeats: Turns.

    Raises:
        InputError: A file is missing or no recogniser.
    """
    recognizers = {Path(path): load_recognizer(path, threads=1) for path in files}
    times: dict[Path, list[float]] = {path: [] for path in recognizers}
    for turn in range(repeats + 1):
        for path, recognizer in recognizers.items():
            began = time.perf_counter()
            recognizer.logits(features)
            if turn:  # the first call of each plans its memory
                times[path].append(1000 * (time.perf_counter() - began))
    return {path: float(np.median(found)) for path, found in times.items()}


def middle(features: Sequence[np.ndarray]) -> np.ndarray:
    """Return the utterance of median length.

    >>> len(middle([np.zeros((n, 1)) for n in (5, 9, 7)]))
    7
    """
    return sorted(features, key=len)[len(features) // 2]
