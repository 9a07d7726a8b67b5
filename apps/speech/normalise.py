"""Normalisation of log-mel bands: by the whole utterance, or by what has been heard so far."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from apps.common.errors import InputError

FLOOR = 1e-10
"""Power below which a band counts as silent: about -100 dB of full scale."""
LEAST_DEVIATION = 0.01
"""Added to every standard deviation: a constant band becomes 0 and not noise blown up."""


def by_utterance(features: np.ndarray) -> np.ndarray:
    """Give each band of an utterance mean 0 and deviation 1.

    Args:
        features: float32 (frames, bands).

    Returns:
        The same shape and dtype.

    Example:
        >>> by_utterance(np.float32([[1, 5], [3, 5]])).round(1).tolist()
        [[-1.0, 0.0], [1.0, 0.0]]
    """
    deviation = features.std(axis=0, dtype=np.float64)
    centered = features - features.mean(axis=0, dtype=np.float64)
    return (centered / (deviation + LEAST_DEVIATION)).astype(np.float32)


def without_empty_bands(features: np.ndarray, centres: Sequence[float], rate: float) -> np.ndarray:
    """Set to 0, their mean, the bands above what a recording's rate can hold.

    What a conversion to a higher rate leaves there lies 100 dB below speech, and normalised it is
    as loud. A network that was trained under frequency masks knows bands of 0.

    Args:
        features: float32 (frames, bands), normalised.
        centres: Of the bands, in Hz.
        rate: That the recording was made at, in Hz.

    Example:
        >>> without_empty_bands(np.ones((1, 3), np.float32), [500, 3000, 5000], 8000).tolist()
        [[1.0, 1.0, 0.0]]
    """
    return np.where(np.asarray(centres) < rate / 2, features, np.float32(0))


@dataclasses.dataclass(frozen=True)
class RunningNormalisation:
    """What is normalised by while somebody is still speaking.

    Each band has subtracted its mean over the frames so far, the current one included, and is
    divided by its standard deviation over them plus 0.01. Frames are forgotten exponentially, so
    that a stream of hours follows its room. A prior counts as frames that are never forgotten:
    it makes the first frames sane, and keeps minutes of silence from becoming the measure of all.
    Digital silence does not count at all: a muted microphone says nothing of a room.

    Args:
        low, high: the prior's mean log energy of the lowest and the highest band, between which it
            is linear; the defaults are what speech at a near microphone has (AN4's training
            speakers).
        deviation: the prior's standard deviation, of every band.
        prior: its weight, in seconds. Half a second: a word later the speaker outweighs it.
        memory: time constant of forgetting, in seconds; 5 is a few words, as many as an utterance
            has to be normalised by.

    Raises:
        InputError: a deviation, weight or memory that is not positive.

    Example:
        >>> running = RunningNormalisation(prior=1.0).start(bands=1, hop=0.5)
        >>> running(np.full((2, 1), -7, np.float32)).tolist()
        [[0.0], [0.0]]
    """

    low: float = -7.0
    high: float = -14.5
    deviation: float = 3.4
    prior: float = 0.5
    memory: float = 5.0

    def __post_init__(self) -> None:
        for name in ("deviation", "prior", "memory"):
            if not getattr(self, name) > 0:
                raise InputError(
                    f"RunningNormalisation: {name} is {getattr(self, name)}; expected above 0"
                )

    def start(self, bands: int, hop: float) -> Running:
        """Begin an utterance of that many bands, with frames `hop` seconds apart."""
        return Running(self, bands, hop)


class Running:
    """One utterance's statistics so far; made by `RunningNormalisation.start`.

    However an utterance is cut into calls, the numbers are the same to the last bit.
    """

    def __init__(self, plan: RunningNormalisation, bands: int, hop: float) -> None:
        self._mean = np.linspace(plan.low, plan.high, bands)
        self._prior = plan.prior / hop
        self._square = self._prior * plan.deviation**2
        self._keep = float(np.exp(-hop / plan.memory))
        # Frames, their sum and the sum of their squares, all as differences from the prior's mean.
        self._sums = np.zeros((3, bands))

    def __call__(self, features: np.ndarray) -> np.ndarray:
        """Normalise the next frames.

        Args:
            features: float32 (frames, bands).

        Returns:
            The same shape and dtype.
        """
        away = features - self._mean
        sounds = (features > np.log(FLOOR) + 1e-3).any(axis=1)
        terms = np.stack([np.ones_like(away), away, away**2], axis=1)
        after = np.empty_like(terms)
        # One frame after the other, in an order that no cut changes.
        for k, term in enumerate(terms):
            if sounds[k]:
                self._sums = self._keep * self._sums + term
            after[k] = self._sums
        count, total, squares = after.transpose(1, 0, 2)
        count = count + self._prior
        mean = total / count
        variance = (squares + self._square) / count - mean**2
        deviation = np.sqrt(np.maximum(variance, 0.0))
        return ((away - mean) / (deviation + LEAST_DEVIATION)).astype(np.float32)
