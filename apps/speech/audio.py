"""Reads any recording as 16 kHz mono."""

import contextlib
import math
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from apps.common.errors import InputError

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
_SOUND = "data|riff|SSND|BODY|Data Size|Riff size"
PROMISES = (
    rf"^ *(?:{_SOUND}) *: (?P<stated>\d+) \(should be (?P<found>\d+)\)",
    r"^Data length (?P<stated>\d+) should be (?P<found>\d+)",  # Psion
    r"seems to be truncated\. (?P<found>\d+) <--> (?P<stated>\d+)",  # MATLAB 4
    r"^ +(?:Frames +|Rows : \d+ +Cols ): (?P<stated>\d+)$",  # AVR, MPC 2000, MATLAB 5
)
"""What libsndfile's log has of the length that a header states, and of that which it found."""
WHOLE = r"^(?:RIFF|RIFX|FORM) : (?P<stated>\d+) \(should be (?P<found>\d+)\)"
LOG_BYTES = 2047
"""Where the log ends. A header so long may be cut off before its sound; then what it says of the
`WHOLE` has to do, which is often wrong."""
SAMPLE_DUMP, DUMP_HEAD, DUMP_PACKET = b"\xf0\x7e", 21, 127
"""How a MIDI sample dump and each packet of it begin; bytes of its header and of a packet."""


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
    with _opened(path) as file:
        _check_seconds(path, _seconds(file), min_seconds, max_seconds)
        blocks = _converted(path, file, sample_rate, max_seconds, BLOCK)
        samples = np.concatenate([np.zeros(0, np.float32), *blocks])
        rate = float(file.samplerate)
    _check_seconds(path, len(samples) / sample_rate, min_seconds, math.inf)
    return samples, rate


def audio_chunks(
    path: str | os.PathLike[str], seconds: float, sample_rate: int = SAMPLE_RATE
) -> Iterator[np.ndarray]:
    """Reads a recording chunk by chunk, however long or short it is; joined the chunks are what
    `load_audio` returns.

    Args:
        path: as for `load_audio`.
        seconds: of a chunk, the last one may be shorter.
        sample_rate: of the result, in Hz.

    Raises:
        InputError: as `load_audio`, before the first chunk or, damaged within, at a later one.
    """
    path = Path(path)
    with _opened(path) as file:
        _check_seconds(path, _seconds(file), 0.0, math.inf)
        size = max(1, round(seconds * sample_rate))
        read = max(1, min(BLOCK, round(seconds * file.samplerate)))
        kept = np.zeros(0, np.float32)
        for block in _converted(path, file, sample_rate, math.inf, read):
            kept = np.concatenate([kept, block])
            while len(kept) >= size:
                yield kept[:size]
                kept = kept[size:]
        if len(kept):
            yield kept


def speed(audio: np.ndarray, factor: float) -> np.ndarray:
    """Plays audio, float32 (samples,), faster or slower, pitch and all (Ko et al. 2015, "Audio
    augmentation for speech recognition").

    Args:
        audio: within [-1, 1]; given back as it is at factor 1.
        factor: 0.5 to 2; above 1 is faster. 0.9, 1.0 and 1.1 are the usual three.

    Raises:
        InputError: a factor out of range.

    Example:
        >>> speed(np.zeros(1100, np.float32), 1.1).shape
        (1000,)
    """
    if not 0.5 <= factor <= 2:
        raise InputError(f"speed: got factor {factor}; expected 0.5 to 2")
    return audio if factor == 1 else resample(audio, factor, 1.0)


def resample(samples: np.ndarray, rate: float, new_rate: float) -> np.ndarray:
    """Converts the rate, in Hz, of float32 (samples,) with soxr (high quality); clips the overshoot
    to [-1, 1]."""
    if rate != new_rate:
        samples = _soxr().resample(samples.astype(np.float32), rate, new_rate)
    return _clipped(samples)


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[Any]:
    """The recording as a `soundfile.SoundFile` whose header is believable."""
    _check_file(path)
    options: dict[str, Any] = {}
    if path.suffix.lower() == ".raw":
        options = {"samplerate": SAMPLE_RATE, "channels": 1, "format": "RAW", "subtype": "PCM_16"}
        options["endian"] = "BIG"
    soundfile = _soundfile()
    try:
        with soundfile.SoundFile(path, **options) as file:
            stated, found = _promised(path, file)
            if stated > found:
                raise _truncated(path, stated, found)
            if not RATES[0] <= file.samplerate <= RATES[1]:
                raise InputError(
                    f"{path}: has {file.samplerate:,} samples a second; expected {RATES[0]:,} to"
                    f" {RATES[1]:,}"
                )
            yield file
    except (soundfile.LibsndfileError, OSError) as error:
        reason = str(getattr(error, "error_string", error)).strip().rstrip(".")
        raise InputError(
            f"{path}: cannot be read as audio ({reason}); expected WAV, FLAC, OGG, MP3, SPHERE or"
            " another format of libsndfile, whole"
        ) from error


def _check_file(path: Path) -> None:
    if not path.exists():
        raise InputError(f"{path}: no such file; check the path")
    if not path.is_file():
        raise InputError(f"{path}: is a folder or device; expected an audio file")
    size = path.stat().st_size
    if size == 0:
        raise InputError(f"{path}: the file is empty (0 bytes); expected audio, record it again")
    if path.suffix.lower() == ".raw" and size % 2:
        raise InputError(
            f"{path}: {size} bytes; raw audio has two bytes a sample, so it is truncated or"
            " no 16-bit audio; copy it again"
        )
    _check_sample_dump(path)


def _seconds(file: Any) -> float | None:
    """The length that a header states; None of a streamed one, which libsndfile has as huge."""
    return file.frames / file.samplerate if file.frames < 1 << 60 else None


def _converted(
    path: Path, file: Any, sample_rate: int, longest: float, size: int
) -> Iterator[np.ndarray]:
    """The channels' mean at another rate, as `resample` gives it, from blocks of `size` samples."""
    stream, heard = None, 0
    if file.samplerate != sample_rate:
        stream = _soxr().ResampleStream(file.samplerate, sample_rate, 1, dtype="float32")
    size = min(size, max(1, VALUES // file.channels))
    while len(frames := file.read(frames=size, dtype="float32", always_2d=True)):
        samples = frames.mean(axis=1, dtype=np.float32)
        heard += len(samples)
        if heard > longest * file.samplerate:
            raise _too_long(path, longest)
        if not np.all(np.isfinite(samples)):
            raise InputError(f"{path}: some samples are NaN or infinite; export the file again")
        yield _clipped(stream.resample_chunk(samples) if stream else samples)
    if _seconds(file) is not None and heard < file.frames:
        raise _truncated(path, file.frames, heard)
    if stream:
        yield _clipped(stream.resample_chunk(np.zeros(0, np.float32), last=True))


def _promised(path: Path, file: Any) -> tuple[int, int]:
    """Bytes or samples of sound that a header states, and those that libsndfile found.

    It lowers its own count of frames to what a truncated file holds, without an error. Equal where
    the container has no such field (Ogg, MP3, FLAC, whose decoders miss what is gone), or where a
    program that wrote it without knowing left 0 or the largest number.
    """
    if file.format == "NIST":  # the one of AN4, of which the log tells nothing
        with path.open("rb") as raw:
            head = raw.read(1 << 16).split(b"end_head")[0]
        fields = {f[0]: f[2] for line in head.splitlines() if len(f := line.split()) == 3}
        count = fields.get(b"sample_count", b"")
        return int(count) if count.isdigit() else 0, file.frames
    log = file.extra_info
    if file.format == "VOC" and "Seems to be a truncated file" in log:
        return path.stat().st_size + 1, path.stat().st_size
    for pattern in (*PROMISES, *([WHOLE] if len(log) >= LOG_BYTES else [])):
        for match in re.finditer(pattern, log, re.MULTILINE):
            numbers = {"found": file.frames, **match.groupdict()}
            stated, found = int(numbers["stated"]), int(numbers["found"])
            known = stated < 0x7FFFF000 or 0xFFFFFFFF < stated < 1 << 62
            if known and stated > found:
                return stated, found
    return 0, 0


def _check_sample_dump(path: Path) -> None:
    """Check a MIDI sample dump: of a damaged one libsndfile prints remarks on standard output."""
    with path.open("rb") as file:
        head = file.read(DUMP_HEAD).ljust(DUMP_HEAD, b"\0")
        if not head.startswith(SAMPLE_DUMP):
            return
        bits, words = head[6], head[10] | head[11] << 7 | head[12] << 14
        size = (
            DUMP_HEAD - (-words // (60 if bits <= 14 else 40 if bits <= 21 else 30)) * DUMP_PACKET
        )
        if size > path.stat().st_size:
            raise _truncated(path, size, path.stat().st_size)
        while packet := file.read(DUMP_PACKET):
            if not packet.startswith(SAMPLE_DUMP):
                place = file.tell() - len(packet)
                raise InputError(
                    f"{path}: damaged at byte {place:,}: no packet begins there; copy it again"
                )


def _truncated(path: Path, stated: int, found: int) -> InputError:
    return InputError(
        f"{path}: truncated: its header promises {stated:,} bytes or samples of sound, the file"
        f" has {found:,}; copy it again"
    )


def _clipped(samples: np.ndarray) -> np.ndarray:
    return np.clip(samples, -1.0, 1.0).astype(np.float32, copy=False)


def _check_seconds(path: Path, seconds: float | None, shortest: float, longest: float) -> None:
    if seconds is None:
        return
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
