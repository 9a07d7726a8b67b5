"""A training in a folder: done once, gone on with where it was, by one process at a time."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras

from apps.common.alone import alone
from apps.common.errors import InputError
from apps.common.files import written_beside
from apps.common.record import NAME, read_record

MODEL, COMPACT, STATE = "model.keras", "compact.keras", "state"
"""What a training leaves, masks included; the same function in plain layers without dead neurons;
and the folder of what it needs to go on, which is gone when it is finished."""

ENDLESS = 100_000
"""Epochs for `fit` where the grow-and-prune callback ends the training."""


@dataclass(frozen=True)
class Trained:
    """What a training left.

    Attributes:
        folder: Of the run.
        model: The file to use: `compact.keras` where the training pruned, else `model.keras`.
        result: What the record says that came of it, computed with that file.
    """

    folder: Path
    model: Path
    result: dict[str, Any]


def carry_out(
    folder: Path,
    facts: dict[str, Any],
    seed: int,
    work: Callable[[], object],
    as_today: Callable[[Any], Any] = lambda recipe: recipe,
) -> dict[str, Any]:
    """Train; go on with an interrupted training; return at once from a finished one.

    Args:
        folder: Of the run: new, empty, or that of the same training.
        facts: What its record says of it from its beginning, `recipe` among them.
        seed: Of weights, order and dropout.
        work: Trains, goes on from what is in the folder, and writes the models and the record.
        as_today: Brings the recipe of an earlier version to today's fields.

    Returns:
        The record's `result`.

    Raises:
        InputError: The folder is a file or holds another training, or another process trains there.
    """
    check_run(folder, facts, as_today)
    if "result" not in _record(folder):
        state = folder / STATE
        with alone(state) as ours:
            if not ours:
                raise InputError(
                    f"{folder}: another process is training there; wait for it, or give another"
                    " --out"
                )
            keras.utils.set_random_seed(seed)
            work()
            shutil.rmtree(state, ignore_errors=True)
    return read_record(folder)["result"]


def save_model(model: keras.Model, path: Path) -> None:
    """Save a model, written beside and renamed."""
    with written_beside(path) as temporary:
        model.save(temporary)


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


def _record(folder: Path) -> dict[str, Any]:
    return read_record(folder) if (folder / NAME).exists() else {}
