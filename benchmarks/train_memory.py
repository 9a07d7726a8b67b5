"""Measures the memory that a training step takes: everything stored, or recomputed.

    python benchmarks/train_memory.py            # 800 units, 1,000 steps
    python benchmarks/train_memory.py --quick    # 128 units, 500 steps

Each layer runs in a process of its own. What is counted is by how much a step on the whole sequence
raises the process's peak of resident memory above that of a step on the sequence's first 2 frames:
not the program, not the weights, but the sequence's share, its projected input included.
"""

import argparse
import json
import multiprocessing
import os
import platform
import resource
from concurrent.futures import ProcessPoolExecutor
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from _measure import machine, options

BATCH = 16
CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "keras.layers.LSTM": ("keras.LSTM", {}),
    "MaskedLSTM": ("MaskedLSTM", {}),
    "MaskedLSTM, recompute": ("MaskedLSTM", {"recompute": True}),
    "HLSTM": ("HLSTM", {}),
    "HLSTM, recompute": ("HLSTM", {"recompute": True}),
    "MaskedGRU": ("MaskedGRU", {}),
    "MaskedGRU, recompute": ("MaskedGRU", {"recompute": True}),
}


def main() -> None:
    given = options(__doc__)
    units, steps = (128, 500) if given.quick else (800, 1000)
    title = f"Memory of a training step, {units} units, batch {BATCH}, {steps} steps"
    lines = [f"\n### {title}\n", "| | MB |", "|---|--:|"]
    print("\n".join(lines), flush=True)
    found: dict[str, float] = {}
    for name, (kind, arguments) in CASES.items():
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(1, mp_context=context) as process:
            found[name] = process.submit(megabytes, kind, arguments, units, steps).result()
        lines.append(f"| {name} | {found[name]:,.0f} |")
        print(lines[-1], flush=True)
    write(given, title, found, "\n".join(lines))


def write(given: argparse.Namespace, title: str, found: dict[str, float], text: str) -> None:
    if given.json:
        content = {"machine": machine(), "tables": {title: found}}
        given.json.write_text(json.dumps(content, indent=1), encoding="utf-8")
    if given.markdown:
        given.markdown.write_text(f"{machine()}\n{text}\n", encoding="utf-8")


def megabytes(kind: str, arguments: dict[str, Any], units: int, steps: int) -> float:
    """Runs a step on 2 frames and one on all; returns by how much the peak rose."""
    import keras
    import tensorflow as tf

    import hlstm_tf as hl

    home = keras.layers if kind.startswith("keras.") else hl
    layer = getattr(home, kind.removeprefix("keras."))(units, return_sequences=True, **arguments)
    layer.build((None, None, units))
    variables = [variable.value for variable in layer.trainable_variables]

    @tf.function(input_signature=[tf.TensorSpec([BATCH, None, units])])
    def step(x: tf.Tensor) -> list[tf.Tensor]:
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(layer(x, training=True))
        return [tf.reduce_sum(gradient) for gradient in tape.gradient(loss, variables)]

    x = tf.random.stateless_normal((BATCH, steps, units), seed=(0, 0))
    step(x[:, :2])
    before = peak()
    step(x)
    return peak() - before


def peak() -> float:
    """The process's peak of resident memory, in MB."""
    unit = 1 if platform.system() == "Darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6


if __name__ == "__main__":
    main()
