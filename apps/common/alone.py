"""Work in a folder that one process does at a time."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

try:
    import fcntl
except ImportError:  # not on Windows; there nobody else is expected
    fcntl = None  # type: ignore[assignment]

NAME = ".lock"


@contextlib.contextmanager
def alone(folder: Path) -> Iterator[bool]:
    """Take a folder for this process; gives whether it could be had, and does not wait.

    The system gives it back where the process is killed.

    Args:
        folder: Made where it is missing; gets an empty file `.lock`, which stays.

    Example:
        >>> import tempfile
        >>> folder = Path(tempfile.mkdtemp())
        >>> with alone(folder) as first, alone(folder) as second:
        ...     print(first, second)
        True False
        >>> with alone(folder) as again:
        ...     print(again)
        True
    """
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / NAME, "w", encoding="utf-8") as lock:
        if fcntl is None:
            yield True
            return
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
            return
        yield True
