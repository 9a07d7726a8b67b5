"""Processor time of whole-model steps on large convolutional models, beside plain Keras's own.

    python benchmarks/large_models.py             # ResNet50, NASNetMobile, MobileNetV2, Xception
    python benchmarks/large_models.py --quick     # MobileNetV2

Of each model: `sparsify` and `shrink` beside `keras.models.clone_model` with its weights set. Of
MobileNetV2 for pictures of 96 x 96: three TFLite files beside plain `TFLiteConverter`s, which
compare nothing, and two epochs of two steps with pruning beside the same `fit` without. Times are
seconds of the processor, of child processes too: other work on the machine changes them less than
those of the clock. Each is the least of the rounds, in which a step and its peer take turns; of the
trainings there is one round, as masks that are pruned stay so.
"""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")

import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import _measure
import keras
import numpy as np
import tensorflow as tf
from _progress import Progress

import hlstm_tf as hl

SIZES = {"MobileNetV2": 96, "ResNet50": 96, "Xception": 96, "NASNetMobile": 224}
SPARSITY, CLASSES = 0.5, 10
Step = tuple[str, Callable[[], Any], str, Callable[[], Any]]
"""What is timed and its peer, each with its name."""


@dataclass(frozen=True)
class Row:
    """Seconds of the processor for a step, those for its peer, and how many times as many."""

    step: str
    seconds: float
    peer: str
    peer_seconds: float
    ratio: float


def made(name: str) -> keras.Model:
    """A model of `keras.applications` with fresh weights, normalized on pictures.

    With the statistics that a fresh batch normalization has, the signal dies out on its way, and
    all outputs are alike.
    """
    size = SIZES[name]
    keras.utils.set_random_seed(0)
    model = getattr(keras.applications, name)(
        input_shape=(size, size, 3), weights=None, classes=CLASSES
    )
    normalizations = [
        layer
        for layer in model._flatten_layers()
        if isinstance(layer, keras.layers.BatchNormalization)
    ]
    momenta = [layer.momentum for layer in normalizations]
    for layer in normalizations:
        layer.momentum = 0.0
    model(np.random.default_rng(0).random((8, size, size, 3), dtype="float32"), training=True)
    for layer, momentum in zip(normalizations, momenta, strict=True):
        layer.momentum = momentum
    return model


def copied(model: keras.Model) -> keras.Model:
    """The model made again by Keras, with the same weights."""
    new = keras.models.clone_model(model)
    new.set_weights(model.get_weights())
    return new


def transforms(model: keras.Model) -> Iterator[Step]:
    """`sparsify` and `shrink`."""
    sparse = hl.sparsify(model, SPARSITY)
    peer = "clone_model, set_weights"
    yield "sparsify", lambda: hl.sparsify(model, SPARSITY), peer, lambda: copied(model)
    yield "shrink", lambda: hl.shrink(sparse), peer, lambda: copied(model)


def exports(model: keras.Model, pictures: np.ndarray, folder: Path) -> Iterator[Step]:
    """The three TFLite files."""
    for quantization in (None, "dynamic", "int8"):
        samples = pictures if quantization == "int8" else None
        yield (
            f"export_tflite, {quantization or 'float32'}",
            lambda quantization=quantization, samples=samples: hl.export_tflite(
                model,
                folder / "m.tflite",
                quantization=quantization,
                representative=samples,
                tolerance=1.0,  # int8 takes a third of the range from such weights
            ),
            "TFLiteConverter",
            lambda quantization=quantization, samples=samples: converted(
                model, quantization, samples
            ),
        )


def converted(model: keras.Model, quantization: str | None, samples: np.ndarray | None) -> bytes:
    """A TFLite file as TensorFlow makes it, which nobody has compared with the model."""
    converter = tf.lite.TFLiteConverter.from_keras_model(model)
    if quantization is not None:
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
    if samples is not None:
        converter.representative_dataset = lambda: ([sample[None]] for sample in samples)
    return converter.convert()


def training(model: keras.Model, pictures: np.ndarray) -> Iterator[Step]:
    """Two epochs of two steps, with pruning at the beginning of each."""
    labels = np.arange(len(pictures)) % CLASSES

    def fit(new: keras.Model, *callbacks: keras.callbacks.Callback) -> None:
        new.compile("adam", "sparse_categorical_crossentropy")
        new.fit(
            pictures,
            labels,
            batch_size=len(pictures) // 2,
            epochs=2,
            verbose=0,
            callbacks=list(callbacks),
        )

    sparse, plain = hl.sparsify(model), copied(model)
    yield (
        "fit, MagnitudePruning",
        lambda: fit(sparse, hl.MagnitudePruning(hl.Polynomial(0.2, 0.5, 0, 1))),
        "fit without masks",
        lambda: fit(plain),
    )


def rows_of(steps: Iterator[Step], rounds: int) -> list[Row]:
    """Times each step and its peer in turn."""
    rows = []
    for name, step, peer_name, peer in steps:
        progress, mine, others = Progress(name, rounds), [], []
        for _ in range(rounds):
            mine.append(spent(step))
            others.append(spent(peer))
            progress.advance()
        least, other = min(mine), min(others)
        rows.append(Row(name, least, peer_name, other, least / other))
    return rows


def spent(run: Callable[[], Any]) -> float:
    """Seconds of the processor that a call takes, child processes included."""

    def now() -> float:
        times = os.times()
        return times.user + times.system + times.children_user + times.children_system

    began = now()
    run()
    return now() - began


def table(title: str, rows: list[Row]) -> str:
    """Prints a table, and returns it in Markdown."""
    head = f"| {title} | s | beside | s | times |\n|---|--:|---|--:|--:|"
    lines = [
        f"| {r.step} | {r.seconds:.2f} | {r.peer} | {r.peer_seconds:.2f} | {r.ratio:.2f} |"
        for r in rows
    ]
    text = "\n".join([head, *lines, ""])
    print(text, flush=True)
    return text


def main() -> None:
    """Runs the benchmark and prints its tables."""
    given = _measure.options(__doc__)
    rounds, names = (1, ["MobileNetV2"]) if given.quick else (3, list(SIZES))
    print(_measure.machine())
    tables: dict[str, list[Row]] = {}
    pictures = np.random.default_rng(0).random((8, 96, 96, 3), dtype="float32")
    text = ""
    with tempfile.TemporaryDirectory(prefix="hlstm_bench_") as scratch:
        for name in names:
            model = made(name)
            tables[name] = rows_of(transforms(model), rounds)
            if name == "MobileNetV2":
                tables[name] += rows_of(exports(model, pictures, Path(scratch)), rounds)
                tables[name] += rows_of(training(model, pictures), rounds=1)
            text += "\n" + table(f"{name}, {model.count_params():,} weights", tables[name])
    _measure.write(given, tables, text, [])


if __name__ == "__main__":
    main()
