"""The record of a run: what was trained, how, and what came of it, epoch by epoch.

One small JSON file, from which tables and plots are made.
"""

from __future__ import annotations

import contextlib
import os
import platform
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

from apps.common.errors import InputError
from apps.common.text import read_json

NAME = "record.json"
PACKAGES = ("tensorflow", "keras", "numpy", "hlstm_tf")


def versions(*more: str) -> dict[str, str]:
    """Return the versions that a run's numbers depend on: of `PACKAGES`, and of more."""
    found = {"python": platform.python_version(), "machine": platform.machine()}
    for package in (*PACKAGES, *more):
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            found[package] = "not installed"
    return found


def read_record(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Read the record of a run.

    Args:
        path: The file, or the folder of the run.

    Raises:
        InputError: There is none, or it is damaged.
    """
    path = Path(path)
    path = path / NAME if path.is_dir() else path
    if not path.is_file():
        raise InputError(f"{path}: no such run record; expected the folder of a training")
    record = read_json(path, "the record of a training", "train again into another folder")
    if not isinstance(record, dict) or "epochs" not in record:
        raise InputError(f"{path}: no run record; expected one that `train` wrote")
    return record


@contextlib.contextmanager
def record_errors(path: str | os.PathLike[str]) -> Iterator[None]:
    """Turn what a record with missing or wrong values makes its readers raise into one line.

    Args:
        path: The record, or the folder of one or more.

    Raises:
        InputError: A value was missing, or of another kind.

    Example:

    >>> with record_errors("runs/one"):
    ...     {}["epochs"]
    Traceback (most recent call last):
    ...
    apps.common.errors.InputError: runs/one: damaged run record (KeyError: 'epochs'); train again \
into another folder
    """
    try:
        yield
    except InputError:
        raise
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        raise InputError(
            f"{path}: damaged run record ({type(error).__name__}: {str(error)[:200]}); train again"
            " into another folder"
        ) from error
