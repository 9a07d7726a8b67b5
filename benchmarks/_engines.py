"""Models as files on every engine: their bytes, and their times in turn."""

import os
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import _measure
import _peers
import keras
import numpy as np
import tensorflow as tf

import hlstm_tf as hl

ENGINES: dict[str, tuple[str, str | None] | None] = {
    "LiteRT sequence, float32": ("sequence", None),
    "LiteRT step, float32": ("step", None),
    "LiteRT step, int8": ("step", "dynamic"),
    "SavedModel": None,
}
"""Each engine's form and quantization; `None` for a SavedModel."""
INT8 = "LiteRT step, int8"


@dataclass
class Deployed:
    """A model on every engine.

    Attributes:
        float32, int8, gzipped: Bytes of the file in step form; the last one of int8 with gzip.
        runs: What runs the same sequence on each engine.
        times: What it took, once `time_all` has run them.
    """

    float32: int | None = None
    int8: int | None = None
    gzipped: int | None = None
    runs: dict[str, _peers.Run] = field(default_factory=dict)
    times: dict[str, _measure.Row] = field(default_factory=dict)

    def cells(self) -> list[str]:
        """The cells of a table: bytes, then times."""
        sizes = ("" if n is None else f"{n:,}" for n in (self.float32, self.int8, self.gzipped))
        return [*sizes, *(time_of(self.times.get(engine)) for engine in ENGINES)]


HEADS = ["float32, bytes", "int8, bytes", "int8, gzipped", *ENGINES]
"""The heads of `Deployed.cells`."""


def deploy(model: keras.Model, inputs: np.ndarray) -> Deployed:
    """Exports a model for every engine."""
    made = Deployed()
    for engine, how in ENGINES.items():
        if how is None:
            made.runs[engine] = saved_model(model, inputs)
            continue
        path = tflite(model, *how)
        made.runs[engine] = litert(path, inputs)
        if how == ("step", None):
            made.float32 = path.stat().st_size
        if engine == INT8:
            made.int8, made.gzipped = path.stat().st_size, hl.file_size(path).gzipped
    return made


def time_all(models: Mapping[str, Deployed], reference: str, rounds: int) -> None:
    """Lets models take turns on each engine, one thread, by processor time."""
    for engine in ENGINES:
        runs = {name: each.runs[engine] for name, each in models.items() if engine in each.runs}
        for row in _measure.compare(runs, reference, rounds, clock=time.process_time):
            models[row.name].times[engine] = row
    for each in models.values():
        each.runs.clear()


def saved_model(model: keras.Model, inputs: np.ndarray) -> _peers.Run:
    """A SavedModel of ours, called as TensorFlow Serving does."""
    folder = _peers.SCRATCH / f"{len(list(_peers.SCRATCH.iterdir()))}" / "1"
    hl.export_saved_model(model, folder, step=False, warmup=False)
    serve = tf.saved_model.load(os.fspath(folder)).signatures["serve"]
    [name] = serve.structured_input_signature[1]
    batch = tf.constant(inputs)
    return lambda: serve(**{name: batch})


def tflite(model: keras.Model, form: str, quantization: str | None) -> Path:
    """The model as a file; untrained outputs hardly differ, so that their range is no measure."""
    path = _peers.SCRATCH / f"{len(list(_peers.SCRATCH.iterdir()))}.tflite"
    hl.export_tflite(model, path, form=form, quantization=quantization, tolerance=1.0)
    return path


def litert(path: Path, inputs: np.ndarray) -> _peers.Run:
    """A TFLite file on the whole sequence, one thread."""
    opened = hl.load_tflite(path, threads=1)
    return lambda: opened.run(inputs)


def time_of(row: _measure.Row | None) -> str:
    """A time and its ratio, as a cell of a table."""
    if row is None:
        return ""
    return f"{row.us / 1e3:.2f} ms, {row.ratio:.2f} x ({row.low:.2f}-{row.high:.2f})"


def one_thread() -> None:
    """Has TensorFlow compute with one thread; before it starts."""
    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
