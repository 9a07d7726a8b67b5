"""Signatures of a fixed length beside the one for any, and whether XLA is to compile them."""

import dataclasses
import functools
import logging
import statistics
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from numbers import Integral
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from hlstm_tf.export.archive import Traced, trace_serving
from hlstm_tf.export.layout import InputLayout
from hlstm_tf.export.verification import (
    VerificationError,
    difference,
    largest_error,
    reference_outputs,
)
from hlstm_tf.timing import times_in_turns

WORTH_COMPILING = 1.1
"""How many times faster XLA's form must be to be taken: it asks more of a server."""

_ROUNDS = 7
_log = logging.getLogger("hlstm_tf.export")

Arrays = dict[str, np.ndarray]


@dataclass(frozen=True)
class Bucket:
    """A signature that takes sequences of one length.

    Attributes:
        length: Frames of a sequence.
        jit_compile: Whether XLA compiles the signature when it is called.
        ms: Milliseconds a call of one sample took on this machine, by `jit_compile`; what was
            chosen by. Empty where nothing was to choose.
        error: Largest difference from the Keras model, as a fraction of the output's range.
        pads: Whether a shorter sequence, with zeros behind it, has the outputs in this signature
            that it has by itself in `serve`.
    """

    length: int
    jit_compile: bool
    ms: dict[bool, float]
    error: float = float("nan")
    pads: bool = False

    @property
    def signature(self) -> str:
        """The signature's name."""
        return f"serve_{self.length}"


def check_lengths(lengths: Iterable[int], layout: InputLayout, model: str) -> tuple[int, ...]:
    """The lengths in order, each once.

    Raises:
        ValueError: One is not a positive integer, or the model's inputs have no open time axis.
    """
    if not isinstance(lengths, Iterable):
        raise ValueError(f"lengths must be several, such as (50, 100, 200); got {lengths!r}.")
    checked = tuple(lengths)
    for length in checked:
        if isinstance(length, bool) or not isinstance(length, Integral) or length < 1:
            raise ValueError(
                f"lengths must be positive integers, such as (50, 100, 200); got {length!r}."
            )
    if checked and not any(map(_has_open_time, layout.specs.values())):
        shapes = {name: tuple(spec.shape) for name, spec in layout.specs.items()}
        raise ValueError(
            f"lengths={checked} was given, and no input of model {model!r} has a time axis of open "
            f"length; its inputs have the shapes {shapes}."
        )
    return tuple(sorted({int(length) for length in checked}))


def trace_bucket(
    model: keras.Model, layout: InputLayout, length: int, jit_compile: bool | None
) -> tuple[Bucket, Traced]:
    """Traces the signature of a length.

    Args:
        model: A model without masks.
        layout: Its inputs.
        length: Frames of a sequence.
        jit_compile: Whether XLA compiles it; `None` measures both.

    Raises:
        ValueError: `jit_compile=True` and XLA cannot compile the model.
    """
    fixed = of_length(layout, length)
    name = Bucket(length, False, {}).signature
    forms = {
        choice: trace_serving(model, fixed, name, choice)
        for choice in ((False, True) if jit_compile is None else (jit_compile,))
    }
    sample = {key: tf.constant(value) for key, value in fixed.random(samples=1).items()}
    packed = fixed.argument(sample)
    if True in forms:
        refusal = _refusal(forms[True][name], packed)
        if refusal and jit_compile:
            raise ValueError(f"XLA cannot compile model {model.name!r}: {refusal}")
        if refusal:
            _log.info("model %r is not compiled, XLA cannot: %s", model.name, refusal)
            del forms[True]
    ms = _measured({choice: form[name] for choice, form in forms.items()}, packed)
    chosen = next(iter(forms))
    if len(forms) == 2:
        chosen = ms[False] > WORTH_COMPILING * ms[True]
    return Bucket(length, chosen, ms if len(ms) == 2 else {}), forms[chosen]


def verified_bucket(
    bucket: Bucket,
    model: keras.Model,
    layout: InputLayout,
    inputs: Arrays,
    signatures: Mapping[str, Callable[..., Any]],
    tolerance: float,
) -> Bucket:
    """Runs a loaded signature; fills in its error, and whether sequences may be padded for it.

    Where they may not, the log warns.

    Args:
        bucket: The signature.
        model: What was exported.
        layout: The model's inputs.
        inputs: What to compare on, of any length.
        signatures: Those of the loaded SavedModel.
        tolerance: Largest error allowed, as a fraction of the output's range.

    Raises:
        VerificationError: The signature does not compute what the model does.
    """
    whole = resized(layout, inputs, bucket.length)
    fixed = of_length(layout, bucket.length)
    expected = reference_outputs(model, fixed, whole)
    actual = run(signatures[bucket.signature], whole)
    error, _ = largest_error(expected, actual)
    if not error <= tolerance:
        raise VerificationError(
            f"signature {bucket.signature!r} of the SavedModel of model {model.name!r} "
            f"{difference(expected, actual, tolerance)}; nothing was written."
        )
    samples = len(next(iter(inputs.values())))
    part = layout.random(samples, max(1, 2 * bucket.length // 3))
    padded = run(signatures[bucket.signature], _padded(layout, part, bucket.length))
    alone = run(signatures["serve"], part)
    begin = {name: _begin(padded[name], alone[name]) for name in alone}
    pads = bool(largest_error(alone, begin)[0] <= tolerance)
    if not pads:
        _log.warning(
            "model %r gives other outputs for a sequence with zeros behind it: %r is for sequences "
            "of exactly %d frames.",
            model.name,
            bucket.signature,
            bucket.length,
        )
    return dataclasses.replace(bucket, error=error, pads=pads)


def of_length(layout: InputLayout, length: int) -> InputLayout:
    """The layout with every open time axis fixed."""

    def fix(spec: tf.TensorSpec) -> tf.TensorSpec:
        if not _has_open_time(spec):
            return spec
        return tf.TensorSpec((spec.shape[0], length, *spec.shape[2:]), spec.dtype, spec.name)

    return dataclasses.replace(layout, structure=keras.tree.map_structure(fix, layout.structure))


def resized(layout: InputLayout, inputs: Arrays, length: int) -> Arrays:
    """Inputs cut, or repeated from their start, to a length."""
    frames = {name for name, spec in layout.specs.items() if _has_open_time(spec)}
    return {
        name: np.take(value, np.arange(length) % value.shape[1], axis=1)
        if name in frames
        else value
        for name, value in inputs.items()
    }


def _padded(layout: InputLayout, inputs: Arrays, length: int) -> Arrays:
    padded = dict(inputs)
    for name, spec in layout.specs.items():
        if _has_open_time(spec):
            missing = length - inputs[name].shape[1]
            widths = [(0, missing if axis == 1 else 0) for axis in range(inputs[name].ndim)]
            padded[name] = np.pad(inputs[name], widths)
    return padded


def _has_open_time(spec: tf.TensorSpec) -> bool:
    return spec.shape.rank >= 2 and spec.shape[1] is None


def _begin(longer: np.ndarray, alone: np.ndarray) -> np.ndarray:
    """The outputs of the first frames, where there is one for each frame."""
    return longer[:, : alone.shape[1]] if alone.ndim > 1 and longer.ndim > 1 else longer


def run(signature: Callable[..., Any], inputs: Arrays) -> Arrays:
    """Calls a signature of a loaded SavedModel."""
    outputs = signature(**{name: tf.constant(value) for name, value in inputs.items()})
    return {name: value.numpy() for name, value in outputs.items()}


def _refusal(function: Callable[..., Any], inputs: Any) -> str | None:
    """What XLA says against a function, if anything; compiles it."""
    try:
        function(inputs)
    except (tf.errors.OpError, ValueError) as error:
        return " ".join(str(error).split())[:300]
    return None


def _measured(functions: Mapping[bool, Callable[..., Any]], inputs: Any) -> dict[bool, float]:
    """Median milliseconds of each, taken in turn; none where there is no choice."""
    if len(functions) < 2:
        return {}
    calls = {choice: functools.partial(function, inputs) for choice, function in functions.items()}
    times = times_in_turns(calls, _ROUNDS)
    return {choice: 1e3 * statistics.median(seconds) for choice, seconds in times.items()}
