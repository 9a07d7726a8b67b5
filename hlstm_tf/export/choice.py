"""The best of a model's TFLite files, found by making and measuring them."""

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hlstm_tf.export.attempts import Attempt, Source
from hlstm_tf.export.conversion import QUANTIZATIONS
from hlstm_tf.runtime.step_runner import load_tflite

CRITERIA = ("latency", "size")

_ROUNDS = 15
_NOISE = 1.03
"""Files whose times differ by no more than this factor count as equally fast."""


@dataclass(frozen=True)
class Candidate:
    """A quantization that was tried.

    Attributes:
        quantization: Its name, `None` for float32.
        bytes: Size of the file; `None` where there is none.
        error: Largest difference from the Keras model, as a fraction of the output's range.
        milliseconds: Median time of the first verification sample, on one thread of this machine.
        left_out: Why there is no such file; `None` where there is one.
    """

    quantization: str | None
    bytes: int | None = None
    error: float | None = None
    milliseconds: float | None = None
    left_out: str | None = None

    def __str__(self) -> str:
        name = self.quantization or "float32"
        if self.left_out is not None:
            return f"{name}: left out, {self.left_out}"
        return (
            f"{name}: {self.bytes:,} bytes, {self.milliseconds:.3g} ms, error {self.error:.2g} of "
            "the range"
        )


def best_attempt(source: Source, for_: str, folder: Path) -> tuple[Attempt, tuple[Candidate, ...]]:
    """Makes every file that a model can become, and chooses.

    Args:
        source: What the files are made of.
        for_: `"latency"`: the fastest, and of those within 3 % of it the smallest. `"size"`: the
            one of the fewest bytes.
        folder: Where the files are made.

    Returns:
        The best, and all that were tried, in the order of `QUANTIZATIONS`.

    Raises:
        ValueError: There is none; the reason is that of the first, float32.
    """
    attempts: list[Attempt] = []
    refused: dict[str | None, ValueError] = {}
    for quantization in QUANTIZATIONS:
        if quantization == "int8" and not source.representative:
            continue
        try:
            attempts.append(source.attempt(quantization, folder / f"{quantization}.tflite"))
        except ValueError as error:
            refused[quantization] = error
    if not attempts:
        raise next(iter(refused.values()))
    times = _times({each.quantization: _run(source, each.path) for each in attempts})
    best = _chosen(attempts, times, for_)
    made = {each.quantization: each for each in attempts}
    candidates = tuple(
        _candidate(made[name], times[name])
        if name in made
        else Candidate(name, left_out=_reason(refused[name]))
        for name in QUANTIZATIONS
        if name in made or name in refused
    )
    return best, candidates


def _chosen(attempts: list[Attempt], times: dict[str | None, list[float]], for_: str) -> Attempt:
    if for_ == "latency":
        fastest = min(times.values(), key=statistics.median)
        attempts = [
            each
            for each in attempts
            # Against the fastest of the same round: what else the machine does comes and goes.
            if statistics.median(
                mine / other for mine, other in zip(times[each.quantization], fastest, strict=True)
            )
            <= _NOISE
        ]
    return min(attempts, key=lambda each: each.size.bytes)


def _run(source: Source, path: Path) -> Callable[[], Any]:
    model = load_tflite(path, threads=1)
    specs = model.inputs
    sample = {
        name: value[: specs[name].shape[0]] if specs[name].shape else value
        for name, value in source.inputs.items()
    }
    return lambda: model.run(sample)


def _times(runs: dict[str | None, Callable[[], Any]]) -> dict[str | None, list[float]]:
    """Seconds of each run, round after round, all in turn."""
    times: dict[str | None, list[float]] = {name: [] for name in runs}
    for _ in range(_ROUNDS):
        for name, run in runs.items():
            run()  # into the caches again, after the others
            began = time.perf_counter()
            run()
            times[name].append(time.perf_counter() - began)
    return times


def _candidate(attempt: Attempt, times: list[float]) -> Candidate:
    milliseconds = 1e3 * statistics.median(times)
    return Candidate(attempt.quantization, attempt.size.bytes, attempt.error, milliseconds)


def _reason(error: ValueError) -> str:
    return str(error).split("; no file was written")[0]
