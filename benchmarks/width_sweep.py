"""Times one step of an H-LSTM at many widths of its hidden layer: latency is no smooth curve.

    python benchmarks/width_sweep.py --plot width_sweep.png
    python benchmarks/width_sweep.py --quick

Smaller is not always faster (arXiv 1901.10997 calls it latency hysteresis): float32 likes widths
that fill its vector registers, and a step whose weights no longer fit a cache takes several times
as long. What this prints for your machine is what to choose `hl.Neuron(multiple=...)` by.
"""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")

import argparse
import json
import statistics
import time
from collections.abc import Sequence
from pathlib import Path

import _measure
import _peers

UNITS = 512
KINDS = {"float32": None, "int8 weights": "dynamic"}


def sweep(widths: Sequence[int], rounds: int) -> dict[str, dict[int, float]]:
    """Median microseconds of a step, by kind of weights and width."""
    runs = {}
    for width in widths:
        model = _peers.recurrent_model(_peers.hlstm_layers(UNITS, width), UNITS)
        for kind, quantization in KINDS.items():
            runs[kind, width] = _peers.one_step(_peers.tflite(model, "step", quantization))
    times: dict[tuple[str, int], list[float]] = {key: [] for key in runs}
    for _ in range(rounds):
        for key, run in runs.items():
            run()
            began = time.perf_counter()
            for _ in range(10):
                run()
            times[key].append(1e5 * (time.perf_counter() - began))
    return {
        kind: {width: statistics.median(times[kind, width]) for width in widths} for kind in KINDS
    }


def plot(found: dict[str, dict[int, float]], path: Path) -> None:
    """Draws the curves."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(7, 4))
    for kind, values in found.items():
        axes.plot(list(values), list(values.values()), marker=".", label=kind)
    axes.set_xlabel(f"width of the hidden layer ({UNITS} units)")
    axes.set_ylabel("microseconds a step, hot caches")
    axes.set_ylim(bottom=0)
    axes.legend()
    figure.tight_layout()
    figure.savefig(path, dpi=120)


def main() -> None:
    """Runs the sweep and prints its table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="six widths")
    parser.add_argument("--plot", metavar="FILE", type=Path, help="draw the curves")
    parser.add_argument("--json", metavar="FILE", type=Path, help="write the figures")
    given = parser.parse_args()
    fine = [*range(40, 58), 64, 80, 96, 112, 128, 160, 192, 256, 320, 384, 448, 512]
    found = sweep([32, 48, 49, 52, 56, 64] if given.quick else fine, 11 if given.quick else 51)
    print(_measure.machine())
    print(f"{'width':>6}" + "".join(f"{kind:>16}" for kind in found))
    for width in next(iter(found.values())):
        print(f"{width:6d}" + "".join(f"{found[kind][width]:13.1f} us" for kind in found))
    if given.plot:
        plot(found, given.plot)
    if given.json:
        given.json.write_text(json.dumps({"machine": _measure.machine(), "us": found}, indent=1))


if __name__ == "__main__":
    main()
