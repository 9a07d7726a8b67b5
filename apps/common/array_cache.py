"""Arrays of many examples in one file, computed once and mapped from disk afterwards."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np

from apps.common.files import written_beside

FORMAT = 1


def kept_arrays(
    path: Path, width: int, compute: Callable[[], Iterable[np.ndarray]]
) -> list[np.ndarray]:
    """Return arrays from a file, which is written first where it is missing or damaged.

    The file has the rows of each array, then 32-bit integers: the numbers of rows, how many those
    are, and the format.

    Args:
        path: The file, named by all that the arrays depend on; written beside and renamed.
        width: Numbers in a row.
        compute: Gives float32 `(rows, width)` arrays, each of a row at least.

    Returns:
        Read-only views of the mapped file, so that more than memory holds is no trouble.

    Example:

    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "ones.bin"
    >>> ones = [np.ones((n, 3), "float32") for n in (1, 2)]
    >>> [array.shape for array in kept_arrays(path, 3, lambda: ones)]
    [(1, 3), (2, 3)]
    >>> kept_arrays(path, 3, lambda: 1 / 0)[0].tolist()
    [[1.0, 1.0, 1.0]]
    """
    try:
        return _views(path, width)
    except (OSError, ValueError):  # not there, or damaged
        with written_beside(path) as temporary, temporary.open("wb") as file:
            counts = []
            for array in compute():
                file.write(np.ascontiguousarray(array, np.float32).tobytes())
                counts.append(len(array))
            file.write(np.array([*counts, len(counts), FORMAT], np.int32).tobytes())
    return _views(path, width)


def _views(path: Path, width: int) -> list[np.ndarray]:
    data = np.memmap(path, np.float32, mode="r")
    count, version = (int(n) for n in np.array(data[-2:]).view(np.int32))
    if version != FORMAT or not 0 < count < len(data) - 2:
        raise ValueError(f"{path}: no arrays")
    counts = np.array(data[-2 - count : -2]).view(np.int32).astype(np.int64)
    ends = np.cumsum(counts) * width
    if counts.min() < 1 or ends[-1] + count + 2 != len(data):
        raise ValueError(f"{path}: truncated")
    starts = ends - counts * width
    return [data[start:end].reshape(-1, width) for start, end in zip(starts, ends, strict=True)]
