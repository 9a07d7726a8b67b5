"""The README's tables and plots, from the records of trainings."""

from __future__ import annotations

import os
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from apps.common.errors import InputError
from apps.common.files import write_json, written_beside
from apps.common.plots import new_figure
from apps.common.rate import Rate
from apps.common.readme import write_parts
from apps.common.record import NAME, read_record, record_errors
from apps.common.tables import markdown
from apps.common.text import parse_json, read_text

PLOT = "seeds.png"
DENSE = {"lenet-300-100": (266_610, 532_400), "lenet-5": (431_080, 4_586_000)}
"""Parameters and FLOPs an image of the dense networks, as `apps.digits.cost` counts them."""

WHAT = {"lenet-300-100": "LeNet-300-100", "lenet-5": "LeNet-5"}
"""The networks' names."""

PAPER = {"lenet-300-100": ("70.2 x", "79.4 x", "1.29 %"), "lenet-5": ("74.3 x", "43.7 x", "0.77 %")}
"""What the paper (arXiv 1711.02017) has: fewer parameters, fewer FLOPs, test error."""


def add_records(runs: Sequence[str | os.PathLike[str]], results: Path) -> list[Path]:
    """Copy the records of finished trainings to where the tables are made from.

    Args:
        runs: Folders of trainings.
        results: Gets a JSON file for each, named after its folder.

    Raises:
        InputError: A folder has no record, or its training is not finished.
    """
    added = []
    for run in map(Path, runs):
        record = read_record(run)
        if "result" not in record:
            raise InputError(f"{run}: its training is not finished; train on")
        target = results / f"{run.resolve().name}.json"
        write_json(target, record)
        added.append(target)
    return added


def write_tables(results: Path, readme: Path) -> list[Path]:
    """Write what stands between the marks `<!-- NAME -->` and `<!-- /NAME -->` of a README.

    Args:
        results: Folder of records.
        readme: The file; its marks are `targets`, `comparison` and `seeds`.

    Returns:
        The files written.

    Raises:
        InputError: There are no records, or the README lacks a mark.
    """
    records = read_results(results)
    if not records:
        raise InputError(f"{results}: no records; give the folders of trainings")
    parts = {
        "targets": targets,
        "comparison": comparison,
        "seeds": seeds,
    }
    with record_errors(results):
        made = {mark: make(records) for mark, make in parts.items()}
        plot = plot_seeds(records, results / PLOT)
    write_parts(readme, made)
    return [readme, *([plot] if plot else [])]


def read_results(results: Path) -> dict[str, dict[str, Any]]:
    """Return the records in a folder, by name."""
    records = {}
    for path in sorted(results.glob("*.json")):
        try:
            record = parse_json(read_text(path, "a record"))
            record["result"]["valid"]["errors"], record["recipe"]["arch"]
        except (ValueError, KeyError, TypeError) as error:
            raise InputError(f"{path}: no record of a finished training of {NAME}") from error
        records[path.stem] = record
    return records


def targets(records: dict[str, dict[str, Any]]) -> str:
    """Return the table of the recipes' own trainings: mean over seeds, beside the paper."""
    columns = (
        "network", "seeds", "validation error", "each seed, errors", "parameters", "fewer",
        "FLOPs", "fewer", "dense error", "paper: fewer parameters, FLOPs, test error",
    )  # fmt: skip
    rows = []
    for arch, (parameters, flops) in DENSE.items():
        runs = [r for r in records.values() if r["recipe"]["arch"] == arch and "kind" not in r]
        if not runs:
            continue
        sizes = [run["result"]["parameters"] for run in runs]
        costs = [run["result"]["flops"] for run in runs]
        dense = [run["dense"] for run in runs if "dense" in run]
        rows.append(
            (
                arch,
                str(len(runs)),
                _pooled(run["result"] for run in runs),
                _each(runs),
                f"{statistics.mean(sizes):,.0f}",
                f"{parameters / statistics.mean(sizes):.1f} x",
                f"{statistics.mean(costs):,.0f}",
                f"{flops / statistics.mean(costs):.1f} x",
                _pooled(dense) if dense else "",
                ", ".join(PAPER[arch]),
            )
        )
    return markdown(columns, rows)


def comparison(records: dict[str, dict[str, Any]]) -> str:
    """Return the table of other ways to train, on one schedule."""
    return _by_kind(records, "comparison", "way")


def seeds(records: dict[str, dict[str, Any]]) -> str:
    """Return the table of seed architectures, on one schedule."""
    return _by_kind(records, "seeds", "seed: neurons, connections")


def _by_kind(records: dict[str, dict[str, Any]], table: str, kinds: str) -> str:
    groups: dict[str, list[dict[str, Any]]] = {}
    for record in records.values():
        if record.get("table") == table:
            groups.setdefault(record["kind"], []).append(record)
    if not groups:
        return "No records yet: `python -m apps.digits compare`, then `table` with its folders."
    rows = []
    for kind, runs in sorted(groups.items(), key=lambda item: item[1][0]["order"]):
        size = statistics.mean(run["result"]["parameters"] for run in runs)
        error = _pooled(run["result"] for run in runs)
        rows.append((kind, str(len(runs)), error, _each(runs), f"{size:,.0f}"))
    columns = (kinds, "seeds", "validation error", "each seed, errors", "parameters")
    return markdown(columns, rows)


def _each(runs: Sequence[dict[str, Any]]) -> str:
    return ", ".join(str(run["result"]["valid"]["errors"]) for run in runs)


def _pooled(figures: Any) -> str:
    """The error rate over several seeds, with the interval of one set of digits of that rate."""
    rates = [Rate(**each["valid"]) for each in figures]
    total = rates[0].total
    mean = statistics.mean(rate.errors for rate in rates)
    low, high = Rate(round(mean), total).interval
    return f"{100 * mean / total:.2f} % [{100 * low:.2f}, {100 * high:.2f}]"


def plot_seeds(records: dict[str, dict[str, Any]], path: Path) -> Path | None:
    """Plot the error over the size of the seed architecture; None where no record tells it."""
    runs = [r for r in records.values() if r.get("table") == "seeds"]
    if not runs:
        return None
    figure = new_figure(6, 3.6)
    axes = figure.subplots()
    points = sorted(
        (run["seed_connections"], 100 * Rate(**run["result"]["valid"]).value) for run in runs
    )
    axes.scatter(*zip(*points, strict=True), color="tab:blue")
    sizes = sorted({size for size, _ in points})
    means = [statistics.mean(y for x, y in points if x == size) for size in sizes]
    axes.plot(sizes, means, color="tab:blue", alpha=0.5)
    axes.set(xscale="log", xlabel="connections of the seed", ylabel="validation error, %")
    axes.grid(alpha=0.3)
    with written_beside(path) as temporary:
        figure.savefig(temporary, dpi=110)
    return path
