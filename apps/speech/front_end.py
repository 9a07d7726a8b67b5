"""Front ends: from samples to the network's input, one row a frame."""

import dataclasses
from typing import Any, ClassVar

import numpy as np

from apps.common.errors import InputError
from apps.speech.feature_stream import FeatureStream, Frames
from apps.speech.normalise import FLOOR, RunningNormalisation, by_utterance
from apps.speech.spectrum import cepstrum, delta, mel_basis, mel_frequencies, power_spectrum


@dataclasses.dataclass(frozen=True)
class LogMel:
    """Log-mel energies with normalised bands.

    Frame k covers the samples around `k * hop`, edges padded with zeros: an utterance of n samples
    gives `1 + n // (hop * sample_rate)` frames. Energies are clamped at `FLOOR`, so that digital
    silence gives finite numbers. With `normalise`, each band has its mean over the utterance
    subtracted (which cancels the microphone's frequency response) and is divided by its standard
    deviation plus 0.01 (so a constant band becomes 0 and not noise blown up).

    Args:
        sample_rate: of the audio it is called on, in Hz.
        window: length of the Hann window, in seconds; 0.020 as DeepSpeech2 uses it.
        hop: from one frame to the next, in seconds.
        bands: mel bands; 40 are enough for telephone-grade speech at a third of the cost of 161
            linear bins.
        low, high: ends of the mel scale, in Hz; `high` None for half the sample rate.
        normalise: per utterance, as above.
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
        name = type(self).__name__
        if self.sample_rate < 1000:
            raise InputError(
                f"{name}: sample_rate is {self.sample_rate}; expected Hz, at least 1000"
            )
        if not 0 < self.hop <= self.window <= 1:
            raise InputError(
                f"{name}: window is {self.window} and hop {self.hop}; expected seconds,"
                " 0 < hop <= window <= 1"
            )
        if self.bands < 1:
            raise InputError(f"{name}: bands is {self.bands}; expected at least 1")
        high = self._highest
        if not 0 <= self.low < high <= self.sample_rate / 2:
            raise InputError(
                f"{name}: low is {self.low} and high {high} Hz; expected"
                f" 0 <= low < high <= {self.sample_rate / 2:g}"
            )
        if self.running and not self.normalise:
            raise InputError(f"{name}: running normalises; expected none with normalise=False")

    @property
    def _highest(self) -> float:
        return self.sample_rate / 2 if self.high is None else self.high

    @property
    def bands_are_normalised(self) -> bool:
        """Whether each number of a frame is a frequency band, normalised by the whole utterance."""
        return self.kind == LogMel.kind and self.normalise and not self.running

    @property
    def streams(self) -> bool:
        """Whether a frame depends on nothing that is heard later (`apps.speech.feature_stream`)."""
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
    def window_samples(self) -> int:
        """Samples of the window."""
        return round(self.window * self.sample_rate)

    @property
    def mel_basis(self) -> np.ndarray:
        """float32 (bands, 1 + fourier_size // 2): what each band has of each frequency's power."""
        return mel_basis(self.sample_rate, self.fourier_size, self.bands, self.low, self._highest)

    @property
    def hop_samples(self) -> int:
        """Samples from one frame to the next."""
        return round(self.hop * self.sample_rate)

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
        features = self._static(audio)
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
        frames = Frames(
            self.log_mel, self.width, self.fourier_size, self.window_samples, self.hop_samples
        )
        running = self.running.start(self.width, self.hop) if self.running else None
        return FeatureStream(frames, running)

    def checked(self, audio: np.ndarray) -> np.ndarray:
        """The samples of an utterance as float32.

        Raises:
            InputError: as a call.
        """
        audio = np.asarray(audio, np.float32)
        if audio.ndim != 1 or not audio.size:
            raise InputError(
                f"{type(self).__name__}: got audio of shape {audio.shape}; expected (samples,),"
                " at least one"
            )
        if not np.all(np.isfinite(audio)):
            raise InputError(f"{type(self).__name__}: got NaN or infinite samples")
        return audio

    @property
    def fourier_size(self) -> int:
        """Samples of a transform, in whose middle the window is."""
        return max(512, 1 << (self.window_samples - 1).bit_length())

    def log_mel(self, samples: np.ndarray) -> np.ndarray:
        """Log-mel energies, not normalised, of all transforms that fit into `samples`.

        Args:
            samples: float32 (samples,).

        Returns:
            float32 (frames, bands).
        """
        return np.ascontiguousarray(self._band_energies(samples).T, np.float32)

    def _static(self, audio: np.ndarray) -> np.ndarray:
        return self.log_mel(self._padded(audio))

    def _padded(self, audio: np.ndarray) -> np.ndarray:
        return np.pad(audio, self.fourier_size // 2)

    def _band_energies(self, samples: np.ndarray) -> np.ndarray:
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
        if not 1 <= self.coefficients <= self.bands:
            raise InputError(
                f"MFCC: coefficients is {self.coefficients}; expected 1 to bands ({self.bands})"
            )
        if self.running:
            raise InputError("MFCC: got a running normalisation, which is for log-mel bands only")

    @property
    def why_not_streaming(self) -> str:
        """As `LogMel` has it."""
        return "its frames are made of the whole utterance's cepstrum"

    @property
    def width(self) -> int:
        """Numbers in a frame."""
        return self.coefficients * (3 if self.deltas else 1)

    def _static(self, audio: np.ndarray) -> np.ndarray:
        found = cepstrum(self._band_energies(self._padded(audio)), self.coefficients)
        if self.deltas:
            found = np.concatenate([found, delta(found, 1), delta(found, 2)])
        return np.ascontiguousarray(found.T, np.float32)


FrontEnd = LogMel
"""What functions ask for: `LogMel` or a subclass of it, such as `MFCC`."""


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
