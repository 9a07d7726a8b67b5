"""Times whole sequences through recurrent layers at batch 1 on one thread.

    python benchmarks/sequence_latency.py             # 800 units, 150 steps
    python benchmarks/sequence_latency.py --quick     # 256 units, 50 steps

The compact H-LSTM in step form, its loop over time in Python and counted, against layers of the
same width: Keras's LSTM in either form, TFLite's fused LSTM operation (which only Keras 2 models
convert to), ONNX Runtime, torch and OpenVINO, as far as they are installed. And as SavedModels:
Keras's own, ours of any length, and ours of this length with and without XLA. "Floor" is the time
in which the weights can be read, those of a step at every step.
"""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")
os.environ.setdefault("TF_NUM_INTRAOP_THREADS", "1")
os.environ.setdefault("TF_NUM_INTEROP_THREADS", "1")

from collections.abc import Callable
from functools import partial

import _measure
import _peers
import keras
import numpy as np
from _floor import Weights
from _progress import Progress

FUSED = "LSTM, LiteRT fused, int8 weights"
LOOP = "LSTM, LiteRT loop, int8 weights"
KERAS = "LSTM, SavedModel of Keras"
Runs = dict[str, _peers.Run]


def litert(models: dict[str, keras.Model], frames: np.ndarray) -> tuple[Runs, dict[str, Weights]]:
    """The models in LiteRT, in both forms."""
    compact, wide, lstm = models
    forms = {
        f"{compact}, LiteRT step, int8 weights": (compact, "step", "dynamic"),
        f"{compact}, LiteRT step, float32": (compact, "step", None),
        f"{compact}, LiteRT loop, int8 weights": (compact, "sequence", "dynamic"),
        f"{wide}, LiteRT step, int8 weights": (wide, "step", "dynamic"),
        "LSTM, LiteRT step, int8 weights": (lstm, "step", "dynamic"),
        LOOP: (lstm, "sequence", "dynamic"),
        "LSTM, LiteRT loop, float32": (lstm, "sequence", None),
    }
    runs: Runs = {}
    weights: dict[str, Weights] = {}
    progress = Progress("exporting to LiteRT", len(forms))
    for label, (name, form, quantization) in forms.items():
        path = _peers.tflite(models[name], form, quantization)
        runs[label] = _peers.whole_sequence(path, frames)
        weights[label] = _peers.tflite_weights(path, frames.shape[1])
        progress.advance()
    return runs, weights


def saved_models(
    models: dict[str, keras.Model], frames: np.ndarray
) -> tuple[Runs, dict[str, Weights]]:
    """The compact model and the LSTM as SavedModels."""
    compact, _, lstm = models
    runs: Runs = {KERAS: _peers.keras_saved_model(models[lstm], frames)}
    weights: dict[str, Weights] = {}
    kinds = {"SavedModel": None, "SavedModel, fixed length": False, "SavedModel, XLA": True}
    progress = Progress("exporting SavedModels", 2 * len(kinds))
    for name in (compact, lstm):
        for kind, compiled in kinds.items():
            runs[f"{name}, {kind}"] = _peers.saved_model(models[name], frames, compiled)
            layer = models[name].layers[0]
            weights[f"{name}, {kind}"] = _peers.layer_weights(layer, frames.shape[1])
            progress.advance()
    return runs, weights


def peers(units: int, frames: np.ndarray, left_out: list[str]) -> Runs:
    """What else runs an LSTM, as far as it is installed."""
    given = (units, units, frames)
    prepare: dict[str, Callable[[], _peers.Run]] = {
        FUSED: partial(_peers.fused_tflite_lstm, *given),
        "LSTM, ONNX Runtime int8": partial(_peers.onnx_lstm, *given, 1, True),
        "LSTM, ONNX Runtime float32": partial(_peers.onnx_lstm, *given, 1, False),
        "LSTM, torch": partial(_peers.torch_lstm, *given, 1),
        "LSTM, OpenVINO": partial(_peers.openvino_lstm, *given, 1),
    }
    return _measure.try_peers(prepare, left_out)


def main() -> None:
    """Runs the benchmark and prints its tables."""
    given = _measure.options(__doc__)
    units, hidden, steps = (256, 24, 50) if given.quick else (800, 80, 150)
    frames = _peers.sequence(steps, units)
    models = {
        name: _peers.recurrent_model(layers, units)
        for name, layers in (
            (f"H-LSTM, hidden {hidden}", _peers.hlstm_layers(units, hidden)),
            (f"H-LSTM, hidden {units}", _peers.hlstm_layers(units, units)),
            ("LSTM", _peers.lstm_layers(units, 1)),
        )
    }
    left_out: list[str] = []
    engines, weights = litert(models, frames)
    engines |= peers(units, frames, left_out)
    tensorflow, more = saved_models(models, frames)
    weights |= more
    print(_measure.machine())
    tables, text = {}, ""
    for kind, runs, reference in (
        ("engines", engines, FUSED if FUSED in engines else LOOP),
        ("SavedModels", tensorflow, KERAS),
    ):
        for cold in (False, True):
            rows = _measure.compare(runs, reference, 5 if given.quick else 15, cold, weights)
            caches = "cold caches" if cold else "hot caches"
            title = f"{steps} steps, {units} units, batch 1, one thread, {kind}, {caches}"
            tables[title] = rows
            text += "\n" + _measure.show(title, rows, reference)
    _measure.write(given, tables, text, left_out)


if __name__ == "__main__":
    main()
