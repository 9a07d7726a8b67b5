"""A model as one step, and the choice of its step form."""

import contextlib
import logging
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from hlstm_tf.export.archive import Endpoint, Traced, hoisted_loop, scanned, trace
from hlstm_tf.export.forward import (
    OneStep,
    Parts,
    forward_endpoints,
    held_name,
    initial_state,
    split,
)
from hlstm_tf.export.layout import InputLayout, named_outputs, output_names
from hlstm_tf.export.recurrences import (
    A_FRAME,
    NotSteppableError,
    Recurrence,
    any_length,
    refusing,
    replaced_loops,
)
from hlstm_tf.export.stages import BATCH_SIZE, Cut, Specs, Tensors, absent, after, staged_endpoints
from hlstm_tf.export.verification import compute_tolerance, largest_error, reference_outputs
from hlstm_tf.keras_internals import all_layers
from hlstm_tf.runtime.host_loop import Arrays, HostLoop, loop_by_calls

_CHECKED_STEPS = 6
_CONTEXT = "its layers do not take the frames that come before the first that is given"


@dataclass(frozen=True)
class StepModel:
    """A model that takes one frame at a time.

    Attributes:
        frames: Spec of one frame of each input that has time, `(batch, ...)`.
        length: How many frames the model takes; `None` for any number.
        states: Spec of each state by name, `(batch, ...)`; those that a step changes come first.
        step: The signature: the frames and the states to the outputs and the new states, these
            under the names they came in with.
        initial_state: The signature: `batch_size` and the inputs that are needed whole to the
            states before the first frame that is given. Where these inputs make frames of their
            own before it, their outputs come with the states, under the outputs' names.
    """

    frames: Specs
    length: int | None
    states: Specs
    step: Endpoint
    initial_state: Endpoint

    def endpoints(self) -> list[Endpoint]:
        """Both signatures."""
        return [self.step, self.initial_state]

    def start(self, inputs: Mapping[str, Any]) -> Tensors:
        """What `initial_state` takes, from a batch of the model's inputs."""
        size = np.array(len(next(iter(inputs.values()))), np.int32)
        names = self.initial_state.signature
        return {n: size if n == BATCH_SIZE.name else inputs[n] for n in names}

    def frame(self, inputs: Mapping[str, Any], time: int) -> Tensors:
        """The frames that `step` takes at a time, from a batch of the model's inputs."""
        return {name: inputs[name][:, time] for name in self.frames}


def step_model(model: keras.Model, layout: InputLayout) -> StepModel:
    """Makes the step form of a model, whose layers and weights it shares.

    Args:
        model: A Sequential or functional model without masked kernels.
        layout: Its inputs.

    Raises:
        NotSteppableError: The model has no recurrent layer, or one that runs backwards and is no
            encoder, or layers in between that look at more than one frame.
    """
    cut, parts, frames, length = _by_frames(model, layout)
    try:
        step = OneStep(cut, parts, frames)
    except NotSteppableError as error:
        if frames or length is None:
            raise
        raise NotSteppableError(_no_time(length)) from error
    changed, context = step.states, step.context
    clash = set(context) & {*output_names(model), BATCH_SIZE.name}
    if clash:
        raise NotSteppableError(f"its input {min(clash)!r} is named like another part of its step")

    def keeping(inputs: Mapping[str, Any]) -> Tensors:
        return {**step.run(inputs), **{name: tf.identity(inputs[name]) for name in context}}

    first = initial_state(cut, parts)
    begun_from = {*first.signature, *context}
    if step.leads:
        begun_from |= _sources(parts).keys() - frames.keys()

    def begin(inputs: Mapping[str, Any]) -> Tensors:
        known = dict(_encoded(parts, inputs))
        made = first.function({name: known[name] for name in first.signature})
        if step.leads:
            size = inputs[BATCH_SIZE.name]
            given = {**absent(cut.inputs, size), **known, **_no_frames(frames, size)}
            made = _led(cut, parts, given, made)
        return {**made, **{name: tf.identity(known[name]) for name in context}}

    states = {**changed, **context}
    return StepModel(
        frames,
        length,
        states,
        Endpoint("step", keeping, {**frames, **states}),
        Endpoint("initial_state", begin, _begun_from(cut, parts, begun_from)),
    )


def _by_frames(model: keras.Model, layout: InputLayout) -> tuple[Cut, Parts, Specs, int | None]:
    """The model cut for one frame at a time: with its parts, one frame of each input that has
    time, and how many frames it takes.

    Where the recurrent layers run over more frames than any input of a fixed length has (an image
    makes one in front of the words), the input that their number grows with has time.
    """
    cut, parts, frames, length = _cut_at(model, layout)
    if frames or length is None:
        return cut, parts, frames, length
    fixed = {
        name: spec.shape[1]
        for name, spec in _sources(parts).items()
        if name in cut.inputs and spec.shape.rank > 1 and spec.shape[1]
    }
    equal = [[name for name in fixed if fixed[name] == size] for size in set(fixed.values())]
    for names in [*([name] for name in fixed), *equal]:
        with contextlib.suppress(NotSteppableError):
            opened = _cut_at(model, layout.opened(names))
            if opened[2] and opened[3] is None:
                return *opened[:3], fixed[names[0]]
    return cut, parts, frames, length


def _cut_at(model: keras.Model, layout: InputLayout) -> tuple[Cut, Parts, Specs, int | None]:
    cut = Cut(model, layout, None)
    parts = split(cut)
    length = parts.trial.reached[f"frames_{parts.ready[0].name}"].shape[1]
    found = _sources(parts)
    frames: Specs = {}
    for name, spec in cut.inputs.items():
        if name in found and spec.shape.rank > 1 and spec.shape[1] == length:
            frames[name] = tf.TensorSpec((None, *spec.shape[2:]), spec.dtype, name)
    if not frames and length is None:
        raise NotSteppableError("none of its inputs has an entry for each frame")
    return cut, parts, frames, length


def _sources(parts: Parts) -> Specs:
    """What the frames of the first stepped layers are made of."""
    trial = parts.trial
    return trial.needed(tensor for each in parts.ready for tensor in trial.frames(each))


def _no_frames(frames: Specs, batch_size: Any) -> Tensors:
    """The inputs that come frame by frame, before the first of them."""
    return {
        name: tf.zeros([batch_size, 0, *spec.shape[1:]], spec.dtype)
        for name, spec in frames.items()
    }


def _begun_from(cut: Cut, parts: Parts, wanted: set[str]) -> Specs:
    """What `initial_state` takes: the inputs of the encoders, and those wanted as they are."""
    names = wanted | {name for stage in parts.stages for name in stage.endpoint.signature}
    return {
        BATCH_SIZE.name: BATCH_SIZE,
        **{name: spec for name, spec in cut.inputs.items() if name in names},
    }


def _encoded(parts: Parts, inputs: Mapping[str, Any]) -> Tensors:
    """What is known once the encoders have run over their whole sequences."""
    known = dict(inputs)
    for stage in parts.stages:
        endpoint = stage.endpoint
        reached = endpoint.function({name: known[name] for name in endpoint.signature})
        for each in stage.recurrences:
            mask = reached.get(f"mask_{each.name}")
            _, outputs, states = scanned(each, reached[f"frames_{each.name}"], mask, reached)
            known |= {f"outputs_{each.name}": outputs, **each.named(states)}
            if mask is not None:
                known[f"mask_{each.name}"] = mask
    return known


def _led(cut: Cut, parts: Parts, inputs: Mapping[str, Any], states: Tensors) -> Tensors:
    """The states behind the frames that the context makes by itself, and the model's outputs.

    Args:
        cut: The model.
        parts: Its encoders and its step.
        inputs: All that is known, and no frame of the inputs that come frame by frame.
        states: The states before those frames.
    """
    behind: Tensors = {}

    def loop(each: Recurrence, sequence: Any, mask: Any, given: Any) -> tuple[Any, Any, Any]:
        if each.name in parts.resolved:
            return after(each, inputs, mask)
        last, outputs, new = hoisted_loop(each, sequence, mask, each.pack(states))
        behind.update(each.named(new))
        if held_name(each) in states:
            behind[held_name(each)] = last
        return last, outputs, new

    with replaced_loops(cut.recurrences, loop), any_length(cut.model), refusing(_CONTEXT):
        outputs = cut.model(cut.layout.pack(inputs), training=False)
    return {**states, **named_outputs(outputs), **behind}


def check_step(
    serve: Callable[..., Any],
    step: Callable[..., Any],
    initial_state: Callable[..., Any],
    form: StepModel,
    layout: InputLayout,
    tolerance: float,
) -> float:
    """Compares the step, frame by frame, with the whole sequence on random inputs.

    Args:
        serve: The traced function of the whole sequence.
        step: The traced function of one step.
        initial_state: That of the states before the first.
        form: What they were traced from.
        layout: The model's inputs.
        tolerance: Largest error allowed, as a fraction of the output's range.

    Returns:
        The largest error.

    Raises:
        NotSteppableError: They differ.
    """
    inputs = _tried(layout)
    with refusing("it cannot be run on random inputs"):
        whole = serve(layout.pack({name: tf.constant(value) for name, value in inputs.items()}))
    expected = {name: value.numpy() for name, value in whole.items()}
    no_time = form.length if not form.frames else None
    with refusing(A_FRAME if no_time is None else _no_time(no_time)):
        begun = initial_state({n: tf.constant(v) for n, v in form.start(inputs).items()})
        states = {name: begun[name] for name in form.states}
        frames = [
            {key: results[key].numpy() for key in expected}
            for results in _steps(step, form, inputs, states)
        ]
    error, _ = largest_error(expected, _joined(expected, begun, frames))
    if not error <= tolerance:
        if no_time is not None:
            raise NotSteppableError(_no_time(no_time))
        raise NotSteppableError(
            "a layer between the recurrent ones looks at more than one frame (a convolution over "
            "time, pooling, attention)"
        )
    return error


def _joined(
    expected: Mapping[str, np.ndarray], begun: Tensors, frames: list[dict[str, np.ndarray]]
) -> dict[str, np.ndarray]:
    """What steps give in the form of the whole sequence: behind one another, or the last alone."""
    joined = {}
    for key, value in expected.items():
        joined[key] = frames[-1][key]
        if value.ndim > joined[key].ndim:
            joined[key] = np.stack([frame[key] for frame in frames], axis=1)
            if key in begun:
                joined[key] = np.concatenate([begun[key].numpy(), joined[key]], axis=1)
    return joined


def _no_time(length: int) -> str:
    return (
        f"none of its inputs has an entry for each of the {length} frames that its recurrent "
        "layers run over; where one comes frame by frame, leave its length open, (None, ...), and "
        "that of what is made of it"
    )


def _tried(layout: InputLayout) -> dict[str, np.ndarray]:
    """Random inputs; lengths, one of which ends early, since a step knows of no end."""
    inputs = layout.random(samples=2, steps=_CHECKED_STEPS)
    for name, value in inputs.items():
        if value.ndim == 1 and np.issubdtype(value.dtype, np.integer):
            inputs[name] = value // np.array([1, 2], value.dtype)
    return inputs


def _steps(
    step: Callable[..., Any], form: StepModel, inputs: Mapping[str, Any], states: Tensors
) -> Iterator[Tensors]:
    """The results of all steps, one after the other."""
    lengths = [inputs[name].shape[1] for name in form.frames]
    for time in range(lengths[0] if lengths else form.length or 0):
        frame = {name: tf.constant(value) for name, value in form.frame(inputs, time).items()}
        results = step({**frame, **states})
        states = {name: results[name] for name in form.states}
        yield results


def is_recurrent(model: keras.Model) -> bool:
    """Whether a model has a recurrent layer anywhere."""
    return any(isinstance(layer, keras.layers.RNN) for layer in all_layers(model))


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
