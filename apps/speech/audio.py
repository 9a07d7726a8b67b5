"""Reads any recording as 16 kHz mono."""

import contextlib
import dataclasses
import math
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from apps.common.errors import InputError
from apps.speech.containers import damaged_packet, stated_end

SAMPLE_RATE = 16000
MIN_SECONDS = 0.05
MAX_SECONDS = 600.0
RATES = (1_000, 1_000_000)
"""Samples a second that a recording may have; its header is wrong where it says fewer or more."""
BLOCK = 1 << 18
"""Samples that are read at a time, so that a long recording at a high rate needs little memory."""
VALUES = 1 << 20
"""Samples of all channels together that are read at a time."""
INSTALL = 'pip install "hlstm_tf[audio]"'


def load_audio(
    path: str | os.PathLike[str],
    sample_rate: int = SAMPLE_RATE,
    *,
    min_seconds: float = MIN_SECONDS,
    max_seconds: float = MAX_SECONDS,
) -> np.ndarray:
    """Reads a recording.

    Every format of libsndfile (WAV, FLAC, OGG, MP3, NIST SPHERE, ...), at any rate, width and
    number of channels: channels are averaged and the rate is converted. A file named `.raw` is
    headerless 16-bit big-endian at 16 kHz, as AN4's raw edition is.

    Args:
        path: the file.
        sample_rate: of the result, in Hz.
        min_seconds: shorter recordings are refused: nobody says a word in 0.05 s.
        max_seconds: longer ones too, before they are read: a wrong file should not fill memory.

    Returns:
        float32 array of shape (samples,), within [-1, 1].

    Raises:
        InputError: no such file, not audio, empty, truncated, too short, too long, or with
            samples that are not numbers; the message names the file.

    Example:
        >>> import tempfile, soundfile
        >>> path = Path(tempfile.mkdtemp()) / "tone.wav"
        >>> soundfile.write(path, np.full((4410, 2), 0.25), 44100)
        >>> audio = load_audio(path)
        >>> audio.shape, audio.dtype
        ((1600,), dtype('float32'))
    """
    return load_recording(path, sample_rate, min_seconds, max_seconds)[0]


def load_recording(
    path: str | os.PathLike[str], sample_rate: int, min_seconds: float, max_seconds: float
) -> tuple[np.ndarray, float]:
    """Reads a recording as `load_audio` does.

    Returns:
        The samples, and the rate that the file has them at, in Hz: nothing was recorded above half
        of it.
    """
    path = Path(path)
    with _opened(path) as source:
        if source.frames is not None:
            _check_seconds(path, source.frames / source.rate, min_seconds, max_seconds)
        blocks = _converted(path, source, sample_rate, max_seconds, BLOCK)
        samples = np.concatenate([np.zeros(0, np.float32), *blocks])
    _check_seconds(path, len(samples) / sample_rate, min_seconds, math.inf)
    return samples, source.rate


def audio_chunks(
    path: str | os.PathLike[str], seconds: float, sample_rate: int = SAMPLE_RATE
) -> Iterator[np.ndarray]:
    """Reads a recording chunk by chunk, however long it is.

    Args:
        path: as for `load_audio`; may be shorter than a word.
        seconds: of a chunk, the last one may be shorter.
        sample_rate: of the result, in Hz.

    Returns:
        float32 (samples,) each; joined they are what `load_audio` returns.

    Raises:
        InputError: as `load_audio`, before the first chunk or, damaged within, at a later one.
    """
    path = Path(path)
    with _opened(path) as source:
        if source.frames is not None:
            _check_seconds(path, source.frames / source.rate, 0.0, math.inf)
        size = max(1, round(seconds * sample_rate))
        read = max(1, min(BLOCK, round(seconds * source.rate)))
        kept = np.zeros(0, np.float32)
        for block in _converted(path, source, sample_rate, math.inf, read):
            kept = np.concatenate([kept, block])
            while len(kept) >= size:
                yield kept[:size]
                kept = kept[size:]
        if len(kept):
            yield kept


def resample(samples: np.ndarray, rate: float, new_rate: float) -> np.ndarray:
    """Converts the rate with soxr (high quality); clips the overshoot to [-1, 1].

    Args:
        samples: float32 (samples,).
        rate, new_rate: in Hz.

    Returns:
        float32 (round(samples * new_rate / rate),).
    """
    if rate != new_rate:
        samples = _soxr().resample(samples.astype(np.float32), rate, new_rate)
    return _clipped(samples)


@dataclasses.dataclass(frozen=True)
class _Source:
    """A recording that is open.

    Attributes:
        rate: Of its samples, in Hz.
        frames: How many samples a channel it has; None where that is not known before its end.
        read: Takes a number of samples; returns as many of the next, or those that are left, with
            the channels averaged.
    """

    rate: float
    frames: int | None
    read: Callable[[int], np.ndarray]


def _opened(path: Path) -> contextlib.AbstractContextManager[_Source]:
    if not path.exists():
        raise InputError(f"{path}: no such file; check the path")
    if not path.is_file():
        raise InputError(f"{path}: is a folder or device; expected an audio file")
    if path.stat().st_size == 0:
        raise InputError(f"{path}: the file is empty (0 bytes); expected audio, record it again")
    return _raw(path) if path.suffix.lower() == ".raw" else _decoded(path)


@contextlib.contextmanager
def _raw(path: Path) -> Iterator[_Source]:
    size = path.stat().st_size
    if size % 2:
        raise InputError(
            f"{path}: {size} bytes; raw audio has two bytes a sample, so it is truncated or"
            " no 16-bit audio; copy it again"
        )
    with path.open("rb") as file:

        def read(count: int) -> np.ndarray:
            return np.frombuffer(file.read(2 * count), ">i2").astype(np.float32) / 32768.0

        yield _Source(SAMPLE_RATE, size // 2, read)


@contextlib.contextmanager
def _decoded(path: Path) -> Iterator[_Source]:
    soundfile = _soundfile()
    if place := damaged_packet(path):
        raise InputError(
            f"{path}: damaged at byte {place:,}: no packet begins there; copy it again"
        )
    try:
        with soundfile.SoundFile(path) as file:
            size, end = path.stat().st_size, stated_end(path)
            if end > size:
                raise InputError(
                    f"{path}: truncated: its header promises sound up to byte {end:,}, the file has"
                    f" {size:,} bytes; copy it again"
                )
            if not RATES[0] <= file.samplerate <= RATES[1]:
                raise InputError(
                    f"{path}: has {file.samplerate:,} samples a second; expected {RATES[0]:,} to"
                    f" {RATES[1]:,}"
                )
            most = max(1, VALUES // file.channels)

            def read(count: int) -> np.ndarray:
                frames = file.read(frames=min(count, most), dtype="float32", always_2d=True)
                return frames.mean(axis=1, dtype=np.float32)

            # An unknown length (a streamed header) is reported as a huge number.
            known = file.frames if file.frames < 1 << 60 else None
            yield _Source(file.samplerate, known, read)
    except (soundfile.LibsndfileError, OSError) as error:
        reason = str(getattr(error, "error_string", error)).strip().rstrip(".")
        raise InputError(
            f"{path}: cannot be read as audio ({reason}); expected WAV, FLAC, OGG, MP3, SPHERE or"
            " another format of libsndfile, whole"
        ) from error


def _converted(
    path: Path, source: _Source, sample_rate: int, longest: float, size: int
) -> Iterator[np.ndarray]:
    """The samples at another rate, as `resample` gives them, from blocks of `size`."""
    stream = None
    if source.rate != sample_rate:
        stream = _soxr().ResampleStream(source.rate, sample_rate, 1, dtype="float32")
    heard = 0
    while len(samples := source.read(size)):
        heard += len(samples)
        if heard > longest * source.rate:
            raise _too_long(path, longest)
        if not np.all(np.isfinite(samples)):
            raise InputError(f"{path}: some samples are NaN or infinite; export the file again")
        yield _clipped(stream.resample_chunk(samples) if stream else samples)
    if source.frames is not None and heard < source.frames:
        raise InputError(
            f"{path}: truncated: its header promises {source.frames} samples, the file holds"
            f" {heard}; copy it again"
        )
    if stream:
        yield _clipped(stream.resample_chunk(np.zeros(0, np.float32), last=True))


def _clipped(samples: np.ndarray) -> np.ndarray:
    return np.clip(samples, -1.0, 1.0).astype(np.float32, copy=False)


def _check_seconds(path: Path, seconds: float, shortest: float, longest: float) -> None:
    if seconds == 0:
        raise InputError(f"{path}: holds no samples; expected audio, record it again")
    if seconds < shortest:
        raise InputError(
            f"{path}: only {seconds:.3f} s long; expected at least {shortest:g} s of audio"
        )
    if seconds > longest:
        raise _too_long(path, longest)


def _too_long(path: Path, longest: float) -> InputError:
    return InputError(f"{path}: longer than {longest:g} s; cut it into shorter recordings")


def _soundfile() -> Any:
    try:
        import soundfile
    except ImportError as error:
        raise InputError(f"reading audio needs the package soundfile; {INSTALL}") from error
    return soundfile


def _soxr() -> Any:
    try:
        import soxr
    except ImportError as error:
        raise InputError(f"converting the rate needs the package soxr; {INSTALL}") from error
    return soxr


def speed(audio: np.ndarray, factor: float) -> np.ndarray:
    """Plays audio faster or slower, pitch and all (Ko et al. 2015, "Audio augmentation for speech
    recognition").

    Args:
        audio: float32 (samples,).
        factor: 0.5 to 2; above 1 is faster. 0.9, 1.0 and 1.1 are the usual three.

    Returns:
        float32 (round(samples / factor),), within [-1, 1]; the input itself at factor 1.

    Raises:
        InputError: a factor out of range.

    Example:
        >>> speed(np.zeros(1100, np.float32), 1.1).shape
        (1000,)
    """
    if not 0.5 <= factor <= 2:
        raise InputError(f"speed: got factor {factor}; expected 0.5 to 2")
    return audio if factor == 1 else resample(audio, factor, 1.0)
