"""Files of exports, written beside their place and renamed into it; their assets."""

import contextlib
import errno
import gzip
import hashlib
import os
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from hlstm_tf.export.warmup import WARMUP_FILE

Name = str | os.PathLike[str]


@dataclass(frozen=True)
class WeighedFile:
    """What a file weighs, and a fingerprint of it.

    Attributes:
        bytes: Size on disk.
        gzipped: Size after gzip at its strongest level; what a phone downloads. A quantized file
            with zeros in it shrinks here as far as a sparse encoding would take it.
        sha256: Hash of the content, in hexadecimal.
    """

    bytes: int
    gzipped: int
    sha256: str


def file_size(path: Name) -> WeighedFile:
    """Weighs a file: raw, gzipped, and its SHA-256.

    Args:
        path: The file.

    Raises:
        OSError: The file cannot be read.

    Example:

    >>> import os, tempfile, hlstm_tf as hl
    >>> path = os.path.join(tempfile.mkdtemp(), "zeros")
    >>> with open(path, "wb") as file:
    ...     _ = file.write(bytes(1000))
    >>> size = hl.file_size(path)
    >>> size.bytes, size.gzipped < 50, size.sha256[:8]
    (1000, True, '541b3e9d')
    """
    content = Path(path).read_bytes()
    # A time of zero: the same file always weighs the same.
    gzipped = len(gzip.compress(content, compresslevel=9, mtime=0))
    return WeighedFile(len(content), gzipped, hashlib.sha256(content).hexdigest())


@contextlib.contextmanager
def replaced_file(path: Name) -> Iterator[Path]:
    """Gives a name beside `path` to write to, renamed to `path` when the block ends well.

    Whatever fails, a full disk included, leaves an older file as it was and nothing beside it.

    Args:
        path: The file to be. Its folder is made where it is missing.

    Raises:
        OSError: The folder cannot be made or written to, or `path` is a folder.
    """
    path = Path(path)
    if path.is_dir():
        raise IsADirectoryError(f"{path} is a folder; give the name of a file to write.")
    unfinished = _beside(path)
    with _parent_of(path), _explained(path, unfinished):
        try:
            unfinished.touch()  # fails now rather than after the work
            yield unfinished
            os.replace(unfinished, path)
        finally:
            unfinished.unlink(missing_ok=True)


@contextlib.contextmanager
def replaced_folder(path: Name, *, overwrite: bool = False) -> Iterator[Path]:
    """Gives a folder beside `path` to fill, renamed to `path` when the block ends well.

    Args:
        path: The folder to be.
        overwrite: Whether a folder that exists is replaced. It stays until the new one is whole.

    Raises:
        FileExistsError: `path` exists, and `overwrite` is false or it is no folder.
        OSError: The folder cannot be made or written to.
    """
    path = Path(path)
    check_free(path, overwrite=overwrite)
    unfinished, old = _beside(path), _beside(path, "old")
    with _parent_of(path), _explained(path, unfinished):
        try:
            unfinished.mkdir()
            yield unfinished
            _exchange(unfinished, path, old)
        finally:
            shutil.rmtree(unfinished, ignore_errors=True)
            shutil.rmtree(old, ignore_errors=True)


def _exchange(new: Path, path: Path, old: Path) -> None:
    if path.exists():
        path.rename(old)
    try:
        new.rename(path)
    except OSError:
        if old.exists():
            old.rename(path)
        raise


def check_free(path: Path, *, overwrite: bool) -> None:
    """Raises where a folder to be written exists already; called before the work is done."""
    if path.exists() and not path.is_dir():
        raise FileExistsError(f"{path} is a file; give the name of a folder to write.")
    if path.exists() and not overwrite:
        raise FileExistsError(
            f"{path} exists already; give the next version's folder, or overwrite "
            "it (overwrite=True, --overwrite)."
        )


def _beside(path: Path, role: str = "unfinished") -> Path:
    return path.with_name(f".{path.name}.{role}-{os.getpid()}")


@contextlib.contextmanager
def _parent_of(path: Path) -> Iterator[None]:
    """Makes the folder that `path` is to be in, and takes it away again if the block fails."""
    missing = [folder for folder in path.parents if not folder.exists()]
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError):
        raise NotADirectoryError(f"cannot write {path}: {path.parent} is not a folder.") from None
    try:
        yield
    except BaseException:
        for folder in missing:
            with contextlib.suppress(OSError):  # something else is in it by now
                folder.rmdir()
        raise


@contextlib.contextmanager
def _explained(path: Path, unfinished: Path) -> Iterator[None]:
    """Names the file that was asked for in the errors of a full, protected or read-only disk."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            reason = "there is no room for it; free some space and try again"
        elif str(unfinished) in str(error.filename):
            reason = str(error.strerror)
        else:
            raise
        # Two arguments, so that it becomes the subclass that the number stands for.
        raise OSError(error.errno, f"cannot write {path}: {reason}") from error


def checked_assets(
    assets: Mapping[str, bytes | str | os.PathLike[str]],
) -> dict[str, bytes | Path]:
    """Each file's content as bytes, or the existing file to copy.

    Raises:
        ValueError: A name is no plain file name, or taken.
        FileNotFoundError: There is no such file.
        TypeError: A content is neither bytes nor a path.
    """
    checked: dict[str, bytes | Path] = {}
    for name, content in assets.items():
        if Path(name).name != name or name in ("", ".", "..", WARMUP_FILE):
            raise ValueError(
                f"extra_assets: {name!r} must be a plain file name, other than {WARMUP_FILE!r}."
            )
        if isinstance(content, bytes):
            checked[name] = content
        elif isinstance(content, (str, os.PathLike)):
            checked[name] = Path(content)
            if not Path(content).is_file():
                raise FileNotFoundError(
                    f"extra_assets: {name!r} is to be a copy of {content}, which is no file."
                )
        else:
            raise TypeError(
                f"extra_assets: {name!r} must be bytes or a path; got {type(content).__name__}."
            )
    return checked


def write_assets(folder: Path, assets: dict[str, bytes | Path]) -> None:
    """Writes the files into a SavedModel's folder."""
    extra = folder / "assets.extra"
    for name, content in assets.items():
        extra.mkdir(exist_ok=True)
        if isinstance(content, bytes):
            (extra / name).write_bytes(content)
        else:
            shutil.copyfile(content, extra / name)
