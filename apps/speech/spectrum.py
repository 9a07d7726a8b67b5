"""Spectra, mel bands, cepstra and their normalisation, with NumPy alone.

Spectra have the same numbers as librosa's, which takes a second and 200 MB to be imported.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Sequence

import numpy as np

from apps.common.errors import InputError

_BLOCK = 256
"""Frames transformed at a time, so that minutes of audio need little memory."""
_LINEAR = 200 / 3  # Hz a mel, below 1000 Hz
_LOG_HERTZ = 1000.0
_LOG_MEL = _LOG_HERTZ / _LINEAR
_LOG_STEP = np.log(6.4) / 27


def power_spectrum(samples: np.ndarray, size: int, hop: int, window: int) -> np.ndarray:
    """Return the squared magnitudes `(1 + size // 2, frames)` of all transforms that fit.

    Args:
        samples: float32 `(samples,)`, at least `size`.
        size, hop: Samples of a transform, and from one to the next.
        window: Samples of the Hann window in its middle.
    """
    frames = np.lib.stride_tricks.sliding_window_view(samples, size)[::hop]
    power = np.empty((len(frames), 1 + size // 2), np.float32)
    for begin in range(0, len(frames), _BLOCK):
        block = frames[begin : begin + _BLOCK] * _hann(window, size)
        spectrum = np.fft.rfft(block).astype(np.complex64)
        power[begin : begin + _BLOCK] = spectrum.real**2 + spectrum.imag**2
    return power.T


@functools.lru_cache(maxsize=8)
def _hann(window: int, size: int) -> np.ndarray:
    """A periodic Hann window in the middle of `size` zeros."""
    found = np.zeros(size)
    start = (size - window) // 2
    angles = np.linspace(-np.pi, np.pi, window + 1)[:-1]
    found[start : start + window] = 0.5 + 0.5 * np.cos(angles)
    return found


def mel_frequencies(count: int, low: float, high: float) -> np.ndarray:
    """Return frequencies in Hz that are equally spaced on Slaney's mel scale, which is linear below
    1000 Hz and logarithmic above.

    Example:

    >>> mel_frequencies(4, 0, 2000).round().tolist()
    [0.0, 557.0, 1126.0, 2000.0]
    """
    mels = np.linspace(_mel(low), _mel(high), count)
    return np.where(
        mels < _LOG_MEL, _LINEAR * mels, _LOG_HERTZ * np.exp(_LOG_STEP * (mels - _LOG_MEL))
    )


def _mel(hertz: float) -> float:
    if hertz < _LOG_HERTZ:
        return hertz / _LINEAR
    return _LOG_MEL + np.log(hertz / _LOG_HERTZ) / _LOG_STEP


@functools.lru_cache(maxsize=8)
def mel_basis(rate: int, size: int, bands: int, low: float, high: float) -> np.ndarray:
    """Return float32 `(bands, 1 + size // 2)`: triangles of unit area over the bins of a transform
    of `size` samples at `rate` Hz, between two ends of the mel scale in Hz."""
    edges = mel_frequencies(bands + 2, low, high)
    ramps = np.subtract.outer(edges, np.fft.rfftfreq(size, 1 / rate))
    widths = np.diff(edges)[:, None]
    up, down = -ramps[:-2] / widths[:-1], ramps[2:] / widths[1:]
    basis = np.maximum(0, np.minimum(up, down)).astype(np.float32)
    basis *= (2 / (edges[2:] - edges[:-2]))[:, None]
    return basis


def cepstrum(energies: np.ndarray, coefficients: int) -> np.ndarray:
    """Return the first coefficients `(coefficients, frames)` of the orthonormal cosine transform of
    log energies `(bands, frames)`."""
    bands = len(energies)
    angles = np.pi / bands * np.outer(np.arange(coefficients), np.arange(bands) + 0.5)
    transform = np.sqrt(2 / bands) * np.cos(angles)
    transform[0] /= np.sqrt(2)
    return (transform @ energies).astype(energies.dtype)


def delta(values: np.ndarray, order: int, width: int = 9) -> np.ndarray:
    """Return a derivative over time of `(rows, frames)`, of order 1 or 2: that of the polynomial of
    its order which fits an odd `width` of frames best (Savitzky and Golay 1964). The first and last
    frame are repeated."""
    half = width // 2
    powers = np.vander(np.arange(-half, half + 1.0), order + 1, increasing=True)
    weights = np.linalg.pinv(powers)[order] * math.factorial(order)
    padded = np.pad(values, ((0, 0), (half, half)), mode="edge")
    frames = np.lib.stride_tricks.sliding_window_view(padded, width, axis=1)
    return (frames @ weights).astype(values.dtype)


FLOOR = 1e-10
"""Power below which a band counts as silent: about -100 dB of full scale."""
LEAST_DEVIATION = 0.01
"""Added to every standard deviation: a constant band becomes 0 and not noise blown up."""


def by_utterance(features: np.ndarray) -> np.ndarray:
    """Give each band of an utterance, float32 (frames, bands), mean 0 and deviation 1.

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
        centres, rate: Of the bands, and of the recording, in Hz.

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
        """Normalise the next frames, float32 (frames, bands)."""
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
