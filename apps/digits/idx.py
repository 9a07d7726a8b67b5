"""The idx format of MNIST's files, plain or gzipped."""

from __future__ import annotations

import gzip
import math
import os
import zlib
from pathlib import Path

import numpy as np

from apps.common.errors import InputError

UNSIGNED_BYTE = 8


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
        InputError: The file is missing, damaged, or of another kind.

    Example:

    >>> import tempfile
    >>> file = Path(tempfile.mkdtemp()) / "labels-idx1-ubyte"
    >>> _ = file.write_bytes(bytes([0, 0, 8, 1, 0, 0, 0, 2, 7, 3]))
    >>> read_idx(file, axes=1)
    array([7, 3], dtype=uint8)
    """
    path = Path(path)
    content = _content(path)
    magic = content[:4]
    expected = bytes([0, 0, UNSIGNED_BYTE, axes])
    if magic != expected:
        raise InputError(
            f"{path}: begins with {magic.hex(' ') or 'nothing'}; expected {expected.hex(' ')}, an"
            f" idx file of bytes with {axes} {'axis' if axes == 1 else 'axes'}"
        )
    header = 4 + 4 * axes
    if len(content) < header:
        raise InputError(f"{path}: damaged: ends in its header; download it again")
    lengths = np.frombuffer(content[4:header], ">u4").tolist()
    expected_size = header + math.prod(lengths)
    if len(content) != expected_size:
        raise InputError(
            f"{path}: damaged: {len(content):,} bytes, expected {expected_size:,} by its header;"
            " download it again"
        )
    return np.frombuffer(content, np.uint8, offset=header).reshape(lengths)


def _content(path: Path) -> bytes:
    try:
        content = path.read_bytes()
        return gzip.decompress(content) if content[:2] == b"\x1f\x8b" else content
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such file") from error
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise InputError(f"{path}: damaged gzip file; download it again") from error
