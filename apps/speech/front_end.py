"""Front ends: from samples to the network's input, one row a frame."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np

from apps.common.errors import InputError
from apps.speech.spectrum import (
    FLOOR,
    RunningNormalisation,
    by_utterance,
    cepstrum,
    delta,
    mel_basis,
    mel_frequencies,
    power_spectrum,
)

BLOCK = 4
"""Frames that a stream computes at a time: 40 ms of waiting at the most, a third of the work of one
by one."""


@dataclasses.dataclass(frozen=True)
class LogMel:
    """Log-mel energies with normalised bands.

    Frame k covers the samples around `k * hop`, edges padded with zeros: an utterance of n samples
    gives `1 + n // (hop * sample_rate)` frames. Energies are clamped at `FLOOR`, so that digital
    silence gives finite numbers.

    Args:
        sample_rate: of the audio it is called on, in Hz.
        window: length of the Hann window, in seconds; 0.020 as DeepSpeech2 uses it.
        hop: from one frame to the next, in seconds.
        bands: mel bands; 40 are enough for telephone-grade speech at a third of the cost of 161
            linear bins.
        low, high: ends of the mel scale, in Hz; `high` None for half the sample rate.
        normalise: give each band of an utterance mean 0, which cancels the microphone's frequency
            response, and deviation 1 (`by_utterance`).
        running: normalise by what was heard so far instead, for a network that listens while the
            speaker is speaking; None for the whole utterance.

    Raises:
        InputError: a value that makes no front end.

    Example:
        >>> features = LogMel()(np.zeros(16000, np.float32))
        >>> features.shape, features.dtype, float(np.abs(features).max())
        ((101, 40), dtype('float32'), 0.0)
    """

    kind: ClassVar[str] = "log_mel"

    sample_rate: int = 16000
    window: float = 0.020
    hop: float = 0.010
    bands: int = 40
    low: float = 20.0
    high: float | None = None
    normalise: bool = True
    running: RunningNormalisation | None = None

    def __post_init__(self) -> None:
        rate, low, high = self.sample_rate, self.low, self._highest
        self._check(rate >= 1000, f"sample_rate is {rate}; expected Hz, at least 1000")
        self._check(
            0 < self.hop <= self.window <= 1,
            f"window is {self.window} and hop {self.hop}; expected seconds, 0 < hop <= window <= 1",
        )
        self._check(self.bands >= 1, f"bands is {self.bands}; expected at least 1")
        self._check(
            0 <= low < high <= rate / 2,
            f"low is {low} and high {high} Hz; expected 0 <= low < high <= {rate / 2:g}",
        )
        fits = self.normalise or not self.running
        self._check(fits, "running normalises; expected none with normalise=False")

    def _check(self, holds: bool, message: str) -> None:
        if not holds:
            raise InputError(f"{type(self).__name__}: {message}")

    @property
    def _highest(self) -> float:
        return self.sample_rate / 2 if self.high is None else self.high

    @property
    def bands_are_normalised(self) -> bool:
        """Whether each number of a frame is a frequency band, normalised by the whole utterance."""
        return self.kind == LogMel.kind and self.normalise and not self.running

    @property
    def streams(self) -> bool:
        """Whether a frame depends on nothing that is heard later."""
        return not self.why_not_streaming

    @property
    def why_not_streaming(self) -> str:
        """What a frame needs that is heard later; empty where it needs nothing."""
        if self.normalise and not self.running:
            return "it normalises by the mean and deviation of all of it"
        return ""

    @property
    def width(self) -> int:
        """Numbers in a frame: the network's input width."""
        return self.bands

    @property
    def centres(self) -> tuple[float, ...]:
        """Frequency of each band's middle, in Hz."""
        edges = mel_frequencies(self.bands + 2, self.low, self._highest)
        return tuple(float(edge) for edge in edges[1:-1])

    @property
    def mel_basis(self) -> np.ndarray:
        """float32 (bands, 1 + fourier_size // 2): what each band has of each frequency's power."""
        return mel_basis(self.sample_rate, self.fourier_size, self.bands, self.low, self._highest)

    @property
    def window_samples(self) -> int:
        """Samples of the window."""
        return round(self.window * self.sample_rate)

    @property
    def hop_samples(self) -> int:
        """Samples from one frame to the next."""
        return round(self.hop * self.sample_rate)

    @property
    def fourier_size(self) -> int:
        """Samples of a transform, in whose middle the window is."""
        return max(512, 1 << (self.window_samples - 1).bit_length())

    def frames(self, samples: int) -> int:
        """Frames of an utterance of that many samples."""
        return 1 + samples // self.hop_samples

    def __call__(self, audio: np.ndarray) -> np.ndarray:
        """Features of one utterance.

        Args:
            audio: float32 (samples,), within [-1, 1], at `sample_rate`, at least one sample.

        Returns:
            float32 (frames, width).

        Raises:
            InputError: no samples, more than one channel, or not numbers.
        """
        audio = self.checked(audio)
        if self.running:
            stream = self.stream()
            return np.concatenate([stream.feed(audio), stream.finish()])
        features = self._rows(np.pad(audio, self.fourier_size // 2))
        return by_utterance(features) if self.normalise else features

    def stream(self) -> FeatureStream:
        """Start an utterance whose samples come little by little.

        Raises:
            InputError: A frame needs the whole utterance.

        Example:
            >>> stream = LogMel(normalise=False).stream()
            >>> [len(stream.feed(np.zeros(400, np.float32))) for _ in range(4)]
            [0, 4, 0, 4]
            >>> len(stream.finish())
            3
        """
        if not self.streams:
            raise InputError(
                f"front end {self.kind}: needs the whole recording ({self.why_not_streaming});"
                " streaming needs log-mel features with a running normalisation, as those of"
                " saved_models/an4-streaming"
            )
        return FeatureStream(self)

    def checked(self, audio: np.ndarray) -> np.ndarray:
        """The samples of an utterance as float32.

        Raises:
            InputError: as a call.
        """
        audio = np.asarray(audio, np.float32)
        shape = f"got audio of shape {audio.shape}; expected (samples,), at least one"
        self._check(audio.ndim == 1 and audio.size > 0, shape)
        self._check(bool(np.all(np.isfinite(audio))), "got NaN or infinite samples")
        return audio

    def log_mel(self, samples: np.ndarray) -> np.ndarray:
        """float32 (frames, bands) log-mel energies, not normalised, of all transforms that fit into
        float32 (samples,)."""
        return np.ascontiguousarray(self._energies(samples).T, np.float32)

    def _rows(self, samples: np.ndarray) -> np.ndarray:
        return self.log_mel(samples)

    def _energies(self, samples: np.ndarray) -> np.ndarray:
        size, hop, window = self.fourier_size, self.hop_samples, self.window_samples
        energies = self.mel_basis @ power_spectrum(samples, size, hop, window)
        return np.log(np.maximum(energies, np.float32(FLOOR)))

    def config(self) -> dict[str, Any]:
        """Plain values that `from_config` takes; a model file carries them."""
        values = {"kind": self.kind, **dataclasses.asdict(self)}
        if not self.running:
            del values["running"]  # as files and caches have it that are older than the option
        return values


@dataclasses.dataclass(frozen=True)
class MFCC(LogMel):
    """Mel cepstrum: the cosine transform of the log-mel energies, decorrelated and smoothed.

    Args:
        coefficients: how many, the zeroth (loudness) included.
        deltas: append first and second differences over 9 frames, which triples the width.
        Others as in `LogMel`.

    Example:
        >>> MFCC(deltas=True)(np.zeros(16000, np.float32)).shape
        (101, 39)
    """

    kind: ClassVar[str] = "mfcc"

    coefficients: int = 13
    deltas: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        fits = 1 <= self.coefficients <= self.bands
        expected = f"expected 1 to bands ({self.bands})"
        self._check(fits, f"coefficients is {self.coefficients}; {expected}")
        only = "got a running normalisation, which is for log-mel bands only"
        self._check(not self.running, only)

    @property
    def why_not_streaming(self) -> str:
        """As `LogMel` has it."""
        return "its frames are made of the whole utterance's cepstrum"

    @property
    def width(self) -> int:
        """Numbers in a frame."""
        return self.coefficients * (3 if self.deltas else 1)

    def _rows(self, samples: np.ndarray) -> np.ndarray:
        found = cepstrum(self._energies(samples), self.coefficients)
        if self.deltas:
            found = np.concatenate([found, delta(found, 1), delta(found, 2)])
        return np.ascontiguousarray(found.T, np.float32)


FrontEnd = LogMel
"""What functions ask for: `LogMel` or a subclass of it, such as `MFCC`."""


class FeatureStream:
    """The rows of a front end as soon as their samples are there; `LogMel.stream` starts one.

    Frames are computed in blocks of `BLOCK`, always the same ones, so that the numbers are the same
    to the last bit however the samples are cut into chunks; `LogMel` itself computes them so when
    its normalisation is a running one.

    Args:
        front_end: Of log-mel features, with `running` or without normalisation.
    """

    def __init__(self, front_end: LogMel) -> None:
        self._of = front_end
        self._normalise: Callable[[np.ndarray], np.ndarray] | None = None
        if front_end.running:
            self._normalise = front_end.running.start(front_end.width, front_end.hop)
        # What frame 0 sees before the recording begins.
        self._samples = np.zeros(front_end.fourier_size // 2, np.float32)
        self._frames = 0
        self.heard = 0
        """Samples so far."""

    def feed(self, samples: np.ndarray) -> np.ndarray:
        """Take the next samples; return the frames that are complete with them.

        Args:
            samples: float32 (samples,), any number, also none.

        Returns:
            float32 (frames, width); often no frames.
        """
        self._samples = np.concatenate([self._samples, np.asarray(samples, np.float32)])
        self.heard += len(samples)
        # The transform is longer than the window, whose zeros need no samples.
        margin = self._of.fourier_size // 2 - self._of.window_samples // 2
        found = [np.zeros((0, self._of.width), np.float32)]
        while len(self._samples) >= self._block_size - margin:
            found.append(self._block(BLOCK))
        return np.concatenate(found)

    def finish(self) -> np.ndarray:
        """Return the frames at the end, behind which there is silence."""
        total = self._of.frames(self.heard) if self.heard else 0
        found = [np.zeros((0, self._of.width), np.float32)]
        while self._frames < total:
            found.append(self._block(total - self._frames))
        return np.concatenate(found)

    @property
    def _block_size(self) -> int:
        """Samples under a block, from the first transform's begin to the last one's end."""
        return self._of.fourier_size + (BLOCK - 1) * self._of.hop_samples

    def _block(self, wanted: int) -> np.ndarray:
        """The next frames, of which there are not more than `wanted`."""
        segment = np.zeros(self._block_size, np.float32)
        there = self._samples[: len(segment)]
        segment[: len(there)] = there
        rows = self._of.log_mel(segment)[:wanted]
        self._samples = self._samples[BLOCK * self._of.hop_samples :]
        self._frames += len(rows)
        return self._normalise(rows) if self._normalise else rows


def from_config(config: dict[str, Any]) -> FrontEnd:
    """The front end of a model file.

    Raises:
        InputError: an unknown kind or argument.

    Example:
        >>> from_config(MFCC(bands=30).config()) == MFCC(bands=30)
        True
    """
    kinds: dict[str, type[FrontEnd]] = {front_end.kind: front_end for front_end in (LogMel, MFCC)}
    arguments = dict(config)
    kind = arguments.pop("kind", None)
    if kind not in kinds:
        raise InputError(f"front end: got kind {kind!r}; expected one of {', '.join(kinds)}")
    try:
        if arguments.get("running"):
            arguments["running"] = RunningNormalisation(**arguments["running"])
        return kinds[kind](**arguments)
    except TypeError as error:
        raise InputError(f"front end {kind}: {error}") from error
