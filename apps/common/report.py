"""A table and plots from the records of trainings."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from apps.common.files import written_beside
from apps.common.plots import new_figure
from apps.common.record import read_record, record_errors
from apps.common.tables import markdown

TABLE, CURVES = "report.md", "training.png"
Record = dict[str, Any]


def write_report(
    runs: Sequence[str | os.PathLike[str]],
    folder: str | os.PathLike[str],
    columns: Sequence[str],
    row: Callable[[Record], Sequence[str]],
    monitor: tuple[str, str],
) -> list[Path]:
    """Write a table of trainings and a plot of their epochs.

    Args:
        runs: Folders of trainings, finished or not.
        folder: Gets `report.md` and `training.png`.
        columns: Of the table, after `run` and before `epochs`, `connections`, `sparsity`, the
            monitored rate and `minutes`.
        row: Makes the cells of these columns from a record.
        monitor: Name of the rate in an epoch of a record, and what the table calls it.

    Returns:
        The files written.

    Raises:
        InputError: A folder has no record; matplotlib is missing.
    """
    records, rows = {}, []
    for run in runs:
        name = Path(run).name
        records[name] = read_record(run)
        with record_errors(run):
            cells = _row(records[name], monitor[0])
            rows.append((name, *row(records[name]), *cells))
    table = Path(folder) / TABLE
    titles = ("run", *columns, "epochs", "connections", "sparsity", monitor[1], "minutes")
    with written_beside(table) as temporary:
        temporary.write_text(markdown(titles, rows), encoding="utf-8")
    with record_errors(", ".join(map(str, runs))):
        plot = plot_training(records, Path(folder) / CURVES, monitor)
    return [table, plot]


def _row(record: Record, monitor: str) -> tuple[str, ...]:
    """What a training was and what it reached."""
    epochs, result = record["epochs"], record.get("result", {})
    last = epochs[-1] if epochs else {}
    connections = result.get("connections", last.get("connections"))
    sparsity = result.get("sparsity", last.get("sparsity"))
    best = min((entry[monitor] for entry in epochs), default=None)
    reached = result.get(monitor.removeprefix("val_"), best)
    return (
        f"{len(epochs)}{'' if result else ' (unfinished)'}",
        f"{connections:,}" if connections else "-",
        f"{sparsity:.1%}" if sparsity else "-",
        f"{reached:.1%}" if reached is not None else "-",
        f"{sum(entry['seconds'] for entry in epochs) / 60:.1f}",
    )


def plot_training(records: dict[str, Record], path: Path, monitor: tuple[str, str]) -> Path:
    """Plot a rate on validation data, and sparsity, over the epochs of trainings.

    Args:
        records: By the name that the legend shows.
        path: The PNG file.
        monitor: Name of the rate in an epoch of a record, and what the plot calls it.

    Raises:
        InputError: matplotlib is missing.
    """
    shown = {monitor[0]: monitor[1], "sparsity": "sparsity"}
    axes_of = {n: t for n, t in shown.items() if n == monitor[0] or _have(records, n)}
    figure = new_figure(8, 3.5 if len(axes_of) == 1 else 6.5)
    axes = figure.subplots(len(axes_of), 1, sharex=True, squeeze=False)[:, 0]
    for axis, (value, title) in zip(axes, axes_of.items(), strict=True):
        for name, record in records.items():
            epochs = [entry for entry in record["epochs"] if value in entry]
            numbers = [entry["epoch"] + 1 for entry in epochs]
            shares = [100 * entry[value] for entry in epochs]
            if value == "sparsity" and epochs:
                axis.step(numbers, shares, where="mid", label=name)
            elif value != "sparsity":
                axis.plot(numbers, shares, marker=".", label=name)
            for entry in epochs:
                if "prune" in entry.get("events", ()):
                    place = entry["epoch"] + 1.5
                    axis.axvline(place, color="gray", linewidth=0.6, linestyle=":")
        axis.set(ylabel=f"{title}, %", ylim=(0, 100))
        axis.grid(alpha=0.3)
    axes[0].legend()
    axes[-1].set_xlabel("epoch")
    with written_beside(path) as temporary:
        figure.savefig(temporary, dpi=120)
    return path


def _have(records: dict[str, Record], value: str) -> bool:
    return any(value in entry for record in records.values() for entry in record["epochs"])
