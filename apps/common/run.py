"""A training in a folder: done once, gone on with where it was, by one process at a time."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import keras

import hlstm_tf as hl
from apps.common.callbacks import Backup, save_model
from apps.common.errors import InputError
from apps.common.files import alone
from apps.common.learning_rate import FiniteLoss
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


def fit(
    model: keras.Model,
    data: Any,
    state: Path,
    grow_and_prune: Any = None,
    epochs: int = 1,
    *,
    before: Sequence[keras.callbacks.Callback] = (),
    after: Sequence[keras.callbacks.Callback] = (),
    validation_data: Any = None,
) -> None:
    """Fit a compiled model so that it can be killed at any time and goes on where it was.

    Args:
        model: To train.
        data: `hl.EpochData`.
        state: Folder of the state of a plain training; `GrowAndPrune` has its own.
        grow_and_prune: Ends the training; None for a plain one.
        epochs: Of a plain training, which ends, too, where its loss is no number.
        before, after: Callbacks that see an epoch's end before or after growth and pruning.
        validation_data: As of `model.fit`.
    """
    gp = grow_and_prune
    first = [data.follow(), *([] if gp else [FiniteLoss()]), *before]
    model.fit(
        data,
        validation_data=validation_data,
        epochs=ENDLESS if gp else epochs,
        shuffle=False,
        verbose=0,
        callbacks=[*first, *([gp] if gp else []), *after, *([] if gp else [Backup(state)])],
    )


def write_models(model: keras.Model, folder: Path, grow_and_prune: Any) -> None:
    """Write the final files of a training, without the optimizer's share (two thirds of the bytes).

    Args:
        model: As it ended, masks included.
        folder: Of the run; all `.keras` files in it are written anew, and `compact.keras` is made
            where the training pruned.
        grow_and_prune: The training's `GrowAndPrune` callback, or None.
    """
    load = partial(keras.models.load_model, compile=False)
    if grow_and_prune is None:
        save_model(load(folder / MODEL), folder / MODEL)
        return
    save_model(model, folder / MODEL)
    masked = load(folder / MODEL)
    save_model(masked, folder / MODEL)
    for path in sorted(set(folder.glob("*.keras")) - {folder / MODEL, folder / COMPACT}):
        save_model(load(path), path)
    save_model(hl.shrink(hl.strip(masked)), folder / COMPACT)


def started(model: Any, other: keras.Model, name: str | os.PathLike[str]) -> Any:
    """Give a network the weights, masks included, of another of its architecture.

    Args:
        model: The network; gets masks where the other has them.
        other: The other. The zeros of one of plain layers become masks.
        name: What the other is called, for the message.

    Returns:
        The network, or, where it had no masks and gets some, one like it.

    Raises:
        InputError: The other has another architecture, or masks where the network has none.
    """
    if not hl.masked_kernels(other):
        other = hl.sparsify(other, seed_architecture="zeros")
    if len(hl.masked_kernels(model)) < len(hl.masked_kernels(other)):
        model = hl.sparsify(model, 0.0)  # what was pruned stays so in a training without pruning
    shapes, found = ([w.shape for w in network.weights] for network in (model, other))
    if shapes != found:
        raise InputError(
            f"start: {name} has another architecture than the recipe, or masks where that has"
            " none; give a model that was trained with the same layers and widths"
        )
    model.set_weights(other.get_weights())
    return model


def digest(name: str, path: str | os.PathLike[str] | None) -> dict[str, str]:
    """Return what a record says of a model file that a training begins with or learns from.

    Raises:
        InputError: There is no such file.

    Example:

    >>> digest("start", None)
    {}
    """
    if path is None:
        return {}
    if not Path(path).is_file():
        raise InputError(f"{name}: {path}: no such file; expected a .keras model")
    return {name: hashlib.sha256(Path(path).read_bytes()).hexdigest()}


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
