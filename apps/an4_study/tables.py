"""The README's tables, from the records of trainings."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from pathlib import Path
from typing import Any

from apps.an4_study import fronts
from apps.an4_study.plots import plot_fronts
from apps.an4_study.records import read_results
from apps.an4_study.rows import GP, HLSTM, PRUNING, TABLES, Row
from apps.common.errors import InputError
from apps.common.rate import Rate
from apps.common.record import read_record, record_errors
from apps.common.tables import each, markdown, pooled, write_parts

Records = list[dict[str, Any]]

GAPS = (0.0, 0.02, 0.04, 0.08, 0.12)
"""How far above the least WER of pruning only the fronts of growth and pruning are compared."""

SHARES = (1.0, 0.98, 0.96, 0.94)
"""Of the latency before pruning: where the fronts of structures are compared."""

NONE = "No records yet: `python -m apps.speech ablate --tables {}`, then `table` with its `--out`."
COLUMNS = ("seeds", "WER", "each seed, errors", "connections", "sparsity", "minutes")


def write_tables(results: Path, readme: Path) -> list[Path]:
    """Write the tables between a README's marks, and the plots of the fronts.

    Args:
        results: Folder of records; gets the plots.
        readme: The file; it has a pair of marks `<!-- NAME -->` for each of `PARTS`.

    Returns:
        The files written.

    Raises:
        InputError: There are no records, or the README lacks a mark.
    """
    records = read_results(results)
    if not records:
        raise InputError(f"{results}: no records; give the folder of `ablate`'s runs")
    with record_errors(results):
        made = {mark: make(records) for mark, make in PARTS.items()}
    write_parts(readme, made)
    plots = [
        plot_fronts(_fronts("growth", records), results / "fronts.png"),
        plot_fronts(_fronts("latency", records, "ms"), results / "latency.png", "milliseconds"),
        plot_fronts(_an4_fronts(results.parent), results.parent / "an4.png"),
    ]
    return [readme, *(path for path in plots if path)]


def _an4_fronts(folder: Path) -> dict[str, list[list[fronts.Point]]]:
    """The fronts of all trainings on AN4 in a folder; a point of those that did not prune."""
    found = {}
    for path in sorted(folder.glob("an4*.json")):
        record = read_record(path)
        result = record["result"]
        found[path.stem] = [fronts.front_of(record) or [(result["connections"], result["wer"])]]
    return found


def plain(name: str, what: str) -> Callable[[Records], str]:
    """Return what makes the table `name` of `rows.TABLES`; its first column is `what`."""

    def make(records: Records) -> str:
        rows = [
            (row.label, *cells(found))
            for row in TABLES[name].rows
            if (found := of_row(records, row))
        ]
        return markdown((what, *COLUMNS), rows) if rows else NONE.format(name)

    return make


def of_row(records: Records, row: Row) -> Records:
    """Return a row's records, seed by seed."""
    return sorted((r for r in records if r["row"] == row.name), key=lambda r: r["seed"])


def cells(records: Records) -> tuple[str, ...]:
    """Return the cells of a row after its name: `COLUMNS`, means over its seeds."""
    results = [record["result"] for record in records]
    rates = [Rate(**result["words"]) for result in results]
    return (
        str(len(records)),
        pooled(rates),
        each(rates),
        f"{statistics.mean(result['connections'] for result in results):,.0f}",
        f"{statistics.mean(result['sparsity'] for result in results):.1%}",
        f"{statistics.mean(record['cpu_seconds'] for record in records) / 60:.1f}",
    )


def equal_error(records: Records) -> str:
    """Return the connections that each way of table "growth" needs at the same error rates."""
    found = _fronts("growth", records)
    pruned = found.get(PRUNING.label)
    if not pruned:
        return NONE.format("growth")
    start = min(error for _, error in fronts.mean(pruned))
    columns = ("connections at a WER of", *(f"{100 * (start + gap):.1f} %" for gap in GAPS))
    rows = [(label, *(_cost(seeds, start + gap) for gap in GAPS)) for label, seeds in found.items()]
    return markdown(columns, rows)


def _cost(seeds: list[list[fronts.Point]], error: float) -> str:
    """The mean front's least connections at an error rate, and each seed's."""

    def text(front: list[fronts.Point]) -> str:
        cost = fronts.least_cost(front, error)
        return "-" if cost is None else f"{'<= ' if cost.bound else ''}{cost.value:,.0f}"

    mean = text(fronts.mean(seeds))
    return f"{mean} ({'; '.join(text(front) for front in seeds)})" if len(seeds) > 1 else mean


def equal_latency(records: Records) -> str:
    """Return what error rate each structure of table "latency" reaches at the same latencies."""
    found = _fronts("latency", records, "ms")
    if not found:
        return NONE.format("latency")
    slowest = statistics.mean(front[0][0] for seeds in found.values() for front in seeds)
    columns = ("WER at a latency of", *(f"{share * slowest:.2f} ms" for share in SHARES), "fastest")
    rows = []
    for label, seeds in found.items():
        mean = fronts.mean(seeds)
        errors = [fronts.least_error(mean, share * slowest) for share in SHARES]
        texts = ["-" if error is None else f"{100 * error:.1f} %" for error in errors]
        cost, error = min(mean)
        rows.append((label, *texts, f"{cost:.2f} ms, {100 * error:.1f} %"))
    return markdown(columns, rows)


def _fronts(
    table: str, records: Records, cost: str = "connections"
) -> dict[str, list[list[fronts.Point]]]:
    """Each seed's front of each row of a table that has records."""
    found = {}
    for row in TABLES[table].rows:
        several = [r for r in of_row(records, row) if cost != "ms" or "latency" in r]
        if several:
            found[row.label] = [fronts.points(record, cost) for record in several]
    return found


def sparsity(records: Records) -> str:
    """Return the sparsity of each layer after each stage of the grow-and-prune runs."""
    runs = of_row(records, GP)
    if not runs:
        return NONE.format("growth")
    stages = [run["measures"]["layers"] for run in runs]
    titles = {"trained": "grown"}
    # Stage by stage, over the seeds; stages that a seed lacks are left out.
    together = list(zip(*stages, strict=False))
    names = [titles.get(stage[0][0], stage[0][0]) for stage in together]
    layers = [layer for layer, *_ in stages[0][0][1]]
    rows = []
    for layer in (*layers, "all"):
        shares = [
            statistics.mean(_sparsity(counts, layer) for _, counts in stage) for stage in together
        ]
        rows.append((layer, *(f"{share:.1%}" for share in shares)))
    return markdown(("layer", *names), rows)


def _sparsity(counts: list[tuple[str, int, int]], layer: str) -> float:
    chosen = [(have, places) for name, have, places in counts if layer in (name, "all")]
    return 1 - sum(have for have, _ in chosen) / sum(places for _, places in chosen)


def zeros(records: Records) -> str:
    """Return how many hidden activations are zero, and the FLOPs that it saves, layer by layer."""
    looked = (
        ("dense", HLSTM, 0),
        ("grown", GP, 0),
        ("grown and pruned", GP, -1),
    )
    rows = []
    for label, row, stage in looked:
        seeds = [run["measures"]["hidden"][stage][1] for run in of_row(records, row)]
        for layers in zip(*seeds, strict=True):
            share, flops, saved = (statistics.mean(seed[k] for seed in layers) for k in (1, 2, 3))
            rows.append(
                (
                    label,
                    layers[0][0],
                    f"{share:.1%}",
                    f"{flops:,.0f}",
                    f"{saved:,.0f}",
                    f"{saved / flops:.1%}",
                )
            )
    columns = ("H-LSTM", "layer", "zeros", "FLOPs a frame", "saved", "share")
    return markdown(columns, rows) if rows else NONE.format("growth")


PARTS: dict[str, Callable[[Records], str]] = {
    "cells": plain("cells", "cell, layers x units"),
    "growth": plain("growth", "way"),
    "equal-error": equal_error,
    "latency": plain("latency", "pruned by"),
    "equal-latency": equal_latency,
    "dropout": plain("dropout", "dropout in the gates"),
    "width": plain("width", "hidden width"),
    "sparsity": sparsity,
    "zeros": zeros,
    "training": plain("training", "training"),
}
"""What stands between the marks of each name."""
