"""Other ways to the same size: growth at random, pruning only, tfmot; seeds of other sizes.

All train LeNet-300-100 on one shortened schedule (`apps.digits.recipes.short`) to one number of
connections, each from several seeds.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np

import hlstm_tf as hl
from apps.common.errors import InputError
from apps.common.files import write_json
from apps.common.record import NAME, read_record
from apps.digits.mnist import Splits
from apps.digits.model import lenet_300_100
from apps.digits.recipe import Recipe
from apps.digits.recipes import SHORT_EPOCHS, short
from apps.digits.train import COMPACT, figures, seed_architecture, train

TARGET = 4200
"""Connections that every way ends at, about; far enough for ways to differ."""

SEED_SPARSITIES = (0.98, 0.9, 0.7, 0.5, 0.25, 0.0)
"""From a very sparse seed architecture to a full one."""


@dataclass(frozen=True)
class Way:
    """A way to train.

    Attributes:
        kind: What the table calls it.
        table: "comparison" or "seeds".
        recipe: For a seed; None for tfmot, which ends with the connections of the way before it,
            layer by layer.
    """

    kind: str
    table: str
    recipe: Any


def ways() -> list[Way]:
    """Return all ways, in the order of the tables."""
    compared = [
        Way("growth by gradient, then pruning", "comparison", lambda seed: short(seed)),
        Way(
            "growth at random, then pruning", "comparison", lambda seed: short(seed, 0.5, "random")
        ),
        Way("pruning only, from dense", "comparison", lambda seed: short(seed, 0.0, None)),
        Way("tfmot, magnitude pruning from dense", "comparison", None),
    ]
    return compared + [
        Way(f"all, {1 - sparsity:.0%}", "seeds", lambda seed, s=sparsity: short(seed, s))
        for sparsity in SEED_SPARSITIES
    ]


def run_all(splits: Splits, data_dir: Path | None, folder: Path, seeds: int) -> Iterator[Path]:
    """Train every way from every seed; yield the folders, each when it is done.

    Args:
        splits: The digits.
        data_dir: Where they are, for tfmot's process.
        folder: Of the runs.
        seeds: How many, from 0.

    Raises:
        InputError: tfmot is missing, or its process failed.
    """
    # Seed by seed, so that an interrupted comparison has all ways of some seeds.
    for seed in range(seeds):
        previous = folder
        for order, way in enumerate(ways()):
            run = folder / f"{way.table}-{order}-seed-{seed}"
            if way.recipe is None:
                _tfmot(run, data_dir, splits, seed, like=previous)
            else:
                recipe = to_target(way.recipe(seed))
                train(recipe, splits, run)
                _note(run, seed_connections=_connections(recipe))
            _note(run, kind=way.kind, table=way.table, order=order)
            previous = run
            yield run


def to_target(recipe: Recipe) -> Recipe:
    """Return the recipe with the pruning step that leads to `TARGET` connections.

    The seed's connections and what a growth ratio of 0.9 adds tell where pruning begins: each
    growth activates what exceeds the 90th percentile, a tenth of the dormant ones at most.
    """
    first, last = recipe.stages
    dense = dataclasses.replace(recipe, stages=(), augment=None, seed_sparsity=0.0, seed=0)
    full = _connections(dense)
    begin = full * (1 - recipe.seed_sparsity * 0.9**first.growth_epochs)
    left = TARGET / begin / (1 - last.step)
    step = 1 - left ** (1 / first.iterations)
    return dataclasses.replace(recipe, stages=(dataclasses.replace(first, step=step), last))


@functools.cache
def _connections(recipe: Recipe) -> int:
    return hl.summary(seed_architecture(recipe), print_fn=None).connections


def _note(run: Path, **facts: Any) -> None:
    record = read_record(run)
    if any(record.get(name) != value for name, value in facts.items()):
        write_json(run / NAME, {**record, **facts})


def _tfmot(run: Path, data_dir: Path | None, splits: Splits, seed: int, like: Path) -> None:
    """Train with tfmot, every layer to as many connections as are left of it in another run."""
    if (run / NAME).exists() and "result" in read_record(run):
        return
    model, weights = lenet_300_100(), run / "weights.npz"
    other = keras.models.load_model(like / COMPACT, compile=False)
    job = {
        "data_dir": str(data_dir) if data_dir else None,
        "seed": seed,
        "connections": [
            int(np.count_nonzero(array)) for array in other.get_weights() if array.ndim == 2
        ],
        "epochs": SHORT_EPOCHS,
        "out": str(weights),
    }
    run.mkdir(parents=True, exist_ok=True)
    _tfmot_process(job)
    with np.load(weights) as arrays:
        model.set_weights([arrays[name] for name in arrays.files])
    weights.unlink()
    facts = {name: job[name] for name in ("seed", "connections", "epochs")}
    recipe = {"arch": "lenet-300-100", **facts}
    result = figures(hl.shrink(model), splits)
    write_json(run / NAME, {"recipe": recipe, "epochs": [], "result": result})


def _tfmot_process(job: dict[str, Any]) -> None:
    """A process of its own: importing tfmot changes what Keras is."""
    command = [sys.executable, "-m", "apps.digits.tfmot_part", json.dumps(job)]
    environment = {**os.environ, "TF_USE_LEGACY_KERAS": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        last = (done.stderr.strip() or "no message").splitlines()[-1]
        raise InputError(f'tfmot failed: {last}; pip install "hlstm_tf[tfmot]" if it is missing')
