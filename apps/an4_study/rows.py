"""The rows of the ablation tables: a recipe each, of one small setting.

A new row is one line in `TABLES`. Rows of one name in several tables are one training.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

from apps.an4_study.recipe import StudyRecipe
from apps.common.errors import InputError
from apps.common.plan import GrowAndPruneRecipe
from apps.speech.augment import SpecAugment

PLAIN = StudyRecipe(
    cell="hlstm",
    layers=1,
    units=96,
    channels=(16, 16),
    kernels=((11, 11), (7, 5)),
    strides=((2, 2), (2, 2)),
    epochs=20,
    batch_size=8,
    learning_rate=2e-3,
    dropout=0.2,
    hidden_dropout=0.1,
    speeds=(0.9, 1.0, 1.1),
    drop_remainder=True,
)
"""The setting of all tables, an H-LSTM of one layer trained without growth or pruning: the preset
`an4` with half of its layers and channels and three quarters of its units, a quarter of its size.
Spelled out, so that a change to the preset does not change what the records were made with."""

STEP, NEURON_STEP = 0.35, 0.25
"""Share of the connections, or neurons, that each pruning iteration removes."""


def _gp(iterations: int = 4, **changes: Any) -> StudyRecipe:
    """Return `PLAIN` by grow-and-prune. Every iteration is taken, whatever its error rate: the rows
    are compared by their whole fronts."""
    plan = GrowAndPruneRecipe(step=STEP, retrain_epochs=4, tolerance=1.0, max_iterations=iterations)
    return dataclasses.replace(
        PLAIN, epochs=16, grow_and_prune=dataclasses.replace(plan, **changes)
    )


def _plain(**changes: Any) -> StudyRecipe:
    return dataclasses.replace(PLAIN, **changes)


@dataclass(frozen=True)
class Row:
    """A kind of training.

    Attributes:
        name: Of its runs' folders: letters, digits, dots and hyphens.
        label: What the tables call it.
        recipe: With seed 0.
        extra: Whether synthesised speech is mixed in.
    """

    name: str
    label: str
    recipe: StudyRecipe
    extra: bool = False

    def of_seed(self, seed: int) -> StudyRecipe:
        """Return the recipe of a seed."""
        return dataclasses.replace(self.recipe, seed=seed)


@dataclass(frozen=True)
class Table:
    """Rows that are compared.

    Attributes:
        seeds: How many trainings of each row.
        rows: In the order of the table.
        timed: Whether the iterations' latency is measured.
    """

    seeds: int
    rows: tuple[Row, ...]
    timed: bool = False


HLSTM = Row("hlstm", "H-LSTM, 1 x 96", PLAIN)
GP = Row("gp", "growth by gradient, then pruning", _gp())
PRUNING = Row(
    # An iteration more: it starts from all connections, growth leaves 62 % of them.
    "pruning",
    "pruning only, from dense",
    _gp(5, growth_epochs=0, seed_sparsity=0.0),
)

# What a table compares is said by its rows' labels; its base row comes first. Longer schedules and
# larger networks stand where the comparison is at equal work or at equal parameters.
TABLES: dict[str, Table] = {
    "cells": Table(
        2,
        (
            HLSTM,
            Row("lstm-1x96", "LSTM, 1 x 96", _plain(cell="lstm")),
            Row("gru-1x96", "GRU, 1 x 96", _plain(cell="gru")),
            Row("lstm-1x120", "LSTM, 1 x 120", _plain(cell="lstm", units=120)),
            Row("gru-1x146", "GRU, 1 x 146", _plain(cell="gru", units=146)),
            Row("lstm-2x74", "LSTM, 2 x 74", _plain(cell="lstm", units=74, layers=2)),
            Row("hlstm-2x96", "H-LSTM, 2 x 96", _plain(layers=2)),
            Row("lstm-2x96", "LSTM, 2 x 96", _plain(cell="lstm", layers=2)),
            Row("lstm-3x96", "LSTM, 3 x 96", _plain(cell="lstm", layers=3)),
        ),
    ),
    "growth": Table(
        3,
        (
            GP,
            Row("gp-random", "growth at random, then pruning", _gp(growth_score="random")),
            Row("gp-static", "sparse seed without growth, then pruning", _gp(growth_epochs=0)),
            PRUNING,
        ),
    ),
    "latency": Table(
        3,
        (
            dataclasses.replace(GP, label="connections"),
            Row("gp-neuron", "neurons", _gp(step=NEURON_STEP, structures=("neuron",))),
            Row(
                "gp-mixed", "neurons three times, then connections",
                _gp(step=NEURON_STEP, structures=("neuron", "neuron", "neuron", "connection")),
            ),
        ),
        timed=True,
    ),
    "dropout": Table(
        2,
        (
            dataclasses.replace(HLSTM, label="0.1"),
            Row("gates-0", "0", _plain(hidden_dropout=0.0)),
            Row("gates-0.2", "0.2", _plain(hidden_dropout=0.2)),
        ),
    ),
    "width": Table(
        2,
        (
            dataclasses.replace(HLSTM, label="96"),
            Row("hidden-72", "72", _plain(hidden_units=(72,))),
            Row("hidden-48", "48", _plain(hidden_units=(48,))),
            Row("hidden-24", "24", _plain(hidden_units=(24,))),
        ),
    ),
    "training": Table(
        2,
        (
            dataclasses.replace(HLSTM, label="the setting"),
            Row(
                "one-speed", "one speed, three times the epochs",
                _plain(speeds=(1.0,), epochs=60, warmup_epochs=3.0, sorted_epochs=3),
            ),
            Row("spec-0", "without SpecAugment", _plain(augment=None)),
            Row(
                "spec-4", "SpecAugment with four masks of each kind",
                _plain(augment=SpecAugment(frequency_masks=4, time_masks=4)),
            ),
            Row("batch-16", "16 utterances a batch", _plain(batch_size=16)),
            Row("rate-1e-3", "half of the learning rate", _plain(learning_rate=1e-3)),
            Row("unsorted", "no epoch from short to long", _plain(sorted_epochs=0)),
            Row("averaged", "a running average of the weights", _plain(averaged=0.998)),
            Row("rooms", "each recording elsewhere, too, 10 epochs", _plain(rooms=3, epochs=10)),
            Row("vocal-0.1", "vocal tract warped by up to 10 %", _plain(vocal_tract=0.1)),
            Row("decay-0", "no weight decay", _plain(weight_decay=0.0)),
            Row("decay-0.1", "weight decay 0.1", _plain(weight_decay=0.1)),
            Row("units-144", "wider: 1 x 144", _plain(units=144)),
            Row("units-2x63", "deeper at equal size: 2 x 63", _plain(layers=2, units=63)),
            Row("hlstm-2x96", "deeper: 2 x 96", _plain(layers=2)),
            Row("stride-2", "50 frames a second, not 25", _plain(strides=((2, 2), (1, 2)))),
            Row("taught", "half of the loss from a larger model", _plain(teacher_share=0.5)),
            Row("spliced", "spliced words beside, 10 epochs", _plain(spliced=1, epochs=10)),
            Row(
                "synthesised", "3,000 synthesised utterances beside, 9 epochs",
                _plain(epochs=9), extra=True,
            ),
        ),
    ),
}  # fmt: skip
"""The tables by name."""


@dataclass(frozen=True)
class Job:
    """One training: a row from a seed."""

    row: Row
    seed: int

    @property
    def name(self) -> str:
        """Of its folder and of its record."""
        return f"{self.row.name}-seed-{self.seed}"


def select(names: list[str] | None = None, rows: list[str] | None = None) -> dict[str, Table]:
    """Return tables by name, with some of their rows.

    Args:
        names: Of the tables; None for all.
        rows: Names of rows; None for all.

    Raises:
        InputError: There is no such table, or none of them has such a row.

    Example:

    >>> {name: len(table.rows) for name, table in select(rows=["gp"]).items()}
    {'growth': 1, 'latency': 1}
    """
    for name in names or ():
        if name not in TABLES:
            raise InputError(f"tables: got {name!r}; expected some of {', '.join(TABLES)}")
    found = {name: TABLES[name] for name in names or TABLES}
    if rows is None:
        return found
    known = {row.name: None for table in found.values() for row in table.rows}
    for name in rows:
        if name not in known:
            raise InputError(f"rows: got {name!r}; expected some of {', '.join(known)}")
    kept = {
        name: dataclasses.replace(table, rows=tuple(r for r in table.rows if r.name in rows))
        for name, table in found.items()
    }
    return {name: table for name, table in kept.items() if table.rows}


def jobs(tables: dict[str, Table], seeds: int | None = None) -> list[Job]:
    """Return the trainings of some tables, each once.

    Seed by seed, so that what is interrupted has all rows of some seeds.

    Args:
        tables: From `select`.
        seeds: Trainings of each row, from seed 0; None for what each table says.

    Example:

    >>> [job.name for job in jobs(select(["dropout"]))][-2:]
    ['gates-0-seed-1', 'gates-0.2-seed-1']
    """
    found: dict[str, Job] = {}
    for seed in range(seeds or max((table.seeds for table in tables.values()), default=0)):
        for table in tables.values():
            if seed < (seeds or table.seeds):
                found |= {job.name: job for row in table.rows for job in [Job(row, seed)]}
    return list(found.values())
