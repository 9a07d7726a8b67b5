"""Chooses the step form of a model: one step through all of it where that computes the same."""

import logging
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from hlstm_tf.export.archive import Traced, trace
from hlstm_tf.export.forward import forward_endpoints
from hlstm_tf.export.layout import InputLayout
from hlstm_tf.export.recurrences import NotSteppableError, refusing_a_frame
from hlstm_tf.export.stages import staged_endpoints
from hlstm_tf.export.verification import compute_tolerance, largest_error, reference_outputs
from hlstm_tf.runtime.host_loop import Arrays, HostLoop, loop_by_calls

_STEPS = 40
"""Frames that the two forms are compared on; enough for convolutions with strides before them."""

_log = logging.getLogger("hlstm_tf.export")


def step_form(model: keras.Model, layout: InputLayout, batch_size: int = 1) -> Traced:
    """Traces the signatures of a model's step form, its weights as constants.

    Args:
        model: A Sequential or functional model without masks.
        layout: Its inputs.
        batch_size: Samples a call.

    Raises:
        ValueError: The model has no step form; the message says why.
    """
    try:
        return _forward_form(model, layout, batch_size)
    except NotSteppableError as reason:
        _log.info("model %r is cut at its recurrent layers: %s.", model.name, reason)
    try:
        return trace(staged_endpoints(model, layout, batch_size), frozen=model)
    except NotSteppableError as error:
        raise ValueError(f"model {model.name!r} has no step form: {error}.") from error


def _forward_form(model: keras.Model, layout: InputLayout, batch_size: int) -> Traced:
    with refusing_a_frame():
        traced = trace(forward_endpoints(model, layout, batch_size), frozen=model)
    inputs = layout.random(samples=batch_size, steps=_STEPS)
    expected = reference_outputs(model, layout, inputs)
    engine = Graphs(traced)
    try:
        actual = HostLoop(engine.names, engine, batch_size).run(inputs)
    except (tf.errors.OpError, ValueError) as reason:
        raise NotSteppableError("its steps do not take single frames") from reason
    error, _ = largest_error(expected, actual)
    if not error <= compute_tolerance(model):
        raise NotSteppableError(
            "a layer after the first recurrent one looks at more than one frame (a convolution "
            "over time, pooling, attention)"
        )
    return traced


class Graphs:
    """TensorFlow's graphs as the engine of a `HostLoop`."""

    def __init__(self, traced: Traced) -> None:
        self._traced = traced
        self.names = {
            name: {
                "inputs": _arguments(function),
                "outputs": list(function.structured_outputs),
            }
            for name, function in traced.items()
        }

    def call(self, signature: str, inputs: Arrays) -> Arrays:
        """Runs a signature once."""
        tensors = {name: tf.constant(value) for name, value in inputs.items()}
        return {name: value.numpy() for name, value in self._traced[signature](tensors).items()}

    def loop(
        self,
        signature: str,
        frames: Arrays,
        states: Arrays,
        valid: np.ndarray | None,
        fixed: Arrays,
    ) -> tuple[Arrays, Arrays]:
        """Runs a step over all frames."""
        return loop_by_calls(self.call, signature, frames, states, valid, fixed)


def _arguments(function: Any) -> list[str]:
    (argument,), _ = function.structured_input_signature
    return list(argument)
