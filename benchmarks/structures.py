"""Measures what each structure of pruning buys once a model is shrunk and exported.

    python benchmarks/structures.py             # a language model and an H-LSTM, 3 of 4 connections
    python benchmarks/structures.py --quick     # smaller models, fewer rounds

From copies of one model the same share of all connections is removed by magnitude: as single
connections, blocks of 16 inputs, rows (inputs), columns (outputs), neurons, units of recurrent
states, or neurons and units in turn. Each copy is shrunk and exported, and the files take turns on
the same sequence, one thread, by processor time. The models are not trained: times and bytes do not
depend on the weights, and accuracy is not measured here. A structure may end with fewer connections
gone than was asked for, because a layer keeps at least eight neurons or the model has no others.
"""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import _engines
import _measure
import keras
import numpy as np
from _progress import Progress

import hlstm_tf as hl
from hlstm_tf.pruning.architecture import Rule, count_connections, prune_model
from hlstm_tf.scoring.score_source import ScoreSource

layers = keras.layers
SHARE, STEP = 0.75, 0.2
STRUCTURES: dict[str, tuple[str, ...]] = {
    "none": (),
    "connection": ("connection",),
    "1x16 block": ("1x16",),
    "row": ("row",),
    "column": ("column",),
    "neuron": ("neuron",),
    "unit": ("unit",),
    "neurons and units": ("unit", "neuron"),
}
BLOCKS = "1x16 block, sparse"
"""The line of the blocks' sparse encoding."""


@dataclass
class Line:
    """A line of the table.

    Attributes:
        model, structure: What was pruned, and how.
        gone: Share of the connections that are gone.
        deployed: Its bytes and times.
    """

    model: str
    structure: str
    gone: float
    deployed: _engines.Deployed


def models(size: int) -> dict[str, Callable[[], keras.Model]]:
    """What is pruned, by name: makers, each of the same weights at every call."""

    def words() -> keras.Model:
        keras.utils.set_random_seed(0)
        return keras.Sequential(
            [
                keras.Input((None,), dtype="int32", name="words"),
                layers.Embedding(4 * size, size // 2),
                layers.LSTM(size, return_sequences=True),
                layers.Dense(4 * size, activation="softmax"),
            ]
        )

    def gates() -> keras.Model:
        keras.utils.set_random_seed(0)
        return keras.Sequential(
            [
                keras.Input((None, size // 2), name="frames"),
                hl.HLSTM(size, hidden_units=size, return_sequences=True),
                layers.Dense(32),
            ]
        )

    return {
        f"Language model: embedding {size // 2}, LSTM {size}, softmax of {4 * size}": words,
        f"H-LSTM of {size}, hidden {size}": gates,
    }


def pruned(model: keras.Model, structures: tuple[str, ...]) -> tuple[keras.Model, float]:
    """The model shrunk, with that share of its connections gone or as much as goes."""
    masked = hl.sparsify(model)
    kernels = hl.masked_kernels(masked)
    removed = bool(structures)
    while removed and _gone(kernels) < SHARE:
        removed = False
        for name in structures:
            rule = Rule.of("magnitude", name, "per_matrix")
            # A part at a time only where structures take turns.
            ratio = STEP if len(structures) > 1 else 0.99
            source = ScoreSource(masked)
            removed |= bool(prune_model(source, rule, name, ratio=ratio, enough=_enough))
    gone = _gone(kernels)
    return hl.shrink(masked), gone


def _enough(sparsity: float) -> bool:
    return sparsity >= SHARE


def _gone(kernels: list[Any]) -> float:
    left, places = count_connections(kernels)
    return 1 - left / places


def lines_of(
    name: str, make: Callable[[], keras.Model], inputs: np.ndarray, rounds: int
) -> list[Line]:
    """Prunes, shrinks, exports and times one model by every structure."""
    found: dict[str, Line] = {}
    progress = Progress("pruning and exporting", len(STRUCTURES))
    for structure, parts in STRUCTURES.items():
        model, gone = pruned(make(), parts)
        found[structure] = Line(name, structure, gone, _engines.deploy(model, inputs))
        if parts == ("1x16",):
            path = _engines.tflite(model, "step", "sparse")
            size, run = hl.file_size(path), _engines.litert(path, inputs)
            sparse = _engines.Deployed(None, size.bytes, size.gzipped, {_engines.INT8: run})
            found[BLOCKS] = Line(name, BLOCKS, gone, sparse)
        progress.advance()
    _engines.time_all({key: line.deployed for key, line in found.items()}, "none", rounds)
    return list(found.values())


def table(lines: list[Line]) -> str:
    """Prints and returns the table."""
    heads = ["structure", "gone", *_engines.HEADS]
    text = [f"| {' | '.join(heads)} |", f"|---|{'--:|' * (len(heads) - 1)}"]
    for number, line in enumerate(lines):
        if not number or line.model != lines[number - 1].model:
            text.append(f"| **{line.model}** |{' |' * (len(heads) - 1)}")
        text.append(
            f"| {' | '.join([line.structure, f'{line.gone:.0%}', *line.deployed.cells()])} |"
        )
    made = "\n".join(text)
    print(made, flush=True)
    return made


def main() -> None:
    """Runs the benchmark and prints its table."""
    given = _measure.options(__doc__)
    size, frames, rounds = (64, 20, 9) if given.quick else (256, 50, 25)
    rng = np.random.default_rng(0)
    inputs = (
        rng.integers(0, 4 * size, (1, frames)).astype("int32"),
        rng.normal(size=(1, frames, size // 2)).astype("float32"),
    )
    _engines.one_thread()
    print(_measure.machine())
    lines = []
    for (name, make), values in zip(models(size).items(), inputs, strict=True):
        lines += lines_of(name, make, values, rounds)
    title = (
        f"{SHARE:.0%} of the connections removed by each structure, {frames} frames, one thread, "
        "processor time; "
        "x: as many times as fast as the dense model in the same rounds (middle half)"
    )
    print(f"\n### {title}\n")
    text = f"\n### {title}\n\n{table(lines)}"
    _measure.write(given, {title: lines}, text)


if __name__ == "__main__":
    main()
