"""Features of a recording that comes little by little, while it is being spoken."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from apps.common.errors import InputError

if TYPE_CHECKING:
    from apps.speech.front_end import LogMel

BLOCK = 4
"""Frames computed at a time: 40 ms of waiting at the most, a third of the work of one by one."""


class FeatureStream:
    """The rows of a front end as soon as their samples are there.

    Frames are computed in blocks of `BLOCK`, always the same ones, so that the numbers are the same
    to the last bit however the samples are cut into chunks; `LogMel` itself computes them so when
    its normalisation is a running one.

    Args:
        front_end: `LogMel` with a running normalisation, or with none.

    Raises:
        InputError: The front end needs the whole utterance.

    Example:
        >>> from apps.speech.front_end import LogMel
        >>> stream = FeatureStream(LogMel(normalise=False))
        >>> [len(stream.feed(np.zeros(400, np.float32))) for _ in range(4)], len(stream.finish())
        ([0, 4, 0, 4], 3)
    """

    def __init__(self, front_end: LogMel) -> None:
        if not front_end.streams:
            raise InputError(
                f"front end {front_end.kind}: needs the whole recording"
                f" ({front_end.why_not_streaming}); streaming needs log-mel features with a running"
                " normalisation, as those of saved_models/an4-streaming"
            )
        self._front_end = front_end
        running, width = front_end.running, front_end.width
        self._running = running.start(width, front_end.hop) if running else None
        # What frame 0 sees before the recording begins.
        self._samples = np.zeros(front_end.fourier_size // 2, np.float32)
        self._heard = 0
        self._frames = 0

    @property
    def heard(self) -> int:
        """Samples so far."""
        return self._heard

    def feed(self, samples: np.ndarray) -> np.ndarray:
        """Take the next samples; return the frames that are complete with them.

        Args:
            samples: float32 (samples,), any number, also none.

        Returns:
            float32 (frames, width); often no frames.
        """
        self._samples = np.concatenate([self._samples, np.asarray(samples, np.float32)])
        self._heard += len(samples)
        # The transform is longer than the window, whose zeros need no samples.
        front_end = self._front_end
        margin = front_end.fourier_size // 2 - round(front_end.window * front_end.sample_rate) // 2
        found = []
        while len(self._samples) >= front_end.samples_of(BLOCK) - margin:
            found.append(self._block(BLOCK))
        return self._joined(found)

    def finish(self) -> np.ndarray:
        """Return the frames at the end, behind which there is silence."""
        total = self._front_end.frames(self._heard) if self._heard else 0
        found = []
        while self._frames < total:
            found.append(self._block(total - self._frames))
        return self._joined(found)

    def _block(self, wanted: int) -> np.ndarray:
        """The next frames, of which there are not more than `wanted`."""
        front_end = self._front_end
        segment = np.zeros(front_end.samples_of(BLOCK), np.float32)
        there = self._samples[: len(segment)]
        segment[: len(there)] = there
        rows = front_end.log_mel(segment)[:wanted]
        self._samples = self._samples[BLOCK * front_end.hop_samples :]
        self._frames += len(rows)
        return self._running(rows) if self._running else rows

    def _joined(self, found: list[np.ndarray]) -> np.ndarray:
        return np.concatenate([np.zeros((0, self._front_end.width), np.float32), *found])
