"""The best of a model's TFLite files, found by making and measuring them."""

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hlstm_tf.export.attempts import Attempt, Source
from hlstm_tf.runtime.step_runner import load_tflite
from hlstm_tf.timing import times_in_turns

CRITERIA = ("latency", "size")

_ROUNDS = 15
_NOISE = 1.03
"""Files whose times differ by no more than this factor count as equally fast."""


@dataclass(frozen=True)
class Candidate:
    """A file that was tried.

    Attributes:
        quantization: What it was made with, `None` for float32.
        bytes: Size of the file; `None` where there is none.
        error: Largest difference from the Keras model, as a fraction of the output's range.
        milliseconds: Median time of the first verification sample, on this machine.
        left_out: Why there is no such file; `None` where there is one.
        form: `"sequence"` or `"step"`.
    """

    quantization: str | None
    bytes: int | None = None
    error: float | None = None
    milliseconds: float | None = None
    left_out: str | None = None
    form: str = ""

    def __str__(self) -> str:
        name = self.quantization or "float32"
        if self.form == "step":
            name += " in step form"
        if self.left_out is not None:
            return f"{name}: left out, {self.left_out}"
        return (
            f"{name}: {self.bytes:,} bytes, {self.milliseconds:.3g} ms, error {self.error:.2g} of "
            "the range"
        )


def best_attempt(
    source_in: Callable[[str], Source],
    forms: Sequence[str],
    quantizations: Sequence[str | None],
    for_: str,
    folder: Path,
    threads: int = 1,
) -> tuple[Attempt, tuple[Candidate, ...]]:
    """Makes every file that a model can become, and chooses.

    Args:
        source_in: What the files of a form are made of; raises a `ValueError` where the model does
            not have it.
        forms: What to try of "sequence" and "step".
        quantizations: What to try in each; "int8" only where there is something to calibrate with.
        for_: `"latency"`: the fastest, and of those within 3 % of it the smallest. `"size"`: the
            one of the fewest bytes.
        folder: Where the files are made.
        threads: Threads of the engine that the files are timed with.

    Returns:
        The best, and all that were tried, in the order of the forms and the quantizations.

    Raises:
        ValueError: There is none; the reason is that of the first, float32 as a rule.
    """
    tried: list[_Trial] = []
    for form in forms:
        try:
            source = source_in(form)
        except ValueError as error:
            tried.append(_Trial(form, quantizations[0], error))
        else:
            tried += [
                _trial(source, each, folder, threads) for each in _possible(source, quantizations)
            ]
    made = {(each.form, each.quantization): each for each in tried if each.run is not None}
    attempts = [each.result for each in made.values() if isinstance(each.result, Attempt)]
    if not attempts:
        raise next(each.result for each in tried if isinstance(each.result, ValueError))
    runs = {key: each.run for key, each in made.items() if each.run is not None}
    times = times_in_turns(runs, _ROUNDS)
    return _chosen(attempts, times, for_), tuple(_candidate(each, times) for each in tried)


@dataclass(frozen=True)
class _Trial:
    """A file that was made, with what runs it; or why there is none."""

    form: str
    quantization: str | None
    result: Attempt | ValueError
    run: Callable[[], Any] | None = None


def _trial(source: Source, quantization: str | None, folder: Path, threads: int) -> _Trial:
    path = folder / f"{source.form}_{quantization}.tflite"
    try:
        attempt = source.attempt(quantization, path)
    except ValueError as error:
        return _Trial(source.form, quantization, error)
    return _Trial(source.form, quantization, attempt, _run(source, path, threads))


def _possible(source: Source, quantizations: Sequence[str | None]) -> list[str | None]:
    return [each for each in quantizations if each != "int8" or source.representative]


_Key = tuple[str, str | None]


def _chosen(attempts: list[Attempt], times: dict[_Key, list[float]], for_: str) -> Attempt:
    if for_ == "latency":
        fastest = min(times.values(), key=statistics.median)
        attempts = [
            each
            for each in attempts
            # Against the fastest of the same round: what else the machine does comes and goes.
            if statistics.median(
                mine / other
                for mine, other in zip(times[each.form, each.quantization], fastest, strict=True)
            )
            <= _NOISE
        ]
    return min(attempts, key=lambda each: each.size.bytes)


def _run(source: Source, path: Path, threads: int) -> Callable[[], Any]:
    model = load_tflite(path, threads=threads)
    specs = model.inputs
    sample = {
        name: value[: specs[name].shape[0]] if specs[name].shape else value
        for name, value in source.inputs.items()
    }
    return lambda: model.run(sample)


def _candidate(trial: _Trial, times: Mapping[_Key, list[float]]) -> Candidate:
    made = trial.result
    if isinstance(made, ValueError):
        return Candidate(trial.quantization, left_out=_reason(made), form=trial.form)
    milliseconds = 1e3 * statistics.median(times[trial.form, trial.quantization])
    return Candidate(made.quantization, made.size.bytes, made.error, milliseconds, form=made.form)


def _reason(error: ValueError) -> str:
    return str(error).split("; no file was written")[0]
