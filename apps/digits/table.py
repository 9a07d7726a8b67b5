"""The README's tables and plots, from the records of trainings."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from apps.common.errors import InputError
from apps.common.files import written_beside
from apps.common.plots import new_figure
from apps.common.rate import Rate
from apps.common.record import record_errors
from apps.common.tables import each, markdown, pooled, read_results, write_parts

PLOT = "seeds.png"
DENSE = {"lenet-300-100": (266_610, 532_400), "lenet-5": (431_080, 4_586_000)}
"""Parameters and FLOPs an image of the dense networks, as `apps.digits.cost` counts them."""

WHAT = {"lenet-300-100": "LeNet-300-100", "lenet-5": "LeNet-5"}
"""The networks' names."""

PAPER = {"lenet-300-100": ("70.2 x", "79.4 x", "1.29 %"), "lenet-5": ("74.3 x", "43.7 x", "0.77 %")}
"""What the paper (arXiv 1711.02017) has: fewer parameters, fewer FLOPs, test error."""


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
    records = read_results(results, _check, "a finished training")
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
        dense = [Rate(**run["dense"]["valid"]) for run in runs if "dense" in run]
        rows.append(
            (
                arch,
                str(len(runs)),
                pooled(_rates(runs), 2),
                each(_rates(runs)),
                f"{statistics.mean(sizes):,.0f}",
                f"{parameters / statistics.mean(sizes):.1f} x",
                f"{statistics.mean(costs):,.0f}",
                f"{flops / statistics.mean(costs):.1f} x",
                pooled(dense, 2) if dense else "",
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
        rates = _rates(runs)
        rows.append((kind, str(len(runs)), pooled(rates, 2), each(rates), f"{size:,.0f}"))
    columns = (kinds, "seeds", "validation error", "each seed, errors", "parameters")
    return markdown(columns, rows)


def _rates(runs: Sequence[dict[str, Any]]) -> list[Rate]:
    """The validation error of each run's result."""
    return [Rate(**run["result"]["valid"]) for run in runs]


def _check(record: dict[str, Any]) -> None:
    record["result"]["valid"]["errors"], record["recipe"]["arch"]


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
