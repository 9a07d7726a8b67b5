"""A sample whose frames come little by little, on a file in step form."""

import threading
from typing import Any

import numpy as np

from hlstm_tf.runtime.frames import Window, cut, random_frames
from hlstm_tf.runtime.host_loop import Arrays, HostLoop
from hlstm_tf.runtime.inputs import NamedInputs


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
        self, inputs: NamedInputs, loop: HostLoop, window: Window, context: Arrays, lead: int
    ) -> None:
        self._inputs, self._loop, self._window = inputs, loop, window
        self._frames = [name for name in inputs.specs if name not in context]
        self._known, self._lead = loop.encoded(context), lead
        self._start = loop.initial_states(self._known)
        self._empty: Any = None
        self._alone, self._frame_by_frame = _OneThread(), window.single
        self._begin()

    def reset(self) -> None:
        """Begins the samples anew, with the same context."""
        with self._alone:
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
        with self._alone:
            self.states = {name: value[places] for name, value in self.states.items()}
            self._waiting = {name: value[places] for name, value in self._waiting.items()}

    def __call__(self, frames: Any) -> Any:
        with self._alone:
            return self._next(frames)

    def _next(self, frames: Any) -> Any:
        values = self._inputs.named(frames, self._frames)
        length = next(iter(values.values())).shape[1]
        for value in values.values():
            if value.shape[:2] != (self._loop.batch_size, length):
                raise self._other_sizes(values)
        if self._frame_by_frame:
            return self._single(values)
        if self._waiting:
            values = {
                n: np.concatenate([self._waiting[n], value], axis=1) for n, value in values.items()
            }
        window, found = self._window, []
        first, length = window.begin(self._done), next(iter(values.values())).shape[1]
        while first + length >= window.end(self._done):
            end = window.end(self._done) - first
            found.append(self._outputs(cut(values, 0, end), window.block))
            values = cut(values, window.begin(self._done) - first, None)
            first, length = window.begin(self._done), next(iter(values.values())).shape[1]
        self._waiting = values
        return _joined(found) if found else self._none()

    def _other_sizes(self, values: Arrays) -> ValueError:
        size = self._loop.batch_size
        if all(len(value) == size for value in values.values()):
            return ValueError("every input of a stream must get the same number of frames.")
        given = "a stream is one sample" if size == 1 else f"this stream has {size} samples"
        return ValueError(f"{given}: give frames of the shape ({size}, time, ...).")

    def finish(self) -> Any:
        """Returns the outputs that waited for frames after the last one, and begins anew.

        Returns:
            As a call; `(batch, 0, ...)` where nothing waited.
        """
        with self._alone:
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
        if self._begun and self._lead:
            projected = cut(projected, self._lead, None)
        self._begun = True
        return self._step(projected)

    def _outputs(self, frames: Arrays, count: int) -> Any:
        """The next outputs, from the frames that they are made of."""
        skipped = self._done - self._window.begin(self._done) // self._window.stride
        projected = self._loop.project({**self._known, **frames})
        self._done += count
        return self._step(cut(projected, skipped, skipped + count))

    def _none(self) -> Any:
        if self._empty is None:
            specs = {name: self._inputs.specs[name] for name in self._frames}
            frames = random_frames(specs, self._loop.batch_size, self._window.end(0))
            projected = self._loop.project({**self._known, **frames})
            self._empty = self._step(cut(projected, 0, 0))
        return self._empty

    def _step(self, projected: Arrays) -> Any:
        outputs, self.states = self._loop.step(projected, self.states, self._known)
        return next(iter(outputs.values())) if len(outputs) == 1 else outputs


class _OneThread:
    """Held while a stream is called; a thread that calls it meanwhile gets an error."""

    def __init__(self) -> None:
        self._busy = threading.Lock()

    def __enter__(self) -> None:
        if not self._busy.acquire(blocking=False):
            raise RuntimeError(
                "two threads called one stream at the same time, whose frames come in order; give "
                "each thread a stream of its own."
            )

    def __exit__(self, *error: object) -> None:
        self._busy.release()


def _joined(parts: list[Any]) -> Any:
    if not isinstance(parts[0], dict):
        return np.concatenate(parts, axis=1)
    return {name: np.concatenate([part[name] for part in parts], axis=1) for name in parts[0]}
