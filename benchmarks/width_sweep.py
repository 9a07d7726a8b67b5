"""Times one step of an H-LSTM at many widths of its hidden layer: latency is no smooth curve.

    python benchmarks/width_sweep.py --plot width_sweep.png
    python benchmarks/width_sweep.py --quick

Smaller is not always faster (arXiv 1901.10997 calls it latency hysteresis): float32 likes widths
that fill its vector registers, and a step whose weights no longer fit a cache takes several times
as long. What this prints for your machine is what to choose `hl.Neuron(multiple=...)` by. "Floor"
is the time in which a step's weights can be read, from the caches or from memory.
"""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import _measure
import _peers
from _floor import Weights
from _progress import Progress

UNITS = 512
WIDTHS = [*range(40, 58), 64, 80, 96, 112, 128, 160, 192, 256, 320, 384, 448, 512]
QUICK = [32, 48, 49, 52, 56, 64]
KINDS = {"float32": None, "int8 weights": "dynamic"}


@dataclass(frozen=True)
class Point:
    """A point of a curve.

    Attributes:
        weights: Their type.
        caches: `hot` or `cold`.
        width: Of the hidden layer.
        us: Median microseconds of a step.
        floor: Microseconds in which its weights can be read.
    """

    weights: str
    caches: str
    width: int
    us: float
    floor: float


def exported(widths: Sequence[int]) -> dict[str, tuple[str, int, Path]]:
    """The step form of each width in each precision, by a name."""
    files = {}
    progress = Progress("exporting", len(widths) * len(KINDS))
    for width in widths:
        model = _peers.recurrent_model(_peers.hlstm_layers(UNITS, width), UNITS)
        for kind, quantization in KINDS.items():
            path = _peers.tflite(model, "step", quantization)
            files[f"{kind} {width}"] = kind, width, path
            progress.advance()
    return files


def sweep(widths: Sequence[int], rounds: int) -> list[Point]:
    """Times all of them in turn, with caches hot and cold."""
    files = exported(widths)
    runs = {name: _peers.one_step(path) for name, (*_, path) in files.items()}
    weights: dict[str, Weights] = {
        name: _peers.tflite_weights(path) for name, (*_, path) in files.items()
    }
    points = []
    for cold in (False, True):
        for row in _measure.compare(runs, next(iter(runs)), rounds, cold, weights):
            kind, width, _ = files[row.name]
            points.append(Point(kind, "cold" if cold else "hot", width, row.us, row.floor or 0.0))
    return points


def table(points: Sequence[Point]) -> str:
    """The points in Markdown, a line for each width."""
    columns = list(dict.fromkeys((p.weights, p.caches) for p in points))
    found = {(p.weights, p.caches, p.width): p for p in points}
    heads = "".join(f" {weights}, {caches}, us | floor |" for weights, caches in columns)
    lines = [f"| width |{heads}", "|--:|" + "--:|--:|" * len(columns)]
    for width in dict.fromkeys(p.width for p in points):
        here = [found[(*column, width)] for column in columns]
        lines.append(f"| {width} |" + "".join(f" {p.us:.1f} | {p.floor:.1f} |" for p in here))
    return "\n".join(lines)


def plot(points: Sequence[Point], path: Path) -> None:
    """Draws the curves, caches hot on the left and cold on the right."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, both = pyplot.subplots(1, 2, figsize=(10, 4))
    for axes, caches in zip(both, ("hot", "cold"), strict=True):
        for number, kind in enumerate(KINDS):
            here = [p for p in points if p.weights == kind and p.caches == caches]
            widths, color = [p.width for p in here], f"C{number}"
            axes.plot(widths, [p.us for p in here], marker=".", color=color, label=kind)
            axes.plot(widths, [p.floor for p in here], ":", color=color, label=f"{kind}, floor")
        axes.set_xlabel(f"width of the hidden layer ({UNITS} units)")
        axes.set_ylabel("microseconds a step")
        axes.set_title(f"{caches} caches")
        # Doublings are equally far apart, so that the fine steps between 40 and 57 can be seen.
        axes.set_xscale("log", base=2)
        axes.set_yscale("log", base=2)
        ticks = [32, 40, 48, 56, 64, 96, 128, 256, 512]
        axes.set_xticks(ticks, [str(tick) for tick in ticks], fontsize=8)
        axes.yaxis.set_major_formatter("{x:g}")
        axes.legend()
    figure.tight_layout()
    figure.savefig(path, dpi=120)


def main() -> None:
    """Runs the sweep and prints its table."""
    parser = _measure.parser(__doc__)
    parser.add_argument("--plot", metavar="FILE", type=Path, help="draw the curves (matplotlib)")
    given = parser.parse_args()
    points = sweep(QUICK if given.quick else WIDTHS, 15 if given.quick else 51)
    title = f"One step, {UNITS} units, batch 1, one thread, by the width of the hidden layer"
    text = f"\n### {title}\n\n{table(points)}"
    print(_measure.machine() + "\n" + text)
    if given.plot:
        plot(points, given.plot)
    _measure.write(given, {title: points}, text)


if __name__ == "__main__":
    main()
