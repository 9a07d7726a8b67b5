"""The idx format of MNIST's files, plain or gzipped."""

from __future__ import annotations

import contextlib
import gzip
import math
import os
import zlib
from pathlib import Path
from typing import BinaryIO, cast

import numpy as np

from apps.common.errors import InputError

UNSIGNED_BYTE = 8
LARGEST = 200_000_000
"""Bytes of numbers; MNIST's training images are 47 million, EMNIST's digits 188 million."""
BLOCK = 1 << 20
"""Bytes that are unpacked at a time."""


def read_idx(path: str | os.PathLike[str], axes: int) -> np.ndarray:
    """Read an idx file of unsigned bytes.

    The file begins with two zero bytes, the type of its numbers and how many axes it has; then
    follow the lengths of the axes as big-endian 32-bit numbers, then the numbers themselves
    (http://yann.lecun.com/exdb/mnist).

    Args:
        path: The file; whether it is gzipped is told by its content, not by its name.
        axes: How many axes are expected: 3 of images, 1 of labels.

    Returns:
        A uint8 array.

    Raises:
        InputError: The file is missing, damaged, larger than `LARGEST`, or of another kind.

    Example:

    >>> import tempfile
    >>> file = Path(tempfile.mkdtemp()) / "labels-idx1-ubyte"
    >>> _ = file.write_bytes(bytes([0, 0, 8, 1, 0, 0, 0, 2, 7, 3]))
    >>> read_idx(file, axes=1)
    array([7, 3], dtype=uint8)
    """
    path = Path(path)
    try:
        with _opened(path) as file:
            return _read(path, file, axes)
    except OSError as error:
        if isinstance(error, gzip.BadGzipFile):
            raise InputError(f"{path}: damaged gzip file; download it again") from error
        raise InputError(f"{path}: {str(error.strerror or error).lower()}") from error
    except (EOFError, zlib.error) as error:
        raise InputError(f"{path}: damaged gzip file; download it again") from error


def _opened(path: Path) -> contextlib.AbstractContextManager[BinaryIO]:
    with path.open("rb") as file:
        packed = file.read(2) == b"\x1f\x8b"
    return cast(BinaryIO, gzip.open(path)) if packed else path.open("rb")


def _read(path: Path, file: BinaryIO, axes: int) -> np.ndarray:
    """Read what the header promises and no more: a small gzip file may hold gigabytes."""
    magic = file.read(4)
    expected = bytes([0, 0, UNSIGNED_BYTE, axes])
    if magic != expected:
        raise InputError(
            f"{path}: begins with {magic.hex(' ') or 'nothing'}; expected {expected.hex(' ')}, an"
            f" idx file of bytes with {axes} {'axis' if axes == 1 else 'axes'}"
        )
    header = file.read(4 * axes)
    if len(header) < 4 * axes:
        raise InputError(f"{path}: damaged: ends in its header; download it again")
    lengths = np.frombuffer(header, ">u4").tolist()
    size = math.prod(lengths)
    if size > LARGEST:
        raise InputError(
            f"{path}: {' x '.join(f'{n:,}' for n in lengths)} bytes by its header; expected"
            f" {LARGEST:,} at most"
        )
    content = bytearray()
    while len(content) <= size and (block := file.read(min(BLOCK, size + 1 - len(content)))):
        content += block
    if len(content) != size:
        begins = 4 + len(header)
        found = f"{begins + len(content):,}" if len(content) < size else "more"
        raise InputError(
            f"{path}: damaged: {found} bytes, expected {begins + size:,} by its header; download it"
            " again"
        )
    return np.frombuffer(bytes(content), np.uint8).reshape(lengths)
