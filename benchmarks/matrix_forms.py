"""Measures what each matrix form buys: weights, bytes, and times beside a dense layer.

    python benchmarks/matrix_forms.py             # an LSTM of 256 units, a quarter and a tenth
    python benchmarks/matrix_forms.py --quick     # smaller, fewer rounds

Recurrent layers of one size whose two kernels are dense or have a form, each with about the given
fraction of the dense weights. The files take turns on the same sequence, and so do training steps
(forward, backward, no optimizer), one thread, by processor time. The models are not trained: times
and bytes do not depend on the weights, and accuracy is not measured here.
"""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import _engines
import _measure
import _peers
import keras
import numpy as np
import tensorflow as tf
from _progress import Progress

import hlstm_tf as hl

DENSE, KERAS = "dense", "keras.layers.LSTM"
FRACTIONS = 0.25, 0.1


@dataclass
class Line:
    """A line of the table.

    Attributes:
        name: The form.
        weights: Of the two kernels.
        deployed: Bytes and times of its files.
        step: Its training step.
    """

    name: str
    weights: int
    deployed: _engines.Deployed
    step: _measure.Row | None = None


def forms() -> dict[str, Any]:
    """`kernel_form` of each line."""
    found: dict[str, Any] = {DENSE: None}
    for fraction in FRACTIONS:
        found[f"low rank, {fraction:.0%}"] = hl.LowRank(parameters=fraction)
        found[f"shared low rank, {fraction:.0%}"] = hl.SharedLowRank(parameters=fraction)
        found[f"Kronecker, {fraction:.0%}"] = hl.Kronecker(parameters=fraction)
    found["Kronecker, fewest"] = hl.Kronecker()
    found["Toeplitz-like, rank 2"] = hl.ToeplitzLike(2)
    return found


def in_model(layer: keras.layers.Layer, inputs: int) -> keras.Model:
    """A layer as a model of sequences."""
    return keras.Sequential([keras.Input((None, inputs), name="frames"), layer])


def training_step(model: keras.Model, batch: int, frames: int, inputs: int) -> _peers.Run:
    """Forward and backward pass over a batch."""
    x = tf.random.normal((batch, frames, inputs))

    @tf.function
    def step() -> Any:
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(tf.square(model(x, training=True)))
        return tape.gradient(loss, model.trainable_variables)

    return step


def table(lines: list[Line]) -> str:
    """Prints and returns the table."""
    heads = ["form", "weights", "training step", *_engines.HEADS]
    text = [f"| {' | '.join(heads)} |", f"|---|{'--:|' * (len(heads) - 1)}"]
    for line in lines:
        step = _engines.time_of(line.step)
        text.append(
            f"| {' | '.join([line.name, f'{line.weights:,}', step, *line.deployed.cells()])} |"
        )
    made = "\n".join(text)
    print(made, flush=True)
    return made


def main() -> None:
    """Runs the benchmark and prints its table."""
    given = _measure.options(__doc__)
    size, inputs, frames, rounds = (64, 32, 20, 5) if given.quick else (256, 128, 50, 15)
    x = np.random.default_rng(0).normal(size=(1, frames, inputs)).astype("float32")
    _engines.one_thread()
    print(_measure.machine())
    made: dict[str, Callable[[], keras.layers.Layer]] = {
        name: lambda form=form: hl.CompactLSTM(size, kernel_form=form, return_sequences=True)
        for name, form in forms().items()
    }
    made[KERAS] = lambda: keras.layers.LSTM(size, return_sequences=True)
    lines, steps, progress = {}, {}, Progress("exporting", len(made))
    for name, make in made.items():
        model = in_model(make(), inputs)
        weights = model.count_params() - 4 * size
        lines[name] = Line(name, weights, _engines.deploy(model, x))
        steps[name] = training_step(model, 8, frames, inputs)
        progress.advance()
    _engines.time_all({name: line.deployed for name, line in lines.items()}, DENSE, rounds)
    for row in _measure.compare(steps, DENSE, rounds, clock=time.process_time):
        lines[row.name].step = row
    title = (
        f"LSTM of {size} units on {inputs} inputs, {frames} frames (batch 8 in training), one "
        "thread, processor time; x: as many times as fast as the dense layer in the same rounds "
        "(middle half)"
    )
    print(f"\n### {title}\n")
    rows = list(lines.values())
    text = f"\n### {title}\n\n{table(rows)}"
    for line in rows:
        line.deployed.runs.clear()
    _measure.write(given, {title: rows}, text)


if __name__ == "__main__":
    main()
