"""The length of an audio file by what its container states.

libsndfile lowers its count of frames to what a truncated file holds, without a word. Each container
states in its own way how many bytes of sound it has; one that ends before them is truncated.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

MOST_CHUNKS = 1000
"""Chunks that are looked at before the sound; files have a dozen."""


SAMPLE_DUMP, DUMP_HEAD, DUMP_PACKET = b"\xf0\x7e", 21, 127
"""How a MIDI sample dump and each packet of it begin; bytes of its header and of a packet."""


class _Fields:
    """Numbers and names at places of a file; a place past its end reads as zeros."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file

    def bytes(self, place: int, size: int) -> bytes:
        self._file.seek(place)
        return self._file.read(size).ljust(size, b"\0")

    def number(self, place: int, size: int, order: str = "big") -> int:
        return int.from_bytes(self.bytes(place, size), "big" if order == "big" else "little")


@dataclasses.dataclass(frozen=True)
class _Chunks:
    """A container of named chunks, each behind a header of its name and its size.

    Attributes:
        first: Where the first header is.
        name, size: Bytes of a header's name and of its size.
        order: Of the size's bytes.
        sound: How the names begin of the chunks that hold the sound; empty for the last chunk.
        counted: Bytes of the header that the size counts, too.
        step: Chunks begin at multiples of it, counted from the first.
    """

    first: int
    name: int
    size: int
    order: str
    sound: tuple[bytes, ...]
    counted: int = 0
    step: int = 1

    def end(self, fields: _Fields, length: int) -> int:
        """Return where the sound ends; 0 where no chunk says so."""
        place = self.first
        wide = None
        for _ in range(MOST_CHUNKS):
            begin = place + self.name + self.size
            if begin > length:
                return 0
            name = fields.bytes(place, self.name)
            size = fields.number(place + self.name, self.size, self.order)
            if name == b"ds64":
                wide = fields.number(begin + 8, 8, self.order)
            if name.startswith(self.sound):
                if wide is not None and size == 0xFFFFFFFF:
                    return begin + wide
                stated = size - self.counted
                return 0 if _unknown(size, self.size) or stated < 0 else begin + stated
            place = begin + max(0, size - self.counted)
            place += -(place - self.first) % self.step
        return 0


def _unknown(size: int, width: int) -> bool:
    """Whether a program that did not know the size yet left this in its place."""
    if size == 0:
        return True
    if width == 4:
        return 0x7FFFF000 <= size <= 0x7FFFFFFF or size >= 0xFFFFFF00
    return width == 8 and size >= 1 << 62


def _sun(order: str) -> Callable[[_Fields, int], int]:
    def end(fields: _Fields, length: int) -> int:
        size = fields.number(8, 4, order)
        return 0 if _unknown(size, 4) else fields.number(4, 4, order) + size

    return end


def _sphere(fields: _Fields, length: int) -> int:
    head = fields.bytes(0, min(length, 1 << 16))
    lines = [line.split() for line in head.split(b"end_head")[0].splitlines()]
    values = {line[0]: line[2] for line in lines if len(line) == 3 and line[2].isdigit()}
    begin = lines[1][0] if len(lines) > 1 and lines[1] else b""
    if not begin.isdigit() or b"sample_count" not in values:
        return 0
    each = int(values.get(b"channel_count", 1)) * int(values.get(b"sample_n_bytes", 1))
    return int(begin) + int(values[b"sample_count"]) * each


def _avr(fields: _Fields, length: int) -> int:
    channels = 2 if fields.number(12, 2) else 1
    return 128 + fields.number(26, 4) * channels * fields.number(14, 2) // 8


def _mpc(fields: _Fields, length: int) -> int:
    return 42 + fields.number(30, 4, "little") * 2 * (2 if fields.number(21, 1) else 1)


def _psion(fields: _Fields, length: int) -> int:
    return 32 + fields.number(18, 4)


def _sample_dump(fields: _Fields, length: int) -> int:
    bits, *lengths = (fields.number(place, 1) for place in (6, 10, 11, 12))
    words = sum(part << 7 * place for place, part in enumerate(lengths))
    return DUMP_HEAD + -(-words // (60 if bits <= 14 else 40 if bits <= 21 else 30)) * DUMP_PACKET


def _voc(fields: _Fields, length: int) -> int:
    first = fields.number(20, 2, "little")
    return _Chunks(first, 1, 3, "little", (b"\1", b"\x09")).end(fields, length)


def _matlab_4(order: str) -> Callable[[_Fields, int], int]:
    def end(fields: _Fields, length: int) -> int:
        place = 0
        for _ in range(2):  # the sample rate, then the samples
            kind, rows, columns, _, name = (
                fields.number(place + 4 * k, 4, order) for k in range(5)
            )
            width = {0: 8, 1: 4, 2: 4, 3: 2, 4: 2, 5: 1}.get(kind % 1000 // 10, 0)
            place += 20 + name + rows * columns * width
        return place

    return end


def _matlab_5(fields: _Fields, length: int) -> int:
    order = "little" if fields.bytes(126, 2) == b"IM" else "big"
    place = 136 + fields.number(132, 4, order) + 8  # behind the sample rate
    for _ in range(3):  # flags, shape, name
        place += 8 + -(-fields.number(place + 4, 4, order) // 8) * 8
    return place + 8 + fields.number(place + 4, 4, order)


_WAVE = _Chunks(12, 4, 4, "little", (b"data",), step=2).end
_FORM = _Chunks(12, 4, 4, "big", (b"SSND", b"BODY"), step=2).end
_BEGINNINGS: dict[bytes, Callable[[_Fields, int], int]] = {
    b"RIFF": _WAVE,
    b"RF64": _WAVE,
    b"BW64": _WAVE,
    b"RIFX": _Chunks(12, 4, 4, "big", (b"data",), step=2).end,
    b"riff": _Chunks(40, 16, 8, "little", (b"data",), counted=24, step=8).end,
    b"FORM": _FORM,
    b"caff": _Chunks(8, 4, 8, "big", (b"data",)).end,
    b".snd": _sun("big"),
    b"dns.": _sun("little"),
    b"NIST_1A": _sphere,
    b"Creative Voice File": _voc,
    SAMPLE_DUMP: _sample_dump,
    b"2BIT": _avr,
    b"\x01\x04": _mpc,
    b"ALawSoundFile": _psion,
    b"MATLAB 5.0": _matlab_5,
    b"\0\0\x03\xe8": _matlab_4("big"),
    b"\0\0\0\0\1\0\0\0\1\0\0\0": _matlab_4("little"),
}


def stated_end(path: str | os.PathLike[str]) -> int:
    """Return at which byte the sound of a file ends by its header; 0 where that does not say.

    A header does not say where the container has no such field (Ogg, MP3, FLAC, whose decoders miss
    what is gone), or where a program that wrote it without knowing left 0 or the largest number.

    Args:
        path: A file that exists.

    Example:

    >>> import tempfile, wave
    >>> path = Path(tempfile.mkdtemp()) / "a.wav"
    >>> with wave.open(str(path), "wb") as file:
    ...     file.setparams((1, 2, 16000, 0, "NONE", ""))
    ...     file.writeframes(bytes(100))
    >>> stated_end(path)
    144
    """
    length = Path(path).stat().st_size
    with Path(path).open("rb") as file:
        fields = _Fields(file)
        head = fields.bytes(0, 32)
        for beginning, end in _BEGINNINGS.items():
            if head.startswith(beginning):
                return end(fields, length)
    return 0


def damaged_packet(path: str | os.PathLike[str]) -> int | None:
    """Return the place of the first packet of a MIDI sample dump that does not begin as one; None
    where there is none, or where the file is something else.

    libsndfile goes on at such a packet, and prints remarks of its own on standard output.

    Args:
        path: A file that exists.
    """
    with Path(path).open("rb") as file:
        if not file.read(DUMP_HEAD).startswith(SAMPLE_DUMP):
            return None
        while packet := file.read(DUMP_PACKET):
            if not packet.startswith(SAMPLE_DUMP):
                return file.tell() - len(packet)
    return None
