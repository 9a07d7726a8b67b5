"""The folder of a training: which training it holds, and that one process at a time is at it."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from apps.common.alone import alone
from apps.common.errors import InputError
from apps.common.record import NAME, read_record


def check_run(
    folder: Path, facts: dict[str, Any], as_today: Callable[[Any], Any] = lambda recipe: recipe
) -> None:
    """Check that a folder is free for a training, or holds this one.

    Args:
        folder: Of the run; need not exist.
        facts: What its record says of it, `recipe` among them.
        as_today: Brings the recipe of an earlier version to today's fields.

    Raises:
        InputError: The folder is a file, or holds another training.
    """
    if folder.is_file():
        raise InputError(f"{folder}: is a file; expected a folder for the training")
    earlier = _record(folder)
    if not earlier:
        return
    for name, value in facts.items():
        known = as_today(earlier.get(name)) if name == "recipe" else earlier.get(name)
        if known != value:
            raise InputError(
                f"{folder}: holds a training with another {name}; give another --out, or delete it"
            )


def finished(folder: Path) -> bool:
    """Whether the folder's training is complete."""
    return "result" in _record(folder)


@contextlib.contextmanager
def only_training(state: Path) -> Iterator[None]:
    """Keep a training's folder to this process while the training goes on.

    Args:
        state: The folder in it that a finished training has no longer; locked.

    Raises:
        InputError: Another process trains there.
    """
    with alone(state) as ours:
        if not ours:
            raise InputError(
                f"{state.parent}: another process is training there; wait for it, or give another"
                " --out"
            )
        yield


def _record(folder: Path) -> dict[str, Any]:
    return read_record(folder) if (folder / NAME).exists() else {}
