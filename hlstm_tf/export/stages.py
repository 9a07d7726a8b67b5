"""A recurrent model cut at its recurrent layers, for a host that runs the loop over time itself.

An engine's own loop over time costs more than the steps of a compact model. Cut into signatures
that are plain graphs, the model needs none: what can be computed for all frames at once is, and a
step is left that the host calls frame by frame.
"""

import dataclasses
import itertools
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import keras
import tensorflow as tf

from hlstm_tf.export.archive import Endpoint
from hlstm_tf.export.layout import InputLayout, named_outputs, output_names
from hlstm_tf.export.recurrences import (
    NotSteppableError,
    Recurrence,
    recurrences_of,
    replaced_loops,
)
from hlstm_tf.export.step import check_forward

Tensors = dict[str, Any]
Specs = dict[str, tf.TensorSpec]


def forward_endpoints(model: keras.Model, layout: InputLayout) -> list[Endpoint]:
    """The signatures of a model that runs forward in time: `project`, `step`, `initial_state`.

    Args:
        model: A Sequential or functional model without masks.
        layout: Its inputs.

    Raises:
        NotSteppableError: It has no recurrent layer, or one that runs backwards.
    """
    cut = _Cut(model, layout)
    check_forward(cut.recurrences)
    first = next(cut.stages())
    frames = {f"frame_{name}": _frame(spec, f"frame_{name}") for name, spec in first.frames.items()}

    def step(inputs: Mapping[str, Any]) -> Tensors:
        return _step_through(cut, {**_absent(layout.with_batch(1)), **inputs})

    return [
        dataclasses.replace(first.endpoint, name="project"),
        Endpoint("step", step, {**frames, **cut.states}),
        _initial_state(cut),
    ]


def staged_endpoints(model: keras.Model, layout: InputLayout) -> list[Endpoint]:
    """The signatures of any recurrent model: `project_1`, a `step_LAYER` for each recurrent layer
    and direction, `project_2`..., `head`, `initial_state`.

    Args:
        model: A Sequential or functional model without masks.
        layout: Its inputs.

    Raises:
        NotSteppableError: It has no recurrent layer, one that is used twice, or one that starts
            from another's state.
    """
    cut = _Cut(model, layout)
    endpoints = []
    for stage in cut.stages():
        endpoints.append(stage.endpoint)
        endpoints += [_one_step(each, stage.frames[each.name]) for each in stage.recurrences]
    return [*endpoints, _initial_state(cut)]


@dataclass(frozen=True)
class _Stage:
    """What can be computed between two recurrences.

    Attributes:
        recurrences: Those that can run after it; none at the end.
        endpoint: Its signature: what it needs to the frames and masks of those, or at the end to
            the model's outputs.
        frames: Spec of each one's frames by its name, `(1, time, ...)`.
        known: Spec of all that a host knows after they have run.
    """

    recurrences: list[Recurrence]
    endpoint: Endpoint
    frames: Specs
    known: Specs


class _Cut:
    """A model whose recurrent layers are run one stage after the other.

    Between two stages a host knows the model's inputs and, of each recurrence that has run, the
    outputs and the last states. What comes before a recurrent layer and is used behind it other
    than through it is computed again, except for a mask that several of them share.
    """

    def __init__(self, model: keras.Model, layout: InputLayout) -> None:
        self.model, self.layout = model, layout
        self.recurrences = recurrences_of(model, {*layout.specs, *output_names(model)})
        if not self.recurrences:
            raise NotSteppableError("it has no recurrent layer")
        self._check_names()
        self.states: Specs = {
            name: spec for each in self.recurrences for name, spec in each.single_states.items()
        }

    def _check_names(self) -> None:
        kinds = ("frame", "frames", "mask", "output", "outputs")
        own = {f"{kind}_{each.name}" for each in self.recurrences for kind in kinds}
        for what, names in (
            ("input", self.layout.specs),
            ("output", output_names(self.model)),
        ):
            for name in sorted(own & set(names)):
                raise NotSteppableError(
                    f"its {what} {name!r} has a name that the step form needs; rename the {what} "
                    "or the recurrent layer"
                )

    def stages(self) -> Iterator[_Stage]:
        """All stages, the last one without recurrences."""
        known = {spec.name: spec for spec in keras.tree.flatten(self.layout.with_batch(1))}
        resolved: frozenset[str] = frozenset()
        for number in itertools.count(1):
            stage = self._next_stage(number, known, resolved)
            yield stage
            if not stage.recurrences:
                return
            known = stage.known
            resolved |= {each.name for each in stage.recurrences}

    def _next_stage(self, number: int, known: Specs, resolved: frozenset[str]) -> _Stage:
        """Finds what can run next, by tracing the model and following its graph back."""
        trial = _Trial(known)

        def look(inputs: Mapping[str, Any]) -> list[Any]:
            trial.reached, trial.outputs = self._compute(inputs, resolved, trial.pending)
            return keras.tree.flatten((trial.reached, trial.outputs))

        traced = tf.function(look, input_signature=[known], autograph=False)
        trial.placeholders = dict(
            zip(sorted(known), traced.get_concrete_function().graph.inputs, strict=False)
        )
        ready = [each for each in self.recurrences if trial.can_run(each)]
        if trial.pending and not ready:
            raise NotSteppableError("its recurrent layers wait for each other")
        wanted = [name for each in ready for name in trial.names(each)]
        ends = [trial.reached[name] for name in wanted] or list(trial.outputs.values())

        def compute(inputs: Mapping[str, Any]) -> Tensors:
            reached, outputs = self._compute({**_absent(known), **inputs}, resolved, {})
            return {name: reached[name] for name in wanted} or outputs

        name = f"project_{number}" if ready else "head"
        after = {k: v for each in ready for k, v in trial.known_after(each).items()}
        return _Stage(
            ready,
            Endpoint(name, compute, trial.needed(ends)),
            {each.name: _spec(trial.reached[f"frames_{each.name}"]) for each in ready},
            {**known, **after},
        )

    def _compute(
        self,
        inputs: Mapping[str, Any],
        resolved: frozenset[str],
        pending: dict[str, list[tf.Tensor]],
    ) -> tuple[Tensors, Tensors]:
        """Runs the model as far as the recurrences that have been run allow.

        Args:
            inputs: All that is known.
            resolved: The names of the recurrences that have been run.
            pending: Gets what is made up in place of the others' outputs and states.

        Returns:
            The frames and masks of the others, some of them made up; and the model's outputs.
        """
        reached: Tensors = {}
        masks: list[tuple[Any, Any]] = []

        def loop(each: Recurrence, sequence: Any, mask: Any) -> tuple[Any, Any, Any]:
            turn = _reversed if each.layer.go_backwards else _same
            if each.name in resolved:
                outputs = inputs[f"outputs_{each.name}"]
                if mask is not None:
                    valid = inputs[f"mask_{each.name}"]
                    masks.append((mask, turn(valid)))
                    if each.layer.zero_output_for_mask:
                        outputs = tf.where(valid[..., None], outputs, tf.zeros_like(outputs))
                return outputs[:, -1], outputs, each.pack(inputs)
            frames = each.cell.project(sequence)
            reached[f"frames_{each.name}"] = turn(frames)
            if mask is not None:
                known = next((valid for other, valid in reversed(masks) if other is mask), mask)
                reached[f"mask_{each.name}"] = turn(known)
            output, states = each.cell.step(frames[:, 0], each.pack(each.zeros(1)))
            outputs = _unknown(output[:, None], (1, None, *output.shape[1:]))
            states = keras.tree.map_structure(lambda state: _unknown(state, state.shape), states)
            pending[each.name] = [outputs, *keras.tree.flatten(states)]
            return outputs[:, -1], outputs, states

        with replaced_loops(self.recurrences, loop):
            outputs = self.model(self.layout.pack(inputs), training=False)
        return reached, named_outputs(outputs)


@dataclass
class _Trial:
    """One tracing of the model, to see what depends on what.

    Attributes:
        known: Spec of what was known.
        pending: What was made up for each recurrence that has not run: outputs, then states.
        reached: The frames and masks of those.
        outputs: The model's.
        placeholders: The tensors of `known`.
    """

    known: Specs
    pending: dict[str, list[tf.Tensor]] = field(default_factory=dict)
    reached: Tensors = field(default_factory=dict)
    outputs: Tensors = field(default_factory=dict)
    placeholders: dict[str, tf.Tensor] = field(default_factory=dict)

    def can_run(self, each: Recurrence) -> bool:
        """Whether a recurrence depends on nothing that was made up."""
        made_up = [tensor for tensors in self.pending.values() for tensor in tensors]
        ends = [self.reached[name] for name in self.names(each)]
        return bool(ends) and not _sources(ends, made_up)

    def names(self, each: Recurrence) -> list[str]:
        """The names of a recurrence's frames and, where it has one, its mask."""
        names = (f"frames_{each.name}", f"mask_{each.name}")
        return [name for name in names if name in self.reached]

    def needed(self, ends: list[tf.Tensor]) -> Specs:
        """Those of `known` that `ends` depend on."""
        used = {tensor.name for tensor in _sources(ends, self.placeholders.values())}
        return {
            name: spec for name, spec in self.known.items() if self.placeholders[name].name in used
        }

    def known_after(self, each: Recurrence) -> Specs:
        """What a host knows once a recurrence has run."""
        output = self.pending[each.name][0]
        name = f"outputs_{each.name}"
        known = {name: tf.TensorSpec(output.shape, output.dtype, name)}
        mask = f"mask_{each.name}"
        if mask in self.reached:
            known[mask] = tf.TensorSpec((1, None), tf.bool, mask)
        return known | each.single_states


def _initial_state(cut: _Cut) -> Endpoint:
    def zeros(batch_size: Any) -> Tensors:
        return {k: v for each in cut.recurrences for k, v in each.zeros(batch_size).items()}

    # The argument is 1, and has to be there: LiteRT gives no graph of a file to XNNPACK if its
    # first one, by name, has no operations.
    return Endpoint("initial_state", zeros, tf.TensorSpec((), tf.int32, "batch_size"))


def _one_step(each: Recurrence, frames: tf.TensorSpec) -> Endpoint:
    frame, output = f"frame_{each.name}", f"output_{each.name}"

    def step(inputs: Mapping[str, Any]) -> Tensors:
        result, new = each.cell.step(inputs[frame], each.pack(inputs))
        return {output: result, **each.named(new)}

    return Endpoint(f"step_{each.name}", step, {frame: _frame(frames, frame), **each.single_states})


def _step_through(cut: _Cut, inputs: Tensors) -> Tensors:
    """One frame through the whole model from its first recurrence on."""
    new_states: Tensors = {}

    def loop(each: Recurrence, sequence: Any, mask: Any) -> tuple[Any, Any, Any]:
        if mask is not None:  # what a masked frame gives depends on the frames before it
            raise NotSteppableError(f"its layer {each.layer.name!r} has a mask")
        frame = inputs.get(f"frame_{each.name}")
        if frame is None:
            frame = each.cell.project(sequence)[:, 0]
        output, states = each.cell.step(frame, each.pack(inputs))
        new_states.update(each.named(states))
        return output, output[:, None], states

    with replaced_loops(cut.recurrences, loop):
        outputs = cut.model(cut.layout.pack(inputs), training=False)
    whole = named_outputs(keras.tree.pack_sequence_as(outputs, cut.model.outputs))
    named = named_outputs(outputs)
    for name, value in named.items():
        if not _is_sequence(whole[name].shape, value.shape):
            raise NotSteppableError(f"its output {name!r} is no sequence")
    return {**{k: keras.ops.squeeze(v, 1) for k, v in named.items()}, **new_states}


def _is_sequence(whole: Any, single: Any) -> bool:
    """Whether axis 1 of an output is time: one long after one frame, and not after a sequence."""
    return len(single) > 1 and single[1] == 1 and whole[1] != 1


def _sources(ends: Iterable[tf.Tensor], among: Iterable[tf.Tensor]) -> list[tf.Tensor]:
    """Those of `among` that any of `ends` depends on."""
    looked_for = {tensor.name: tensor for tensor in among}
    seen: set[str] = set()
    waiting = list(ends)
    while waiting:
        tensor = waiting.pop()
        if tensor.name not in seen:
            seen.add(tensor.name)
            if tensor.name not in looked_for:
                waiting.extend(tensor.op.inputs)
    return [tensor for name, tensor in looked_for.items() if name in seen]


def _absent(specs: Any) -> Tensors:
    """Something of the right shape for inputs on which nothing depends; never computed."""
    return {
        spec.name: _unknown(tf.zeros([size or 1 for size in spec.shape], spec.dtype), spec.shape)
        for spec in keras.tree.flatten(specs)
    }


def _unknown(value: Any, shape: Any) -> tf.Tensor:
    return tf.raw_ops.PlaceholderWithDefault(input=value, shape=shape)


def _spec(tensor: tf.Tensor) -> tf.TensorSpec:
    return tf.TensorSpec((1, *tensor.shape[1:]), tensor.dtype)


def _frame(frames: tf.TensorSpec, name: str) -> tf.TensorSpec:
    """The spec of a frame of `(1, time, ...)`."""
    return tf.TensorSpec((1, *frames.shape[2:]), frames.dtype, name)


def _reversed(values: Any) -> Any:
    return tf.reverse(values, [1])


def _same(values: Any) -> Any:
    return values
