"""A recurrent model that runs forward in time as one step, whatever its first states come from."""

from collections.abc import Mapping
from typing import Any

import keras
import tensorflow as tf

from hlstm_tf.export.archive import Endpoint
from hlstm_tf.export.layout import InputLayout, named_outputs
from hlstm_tf.export.recurrences import NotSteppableError, Recurrence, replaced_loops
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
from hlstm_tf.export.step import check_forward


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
    first = _encoders(cut)
    stages = list(cut.stages(first)) if first else []
    known = stages[-1].known if stages else cut.inputs
    resolved = frozenset(first)
    stepped = [each for each in cut.recurrences if each.name not in resolved]
    check_forward(stepped)
    trial = cut.trial(known, resolved)
    ready = [each for each in stepped if trial.can_run(each)]
    wanted = [n for each in ready for n in trial.names(each) if n not in each.states]
    project = cut.endpoint("project", trial, wanted, resolved)
    return [
        *(endpoint for stage in stages for endpoint in stage.endpoints(batch_size)),
        project,
        _Step(cut, stepped, trial, wanted).endpoint(),
        _initial_state(cut, stepped, trial, resolved),
    ]


def _encoders(cut: Cut) -> set[str]:
    """The names of the recurrences whose results others start from, and of all before those."""
    if not any(cut.trial(cut.inputs, frozenset()).states(each) for each in cut.recurrences):
        return set()
    stages: list[Stage] = list(cut.stages())
    results = {
        name: each.name
        for each in cut.recurrences
        for name in (f"outputs_{each.name}", *each.states)
    }
    waiting = [name for stage in stages for names in stage.for_states.values() for name in names]
    before = {name: names for stage in stages for name, names in stage.for_frames.items()}
    starts = {name: names for stage in stages for name, names in stage.for_states.items()}
    found: set[str] = set()
    while waiting:
        each = results.get(waiting.pop())
        if each is not None and each not in found:
            found.add(each)
            waiting += [*before[each], *starts[each]]
    return found


def _initial_state(
    cut: Cut, stepped: list[Recurrence], trial: Trial, resolved: frozenset[str]
) -> Endpoint:
    """The states before the first frame, from whatever the model makes them of."""
    zeros, held = zero_state(stepped), held_outputs(stepped, trial)
    given = [name for each in stepped for name in each.states if name in trial.reached]
    inner = cut.endpoint("initial_state", trial, given, resolved) if given else None

    def states(inputs: Mapping[str, Any]) -> Tensors:
        outputs = {name: tf.zeros(spec.shape, spec.dtype) for name, spec in held.items()}
        made = inner.function(inputs) if inner else {}
        return {**zeros.function(inputs), **outputs, **made}

    return Endpoint(
        "initial_state", states, {"batch_size": BATCH_SIZE, **(inner.signature if inner else {})}
    )


class _Step:
    """One frame through a model from its first stepped recurrence on."""

    def __init__(
        self, cut: Cut, stepped: list[Recurrence], trial: Trial, wanted: list[str]
    ) -> None:
        self._cut, self._stepped, self._known = cut, stepped, trial.known
        self._names = {each.name for each in stepped}
        self._frames: Specs = {}
        for name in wanted:
            kind, _, layer = name.partition("_")
            single = f"{'frame' if kind == 'frames' else kind}_{layer}"
            tensor = trial.reached[name]
            spec = tf.TensorSpec((cut.batch_size, *tensor.shape[1:]), tensor.dtype)
            self._frames[single] = one_frame(spec, single)
        states = {k: v for each in stepped for k, v in each.states_of(cut.batch_size).items()}
        self._states = states | held_outputs(stepped, trial)

    def endpoint(self) -> Endpoint:
        """The signature, with those of the inputs that it needs besides frames and states."""
        specs = {**self._known, **self._frames, **self._states}
        ends: Tensors = {}

        def look(inputs: Mapping[str, Any]) -> list[Any]:
            ends.update(self._through(inputs))
            return list(ends.values())

        traced = tf.function(look, input_signature=[specs], autograph=False)
        graph = traced.get_concrete_function().graph
        placeholders = dict(zip(sorted(specs), graph.inputs, strict=False))
        context = needed(ends.values(), placeholders, specs)
        kept = {k: v for k, v in context.items() if k in self._known and k not in self._states}

        def step(inputs: Mapping[str, Any]) -> Tensors:
            return self._through({**absent(self._known), **inputs})

        return Endpoint("step", step, {**kept, **self._frames, **self._states})

    def _through(self, inputs: Mapping[str, Any]) -> Tensors:
        new_states: Tensors = {}
        masks: list[tuple[Any, Any]] = []

        def loop(each: Recurrence, sequence: Any, mask: Any, given: Any) -> tuple[Any, Any, Any]:
            if each.name not in self._names:
                return after(each, inputs, mask)
            frame = inputs.get(f"frame_{each.name}")
            if frame is None:
                frame = each.cell.project(sequence)[:, 0]
            old = each.pack(inputs)
            output, states = each.cell.step(frame, old)
            if mask is not None:
                valid = inputs.get(f"mask_{each.name}")
                if valid is None:
                    valid = next((kept for other, kept in masks if other is mask), None)
                if valid is None or _held(each) not in inputs:
                    raise NotSteppableError(
                        f"its layer {each.layer.name!r} has a mask that is made behind the first "
                        "recurrent layer"
                    )
                masks.append((mask, valid))
                output, states = keras.tree.map_structure(
                    lambda new, kept: tf.where(valid[:, None], new, kept),
                    (output, states),
                    (inputs[_held(each)], old),
                )
                new_states[_held(each)] = output
                if each.layer.zero_output_for_mask:
                    output = tf.where(valid[:, None], output, tf.zeros_like(output))
            new_states.update(each.named(states))
            return output, output[:, None], states

        with replaced_loops(self._cut.recurrences, loop):
            outputs = self._cut.model(self._cut.layout.pack(inputs), training=False)
        whole = named_outputs(keras.tree.pack_sequence_as(outputs, self._cut.model.outputs))
        named = named_outputs(outputs)
        for name, value in named.items():
            if not _is_sequence(whole[name].shape, value.shape):
                raise NotSteppableError(f"its output {name!r} is no sequence")
        return {**{k: keras.ops.squeeze(v, 1) for k, v in named.items()}, **new_states}


def held_outputs(stepped: list[Recurrence], trial: Trial) -> Specs:
    """The further state of each recurrence with a mask: its last output, for masked frames."""
    specs: Specs = {}
    for each in stepped:
        if f"mask_{each.name}" in trial.reached:
            output, name = trial.pending[each.name][0], _held(each)
            shape = (output.shape[0], *output.shape[2:])
            specs[name] = tf.TensorSpec(shape, output.dtype, name)
    return specs


def _held(each: Recurrence) -> str:
    return f"held_{each.name}"


def _is_sequence(whole: Any, single: Any) -> bool:
    """Whether axis 1 of an output is time: one long after one frame, and not after a sequence."""
    return len(single) > 1 and single[1] == 1 and whole[1] != 1
