"""Disturbances of recordings by other microphones, rooms and hands: for measuring only."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np

from apps.speech.audio import resample
from apps.speech.channel import coloured_noise

Change = Callable[[np.ndarray, int, np.random.Generator], tuple[np.ndarray, int]]
"""(float32 (samples,), Hz, generator) -> (float32 (samples,) or (samples, channels), Hz)."""


@dataclasses.dataclass(frozen=True)
class Disturbance:
    """One way in which a recording may be other than those a model was trained on.

    Args:
        name: For tables.
        change: What is done to it.
        words: Whether its words can still be heard; without them all that is recognised is made up.
    """

    name: str
    change: Change
    words: bool = True


def at_rate(rate: int, channels: int = 1) -> Change:
    """Record at another rate; of several channels the later ones are further from the speaker."""

    def change(
        samples: np.ndarray, sample_rate: int, rng: np.random.Generator
    ) -> tuple[np.ndarray, int]:
        mono = resample(samples, sample_rate, rate)
        if channels == 1:
            return mono, rate
        return np.stack([mono * 0.5**channel for channel in range(channels)], axis=1), rate

    return change


def silence(seconds: float, level: float | None = None) -> Change:
    """Wait before and after the words.

    Args:
        seconds: On either side.
        level: Of the pink noise of the room in the silence, in dB of the recording's mean power;
            None for digital zeros.
    """

    def change(
        samples: np.ndarray, sample_rate: int, rng: np.random.Generator
    ) -> tuple[np.ndarray, int]:
        sides: list[np.ndarray] = []
        for _ in range(2):
            size = round(seconds * sample_rate)
            if level is None:
                sides.append(np.zeros(size, np.float32))
            else:
                gain = _rms(samples) * 10 ** (level / 20)
                sides.append(gain * coloured_noise("pink", size, sample_rate, rng))
        return _clipped(np.concatenate([sides[0], samples, sides[1]])), sample_rate

    return change


def peak(value: float) -> Change:
    """Turn the gain so that the loudest sample has this value: above 1 it clips."""

    def change(
        samples: np.ndarray, sample_rate: int, rng: np.random.Generator
    ) -> tuple[np.ndarray, int]:
        loudest = float(np.abs(samples).max())
        return _clipped(samples * (value / loudest if loudest else 1.0)), sample_rate

    return change


def offset(value: float) -> Change:
    """Add a constant to every sample, as a cheap converter does."""

    def change(
        samples: np.ndarray, sample_rate: int, rng: np.random.Generator
    ) -> tuple[np.ndarray, int]:
        return _clipped(samples + np.float32(value)), sample_rate

    return change


def noise(kind: str, decibels: float) -> Change:
    """Add noise of one of `apps.speech.channel.NOISES`, so many dB below the recording's power."""

    def change(
        samples: np.ndarray, sample_rate: int, rng: np.random.Generator
    ) -> tuple[np.ndarray, int]:
        gain = _rms(samples) * 10 ** (-decibels / 20)
        added = gain * coloured_noise(kind, len(samples), sample_rate, rng)
        loud = samples + added
        return _clipped(loud * min(1.0, 0.99 / float(np.abs(loud).max()))), sample_rate

    return change


def first(seconds: float) -> Change:
    """Stop the recording that soon."""

    def change(
        samples: np.ndarray, sample_rate: int, rng: np.random.Generator
    ) -> tuple[np.ndarray, int]:
        return samples[: round(seconds * sample_rate)], sample_rate

    return change


def muted(
    samples: np.ndarray, sample_rate: int, rng: np.random.Generator
) -> tuple[np.ndarray, int]:
    """Record nothing but digital silence."""
    return np.zeros_like(samples), sample_rate


def unchanged(
    samples: np.ndarray, sample_rate: int, rng: np.random.Generator
) -> tuple[np.ndarray, int]:
    """Leave the recording as it is."""
    return samples, sample_rate


DISTURBANCES = (
    Disturbance("as recorded", unchanged),
    Disturbance("8 kHz", at_rate(8000)),
    Disturbance("44.1 kHz, stereo", at_rate(44100, 2)),
    Disturbance("48 kHz, stereo", at_rate(48000, 2)),
    Disturbance("1 s of zeros on either side", silence(1.0)),
    Disturbance("4 s of zeros on either side", silence(4.0)),
    Disturbance("4 s of a room at -40 dB on either side", silence(4.0, -40.0)),
    Disturbance("quiet: peak 0.01", peak(0.01)),
    Disturbance("clipped by 6 dB", peak(2.0)),
    Disturbance("clipped by 20 dB", peak(10.0)),
    Disturbance("offset 0.1 of full scale", offset(0.1)),
    Disturbance("white noise, 20 dB", noise("white", 20.0)),
    Disturbance("white noise, 10 dB", noise("white", 10.0)),
    Disturbance("hum, 20 dB", noise("hum", 20.0)),
    Disturbance("hum, 10 dB", noise("hum", 10.0)),
    Disturbance("digital silence", muted, words=False),
    Disturbance("the first 10 ms", first(0.01), words=False),
)
"""What `python -m apps.speech robustness` tries."""


def _rms(samples: np.ndarray) -> float:
    return float(np.sqrt(np.mean(np.square(samples, dtype=np.float64))))


def _clipped(samples: np.ndarray) -> np.ndarray:
    return np.clip(samples, -1.0, 1.0).astype(np.float32)
