"""Times whole sequences through recurrent layers at batch 1 on one thread.

    python benchmarks/sequence_latency.py             # 800 units, 150 steps
    python benchmarks/sequence_latency.py --quick     # 256 units, 50 steps

The compact H-LSTM in step form, its loop over time in Python and counted, against layers of the
same width: Keras's LSTM in either form, TFLite's fused LSTM operation (which only Keras 2 models
convert to), ONNX Runtime, torch and OpenVINO, as far as they are installed; and as SavedModels.
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

REFERENCE = "LSTM, LiteRT fused, int8 weights"
FALLBACK = "LSTM, LiteRT loop, int8 weights"


def litert(units: int, hidden: int, steps: int) -> dict[str, _peers.Run]:
    """Both layers in LiteRT, in both forms."""
    frames = _peers.sequence(steps, units)
    lstm = _peers.recurrent_model(_peers.lstm_layers(units, 1), units)
    compact = _peers.recurrent_model(_peers.hlstm_layers(units, hidden), units)
    wide = _peers.recurrent_model(_peers.hlstm_layers(units, units), units)
    name = f"H-LSTM, hidden {hidden}"
    models = {
        f"{name}, LiteRT step, int8 weights": (compact, "step", "dynamic"),
        f"{name}, LiteRT step, float32": (compact, "step", None),
        f"{name}, LiteRT loop, int8 weights": (compact, "sequence", "dynamic"),
        f"H-LSTM, hidden {units}, LiteRT step, int8 weights": (wide, "step", "dynamic"),
        "LSTM, LiteRT step, int8 weights": (lstm, "step", "dynamic"),
        FALLBACK: (lstm, "sequence", "dynamic"),
        "LSTM, LiteRT loop, float32": (lstm, "sequence", None),
    }
    runs = {
        label: _peers.whole_sequence(_peers.tflite(*what), frames) for label, what in models.items()
    }
    runs[f"{name}, SavedModel"] = _peers.saved_model(compact, frames)
    runs["LSTM, SavedModel"] = _peers.saved_model(lstm, frames)
    return runs


def main() -> None:
    """Runs the benchmark and prints its table."""
    given = _measure.options(__doc__)
    units, hidden, steps = (256, 24, 50) if given.quick else (800, 80, 150)
    frames = _peers.sequence(steps, units)
    runs = litert(units, hidden, steps)
    others: dict[str, Callable[[], _peers.Run]] = {
        REFERENCE: partial(_peers.fused_tflite_lstm, units, units, frames),
        "LSTM, ONNX Runtime int8": partial(_peers.onnx_lstm, units, units, frames, 1, True),
        "LSTM, ONNX Runtime float32": partial(_peers.onnx_lstm, units, units, frames, 1, False),
        "LSTM, torch": partial(_peers.torch_lstm, units, units, frames, 1),
        "LSTM, OpenVINO": partial(_peers.openvino_lstm, units, units, frames, 1),
    }
    runs |= _measure.try_peers(others)
    reference = REFERENCE if REFERENCE in runs else FALLBACK
    print(_measure.machine())
    rows = _measure.compare(runs, reference, 5 if given.quick else 15)
    title = f"{steps} steps, {units} units, batch 1, one thread"
    text = _measure.show(title, rows, reference)
    _measure.write(given, {title: rows}, text)


if __name__ == "__main__":
    main()
