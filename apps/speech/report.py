"""A table and plots from the records of trainings."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from apps.common.files import written_beside
from apps.common.plots import new_figure
from apps.common.record import read_record, record_errors
from apps.common.tables import markdown

TABLE, CURVES = "report.md", "training.png"


def write_report(
    runs: Sequence[str | os.PathLike[str]], folder: str | os.PathLike[str]
) -> list[Path]:
    """Write a table of trainings and a plot of their epochs.

    Args:
        runs: Folders of trainings, finished or not.
        folder: Gets `report.md` and `training.png`.

    Returns:
        The files written.

    Raises:
        InputError: A folder has no record; matplotlib is missing.
    """
    records, rows = {}, {}
    for run in runs:
        name = Path(run).name
        records[name] = read_record(run)
        with record_errors(run):
            rows[name] = training_row(name, records[name])
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    table = folder / TABLE
    with written_beside(table) as temporary:
        temporary.write_text(markdown(TRAINING_COLUMNS, list(rows.values())), encoding="utf-8")
    with record_errors(", ".join(map(str, runs))):
        plot = plot_training(records, folder / CURVES)
    return [table, plot]


TRAINING_COLUMNS = (
    "run", "cell", "layers x units", "epochs", "connections", "sparsity", "valid WER", "minutes",
)  # fmt: skip


def training_row(name: str, record: dict[str, Any]) -> tuple[str, ...]:
    """Return the cells of a training: what it was and what it reached."""
    recipe, epochs, result = record["recipe"], record["epochs"], record.get("result", {})
    last = epochs[-1] if epochs else {}
    connections = result.get("connections", last.get("connections"))
    sparsity = result.get("sparsity", last.get("sparsity"))
    wer = result.get("wer", min((e["val_wer"] for e in epochs), default=None))
    return (
        name,
        recipe["cell"],
        f"{recipe['layers']} x {'bi-' if recipe['bidirectional'] else ''}{recipe['units']}",
        f"{len(epochs)}{'' if result else ' (unfinished)'}",
        f"{connections:,}" if connections else "-",
        f"{sparsity:.1%}" if sparsity else "-",
        f"{wer:.1%}" if wer is not None else "-",
        f"{sum(e['seconds'] for e in epochs) / 60:.1f}",
    )


def plot_training(records: dict[str, dict[str, Any]], path: Path) -> Path:
    """Plot validation WER, connections and sparsity over the epochs of trainings.

    Args:
        records: By the name that the legend shows.
        path: The PNG file.

    Raises:
        InputError: matplotlib is missing.
    """
    sparse = {name: r for name, r in records.items() if any("sparsity" in e for e in r["epochs"])}
    figure = new_figure(8, 6.5 if sparse else 3.5)
    axes = figure.subplots(2 if sparse else 1, 1, sharex=True, squeeze=False)[:, 0]
    for name, record in records.items():
        epochs = record["epochs"]
        numbers = [e["epoch"] + 1 for e in epochs]
        axes[0].plot(numbers, [100 * e["val_wer"] for e in epochs], marker=".", label=name)
        _mark_prunings(axes[0], epochs)
    axes[0].set(ylabel="validation WER, %", ylim=(0, 100))
    axes[0].legend()
    for name, record in sparse.items():
        epochs = [e for e in record["epochs"] if "sparsity" in e]
        numbers = [e["epoch"] + 1 for e in epochs]
        axes[1].step(numbers, [100 * e["sparsity"] for e in epochs], where="mid", label=name)
        _mark_prunings(axes[1], epochs)
    if sparse:
        axes[1].set(ylabel="sparsity, %", ylim=(0, 100))
    axes[-1].set_xlabel("epoch")
    for axis in axes:
        axis.grid(alpha=0.3)
    path.parent.mkdir(parents=True, exist_ok=True)
    with written_beside(path) as temporary:
        figure.savefig(temporary, dpi=120)
    return path


def _mark_prunings(axis: Any, epochs: list[dict[str, Any]]) -> None:
    for entry in epochs:
        if "prune" in entry.get("events", ()):
            axis.axvline(entry["epoch"] + 1.5, color="gray", linewidth=0.6, linestyle=":")
