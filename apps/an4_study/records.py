"""The small records that the tables are made from: what a training was and what came of it."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from apps.common import tables
from apps.common.errors import InputError

DIGITS = 4
"""Digits of the floats that are kept."""

# Columns of the epochs: a list each instead of a dictionary an epoch, a third of the bytes.
COLUMNS = ("loss", "val_word_errors", "val_cer", "connections", "cpu_seconds", "phase", "iteration")
TIMES = ("seconds", "cpu_seconds")
SOMETIMES = ("extra", "aligner", "teacher", "latency")
RESULT = ("connections", "sparsity", "words", "characters", "substitutions", "deletions",
          "insertions")  # fmt: skip


def add_records(runs: Sequence[str | os.PathLike[str]], results: Path) -> list[Path]:
    """Keep the small records of finished trainings where the tables are made from.

    Args:
        runs: Folders of trainings that `run_all` made, or folders of such.
        results: Gets a JSON file for each, named after its folder.

    Raises:
        InputError: A folder has neither a finished training of an ablation nor holds one.
    """
    return tables.add_records(runs, results, small, ("result", "measures"))


def small(name: str, record: dict[str, Any]) -> dict[str, Any]:
    """Return what tables need of a training's record.

    Args:
        name: Of its folder, `ROW-seed-SEED`.
        record: As `train` and `run_all` wrote it.
    """
    epochs = record["epochs"]
    names = [column for column in COLUMNS if column in epochs[0]] if epochs else []
    kept = {
        "row": name.rsplit("-seed-", 1)[0],
        "seed": record["recipe"]["seed"],
        **{key: record[key] for key in ("corpus", *TIMES, "versions", "measures")},
        "result": {key: record["result"][key] for key in RESULT},
        "epochs": {column: [_plain(entry[column]) for entry in epochs] for column in names},
    }
    kept |= {name: record[name] for name in SOMETIMES if name in record}
    # The configuration as it is: from it the training can be done again.
    return {**rounded(kept), "recipe": record["recipe"]}


def _plain(value: Any) -> Any:
    return int(value) if isinstance(value, float) and value.is_integer() else value


def rounded(value: Any) -> Any:
    """Return JSON data with its floats rounded to `DIGITS` significant digits.

    >>> rounded({"a": [0.123456, 123456.7, 3]})
    {'a': [0.1235, 123500.0, 3]}
    """
    if isinstance(value, dict):
        return {name: rounded(inner) for name, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [rounded(inner) for inner in value]
    if isinstance(value, float) and value and math.isfinite(value):
        return float(f"{value:.{DIGITS}g}")
    return value


def read_results(results: Path) -> list[dict[str, Any]]:
    """Return the records in a folder, in the order of their names.

    Raises:
        InputError: One is damaged or something else, or they are of different corpora.
    """

    def check(record: dict[str, Any]) -> None:
        record["row"], record["seed"], record["result"]["words"]["errors"], record["epochs"]
        record["corpus"]

    records = tables.read_results(results, check, "a training of an ablation")
    for name, record in records.items():
        first = next(iter(records.values()))
        if record["corpus"] != first["corpus"]:
            raise InputError(
                f"{results / name}.json: of another corpus than the records before it"
                f" ({record['corpus']}); keep those of one corpus in a folder"
            )
    return list(records.values())
