"""Error against cost over the pruning iterations of trainings: fronts, and what they say of ways.

A front begins at the trained network and has a point for each pruning iteration: what its best
epoch reached, and what it costs, in connections or milliseconds.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

Point = tuple[float, float]
"""Cost and error rate."""


def points(record: dict[str, Any], cost: str = "connections") -> list[Point]:
    """Return the front of a training, from the trained network to its last iteration.

    Args:
        record: As `records.small` makes it.
        cost: "connections", or "ms" of a record with latencies.

    Example:

    >>> epochs = {"phase": ["growth", "training", "training", "retraining", "retraining"],
    ...           "iteration": [0] * 5, "val_word_errors": [9, 7, 4, 6, 5],
    ...           "connections": [50, 60, 60, 40, 40]}
    >>> points({"epochs": epochs, "result": {"words": {"errors": 5, "total": 10}}})
    [(60.0, 0.4), (40.0, 0.5)]
    """
    epochs, words = record["epochs"], record["result"]["words"]["total"]
    stages: dict[tuple[str, int], tuple[int, float]] = {}
    rows = zip(
        epochs["phase"], epochs["iteration"], epochs["val_word_errors"], epochs["connections"],
        strict=True,
    )  # fmt: skip
    for phase, iteration, errors, connections in rows:
        stage = (phase, iteration)
        if phase != "growth" and (stage not in stages or errors <= stages[stage][0]):
            stages[stage] = (errors, float(connections))
    costs = record["latency"]["ms"] if cost == "ms" else [size for _, size in stages.values()]
    rates = [errors / words for errors, _ in stages.values()]
    return list(zip(costs, rates, strict=True))


def front_of(record: dict[str, Any]) -> list[Point]:
    """Return the front of a training from its own `record.json`; empty where it did not prune."""
    if record["epochs"][-1].get("phase") != "retraining":
        return []
    names = ("phase", "iteration", "val_word_errors", "connections")
    epochs = {name: [entry[name] for entry in record["epochs"]] for name in names}
    return points({"epochs": epochs, "result": record["result"]})


def mean(fronts: Sequence[Sequence[Point]]) -> list[Point]:
    """Return the mean of several seeds' fronts, iteration by iteration; the geometric of costs.

    Iterations that not every seed has are left out.

    >>> mean([[(100, 0.1), (50, 0.2)], [(100, 0.3), (50, 0.2), (25, 0.9)]])
    [(100.0, 0.2), (50.0, 0.2)]
    """
    return [
        (
            round(statistics.geometric_mean(cost for cost, _ in stage), 6),
            statistics.mean(error for _, error in stage),
        )
        for stage in zip(*fronts, strict=False)
    ]


@dataclass(frozen=True)
class Cost:
    """The least cost of a front at an error rate.

    Attributes:
        value: It.
        bound: Whether the front ends there, better than asked for: it would reach lower.
    """

    value: float
    bound: bool


def least_cost(front: Sequence[Point], error: float) -> Cost | None:
    """Return the least cost at which a front has an error rate, or a lower one.

    From the cheapest point up to the first that is good enough; between that one and the one before
    the error is taken to fall linearly with the logarithm of the cost.

    Returns:
        None where no point is good enough.

    Example:

    >>> front = [(400, 0.10), (100, 0.20), (25, 0.40)]
    >>> round(least_cost(front, 0.15).value, 6), least_cost(front, 0.09)
    (200.0, None)
    >>> least_cost(front, 0.5)
    Cost(value=25, bound=True)
    """
    earlier: Point | None = None
    for point in sorted(front):
        if point[1] <= error:
            if earlier is None:
                return Cost(point[0], True)
            share = (earlier[1] - error) / (earlier[1] - point[1])
            logs = math.log(earlier[0]), math.log(point[0])
            return Cost(math.exp(logs[0] + share * (logs[1] - logs[0])), False)
        earlier = point
    return None


def least_error(front: Sequence[Point], cost: float) -> float | None:
    """Return the least error rate of a front at a cost, or at a lower one.

    Between points as in `least_cost`.

    Returns:
        None where no point is as cheap.

    Example:

    >>> front = [(400, 0.10), (100, 0.20), (25, 0.40)]
    >>> round(least_error(front, 200), 6), least_error(front, 1000), least_error(front, 20)
    (0.15, 0.1, None)
    """
    ordered = sorted(front)
    found = [error for value, error in ordered if value <= cost]
    if not found:
        return None
    below = ordered[len(found) - 1]
    if len(found) < len(ordered):
        above = ordered[len(found)]
        share = math.log(cost / below[0]) / math.log(above[0] / below[0])
        found.append(below[1] + share * (above[1] - below[1]))
    return min(found)
