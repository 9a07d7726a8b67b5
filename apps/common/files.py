"""Files that are either whole or not there: written beside, then renamed."""

import contextlib
import json
import os
import uuid
from collections.abc import Iterator
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
