"""Files and folders that are whole or not there, and that one process has at a time."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from apps.common.errors import InputError


@contextlib.contextmanager
def written_beside(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Gives a temporary path in `path`'s folder and renames it to `path` if the body succeeds.

    On any error the temporary file is removed and an earlier `path` stays as it was.

    Example:
        >>> import tempfile
        >>> target = Path(tempfile.mkdtemp()) / "notes.txt"
        >>> with written_beside(target) as temporary:
        ...     _ = temporary.write_text("done")
        >>> target.read_text()
        'done'
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.stem}.{uuid.uuid4().hex[:12]}{path.suffix}")
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def made_beside(folder: Path, made: Callable[[], bool]) -> Iterator[Path]:
    """Gives a temporary folder beside `folder` and renames it to that if the body succeeds.

    On any error the temporary folder is removed; so are those of processes that were killed.

    Args:
        folder: Does not exist, or is empty.
        made: Whether `folder` is there with the same content: another process may be faster.

    Example:
        >>> import tempfile
        >>> target = Path(tempfile.mkdtemp()) / "notes"
        >>> with made_beside(target, lambda: False) as temporary:
        ...     _ = (temporary / "a.txt").write_text("done")
        >>> [path.name for path in target.iterdir()]
        ['a.txt']
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    prefix = f".{folder.name}.partial-"
    for left in folder.parent.glob(f"{prefix}*"):
        owner = left.name.removeprefix(prefix)
        if not (owner.isdigit() and _alive(int(owner))):
            shutil.rmtree(left, ignore_errors=True)
    temporary = folder.parent / f"{prefix}{os.getpid()}"
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir()
    try:
        yield temporary
        try:
            os.replace(temporary, folder)  # also over an empty folder
        except OSError:
            if not made():
                raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except OSError as error:
        return not isinstance(error, ProcessLookupError)
    return True


def check_size(path: str | os.PathLike[str], most: int, expected: str) -> None:
    """Refuses a file that is too large for what it should be, before it is read.

    Args:
        path: the file; of a folder, all its files together count.
        most: bytes.
        expected: what it should be, for the message.

    Raises:
        InputError: it has more bytes than `most`.
        OSError: there is no such file.

    Example:
        >>> check_size(os.devnull, 0, "nothing")
    """
    path = Path(path)
    size = path.stat().st_size
    if path.is_dir():
        size = sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
    if size > most:
        raise InputError(f"{path}: {size:,} bytes; expected {expected}, of at most {most:,} bytes")


def write_json(path: str | os.PathLike[str], value: Any) -> None:
    """Writes `value` as indented JSON with sorted keys, beside and renamed."""
    with written_beside(path) as temporary:
        temporary.write_text(json.dumps(value, indent=1, sort_keys=True) + "\n", encoding="utf-8")


try:
    import fcntl
except ImportError:  # not on Windows; there nobody else is expected
    fcntl = None  # type: ignore[assignment]

LOCK = ".lock"


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
    with open(folder / LOCK, "w", encoding="utf-8") as lock:
        if fcntl is None:
            yield True
            return
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
            return
        yield True
