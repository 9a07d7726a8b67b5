"""A sample whose frames come little by little, on a file in step form."""

import contextlib
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from hlstm_tf.export.array_spec import ArraySpec
from hlstm_tf.export.host_loop import Arrays, HostLoop

if TYPE_CHECKING:
    from hlstm_tf.export.step_runner import StepRunner

_NOISE = 0.05
"""Of the range of what the first stage gives: 8-bit activations are rounded by the largest value of
the frames they come with, so that a piece of a sequence and the whole differ by as much."""


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


class Stream:
    """One sample of a model whose frames come little by little; made by `StepRunner.stream`.

    Call arguments:
        frames: `(1, time, ...)`: the next frames, one or more.

    Returns:
        The outputs that are complete with these frames, as `StepRunner` returns them for all;
        `(1, 0, ...)` where there are none yet. However a sample is cut into calls, its outputs are
        the same to the last bit, where the model looks at several frames at a time; where it looks
        at one, as far as the engine multiplies several frames as it does one.

    Raises:
        ValueError: The frames have another shape or type.
        RuntimeError: Another thread is calling the stream. Streams of one runner may be called by
            threads of their own.

    Attributes:
        states: The states of the recurrent layers after the outputs so far, by name; may be kept
            and assigned again where the model looks at one frame at a time.
    """

    def __init__(self, runner: "StepRunner", loop: HostLoop, window: Window) -> None:
        self._runner, self._loop, self._window = runner, loop, window
        self._empty: Any = None
        self._busy = threading.Lock()
        self._begin()

    def reset(self) -> None:
        """Begins another sample."""
        with self._alone():
            self._begin()

    def _begin(self) -> None:
        self.states = self._loop.initial_states()
        self._waiting: np.ndarray | None = None
        self._done = 0

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        if not self._busy.acquire(blocking=False):
            raise RuntimeError(
                "two threads called one stream at the same time, whose frames come in order; give "
                "each thread a stream of its own."
            )
        try:
            yield
        finally:
            self._busy.release()

    def __call__(self, frames: Any) -> Any:
        with self._alone():
            return self._next(frames)

    def _next(self, frames: Any) -> Any:
        ((name, value),) = self._runner._named(frames).items()
        if len(value) != 1:
            raise ValueError("a stream is one sample: give frames of the shape (1, time, ...).")
        if self._window.single:
            return self._step(self._loop.project({name: value}))
        if self._waiting is not None:
            value = np.concatenate([self._waiting, value], axis=1)
        window, found = self._window, []
        first = window.begin(self._done)
        while first + value.shape[1] >= window.end(self._done):
            found.append(self._outputs(value[:, : window.end(self._done) - first], window.block))
            value = value[:, window.begin(self._done) - first :]
            first = window.begin(self._done)
        self._waiting = value
        return _joined(found) if found else self._none()

    def finish(self) -> Any:
        """Returns the outputs that waited for frames after the last one, and begins another sample.

        Returns:
            As a call; `(1, 0, ...)` where nothing waited.
        """
        with self._alone():
            return self._last()

    def _last(self) -> Any:
        value, window = self._waiting, self._window
        found = self._none()
        if value is not None:
            frames = window.begin(self._done) + value.shape[1]
            left = -(-frames // window.stride) - self._done
            found = self._outputs(value, left) if left > 0 else found
        self._begin()
        return found

    def _outputs(self, frames: np.ndarray, count: int) -> Any:
        """The next outputs, from the frames that they are made of."""
        skipped = self._done - self._window.begin(self._done) // self._window.stride
        projected = self._loop.project({next(iter(self._runner.inputs)): frames})
        self._done += count
        return self._step({k: v[:, skipped : skipped + count] for k, v in projected.items()})

    def _none(self) -> Any:
        if self._empty is None:
            (spec,) = self._runner.inputs.values()
            shape = (1, self._window.end(0), *(length or 1 for length in spec.shape[2:]))
            projected = self._loop.project({spec.name: np.zeros(shape, spec.dtype)})
            self._empty = self._step({name: value[:, :0] for name, value in projected.items()})
        return self._empty

    def _step(self, projected: Arrays) -> Any:
        outputs, self.states = self._loop.step(projected, self.states)
        return next(iter(outputs.values())) if len(outputs) == 1 else outputs


def check_stream(runner: "StepRunner", loop: HostLoop, window: Window) -> None:
    """Raises a `ValueError` where a model cannot take its frames little by little."""
    reason = _no_stream(runner, loop, window)
    if reason:
        raise ValueError(f"{runner.path} cannot stream: {reason}; call it with whole sequences.")


def _no_stream(runner: "StepRunner", loop: HostLoop, window: Window) -> str | None:
    if not loop.streams:
        return (
            "it has no signature 'step', as only models have that run forward, frame by frame and "
            "without masks, and give an output for each frame"
        )
    if len(runner.inputs) != 1:
        return f"it has several inputs ({', '.join(runner.inputs)})"
    (spec,) = runner.inputs.values()
    if len(spec.shape) < 2 or spec.shape[1] is not None:
        return f"the length of its input is fixed, {tuple(spec.shape)}"
    if window.single:
        if not _projects_as(spec, loop, window, atol=1e-3, rtol=0.0):
            return "before its first recurrent layer it looks at several frames at a time"
    elif not _projects_as(spec, loop, window, atol=0.0, rtol=_NOISE):
        return (
            f"before its first recurrent layer it looks at other frames than {window.look_back} "
            f"before and {window.look_ahead} after, a step of {window.stride} apart"
        )
    return None


def _projects_as(spec: ArraySpec, loop: HostLoop, window: Window, atol: float, rtol: float) -> bool:
    """Whether the first stage makes of pieces what it makes of a whole, as it turns out on some."""
    outputs = 4 if window.single else 2 + -(-window.look_back // window.stride)
    size = window.end(outputs) + window.look_ahead + 1
    shape = (1, size, *(length or 1 for length in spec.shape[2:]))
    rng = np.random.default_rng(0)
    frames = rng.normal(size=shape) if spec.floating else rng.integers(0, 2, shape)
    frames = frames.astype(spec.dtype)
    try:
        whole = loop.project({spec.name: frames})
        if any(value.shape[1] != -(-size // window.stride) for value in whole.values()):
            return False
        for k in range(outputs):
            begin = window.begin(k)
            part = loop.project({spec.name: frames[:, begin : window.end(k)]})
            here = k - begin // window.stride
            for name, value in part.items():
                expected = whole[name][:, k : k + window.block]
                error = np.abs(value[:, here : here + window.block] - expected).max()
                if not error <= atol + rtol * np.ptp(whole[name]):
                    return False
    except ValueError:  # a convolution that a few frames are too short for, or too few outputs
        return False
    return True


def _joined(parts: list[Any]) -> Any:
    if not isinstance(parts[0], dict):
        return np.concatenate(parts, axis=1)
    return {name: np.concatenate([part[name] for part in parts], axis=1) for name in parts[0]}
