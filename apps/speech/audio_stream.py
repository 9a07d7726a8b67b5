"""Audio as it comes from a microphone."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from typing import Any, BinaryIO

import numpy as np

from apps.common.errors import InputError
from apps.speech.audio import SAMPLE_RATE

HEADERS = (b"RIFF", b"fLaC", b"OggS", b"NIST", b"FORM", b"ID3")
"""What files begin with that are not raw audio."""


def pcm_chunks(stream: BinaryIO, seconds: float) -> Iterator[np.ndarray]:
    """Read raw audio, 16-bit little-endian, 16 kHz, one channel, as it comes.

    Args:
        stream: Such as `sys.stdin.buffer`.
        seconds: Of the longest chunk; what is there is taken without waiting for more.

    Returns:
        float32 (samples,) each.

    Raises:
        InputError: The stream is a file with a header, or ends within a sample.
    """
    size = max(1, round(seconds * SAMPLE_RATE)) * 2
    read: Any = getattr(stream, "read1", stream.read)
    rest = b""
    first = True
    while data := read(size):
        data = rest + data
        if first and data.startswith(HEADERS):
            raise InputError(
                "-: got an audio file with a header; expected raw audio, or give the file's name"
            )
        first = False
        whole = len(data) // 2 * 2
        rest = data[whole:]
        yield np.frombuffer(data[:whole], "<i2").astype(np.float32) / 32768.0
    if rest:
        raise InputError(
            "-: the input ends within a sample; expected raw 16-bit little-endian audio, 16 kHz,"
            " one channel, such as `arecord -t raw -f S16_LE -r 16000 -c 1` gives"
        )


def in_real_time(chunks: Iterable[np.ndarray], sample_rate: int) -> Iterator[np.ndarray]:
    """Give each chunk when a microphone would have it whole."""
    began, heard = time.monotonic(), 0
    for chunk in chunks:
        heard += len(chunk)
        time.sleep(max(0.0, began + heard / sample_rate - time.monotonic()))
        yield chunk
