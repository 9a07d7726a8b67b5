"""Times one step of recurrent layers at batch 1 on one thread, caches hot and cold.

    python benchmarks/step_latency.py             # 512 units against three stacked LSTM layers
    python benchmarks/step_latency.py --quick     # fewer rounds

A step is what a phone computes when a frame or a word comes in. The compact H-LSTM and the stacked
LSTM run in the same engine and the same form (`export_tflite(form="step")`); ONNX Runtime, torch
and OpenVINO run the stacked LSTM if they are installed. "Floor" is the time in which the weights
can be read from memory, which no engine beats when they are in no cache.
"""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")

from collections.abc import Callable
from functools import partial
from pathlib import Path

import _measure
import _peers

UNITS, LAYERS, HIDDEN = 512, 3, 48
REFERENCE = "3 LSTM, LiteRT float32"


def files() -> dict[str, Path]:
    """The same step form of both models, in both precisions."""
    models = {
        f"{LAYERS} LSTM": _peers.lstm_layers(UNITS, LAYERS),
        f"H-LSTM, hidden {HIDDEN}": _peers.hlstm_layers(UNITS, HIDDEN),
        f"H-LSTM, hidden {UNITS}": _peers.hlstm_layers(UNITS, UNITS),
    }
    return {
        f"{name}, LiteRT {'int8 weights' if kind else 'float32'}": _peers.tflite(
            _peers.recurrent_model(layers, UNITS), "step", kind
        )
        for name, layers in models.items()
        for kind in (None, "dynamic")
    }


def main() -> None:
    """Runs the benchmark and prints its tables."""
    given = _measure.options(__doc__)
    frame = _peers.sequence(1, UNITS)
    written = files()
    runs = {name: _peers.one_step(path) for name, path in written.items()}
    others: dict[str, Callable[[], _peers.Run]] = {
        f"{LAYERS} LSTM, ONNX Runtime float32": partial(
            _peers.onnx_lstm, UNITS, UNITS, frame, LAYERS, False
        ),
        f"{LAYERS} LSTM, ONNX Runtime int8": partial(
            _peers.onnx_lstm, UNITS, UNITS, frame, LAYERS, True
        ),
        f"{LAYERS} LSTM, torch": partial(_peers.torch_lstm, UNITS, UNITS, frame, LAYERS),
        f"{LAYERS} LSTM, OpenVINO": partial(_peers.openvino_lstm, UNITS, UNITS, frame, LAYERS),
    }
    runs |= _measure.try_peers(others)
    rounds = 15 if given.quick else 101
    print(_measure.machine())
    speed = _measure.bandwidth()
    tables, text = {}, ""
    for title, cold in (("hot caches", False), ("cold caches", True)):
        rows = _measure.compare(runs, REFERENCE, rounds, cold)
        title = f"One step, {UNITS} units, batch 1, one thread, {title}"
        tables[title] = rows
        text += "\n" + _measure.show(title, rows, REFERENCE)
    floors = [f"{n} {1e6 * p.stat().st_size / speed:,.0f} us" for n, p in written.items()]
    floor = f"\nFloor at {speed / 1e9:.1f} GB/s (projection included): {'; '.join(floors)}"
    print(floor)
    _measure.write(given, tables, text + "\n" + floor)


if __name__ == "__main__":
    main()
