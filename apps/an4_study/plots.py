"""Plots of fronts: error against cost, every seed's points and the mean."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from apps.an4_study import fronts
from apps.common.files import written_beside
from apps.common.plots import new_figure


def plot_fronts(
    rows: Mapping[str, Sequence[Sequence[fronts.Point]]], path: Path, cost: str = "connections"
) -> Path | None:
    """Plot the word error rate over the cost, each row in a color of its own.

    Args:
        rows: Each seed's front, by the name that the legend shows.
        path: The PNG file.
        cost: What the horizontal axis is called.

    Returns:
        The file; None where there is nothing to plot.

    Raises:
        InputError: matplotlib is missing.
    """
    if not rows:
        return None
    figure = new_figure(6.5, 4)
    from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

    axes = figure.subplots()
    for number, (label, seeds) in enumerate(rows.items()):
        color = f"C{number}"
        for front in seeds:
            axes.plot(*_shown(front), ".", color=color, alpha=0.6)
        axes.plot(*_shown(fronts.mean(seeds)), color=color, label=label)
    axes.set(xscale="log", xlabel=cost, ylabel="validation WER, %")
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,g}"))
    axes.grid(alpha=0.3)
    axes.legend(fontsize="small")
    with written_beside(path) as temporary:
        figure.savefig(temporary, dpi=90)
    return path


def _shown(front: Sequence[fronts.Point]) -> tuple[list[float], list[float]]:
    return [cost for cost, _ in front], [100 * error for _, error in front]
