"""Features of a recording that comes little by little, while it is being spoken."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

BLOCK = 4
"""Frames computed at a time: 40 ms of waiting at the most, a third of the work of one by one."""


@dataclass(frozen=True)
class Frames:
    """How the frames of a recording are computed.

    Attributes:
        rows: Takes float32 `(samples,)`, returns the row of each transform that fits into them.
        width: Numbers in a row.
        size: Samples of a transform, in whose middle the window is.
        window: Samples of the window.
        hop: Samples from one frame to the next.
    """

    rows: Callable[[np.ndarray], np.ndarray]
    width: int
    size: int
    window: int
    hop: int


class FeatureStream:
    """The rows of a front end as soon as their samples are there; `LogMel.stream` starts one.

    Frames are computed in blocks of `BLOCK`, always the same ones, so that the numbers are the same
    to the last bit however the samples are cut into chunks; `LogMel` itself computes them so when
    its normalisation is a running one.

    Args:
        frames: How the frames are computed.
        normalise: Takes the next rows, returns them normalised by those before; None for rows as
            they are.
    """

    def __init__(
        self, frames: Frames, normalise: Callable[[np.ndarray], np.ndarray] | None = None
    ) -> None:
        self._of = frames
        self._normalise = normalise
        # What frame 0 sees before the recording begins.
        self._samples = np.zeros(frames.size // 2, np.float32)
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
        margin = self._of.size // 2 - self._of.window // 2
        found = []
        while len(self._samples) >= self._block_size - margin:
            found.append(self._block(BLOCK))
        return self._joined(found)

    def finish(self) -> np.ndarray:
        """Return the frames at the end, behind which there is silence."""
        total = 1 + self._heard // self._of.hop if self._heard else 0
        found = []
        while self._frames < total:
            found.append(self._block(total - self._frames))
        return self._joined(found)

    @property
    def _block_size(self) -> int:
        """Samples under a block, from the first transform's begin to the last one's end."""
        return self._of.size + (BLOCK - 1) * self._of.hop

    def _block(self, wanted: int) -> np.ndarray:
        """The next frames, of which there are not more than `wanted`."""
        segment = np.zeros(self._block_size, np.float32)
        there = self._samples[: len(segment)]
        segment[: len(there)] = there
        rows = self._of.rows(segment)[:wanted]
        self._samples = self._samples[BLOCK * self._of.hop :]
        self._frames += len(rows)
        return self._normalise(rows) if self._normalise else rows

    def _joined(self, found: list[np.ndarray]) -> np.ndarray:
        return np.concatenate([np.zeros((0, self._of.width), np.float32), *found])
