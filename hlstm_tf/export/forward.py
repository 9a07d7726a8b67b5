"""A recurrent model that runs forward in time as one step, whatever its first states come from."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import keras
import tensorflow as tf

from hlstm_tf.export.archive import Endpoint
from hlstm_tf.export.layout import InputLayout, named_outputs, output_names
from hlstm_tf.export.recurrences import (
    A_FRAME,
    NotSteppableError,
    Recurrence,
    any_length,
    refusing,
    replaced_loops,
)
from hlstm_tf.export.stages import (
    BATCH_SIZE,
    Cut,
    Specs,
    Stage,
    Tensors,
    Trial,
    absent,
    after,
    needed,
    one_frame,
    zero_state,
)


def forward_endpoints(model: keras.Model, layout: InputLayout, batch_size: int) -> list[Endpoint]:
    """The signatures of a model that runs forward in time: `project`, `step`, `initial_state`.

    Recurrent layers whose results others start from (an encoder) are no part of the step: they have
    stages of their own before, `project_1`, a `step_LAYER` each, `project_2`...

    Args:
        model: A Sequential or functional model without masked kernels.
        layout: Its inputs.
        batch_size: Samples a call.

    Raises:
        NotSteppableError: It has no recurrent layer, or one of the step runs backwards or depends
            on more than one frame.
    """
    cut = Cut(model, layout, batch_size)
    parts = split(cut)
    wanted = [n for each in parts.ready for n in parts.trial.names(each) if n not in each.states]
    step = OneStep(cut, parts, _single_frames(cut, parts.trial, wanted))
    for name in output_names(model):
        if name not in step.sequences:
            raise NotSteppableError(f"its output {name!r} is no sequence")
    return [
        *(endpoint for stage in parts.stages for endpoint in stage.endpoints(batch_size)),
        cut.endpoint("project", parts.trial, wanted, parts.resolved),
        step.endpoint(),
        initial_state(cut, parts),
    ]


@dataclass(frozen=True)
class Parts:
    """A model in two parts: what runs before the first step, and the step.

    Attributes:
        stages: Of the encoders; empty where there are none.
        resolved: The encoders' names.
        stepped: The recurrences of the step.
        ready: Those of them that need no other's results for their frames.
        trial: The model as traced once the encoders have run.
    """

    stages: list[Stage]
    resolved: frozenset[str]
    stepped: list[Recurrence]
    ready: list[Recurrence]
    trial: Trial


def split(cut: Cut) -> Parts:
    """Tells encoders from the recurrences of the step.

    Raises:
        NotSteppableError: There is no recurrence, or one of the step does not run forward.
    """
    first = _encoders(cut)
    stages = list(cut.stages(first)) if first else []
    stepped = [each for each in cut.recurrences if each.name not in first]
    check_forward(stepped)
    trial = cut.trial(stages[-1].known if stages else cut.inputs, frozenset(first))
    ready = [each for each in stepped if trial.can_run(each)]
    return Parts(stages, frozenset(first), stepped, ready, trial)


def check_forward(recurrences: list[Recurrence]) -> None:
    """Raises a `NotSteppableError` where a recurrence needs the end first."""
    for recurrence in recurrences:
        if recurrence.wrapper:
            raise NotSteppableError(f"its layer {recurrence.wrapper!r} is bidirectional")
        if recurrence.layer.go_backwards:
            raise NotSteppableError(f"its layer {recurrence.layer.name!r} runs backwards")


def _encoders(cut: Cut) -> set[str]:
    """The names of the recurrences that have to end before others begin, and of all before those:
    others start from their results, or get their last outputs or states as frames."""
    summed_up = {
        name
        for each in cut.recurrences
        for name in (
            *each.states,
            *([] if each.layer.return_sequences else [f"outputs_{each.name}"]),
        )
    }
    whole = all(each.layer.return_sequences for each in cut.recurrences[:-1])
    states = any(each.layer.return_state for each in cut.recurrences)
    if whole and not states and not _states_given(cut):
        return set()
    stages: list[Stage] = list(cut.stages())
    results = {
        name: each.name
        for each in cut.recurrences
        for name in (f"outputs_{each.name}", *each.states)
    }
    before = {name: names for stage in stages for name, names in stage.for_frames.items()}
    starts = {name: names for stage in stages for name, names in stage.for_states.items()}
    waiting = [name for names in starts.values() for name in names]
    waiting += [name for names in before.values() for name in names & summed_up]
    found: set[str] = set()
    while waiting:
        each = results.get(waiting.pop())
        if each is not None and each not in found:
            found.add(each)
            waiting += [*before[each], *starts[each]]
    return found


def _states_given(cut: Cut) -> bool:
    trial = cut.trial(cut.inputs, frozenset())
    return any(trial.states(each) for each in cut.recurrences)


def _single_frames(cut: Cut, trial: Trial, wanted: list[str]) -> Specs:
    """What the step takes for one frame of what was projected."""
    frames: Specs = {}
    for name in wanted:
        kind, _, layer = name.partition("_")
        single = f"{'frame' if kind == 'frames' else kind}_{layer}"
        tensor = trial.reached[name]
        spec = tf.TensorSpec((cut.batch_size, *tensor.shape[1:]), tensor.dtype)
        frames[single] = one_frame(spec, single)
    return frames


def initial_state(cut: Cut, parts: Parts) -> Endpoint:
    """The states before the first frame, from whatever the model makes them of."""
    stepped, trial = parts.stepped, parts.trial
    zeros, held = zero_state(stepped), held_outputs(stepped, trial)
    given = [name for each in stepped for name in each.states if name in trial.reached]
    inner = cut.endpoint("initial_state", trial, given, parts.resolved) if given else None

    def states(inputs: Mapping[str, Any]) -> Tensors:
        size = inputs["batch_size"] if cut.batch_size is None else cut.batch_size
        outputs = {
            name: tf.zeros([size, *spec.shape[1:]], spec.dtype) for name, spec in held.items()
        }
        made = inner.function(inputs) if inner else {}
        return {**zeros.function(inputs), **outputs, **made}

    return Endpoint(
        "initial_state", states, {"batch_size": BATCH_SIZE, **(inner.signature if inner else {})}
    )


class OneStep:
    """One frame through a model.

    Args:
        cut: The model.
        parts: Its encoders and its step.
        frames: Spec of each frame by name: projected ones as `frame_LAYER`, with `mask_LAYER`; or
            those of the model's inputs by their names, `(batch, ...)`.

    Attributes:
        states: Spec of each state that a step changes.
        context: Spec of what else it needs by name: inputs of the model, results of the encoders.
        sequences: Names of the outputs that have one entry for each frame.
        leads: Whether the context makes frames by itself, before the first that is given: a step
            then looks at the last frame of those that it comes to.
    """

    def __init__(self, cut: Cut, parts: Parts, frames: Specs) -> None:
        self._cut, self._parts, self._frames = cut, parts, frames
        self._names = {each.name for each in parts.stepped}
        states = {k: v for r in parts.stepped for k, v in r.states_of(cut.batch_size).items()}
        self.states = states | held_outputs(parts.stepped, parts.trial)
        self.sequences: set[str] = set()
        self.leads = False
        self.context = self._needed()

    def endpoint(self) -> Endpoint:
        """The signature, with those of the inputs that it needs besides frames and states."""
        return Endpoint("step", self.run, {**self.context, **self._frames, **self.states})

    def _needed(self) -> Specs:
        """What of all that is known before the step the outputs and new states depend on."""
        specs = {**self._parts.trial.known, **self._frames, **self.states}
        ends: Tensors = {}

        def look(inputs: Mapping[str, Any]) -> list[Any]:
            ends.update(self.run(inputs))
            return list(ends.values())

        traced = tf.function(look, input_signature=[specs], autograph=False)
        graph = traced.get_concrete_function().graph
        placeholders = dict(zip(sorted(specs), graph.inputs, strict=False))
        used = needed(ends.values(), placeholders, specs)
        context = {k: v for k, v in used.items() if k not in self._frames and k not in self.states}
        if self.leads:  # frames that a step does not look at are made of some of it
            context = {k: v for k, v in context.items() if _shows(traced, specs, k)}
        return context

    def run(self, inputs: Mapping[str, Any]) -> Tensors:
        """One step: the outputs, and the new states under the names they came in with."""
        samples = self._cut.samples(inputs[next(iter(self.states))])
        inputs = {**absent(self._parts.trial.known, samples), **inputs}
        new_states: Tensors = {}
        masks: list[tuple[Any, Any]] = []

        def loop(each: Recurrence, sequence: Any, mask: Any, given: Any) -> tuple[Any, Any, Any]:
            if each.name not in self._names:
                return after(each, inputs, mask)
            frame = inputs.get(f"frame_{each.name}")
            if frame is None:
                whole = self._parts.trial.reached[f"frames_{each.name}"]
                self.leads |= 1 < (sequence.shape[1] or 1) != whole.shape[1]
                with refusing(A_FRAME):
                    frame = each.cell.project(sequence)[:, -1]
            old = each.pack(inputs)
            with refusing(A_FRAME):
                output, states = each.cell.step(frame, old)
            if mask is not None:
                valid = self._valid(each, inputs, mask, masks)
                masks.append((mask, valid))
                output, states = keras.tree.map_structure(
                    lambda new, kept: tf.where(valid[:, None], new, kept),
                    (output, states),
                    (inputs[held_name(each)], old),
                )
                new_states[held_name(each)] = output
                if each.layer.zero_output_for_mask:
                    output = tf.where(valid[:, None], output, tf.zeros_like(output))
            new_states.update(each.named(states))
            return output, output[:, None], states

        model, layout = self._cut.model, self._cut.layout
        whole = {k: inputs[k][:, None] if k in self._frames else inputs[k] for k in layout.specs}
        recurrences = self._cut.recurrences
        with replaced_loops(recurrences, loop), any_length(model), refusing(A_FRAME):
            outputs = model(layout.pack(whole), training=False)
        return {**self._single(outputs), **new_states}

    def _valid(
        self, each: Recurrence, inputs: Mapping[str, Any], mask: Any, masks: list[tuple[Any, Any]]
    ) -> Any:
        """A recurrence's mask for the frame."""
        if held_name(each) in inputs:
            if f"mask_{each.name}" in inputs:
                return inputs[f"mask_{each.name}"]
            for other, kept in masks:
                if other is mask:
                    return kept
            if self._frames.keys() <= self._cut.layout.specs.keys():
                return mask[:, -1]
        raise NotSteppableError(
            f"its layer {each.layer.name!r} has a mask that is made behind the first recurrent "
            "layer"
        )

    def _single(self, outputs: Any) -> Tensors:
        """The outputs for one frame by name, without an axis of time."""
        flat = keras.tree.flatten(self._cut.model.outputs)
        whole = named_outputs(keras.tree.pack_sequence_as(outputs, flat))
        named = named_outputs(outputs)
        self.sequences = {k for k, v in named.items() if _is_sequence(whole[k].shape, v.shape)}
        return {k: v[:, 0] if k in self.sequences else v for k, v in named.items()}


def _shows(function: Callable[..., list[Any]], specs: Specs, name: str) -> bool:
    """Whether an input can be told from what a function gives: NaN in it then comes out of it."""
    if not specs[name].dtype.is_floating:
        return True
    values = {key: tf.zeros([size or 1 for size in s.shape], s.dtype) for key, s in specs.items()}
    values[name] *= float("nan")
    results = [each for each in function(values) if each.dtype.is_floating]
    return bool(tf.reduce_any([tf.reduce_any(tf.math.is_nan(each)) for each in results]))


def held_outputs(stepped: list[Recurrence], trial: Trial) -> Specs:
    """The further state of each recurrence with a mask: its last output, for masked frames."""
    specs: Specs = {}
    for each in stepped:
        if f"mask_{each.name}" in trial.reached:
            output, name = trial.pending[each.name][0], held_name(each)
            shape = (output.shape[0], *output.shape[2:])
            specs[name] = tf.TensorSpec(shape, output.dtype, name)
    return specs


def held_name(each: Recurrence) -> str:
    """The name of a recurrence's last output among the states."""
    return f"held_{each.name}"


def _is_sequence(whole: Any, single: Any) -> bool:
    """Whether axis 1 of an output is time: one long after one frame, and not after a sequence."""
    return len(single) > 1 and single[1] == 1 and whole[1] != 1
