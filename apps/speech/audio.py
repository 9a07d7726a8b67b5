"""Reads any recording as 16 kHz mono."""

import contextlib
import math
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from apps.common.errors import InputError

SAMPLE_RATE = 16000
MIN_SECONDS = 0.05
MAX_SECONDS = 600.0
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
    _check_file(path)
    samples, rate = _read_raw(path) if path.suffix.lower() == ".raw" else _read(path, max_seconds)
    _check_seconds(path, len(samples) / rate, min_seconds, max_seconds)
    return resample(_mono(path, samples), rate, sample_rate), rate


def audio_chunks(
    path: str | os.PathLike[str], seconds: float, sample_rate: int = SAMPLE_RATE
) -> Iterator[np.ndarray]:
    """Reads a recording chunk by chunk, however long it is.

    A file of another rate, or without a header, is read and converted at once.

    Args:
        path: as for `load_audio`; may be shorter than a word.
        seconds: of a chunk, the last one may be shorter.
        sample_rate: of the result, in Hz.

    Returns:
        float32 (samples,) each; joined they are what `load_audio` returns.

    Raises:
        InputError: as `load_audio`, before the first chunk or, damaged within, at a later one.
    """
    path, size = Path(path), max(1, round(seconds * sample_rate))
    _check_file(path)
    if path.suffix.lower() != ".raw":
        with _opened(path) as file:
            rate = file.samplerate
        if rate == sample_rate:
            yield from _read_chunks(path, size)
            return
    samples = load_audio(path, sample_rate, min_seconds=0.0)
    for begin in range(0, len(samples), size):
        yield samples[begin : begin + size]


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
    return np.clip(samples, -1.0, 1.0).astype(np.float32, copy=False)


def _check_file(path: Path) -> None:
    if not path.exists():
        raise InputError(f"{path}: no such file; check the path")
    if not path.is_file():
        raise InputError(f"{path}: is a folder or device; expected an audio file")
    if path.stat().st_size == 0:
        raise InputError(f"{path}: the file is empty (0 bytes); expected audio, record it again")


def _read(path: Path, max_seconds: float) -> tuple[np.ndarray, float]:
    with _opened(path) as file:
        # An unknown length (a streamed header) is reported as a huge number.
        limit = int(max_seconds * file.samplerate) + 1
        samples = file.read(frames=min(file.frames, limit), dtype="float32", always_2d=True)
        missing = min(file.frames, limit) - len(samples)
        rate, promised = file.samplerate, file.frames
    promised = max(promised, _promised_frames(path))
    if missing > 0 or (promised > len(samples) and len(samples) < limit):
        raise _truncated(path, promised, len(samples))
    return samples, rate


def _read_chunks(path: Path, size: int) -> Iterator[np.ndarray]:
    with _opened(path) as file:
        held, promised = file.frames, _promised_frames(path)
        if promised > held:
            raise _truncated(path, promised, held)
        _check_seconds(path, held / file.samplerate, 0.0, math.inf)
        while len(samples := file.read(frames=size, dtype="float32", always_2d=True)):
            yield np.clip(_mono(path, samples), -1.0, 1.0)


def _mono(path: Path, samples: np.ndarray) -> np.ndarray:
    if samples.ndim == 2:
        samples = samples.mean(axis=1, dtype=np.float32)
    if not np.all(np.isfinite(samples)):
        raise InputError(f"{path}: some samples are NaN or infinite; export the file again")
    return samples


def _truncated(path: Path, promised: int, held: int) -> InputError:
    return InputError(
        f"{path}: truncated: its header promises {promised} samples, the file holds {held};"
        " copy it again"
    )


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[Any]:
    soundfile = _soundfile()
    try:
        with soundfile.SoundFile(path) as file:
            yield file
    except (soundfile.LibsndfileError, OSError) as error:
        reason = str(getattr(error, "error_string", error)).strip().rstrip(".")
        raise InputError(
            f"{path}: cannot be read as audio ({reason}); expected WAV, FLAC, OGG, MP3, SPHERE or"
            " another format of libsndfile, whole"
        ) from error


def _promised_frames(path: Path) -> int:
    """Frames that the header of a WAV or SPHERE file promises; 0 where it does not say.

    libsndfile quietly lowers its frame count to what a truncated file holds.
    """
    with path.open("rb") as file:
        head = file.read(4096)
    if head.startswith(b"NIST_1A"):
        return _sphere_frames(head)
    if head[:4] == b"RIFF" and head[8:12] == b"WAVE":
        return _wav_frames(head)
    return 0


def _sphere_frames(head: bytes) -> int:
    for line in head.split(b"end_head")[0].splitlines():
        fields = line.split()
        if fields[:1] == [b"sample_count"] and len(fields) == 3 and fields[2].isdigit():
            return int(fields[2])
    return 0


def _wav_frames(head: bytes) -> int:
    position, block = 12, 0
    while position + 8 <= len(head):
        name = head[position : position + 4]
        size = int.from_bytes(head[position + 4 :][:4], "little")
        if name == b"fmt ":
            block = int.from_bytes(head[position + 20 :][:2], "little")
        if name == b"data":
            # Writers that stream leave 0 or 0xFFFFFFFF: no promise.
            return size // block if block and 0 < size < 0xFFFFFF00 else 0
        position += 8 + size + size % 2
    return 0


def _read_raw(path: Path) -> tuple[np.ndarray, float]:
    data = path.read_bytes()
    if len(data) % 2:
        raise InputError(
            f"{path}: {len(data)} bytes; raw audio has two bytes a sample, so it is truncated or"
            " no 16-bit audio; copy it again"
        )
    return np.frombuffer(data, ">i2").astype(np.float32) / 32768.0, SAMPLE_RATE


def _check_seconds(path: Path, seconds: float, shortest: float, longest: float) -> None:
    if seconds == 0:
        raise InputError(f"{path}: holds no samples; expected audio, record it again")
    if seconds < shortest:
        raise InputError(
            f"{path}: only {seconds:.3f} s long; expected at least {shortest:g} s of audio"
        )
    if seconds > longest:
        raise InputError(f"{path}: longer than {longest:g} s; cut it into shorter recordings")


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
