"""A recurrent model cut at its recurrent layers, for a host that runs the loop over time itself.

An engine's own loop over time costs more than the steps of a compact model. Cut into signatures
that are plain graphs, the model needs none: what can be computed for all frames at once is, and a
step is left that the host calls frame by frame.
"""

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
    refusing,
    replaced_loops,
)

Tensors = dict[str, Any]
Specs = dict[str, tf.TensorSpec]

BATCH_SIZE = tf.TensorSpec((), tf.int32, "batch_size")

_APART = "its layers do not run apart from its recurrent ones"


def staged_endpoints(model: keras.Model, layout: InputLayout, batch_size: int) -> list[Endpoint]:
    """The signatures of any recurrent model: `project_1`, a `step_LAYER` for each recurrent layer
    and direction, `project_2`..., `head`, `initial_state`.

    Args:
        model: A Sequential or functional model without masks.
        layout: Its inputs.
        batch_size: Samples a call.

    Raises:
        NotSteppableError: It has no recurrent layer, or one that is used twice.
    """
    cut = Cut(model, layout, batch_size)
    endpoints = [each for stage in cut.stages() for each in stage.endpoints(batch_size)]
    return [*endpoints, zero_state(cut.recurrences)]


def zero_state(recurrences: list[Recurrence]) -> Endpoint:
    """The signature `initial_state` of recurrences that start from zeros."""

    def zeros(inputs: Mapping[str, Any]) -> Tensors:
        size = inputs["batch_size"]
        return {k: v for each in recurrences for k, v in each.zeros(size).items()}

    # The argument is the file's batch size, and has to be there: LiteRT gives no graph of a file to
    # XNNPACK if its first one, by name, has no operations.
    return Endpoint("initial_state", zeros, {"batch_size": BATCH_SIZE})


@dataclass(frozen=True)
class Stage:
    """What can be computed between two recurrences.

    Attributes:
        recurrences: Those that can run after it; none at the end.
        endpoint: Its signature: what it needs to the frames and masks of those, or at the end to
            the model's outputs.
        frames: Spec of each one's frames by its name, `(batch, time, ...)`.
        known: Spec of all that a host knows after they have run.
        for_states: Names of what the first states of those depend on.
        for_frames: Names of what their frames and masks depend on.
    """

    recurrences: list[Recurrence]
    endpoint: Endpoint
    frames: Specs
    known: Specs
    for_states: dict[str, set[str]]
    for_frames: dict[str, set[str]]

    def endpoints(self, batch_size: int) -> list[Endpoint]:
        """Its signature, and a step for each of its recurrences."""
        steps = [_one_step(each, self.frames[each.name], batch_size) for each in self.recurrences]
        return [self.endpoint, *steps]


class Cut:
    """A model whose recurrent layers are run one stage after the other.

    Between two stages a host knows the model's inputs and, of each recurrence that has run, the
    outputs and the last states. What comes before a recurrent layer and is used behind it other
    than through it is computed again, except for a mask that several of them share.
    """

    def __init__(self, model: keras.Model, layout: InputLayout, batch_size: int | None) -> None:
        self.model, self.layout, self.batch_size = model, layout, batch_size
        self.inputs: Specs = {
            spec.name: spec for spec in keras.tree.flatten(layout.with_batch(batch_size))
        }
        self.recurrences = recurrences_of(
            model, {"batch_size", *layout.specs, *output_names(model)}
        )
        if not self.recurrences:
            raise NotSteppableError("it has no recurrent layer")
        self._check_names()

    def _check_names(self) -> None:
        kinds = ("frame", "frames", "held", "mask", "output", "outputs")
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

    def stages(self, among: set[str] | None = None) -> Iterator[Stage]:
        """All stages, the last one without recurrences.

        Args:
            among: Names of recurrences that need none of the others, to run these alone; the
                stages then give the zeros that they start from, too, and have no end without
                recurrences. Default: all.
        """
        known, resolved = self.inputs, frozenset[str]()
        for number in itertools.count(1):
            if among is not None and among <= resolved:
                return
            stage = self._next_stage(number, known, resolved, among)
            yield stage
            if not stage.recurrences:
                return
            known = stage.known
            resolved |= {each.name for each in stage.recurrences}

    def _next_stage(
        self, number: int, known: Specs, resolved: frozenset[str], among: set[str] | None
    ) -> Stage:
        """Finds what can run next, by tracing the model and following its graph back."""
        trial = self.trial(known, resolved)
        ready = [
            each
            for each in self.recurrences
            if trial.can_run(each) and (among is None or each.name in among)
        ]
        if trial.pending and not ready:
            raise NotSteppableError("its recurrent layers wait for each other")
        wanted = [name for each in ready for name in trial.names(each)]
        if among is not None:
            wanted += [n for each in ready for n in each.states if n not in trial.reached]
        name = f"project_{number}" if ready else "head"
        after = {k: v for each in ready for k, v in trial.known_after(each).items()}
        return Stage(
            ready,
            self.endpoint(name, trial, wanted, resolved),
            {each.name: _spec(trial.reached[f"frames_{each.name}"]) for each in ready},
            {**known, **after},
            {each.name: set(trial.needed(trial.states(each))) for each in ready},
            {each.name: set(trial.needed(trial.frames(each))) for each in ready},
        )

    def endpoint(
        self, name: str, trial: "Trial", wanted: list[str], resolved: frozenset[str]
    ) -> Endpoint:
        """A signature for some of what a trial came to, or for the model's outputs.

        Args:
            name: The signature's name.
            trial: Of what is known.
            wanted: Names of frames, masks and first states; a state that nothing gives is zero.
                None for the outputs.
            resolved: The names of the recurrences that have been run.
        """
        ends = [trial.reached[each] for each in wanted if each in trial.reached]

        def compute(inputs: Mapping[str, Any]) -> Tensors:
            reached, outputs = self.compute({**absent(trial.known), **inputs}, resolved, {})
            zeros: Tensors = {}
            for each in self.recurrences:
                if f"frames_{each.name}" in reached:
                    zeros |= each.zeros(self.samples(reached[f"frames_{each.name}"]))
            return {name: {**zeros, **reached}[name] for name in wanted} or outputs

        return Endpoint(name, compute, trial.needed(ends if wanted else trial.outputs.values()))

    def samples(self, values: Any) -> Any:
        """The batch size: that of `values` where any may come."""
        return tf.shape(values)[0] if self.batch_size is None else self.batch_size

    def trial(self, known: Specs, resolved: frozenset[str]) -> "Trial":
        """Traces the model as far as the recurrences that have been run allow."""
        trial = Trial(known)

        def look(inputs: Mapping[str, Any]) -> list[Any]:
            trial.reached, trial.outputs = self.compute(inputs, resolved, trial.pending)
            return keras.tree.flatten((trial.reached, trial.outputs))

        traced = tf.function(look, input_signature=[known], autograph=False)
        trial.placeholders = dict(
            zip(sorted(known), traced.get_concrete_function().graph.inputs, strict=False)
        )
        return trial

    def compute(
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
            The frames, masks and given first states of the others, some of them made up; and the
            model's outputs.
        """
        reached: Tensors = {}
        masks: list[tuple[Any, Any]] = []

        def loop(each: Recurrence, sequence: Any, mask: Any, given: Any) -> tuple[Any, Any, Any]:
            turn = _reversed if each.layer.go_backwards else _same
            if each.name in resolved:
                if mask is not None:
                    masks.append((mask, turn(inputs[f"mask_{each.name}"])))
                return after(each, inputs, mask)
            with refusing(_APART):
                frames = each.cell.project(sequence)
            reached[f"frames_{each.name}"] = turn(frames)
            if given is not None:
                reached.update(each.named(keras.tree.map_structure(tf.identity, given)))
            if mask is not None:
                known = next((valid for other, valid in reversed(masks) if other is mask), mask)
                reached[f"mask_{each.name}"] = turn(known)
            zeros = each.pack(each.zeros(self.samples(frames)))
            with refusing(_APART):
                output, states = each.cell.step(frames[:, 0], zeros)
            time = frames.shape[1]
            outputs = tf.repeat(output[:, None], time or 1, axis=1)
            outputs = _unknown(outputs, (output.shape[0], time, *output.shape[1:]))
            states = keras.tree.map_structure(lambda state: _unknown(state, state.shape), states)
            pending[each.name] = [outputs, *keras.tree.flatten(states)]
            return outputs[:, -1], outputs, states

        with replaced_loops(self.recurrences, loop), refusing(_APART):
            outputs = self.model(self.layout.pack(inputs), training=False)
        return reached, named_outputs(outputs)


def after(each: Recurrence, inputs: Mapping[str, Any], mask: Any) -> tuple[Any, Any, Any]:
    """What a recurrence that has been run gives: its last output, all outputs, last states."""
    outputs = inputs[f"outputs_{each.name}"]
    if mask is not None and each.layer.zero_output_for_mask:
        valid = inputs[f"mask_{each.name}"]
        outputs = tf.where(valid[..., None], outputs, tf.zeros_like(outputs))
    return outputs[:, -1], outputs, each.pack(inputs)


@dataclass
class Trial:
    """One tracing of the model, to see what depends on what.

    Attributes:
        known: Spec of what was known.
        pending: What was made up for each recurrence that has not run: outputs, then states.
        reached: The frames, masks and given first states of those.
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
        """The names of a recurrence's frames and, where there are any, its mask and the first
        states that the model gives it."""
        names = (f"frames_{each.name}", f"mask_{each.name}", *each.states)
        return [name for name in names if name in self.reached]

    def states(self, each: Recurrence) -> list[tf.Tensor]:
        """The first states that the model gives a recurrence."""
        return [self.reached[name] for name in each.states if name in self.reached]

    def frames(self, each: Recurrence) -> list[tf.Tensor]:
        """A recurrence's frames and, where it has one, its mask."""
        return [self.reached[name] for name in self.names(each) if name not in each.states]

    def needed(self, ends: Iterable[tf.Tensor]) -> Specs:
        """Those of `known` that `ends` depend on."""
        return needed(ends, self.placeholders, self.known)

    def known_after(self, each: Recurrence) -> Specs:
        """What a host knows once a recurrence has run."""
        output = self.pending[each.name][0]
        name = f"outputs_{each.name}"
        known = {name: tf.TensorSpec(output.shape, output.dtype, name)}
        mask = f"mask_{each.name}"
        if mask in self.reached:
            known[mask] = tf.TensorSpec((output.shape[0], None), tf.bool, mask)
        return known | each.states_of(output.shape[0])


def _one_step(each: Recurrence, frames: tf.TensorSpec, batch_size: int) -> Endpoint:
    frame, output = f"frame_{each.name}", f"output_{each.name}"

    def step(inputs: Mapping[str, Any]) -> Tensors:
        result, new = each.cell.step(inputs[frame], each.pack(inputs))
        return {output: result, **each.named(new)}

    specs = {frame: one_frame(frames, frame), **each.states_of(batch_size)}
    return Endpoint(f"step_{each.name}", step, specs)


def needed(ends: Iterable[tf.Tensor], placeholders: Mapping[str, tf.Tensor], specs: Specs) -> Specs:
    """Those of `specs` on whose placeholders `ends` depend."""
    used = {tensor.name for tensor in _sources(ends, placeholders.values())}
    return {name: spec for name, spec in specs.items() if placeholders[name].name in used}


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


def absent(specs: Any, samples: Any = 1) -> Tensors:
    """Something of the right shape for inputs on which nothing depends."""
    made = {}
    for spec in keras.tree.flatten(specs):
        first, *others = spec.shape
        zeros = tf.zeros([first or samples, *(size or 1 for size in others)], spec.dtype)
        made[spec.name] = _unknown(zeros, spec.shape)
    return made


def _unknown(value: Any, shape: Any) -> tf.Tensor:
    return tf.raw_ops.PlaceholderWithDefault(input=value, shape=shape)


def _spec(tensor: tf.Tensor) -> tf.TensorSpec:
    return tf.TensorSpec(tensor.shape, tensor.dtype)


def one_frame(frames: tf.TensorSpec, name: str) -> tf.TensorSpec:
    """The spec of a frame of `(batch, time, ...)`."""
    return tf.TensorSpec((frames.shape[0], *frames.shape[2:]), frames.dtype, name)


def _reversed(values: Any) -> Any:
    return tf.reverse(values, [1])


def _same(values: Any) -> Any:
    return values
