"""A sample whose frames come little by little, on a file in step form."""

import contextlib
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from hlstm_tf.runtime.array_spec import ArraySpec
from hlstm_tf.runtime.host_loop import Arrays, HostLoop

if TYPE_CHECKING:
    from hlstm_tf.runtime.step_runner import StepRunner

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
    """A batch of samples of a model whose frames come little by little; made by
    `StepRunner.stream`.

    Call arguments:
        frames: `(batch, time, ...)`: the next frames, one or more; a dictionary by input name where
            the frames come in several inputs. The batch is the file's, one sample by default.

    Returns:
        The outputs that are complete with these frames, as `StepRunner` returns them for all;
        `(batch, 0, ...)` where there are none yet. However a sample is cut into calls, its outputs
        are the same to the last bit, where the model looks at several frames at a time; where it
        looks at one, as far as the engine multiplies several frames as it does one. Where the
        context makes frames of its own, before those that are given (an image as the first input),
        the first call returns their outputs, too.

    Raises:
        ValueError: The frames have another shape or type.
        RuntimeError: Another thread is calling the stream. Streams of one runner may be called by
            threads of their own.

    Attributes:
        states: The states of the recurrent layers after the outputs so far, by name, `(batch, ...)`
            each; may be kept and assigned again where the model looks at one frame at a time.
    """

    def __init__(
        self, runner: "StepRunner", loop: HostLoop, window: Window, context: Arrays, lead: int
    ) -> None:
        self._runner, self._loop, self._window = runner, loop, window
        self._specs = {name: s for name, s in runner._given.items() if name not in context}
        self._known, self._lead = loop.encoded(context), lead
        self._start = loop.initial_states(self._known)
        self._empty: Any = None
        self._busy = threading.Lock()
        self._begin()

    def reset(self) -> None:
        """Begins the samples anew, with the same context."""
        with self._alone():
            self._begin()

    def _begin(self) -> None:
        self.states = dict(self._start)
        self._waiting: Arrays = {}
        self._done, self._begun = 0, False

    def select(self, samples: Any) -> None:
        """Goes on with some of the samples, in another order: what a beam search does at each step.

        Args:
            samples: `(batch,)`, integers: the sample whose states each place gets. The context is
                not moved: all places that change with each other must have the same.

        Raises:
            ValueError: Another number of samples, or one that does not exist.
        """
        places, size = np.asarray(samples), self._loop.batch_size
        integers = np.issubdtype(places.dtype, np.integer)
        if places.shape != (size,) or not integers or not ((places >= 0) & (places < size)).all():
            raise ValueError(
                f"samples must be {size} integers from 0 to {size - 1}; got {samples!r}."
            )
        with self._alone():
            self.states = {name: value[places] for name, value in self.states.items()}
            self._waiting = {name: value[places] for name, value in self._waiting.items()}

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
        values = self._runner._named(frames, self._specs)
        size, counts = self._loop.batch_size, {len(value) for value in values.values()}
        if counts != {size}:
            given = "a stream is one sample" if size == 1 else f"this stream has {size} samples"
            raise ValueError(f"{given}: give frames of the shape ({size}, time, ...).")
        if len({value.shape[1] for value in values.values()}) > 1:
            raise ValueError("every input of a stream must get the same number of frames.")
        if self._window.single:
            return self._single(values)
        if self._waiting:
            values = {
                n: np.concatenate([self._waiting[n], value], axis=1) for n, value in values.items()
            }
        window, found = self._window, []
        first, length = window.begin(self._done), next(iter(values.values())).shape[1]
        while first + length >= window.end(self._done):
            end = window.end(self._done) - first
            found.append(self._outputs(_cut(values, 0, end), window.block))
            values = _cut(values, window.begin(self._done) - first, None)
            first, length = window.begin(self._done), next(iter(values.values())).shape[1]
        self._waiting = values
        return _joined(found) if found else self._none()

    def finish(self) -> Any:
        """Returns the outputs that waited for frames after the last one, and begins anew.

        Returns:
            As a call; `(batch, 0, ...)` where nothing waited.
        """
        with self._alone():
            return self._last()

    def _last(self) -> Any:
        values, window = self._waiting, self._window
        found = self._none()
        if values:
            frames = window.begin(self._done) + next(iter(values.values())).shape[1]
            left = -(-frames // window.stride) - self._done
            found = self._outputs(values, left) if left > 0 else found
        self._begin()
        return found

    def _single(self, values: Arrays) -> Any:
        projected = self._loop.project({**self._known, **values})
        if self._begun:
            projected = _cut(projected, self._lead, None)
        self._begun = True
        return self._step(projected)

    def _outputs(self, frames: Arrays, count: int) -> Any:
        """The next outputs, from the frames that they are made of."""
        skipped = self._done - self._window.begin(self._done) // self._window.stride
        projected = self._loop.project({**self._known, **frames})
        self._done += count
        return self._step(_cut(projected, skipped, skipped + count))

    def _none(self) -> Any:
        if self._empty is None:
            frames = _frames(self._specs, self._loop.batch_size, self._window.end(0))
            projected = self._loop.project({**self._known, **frames})
            self._empty = self._step(_cut(projected, 0, 0))
        return self._empty

    def _step(self, projected: Arrays) -> Any:
        outputs, self.states = self._loop.step(projected, self.states, self._known)
        return next(iter(outputs.values())) if len(outputs) == 1 else outputs


def context_names(runner: "StepRunner", loop: HostLoop) -> list[str]:
    """The inputs that a stream needs whole before the first frame: those without an open time axis,
    those that the first states are made of, and those that every step looks at."""
    return [
        name
        for name, spec in runner.inputs.items()
        if name in loop.context or len(spec.shape) < 2 or spec.shape[1] is not None
    ]


def check_stream(runner: "StepRunner", loop: HostLoop, window: Window) -> int:
    """Checks that a model can take its frames little by little.

    Returns:
        The number of frames that the context makes before the first that is given.

    Raises:
        ValueError: It cannot; the message says why.
    """
    found = _lead(runner, loop, window)
    if isinstance(found, str):
        raise ValueError(f"{runner.path} cannot stream: {found}; call it with whole sequences.")
    return found


def _lead(runner: "StepRunner", loop: HostLoop, window: Window) -> int | str:
    if not loop.streams:
        return (
            "it has no signature 'step', as only models have that run forward, frame by frame, and "
            "give an output for each frame"
        )
    context = context_names(runner, loop)
    specs = {name: spec for name, spec in runner.inputs.items() if name not in context}
    if not specs:
        shapes = ", ".join(str(tuple(spec.shape)) for spec in runner.inputs.values())
        return f"the length of its input is fixed, {shapes}, or every step looks at the whole of it"
    try:
        known = loop.encoded(_frames({n: runner.inputs[n] for n in context}, loop.batch_size, 8))
        few = loop.project({**known, **_frames(specs, loop.batch_size, window.end(0) + 8)})
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
    frames = _frames(specs, loop.batch_size, size)
    try:
        whole = _cut(loop.project({**known, **frames}), lead, None)
        if any(value.shape[1] != -(-size // window.stride) for value in whole.values()):
            return False
        for k in range(outputs):
            begin = window.begin(k)
            part = loop.project({**known, **_cut(frames, begin, window.end(k))})
            here = k - begin // window.stride + lead
            for name, value in part.items():
                expected = whole[name][:, k : k + window.block].astype(np.float64)
                error = np.abs(value[:, here : here + window.block] - expected).max()
                if not error <= atol + rtol * np.ptp(whole[name].astype(np.float64)):
                    return False
    except ValueError:  # a convolution that a few frames are too short for, or too few outputs
        return False
    return True


def _frames(specs: Mapping[str, ArraySpec], batch_size: int, length: int) -> Arrays:
    """Random values for inputs; an axis of open length gets `length` entries if it is time's."""
    rng = np.random.default_rng(0)
    values: Arrays = {}
    for name, spec in specs.items():
        sizes = [size or (1 if axis else length) for axis, size in enumerate(spec.shape[1:])]
        shape = (batch_size, *sizes)
        random = rng.normal(size=shape) if spec.floating else rng.integers(0, 2, shape)
        values[name] = random.astype(spec.dtype)
    return values


def _cut(values: Arrays, begin: int, end: int | None) -> Arrays:
    return {name: value[:, begin:end] for name, value in values.items()}


def _joined(parts: list[Any]) -> Any:
    if not isinstance(parts[0], dict):
        return np.concatenate(parts, axis=1)
    return {name: np.concatenate([part[name] for part in parts], axis=1) for name in parts[0]}
