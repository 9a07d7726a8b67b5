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
        self, signature: str, frames: Arrays, states: Arrays, valid: np.ndarray | None
    ) -> tuple[Arrays, Arrays]:
        """Runs a step over all frames; see `loop_by_calls`."""


def loop_by_calls(
    call: Callable[[str, Arrays], Arrays],
    signature: str,
    frames: Arrays,
    states: Arrays,
    valid: np.ndarray | None,
) -> tuple[Arrays, Arrays]:
    """Runs a step over all frames, one call each.

    Args:
        call: Runs a signature.
        signature: The step's.
        frames: `(1, time, ...)` of each input that gets a frame at a time.
        states: The states before, `(1, ...)` each.
        valid: `(time,)`; where it is `False` the states stay as they are and the output is repeated
            (zero before the first). `None` where all frames count.

    Returns:
        The outputs of all frames `(1, time, ...)`, and the states after the last.
    """
    outputs: Arrays = {}
    steps = next(iter(frames.values())).shape[1]
    for t in range(steps):
        counts = valid is None or valid[t]
        if counts or t == 0:
            results = call(signature, {**{n: v[:, t] for n, v in frames.items()}, **states})
        if t == 0:
            outputs = {
                name: np.zeros((1, steps, *value.shape[1:]), value.dtype)
                for name, value in results.items()
                if name not in states
            }
        if counts:
            states = {name: results[name] for name in states}
        for name, values in outputs.items():
            if counts:
                values[:, t] = results[name]
            elif t:
                values[:, t] = values[:, t - 1]
    return outputs, states


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
        self, signature: str, frames: Arrays, states: Arrays, valid: np.ndarray | None
    ) -> tuple[Arrays, Arrays]:
        """Gives the step's outputs, and the states."""
        outputs = self.call(signature, {**frames, **states})
        return outputs, {name: outputs[name] for name in states}


class HostLoop:
    """Runs the signatures of a step form on one sample.

    Args:
        names: Of the signatures' inputs and outputs.
        engine: Runs them.

    Raises:
        ValueError: The signatures are not those of a step form.
    """

    def __init__(self, names: Names, engine: Engine) -> None:
        self.streams = "step" in names
        missing = {"initial_state", "project" if self.streams else "head"} - set(names)
        if missing:
            raise ValueError(
                "a step form has the signatures initial_state, project and step, or initial_state, "
                f"project_1, step_LAYER..., head; got {list(names)}"
            )
        self._names, self._engine = names, engine
        self._initial = engine.call("initial_state", {"batch_size": np.array(1, np.int32)})
        firsts = [name for name in names if re.fullmatch(r"project(_\d+)?", name)]
        firsts.sort(key=lambda name: int(name.removeprefix("project").strip("_") or 1))
        self._stages = {name: _recurrences(names[name]["outputs"]) for name in firsts}
        if not self.streams:
            self._stages["head"] = []
        last = names["step" if self.streams else "head"]["outputs"]
        self.outputs = [name for name in last if name not in self._initial]

    @property
    def inputs(self) -> dict[str, str]:
        """The model's inputs, and for each a signature that takes it."""
        made = {
            f"{kind}_{name}"
            for steps in self._stages.values()
            for name in steps
            for kind in ("outputs", "mask")
        }
        return {
            name: signature
            for signature in reversed(self._stages)
            for name in self._names[signature]["inputs"]
            if name not in made and name not in self._initial
        }

    def run(self, inputs: Arrays) -> Arrays:
        """The model's outputs for one sample, `(1, ...)` each."""
        if self.streams:
            return self.advance(inputs, self.initial_states())[0]
        known = {**inputs, **self._initial}
        for signature, steps in self._stages.items():
            known |= self._call(signature, known)
            for name in steps:
                known |= self._run_recurrence(name, known)
        return {name: known[name] for name in self.outputs}

    def advance(self, inputs: Arrays, states: Arrays) -> tuple[Arrays, Arrays]:
        """The outputs for the next frames of a sample, and the states after them."""
        return self.step(self.project(inputs), states)

    def step(self, projected: Arrays, states: Arrays) -> tuple[Arrays, Arrays]:
        """The outputs for frames that the first stage has been through, and the states after."""
        frames = {f"frame_{name}": projected[f"frames_{name}"] for name in self._stages["project"]}
        return self._engine.loop("step", frames, states, None)

    def initial_states(self) -> Arrays:
        """The states before the first frame."""
        return dict(self._initial)

    def project(self, inputs: Arrays) -> Arrays:
        """What the first stage makes of inputs."""
        return self._call(next(iter(self._stages)), inputs)

    def _call(self, signature: str, known: Arrays) -> Arrays:
        names = self._names[signature]["inputs"]
        return self._engine.call(signature, {name: known[name] for name in names})

    def _run_recurrence(self, name: str, known: Arrays) -> Arrays:
        signature, frame = f"step_{name}", f"frame_{name}"
        mask = known.get(f"mask_{name}")
        states = {n: known[n] for n in self._names[signature]["inputs"] if n != frame}
        outputs, states = self._engine.loop(
            signature,
            {frame: known[f"frames_{name}"]},
            states,
            None if mask is None else mask[0],
        )
        return {f"outputs_{name}": outputs[f"output_{name}"], **states}


def _recurrences(outputs: list[str]) -> list[str]:
    return [name.removeprefix("frames_") for name in outputs if name.startswith("frames_")]
