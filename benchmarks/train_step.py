"""Times a training step of recurrent layers against `keras.layers.LSTM`, in one run.

    python benchmarks/train_step.py            # 256 and 800 units, 150 steps
    python benchmarks/train_step.py --quick    # 64 units, 50 steps

A step is forward, backward and the gradients' sums, on one batch. The peers take turns round after
round, so that a busy machine slows them alike; the figures are medians, and ratios are taken round
by round against `keras.layers.LSTM`.
"""

import argparse
import json
import os
import platform
import statistics
import time
from collections.abc import Callable
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import tensorflow as tf

import hlstm_tf as hl

PEER = "keras.layers.LSTM"


def layers(units: int) -> dict[str, keras.Layer]:
    """The layers that are compared, by the name they are printed under."""
    return {
        PEER: keras.layers.LSTM(units, return_sequences=True),
        "hl.MaskedLSTM": hl.MaskedLSTM(units, return_sequences=True),
        "hl.HLSTM": hl.HLSTM(units, return_sequences=True),
        "hl.HLSTM, no masks": hl.HLSTM(units, return_sequences=True, masked=False),
        "keras.layers.RNN(hl.HLSTMCell)": keras.layers.RNN(
            hl.HLSTMCell(units), return_sequences=True
        ),
    }


def step_of(layer: keras.Layer, batch: tf.Tensor) -> Callable[[], Any]:
    """A compiled training step of `layer` on `batch`."""
    layer(batch)
    variables = [variable.value for variable in layer.trainable_variables]

    @tf.function
    def step() -> list[tf.Tensor]:
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(layer(batch, training=True))
        return [tf.reduce_sum(gradient) for gradient in tape.gradient(loss, variables)]

    step()
    return step


def measure(units: int, steps: int, batch_size: int, rounds: int) -> list[dict[str, Any]]:
    """Times every layer in `rounds` interleaved rounds; milliseconds and ratios."""
    batch = tf.random.normal((batch_size, steps, units), seed=0)
    timed = {name: step_of(layer, batch) for name, layer in layers(units).items()}
    times: dict[str, list[float]] = {name: [] for name in timed}
    for _ in range(rounds):
        for name, step in timed.items():
            start = time.perf_counter()
            step()
            times[name].append((time.perf_counter() - start) * 1e3)
    rows = []
    for name, values in times.items():
        ratios = sorted(mine / peer for mine, peer in zip(values, times[PEER], strict=True))
        rows.append(
            {
                "layer": name,
                "units": units,
                "ms": statistics.median(values),
                "ratio": statistics.median(ratios),
                "ratio_low": ratios[len(ratios) // 4],
                "ratio_high": ratios[-1 - len(ratios) // 4],
            }
        )
    return rows


def main() -> None:
    """Runs the benchmark and prints its table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="the short form")
    parser.add_argument("--units", type=int, nargs="+", help="widths (default: 256 800)")
    parser.add_argument("--threads", type=int, default=2, help="threads an operation may use")
    parser.add_argument("--json", metavar="FILE", help="write the rows here as well")
    options = parser.parse_args()
    tf.config.threading.set_intra_op_parallelism_threads(options.threads)
    widths = options.units or ([64] if options.quick else [256, 800])
    steps, rounds = (50, 5) if options.quick else (150, 11)
    print(f"{platform.machine()}, {options.threads} threads, batch 16, {steps} steps")
    print(f"{'layer':32} {'units':>5} {'ms':>9} {'x LSTM':>7}  middle half")
    rows = []
    for units in widths:
        for row in measure(units, steps, 16, rounds):
            rows.append(row)
            spread = f"{row['ratio_low']:.2f}-{row['ratio_high']:.2f}"
            print(
                f"{row['layer']:32} {units:5d} {row['ms']:9.1f} {row['ratio']:7.2f}  {spread}",
                flush=True,
            )
    if options.json:
        with open(options.json, "w", encoding="utf-8") as file:
            json.dump(rows, file, indent=1)


if __name__ == "__main__":
    main()
