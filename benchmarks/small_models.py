"""Times recurrent models of 10 to 100 thousand weights as Python calls them, on one thread.

    python benchmarks/small_models.py             # four models in three forms
    python benchmarks/small_models.py --quick     # fewer rounds

Of such a model the engine's time is a part only: looking up signatures, copying frames and carrying
states cost as much. So everything is timed, from features to outputs, by `load_tflite` and what it
returns: the sequence form, the step form with its loop over time in Python, and, for models that
run forward only, a stream that gets a frame a call. The last table compares dense weights with
sparse blocks (`quantization="sparse"`) of a layer that has few inputs.
"""

import os
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")

import tempfile
from pathlib import Path

import _measure
import keras
import numpy as np
from _progress import Progress

import hlstm_tf as hl

layers = keras.layers
FRAMES, FEATURES, SPARSE_INPUTS, SPARSITY = 100, 32, 128, 0.9
CLOCK = time.process_time
"""One thread runs: its processor time, to which other work on the machine adds little."""


def models() -> dict[str, keras.Model]:
    """Small recurrent models, by what is in them."""
    recurrent = {
        "GRU of 48": layers.GRU(48, return_sequences=True),
        "LSTM of 96": layers.LSTM(96, return_sequences=True),
        "H-LSTM of 64, hidden 32": hl.HLSTM(64, hidden_units=32, return_sequences=True),
        "BiLSTM of 64": layers.Bidirectional(layers.LSTM(64, return_sequences=True)),
    }
    return {
        name: keras.Sequential([keras.Input((None, FEATURES)), layer, layers.Dense(10)])
        for name, layer in recurrent.items()
    }


def by_frame(runner: hl.StepRunner, frames: np.ndarray) -> None:
    """Runs a sample as a stream, a frame a call."""
    stream = runner.stream()
    for t in range(frames.shape[1]):
        stream(frames[:, t : t + 1])


def forms(model: keras.Model, folder: Path, frames: np.ndarray) -> dict[str, _measure.Run]:
    """A model's runs over all frames, by the form."""
    sequence, step = folder / "sequence.tflite", folder / "step.tflite"
    hl.export_tflite(model, sequence, quantization="dynamic")
    hl.export_tflite(model, step, form="step", quantization="dynamic")
    whole, runner = hl.load_tflite(sequence, threads=1), hl.StepRunner(step, threads=1)
    runs: dict[str, _measure.Run] = {
        "sequence": lambda: whole.run(frames),
        "step": lambda: runner.run(frames),
    }
    if "step" in runner.signatures:
        runs["stream, a frame a call"] = lambda: by_frame(runner, frames)
    return runs


def blocks(folder: Path, frames: np.ndarray) -> dict[str, _measure.Run]:
    """Runs of an LSTM with few inputs whose blocks are pruned, dense and sparse."""
    inputs = keras.Input((None, frames.shape[2]))
    model = hl.sparsify(
        keras.Model(inputs, layers.LSTM(SPARSE_INPUTS, return_sequences=True)(inputs)),
        sparsity=SPARSITY,
        structure="1x16",
    )
    runs: dict[str, _measure.Run] = {}
    for quantization in ("dynamic", "sparse"):
        path = folder / f"{quantization}.tflite"
        hl.export_tflite(model, path, form="step", quantization=quantization)
        runs[quantization] = hl.StepRunner(path, threads=1)
    return {name: (lambda run=run: run(frames)) for name, run in runs.items()}


def main() -> None:
    """Runs the benchmark and prints its tables."""
    given = _measure.options(__doc__)
    rng = np.random.default_rng(0)
    frames = rng.normal(size=(1, FRAMES, FEATURES)).astype("float32")
    wide = rng.normal(size=(1, FRAMES, SPARSE_INPUTS)).astype("float32")
    rounds = 15 if given.quick else 101
    print(_measure.machine())
    tables, text, built = {}, "", models()
    progress = Progress("models", len(built) + 1)
    with tempfile.TemporaryDirectory(prefix="hlstm_bench_") as scratch:
        for number, (name, model) in enumerate(built.items()):
            folder = Path(scratch, str(number))
            folder.mkdir()
            title = f"{name}, {model.count_params():,} weights, {FRAMES} frames"
            tables[title] = _measure.compare(
                forms(model, folder, frames), "sequence", rounds, clock=CLOCK
            )
            text += "\n" + _measure.show(title, tables[title], "sequence")
            progress.advance()
        title = (
            f"LSTM of {SPARSE_INPUTS} with {SPARSE_INPUTS} inputs, {SPARSITY:.0%} of its 1x16 "
            f"blocks gone, {FRAMES} frames"
        )
        tables[title] = _measure.compare(
            blocks(Path(scratch), wide), "dynamic", rounds, clock=CLOCK
        )
        text += "\n" + _measure.show(title, tables[title], "dynamic")
        progress.advance()
    _measure.write(given, tables, text, [])


if __name__ == "__main__":
    main()
