"""Times one step of an H-LSTM pruned in blocks against the dense int8 one, on one thread.

    python benchmarks/sparse_step.py             # 512 units, hidden 512, 1x16 at 90 % and 97 %
    python benchmarks/sparse_step.py --quick     # fewer rounds

All run in LiteRT in the step form, one pinned thread, batch 1, caches hot and cold. A step is the
signature `step` alone; a frame is what a stream costs, `project` for one frame and then `step`. The
activations are random: LiteRT's sparse products leave out a vector of zeros, which no frame is.
"""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")

from pathlib import Path
from typing import Any

import _measure
import _peers
import keras
import numpy as np

import hlstm_tf as hl

UNITS = HIDDEN = INPUTS = 512
REFERENCE = "dense, int8 weights"
KINDS: dict[str, tuple[float, str, str | None]] = {
    "dense, float32": (0.0, "connection", None),
    REFERENCE: (0.0, "connection", "dynamic"),
    "1x16 at 90 %, int8 weights": (0.90, "1x16", "sparse"),
    "1x16 at 97 %, int8 weights": (0.97, "1x16", "sparse"),
    "1x4 at 90 %, float32": (0.90, "1x4", "sparse_float32"),
    "1x4 at 97 %, float32": (0.97, "1x4", "sparse_float32"),
}


def pruned(sparsity: float, structure: str) -> keras.Model:
    """An H-LSTM without the blocks of the smallest weights."""
    keras.utils.set_random_seed(0)
    layer = hl.HLSTM(UNITS, hidden_units=HIDDEN, return_sequences=True)
    model = _peers.recurrent_model([layer], INPUTS)
    if sparsity:
        model.compile("sgd", "mse")
        callback = hl.MagnitudePruning(sparsity, structure=structure)
        zeros = np.zeros((1, 1, INPUTS)), np.zeros((1, 1, UNITS))
        model.fit(*zeros, callbacks=[callback], verbose=0)
    return model


def engine(path: Path, *signatures: str) -> _peers.Run:
    """The engine's time for signatures of fixed shapes: no copying, no Python around it."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(str(path), num_threads=1)
    below = interpreter._interpreter
    rng = np.random.default_rng(0)
    graphs = []
    for signature in signatures:
        graph = below.GetSubgraphIndexFromSignature(signature)
        below.AllocateTensors(graph)
        for detail in interpreter.get_signature_runner(signature).get_input_details().values():
            values = below.tensor(interpreter, detail["index"], graph)
            values[...] = rng.normal(size=values.shape)
        graphs.append(graph)

    def run(interpreter: Any = interpreter) -> None:  # which owns the memory
        for graph in graphs:
            below.Invoke(graph)

    return run


def main() -> None:
    """Runs the benchmark and prints its tables."""
    given = _measure.options(__doc__)
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    written = {
        name: _peers.tflite(pruned(sparsity, structure), "step", quantization)
        for name, (sparsity, structure, quantization) in KINDS.items()
    }
    rounds = 15 if given.quick else 201
    print(_measure.machine())
    tables, text = {}, ""
    for what, signatures in (("step", ("step",)), ("frame", ("project", "step"))):
        runs = {name: engine(path, *signatures) for name, path in written.items()}
        for caches in ("hot", "cold"):
            rows = _measure.compare(runs, REFERENCE, rounds, caches == "cold")
            title = f"One {what}, {UNITS} units, hidden {HIDDEN}, one thread, {caches} caches"
            tables[title] = rows
            text += "\n" + _measure.show(title, rows, REFERENCE)
    sizes = [f"{name} {path.stat().st_size:,} bytes" for name, path in written.items()]
    files = "\nFiles: " + "; ".join(sizes)
    print(files)
    _measure.write(given, tables, text + "\n" + files)


if __name__ == "__main__":
    main()
