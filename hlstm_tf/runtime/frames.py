"""Frames of a sample: which an output is made of, and whether a model takes them one by one."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from hlstm_tf.runtime.host_loop import Arrays, HostLoop
from hlstm_tf.runtime.inputs import ArraySpec, NamedInputs


@dataclass(frozen=True)
class Window:
    """Which frames of the input an output is made of: output k of those from `k * stride -
    look_back` to `k * stride + look_ahead`, as many as there are.

    Attributes:
        look_back, look_ahead: Frames.
        stride: Frames an output; a sequence has one for every `stride` begun.
        block: Outputs that are computed at a time.

    Raises:
        ValueError: A number that cannot be.
    """

    look_back: int = 0
    look_ahead: int = 0
    stride: int = 1
    block: int = 1

    def __post_init__(self) -> None:
        for name, least in (("look_back", 0), ("look_ahead", 0), ("stride", 1), ("block", 1)):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < least:
                raise ValueError(f"{name} must be an integer of at least {least}; got {value!r}.")

    @property
    def single(self) -> bool:
        """Whether an output is made of the one frame in its place."""
        return (self.look_back, self.look_ahead, self.stride) == (0, 0, 1)

    def begin(self, output: int) -> int:
        """The first frame to give the model for that output on: a multiple of the stride."""
        return self.stride * max(0, output - -(-self.look_back // self.stride))

    def end(self, output: int) -> int:
        """The end of the frames to give the model for the block that begins with that output."""
        return (output + self.block - 1) * self.stride + self.look_ahead + 1


_NOISE = 0.05
"""Of the range of what the first stage gives: 8-bit activations are rounded by the largest value of
the frames they come with, so that a piece of a sequence and the whole differ by as much."""


def context_names(inputs: NamedInputs, loop: HostLoop) -> list[str]:
    """The inputs that a stream needs whole before the first frame: those without an open time axis,
    those that the first states are made of, and those that every step looks at."""
    return [
        name
        for name, spec in inputs.specs.items()
        if name in loop.context or len(spec.shape) < 2 or spec.shape[1] is not None
    ]


def check_stream(inputs: NamedInputs, loop: HostLoop, window: Window) -> int:
    """Checks that a model can take its frames little by little.

    Returns:
        The number of frames that the context makes before the first that is given.

    Raises:
        ValueError: It cannot; the message says why.
    """
    found = _lead(inputs, loop, window)
    if isinstance(found, str):
        raise ValueError(f"{inputs.path} cannot stream: {found}; call it with whole sequences.")
    return found


def _lead(inputs: NamedInputs, loop: HostLoop, window: Window) -> int | str:
    if not loop.streams:
        return (
            "it has no signature 'step', as only models have that run forward, frame by frame, and "
            "give an output for each frame"
        )
    context = context_names(inputs, loop)
    specs = {name: spec for name, spec in inputs.specs.items() if name not in context}
    if not specs:
        shapes = ", ".join(str(tuple(spec.shape)) for spec in inputs.specs.values())
        return f"the length of its input is fixed, {shapes}, or every step looks at the whole of it"
    try:
        given = {name: inputs.specs[name] for name in context}
        known = loop.encoded(random_frames(given, loop.batch_size, 8))
        few = loop.project({**known, **random_frames(specs, loop.batch_size, window.end(0) + 8)})
        lead = next(iter(few.values())).shape[1] - window.end(0) - 8 if window.single else 0
    except ValueError:
        lead = -1
    if window.single:
        if lead < 0 or not _projects_as(specs, known, loop, window, lead, atol=1e-3, rtol=0.0):
            return "before its first recurrent layer it looks at several frames at a time"
    elif not _projects_as(specs, known, loop, window, lead, atol=0.0, rtol=_NOISE):
        return (
            f"before its first recurrent layer it looks at other frames than {window.look_back} "
            f"before and {window.look_ahead} after, a step of {window.stride} apart"
        )
    return lead


def _projects_as(
    specs: Mapping[str, ArraySpec],
    known: Arrays,
    loop: HostLoop,
    window: Window,
    lead: int,
    atol: float,
    rtol: float,
) -> bool:
    """Whether the first stage makes of pieces what it makes of a whole, as it turns out on some."""
    outputs = 4 if window.single else 2 + -(-window.look_back // window.stride)
    size = window.end(outputs) + window.look_ahead + 1
    frames = random_frames(specs, loop.batch_size, size)
    try:
        whole = cut(loop.project({**known, **frames}), lead, None)
        if any(value.shape[1] != -(-size // window.stride) for value in whole.values()):
            return False
        for k in range(outputs):
            begin = window.begin(k)
            part = loop.project({**known, **cut(frames, begin, window.end(k))})
            here = k - begin // window.stride + lead
            for name, value in part.items():
                expected = whole[name][:, k : k + window.block].astype(np.float64)
                error = np.abs(value[:, here : here + window.block] - expected).max()
                if not error <= atol + rtol * np.ptp(whole[name].astype(np.float64)):
                    return False
    except ValueError:  # a convolution that a few frames are too short for, or too few outputs
        return False
    return True


def random_frames(specs: Mapping[str, ArraySpec], batch_size: int, length: int) -> Arrays:
    """Random values for inputs; an axis of open length gets `length` entries if it is time's."""
    rng = np.random.default_rng(0)
    values: Arrays = {}
    for name, spec in specs.items():
        sizes = [size or (1 if axis else length) for axis, size in enumerate(spec.shape[1:])]
        shape = (batch_size, *sizes)
        random = rng.normal(size=shape) if spec.floating else rng.integers(0, 2, shape)
        values[name] = random.astype(spec.dtype)
    return values


def cut(values: Arrays, begin: int, end: int | None) -> Arrays:
    """The frames from `begin` to `end` of each value `(batch, time, ...)`."""
    return {name: value[:, begin:end] for name, value in values.items()}
