"""The loop over time around a model's signatures, on whatever engine runs them."""

import re
from collections.abc import Callable, Mapping
from typing import Protocol

import numpy as np

Arrays = dict[str, np.ndarray]
Names = Mapping[str, Mapping[str, list[str]]]
"""Names of each signature's `inputs` and `outputs`, as LiteRT lists them."""


class Engine(Protocol):
    """What runs signatures."""

    def call(self, signature: str, inputs: Arrays) -> Arrays:
        """Runs a signature once."""

    def loop(
        self,
        signature: str,
        frames: Arrays,
        states: Arrays,
        valid: np.ndarray | None,
        fixed: Arrays,
    ) -> tuple[Arrays, Arrays]:
        """Runs a step over all frames; see `loop_by_calls`."""


def loop_by_calls(
    call: Callable[[str, Arrays], Arrays],
    signature: str,
    frames: Arrays,
    states: Arrays,
    valid: np.ndarray | None,
    fixed: Arrays,
) -> tuple[Arrays, Arrays]:
    """Runs a step over all frames, one call each.

    Args:
        call: Runs a signature.
        signature: The step's.
        frames: `(batch, time, ...)` of each input that gets a frame at a time.
        states: The states before, `(batch, ...)` each.
        valid: `(batch, time)`; where it is `False` the states stay as they are and the output is
            repeated (zero before the first). `None` where all frames count.
        fixed: What every step gets besides.

    Returns:
        The outputs of all frames `(batch, time, ...)`, and the states after the last.
    """
    outputs: Arrays = {}
    steps = next(iter(frames.values())).shape[1]
    for t in range(steps):
        counts = None if valid is None or valid[:, t].all() else valid[:, t]
        if t and counts is not None and not counts.any():
            for values in outputs.values():
                values[:, t] = values[:, t - 1]
            continue
        results = call(signature, {**{n: v[:, t] for n, v in frames.items()}, **states, **fixed})
        if t == 0:
            outputs = {
                name: np.zeros((len(value), steps, *value.shape[1:]), value.dtype)
                for name, value in results.items()
                if name not in states
            }
        for name, values in outputs.items():
            values[:, t] = _where(counts, results[name], values[:, t - 1] if t else values[:, t])
        states = {name: _where(counts, results[name], kept) for name, kept in states.items()}
    return outputs, states


def _where(counts: np.ndarray | None, new: np.ndarray, kept: np.ndarray) -> np.ndarray:
    """The new values of the samples that count, and the kept ones of the others."""
    if counts is None:
        return new
    return np.where(counts.reshape(-1, *(1,) * (new.ndim - 1)), new, kept)


def check_names(names: Names) -> None:
    """Checks that each signature of a step form finds what it takes, by running names only.

    Args:
        names: Of the signatures' inputs and outputs.

    Raises:
        ValueError: The signatures are not those of a step form.
    """
    try:
        loop = HostLoop(names, _NamesOnly(names))
        loop.run(dict.fromkeys(loop.inputs, _NOTHING))
    except KeyError as missing:
        raise ValueError(f"none of its signatures gives {missing}") from None


_NOTHING = np.zeros((1, 0))


class _NamesOnly:
    """An engine that computes nothing, and gives each output by its name."""

    def __init__(self, names: Names) -> None:
        self._names = names

    def call(self, signature: str, inputs: Arrays) -> Arrays:
        """Gives the signature's outputs."""
        if set(inputs) != set(self._names[signature]["inputs"]):
            raise ValueError(f"{signature!r} takes {self._names[signature]['inputs']}")
        return dict.fromkeys(self._names[signature]["outputs"], _NOTHING)

    def loop(
        self,
        signature: str,
        frames: Arrays,
        states: Arrays,
        valid: np.ndarray | None,
        fixed: Arrays,
    ) -> tuple[Arrays, Arrays]:
        """Gives the step's outputs, and the states."""
        outputs = self.call(signature, {**frames, **states, **fixed})
        return outputs, {name: outputs[name] for name in states}


class HostLoop:
    """Runs the signatures of a step form on one batch of the file's size.

    Args:
        names: Of the signatures' inputs and outputs.
        engine: Runs them.
        batch_size: Samples a call.

    Attributes:
        streams: Whether there is one step through all recurrent layers of the model's end.
        outputs: The names of the model's outputs.
        batch_size: Samples a call.

    Raises:
        ValueError: The signatures are not those of a step form.
    """

    def __init__(self, names: Names, engine: Engine, batch_size: int = 1) -> None:
        self.streams = "step" in names
        self._last = "project" if self.streams else "head"
        missing = {"initial_state", self._last} - set(names)
        if missing:
            raise ValueError(
                "a step form has the signatures initial_state, project and step, or initial_state, "
                f"project_1, step_LAYER..., head; got {list(names)}"
            )
        self._names, self._engine, self.batch_size = names, engine, batch_size
        firsts = [name for name in names if re.fullmatch(r"project_\d+", name)]
        firsts.sort(key=lambda name: int(name.removeprefix("project_")))
        self._stages = {name: _recurrences(names[name]["outputs"]) for name in firsts}
        self._states = set(names["initial_state"]["outputs"])
        self._zeros: Arrays | None = None
        results = names["step" if self.streams else "head"]["outputs"]
        self.outputs = [name for name in results if name not in self._states]
        self._projected = [(name, _single(name)) for name in names[self._last]["outputs"]]
        alone = {*self._states, *self._frames()}
        self._fixed = [
            name for name in names.get("step", {"inputs": []})["inputs"] if name not in alone
        ]

    @property
    def inputs(self) -> dict[str, str]:
        """The model's inputs, and for each a signature that takes it."""
        made = {*self._states, "batch_size", *self._frames()}
        for signature, steps in self._stages.items():
            made.update(self._names[signature]["outputs"])
            for name in steps:
                made |= {f"outputs_{name}", *self._names[f"step_{name}"]["outputs"]}
        return {
            name: signature
            for signature in reversed([*self._stages, self._last, *self._taking_context()])
            for name in self._names[signature]["inputs"]
            if name not in made
        }

    @property
    def context(self) -> set[str]:
        """The model's inputs that are given whole before the first frame: what the first states are
        made of, and what every step looks at."""
        whole = [*self._stages, *self._taking_context()]
        taken = {name for signature in whole for name in self._names[signature]["inputs"]}
        return taken & set(self.inputs)

    def run(self, inputs: Arrays) -> Arrays:
        """The model's outputs for one batch, `(batch, ...)` each."""
        known = self.encoded(inputs)
        if self.streams:
            states = self.initial_states(known)
            return self.step(self.project(known), states, known)[0]
        return self._call("head", known)

    def encoded(self, inputs: Arrays) -> Arrays:
        """The inputs, and what the stages before the last come to."""
        known = dict(inputs)
        if not self.streams:
            known |= self.initial_states(known)
        for signature, steps in self._stages.items():
            known |= self._call(signature, known)
            for name in steps:
                known |= self._run_recurrence(name, known)
        return known

    def initial_states(self, known: Arrays) -> Arrays:
        """The states before the first frame; computed once where nothing is known before it."""
        if self._zeros is not None:
            return dict(self._zeros)
        size = {"batch_size": np.array(self.batch_size, np.int32)}
        states = self._call("initial_state", {**known, **size})
        if self._names["initial_state"]["inputs"] == ["batch_size"]:
            self._zeros = states
        return dict(states)

    def project(self, known: Arrays) -> Arrays:
        """The frames of the step, by the names it takes them under, `(batch, time, ...)` each."""
        made = self._call("project", known)
        return {frame: made[name] for name, frame in self._projected}

    def step(self, frames: Arrays, states: Arrays, known: Arrays) -> tuple[Arrays, Arrays]:
        """The outputs for frames of the step, and the states after.

        Raises:
            ValueError: The states have other names than `initial_states` gives them.
        """
        if states.keys() != self._states:
            raise ValueError(f"the states are {sorted(self._states)}; got {sorted(states)}.")
        fixed = {name: known[name] for name in self._fixed}
        return self._engine.loop("step", frames, states, None, fixed)

    def _taking_context(self) -> list[str]:
        return ["initial_state", "step"] if self.streams else ["initial_state"]

    def _frames(self) -> set[str]:
        return set(map(_single, self._names["project"]["outputs"])) if self.streams else set()

    def _call(self, signature: str, known: Arrays) -> Arrays:
        names = self._names[signature]["inputs"]
        return self._engine.call(signature, {name: known[name] for name in names})

    def _run_recurrence(self, name: str, known: Arrays) -> Arrays:
        signature, frame = f"step_{name}", f"frame_{name}"
        states = {n: known[n] for n in self._names[signature]["inputs"] if n != frame}
        frames = {frame: known[f"frames_{name}"]}
        mask = known.get(f"mask_{name}")
        outputs, states = self._engine.loop(signature, frames, states, mask, {})
        return {f"outputs_{name}": outputs[f"output_{name}"], **states}


def _recurrences(outputs: list[str]) -> list[str]:
    return [name.removeprefix("frames_") for name in outputs if name.startswith("frames_")]


def _single(name: str) -> str:
    """The name under which a step takes what a stage gives for all frames."""
    return name.replace("frames_", "frame_", 1) if name.startswith("frames_") else name
