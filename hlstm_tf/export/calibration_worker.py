"""Calibrates and tries a full-int8 conversion, in a process of its own.

`calibration.convert_int8` runs this file by its path, with a folder as its argument. LiteRT's
calibrator ends its process with a segmentation fault on some loops over time; here it ends nobody
else's. It imports nothing of hlstm_tf or Keras, so that it starts as fast as TensorFlow allows.

The folder holds `job.json`, `representative.npz` and `inputs.npz`; it gets `model.tflite` and
`outputs.npz`, or `error.txt`.
"""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np


def load_pieces(path: Path) -> list[dict[str, np.ndarray]]:
    """Reads what `save_pieces` wrote: one dictionary a call of the model."""
    pieces: dict[int, dict[str, np.ndarray]] = {}
    with np.load(path) as arrays:
        for key, array in arrays.items():
            number, name = key.split("/", 1)
            pieces.setdefault(int(number), {})[name] = array
    return [pieces[number] for number in sorted(pieces)]


def save_pieces(path: Path, pieces: list[dict[str, np.ndarray]]) -> None:
    """Writes named arrays, one dictionary a call of the model."""
    arrays: dict[str, Any] = {}
    for number, piece in enumerate(pieces):
        arrays |= {f"{number}/{name}": array for name, array in piece.items()}
    np.savez(path, **arrays)


def _convert(folder: Path) -> bytes:
    import tensorflow as tf

    job = json.loads((folder / "job.json").read_text())
    [signature] = job["signatures"]

    def representative() -> Iterator[tuple[str, dict[str, np.ndarray]]]:
        for piece in load_pieces(folder / "representative.npz"):
            yield signature, piece

    converter = tf.lite.TFLiteConverter.from_saved_model(
        job["saved_model"], signature_keys=job["signatures"]
    )
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = representative
    # Operations without an int8 kernel stay in float32.
    converter.target_spec.supported_ops = [
        tf.lite.OpsSet.TFLITE_BUILTINS_INT8,
        tf.lite.OpsSet.TFLITE_BUILTINS,
    ]
    return converter.convert()


def _run(content: bytes, inputs: list[dict[str, np.ndarray]]) -> list[dict[str, np.ndarray]]:
    from ai_edge_litert.interpreter import Interpreter

    runner = Interpreter(model_content=content, num_threads=1).get_signature_runner()
    return [runner(**piece) for piece in inputs]


def main(folder: Path) -> int:
    """Does the job in `folder`; returns 1 where the conversion was refused."""
    try:
        content = _convert(folder)
    except Exception as error:  # the converter's own exception class is private
        (folder / "error.txt").write_text(str(error))
        return 1
    (folder / "model.tflite").write_bytes(content)
    save_pieces(folder / "outputs.npz", _run(content, load_pieces(folder / "inputs.npz")))
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
