"""Times one step of recurrent layers at batch 1 on one thread, caches hot and cold.

    python benchmarks/step_latency.py             # 512 units against three stacked LSTM layers
    python benchmarks/step_latency.py --quick     # fewer rounds

A step is what a phone computes when a frame or a word comes in. The compact H-LSTM and the stacked
LSTM run in the same engine and the same form (`export_tflite(form="step")`), the engine's time
alone; "loop" is the stacked LSTM as converters write it, with its loop in the graph, its time for
50 frames divided by 50. ONNX Runtime, torch and OpenVINO run the stacked LSTM if they are
installed. "Floor" is the time in which a step's weights can be read, from the caches or from
memory.
"""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")

from collections.abc import Callable
from functools import partial
from pathlib import Path

import _measure
import _peers
from _floor import Weights
from _progress import Progress

UNITS, LAYERS, HIDDEN, FRAMES = 512, 3, 48, 50
STACKED = f"{LAYERS} LSTM"
REFERENCE = f"{STACKED}, LiteRT float32"
KINDS = {"float32": None, "int8 weights": "dynamic"}


def files() -> tuple[dict[str, Path], dict[str, Path]]:
    """Both models in step form, and the stacked LSTM with its loop, in both precisions."""
    models = {
        STACKED: _peers.lstm_layers(UNITS, LAYERS),
        f"H-LSTM, hidden {HIDDEN}": _peers.hlstm_layers(UNITS, HIDDEN),
        f"H-LSTM, hidden {UNITS}": _peers.hlstm_layers(UNITS, UNITS),
    }
    built = {name: _peers.recurrent_model(layers, UNITS) for name, layers in models.items()}
    progress = Progress("exporting", len(built) * len(KINDS) + len(KINDS))
    steps: dict[str, Path] = {}
    for name, model in built.items():
        for kind, quantization in KINDS.items():
            steps[f"{name}, LiteRT {kind}"] = _peers.tflite(model, "step", quantization)
            progress.advance()
    loops: dict[str, Path] = {}
    for kind, quantization in KINDS.items():
        path = _peers.tflite(built[STACKED], "sequence", quantization)
        loops[f"{STACKED}, LiteRT loop, {kind}"] = path
        progress.advance()
    return steps, loops


def main() -> None:
    """Runs the benchmark and prints its tables."""
    given = _measure.options(__doc__)
    frame, sequence = _peers.sequence(1, UNITS), _peers.sequence(FRAMES, UNITS)
    steps, loops = files()
    runs = {name: _peers.one_step(path) for name, path in steps.items()}
    runs |= {name: _peers.whole_sequence(path, sequence) for name, path in loops.items()}
    weights: dict[str, Weights] = {
        name: _peers.tflite_weights(path) for name, path in steps.items()
    }
    peers: dict[str, Callable[..., _peers.Run]] = {
        "ONNX Runtime float32": partial(_peers.onnx_lstm, int8=False),
        "ONNX Runtime int8": partial(_peers.onnx_lstm, int8=True),
        "torch": _peers.torch_lstm,
        "OpenVINO": _peers.openvino_lstm,
    }
    left_out: list[str] = []
    runs |= _measure.try_peers(
        {
            f"{STACKED}, {name}": partial(prepare, UNITS, UNITS, frame, LAYERS)
            for name, prepare in peers.items()
        },
        left_out,
    )
    rounds = 15 if given.quick else 101
    print(_measure.machine())
    tables, text = {}, ""
    for cold in (False, True):
        rows = _measure.compare(
            runs, REFERENCE, rounds, cold, weights, dict.fromkeys(loops, FRAMES)
        )
        caches = "cold caches" if cold else "hot caches"
        title = f"One step, {UNITS} units, batch 1, one thread, {caches}"
        tables[title] = rows
        text += "\n" + _measure.show(title, rows, REFERENCE)
    _measure.write(given, tables, text, left_out)


if __name__ == "__main__":
    main()
