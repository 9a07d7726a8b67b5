"""Calibrates and tries a full-int8 conversion, in a process of its own.

`calibration.convert_int8` runs this file by its path, with a folder as its argument. LiteRT's
calibrator ends its process with a segmentation fault on some loops over time; here it ends nobody
else's. It imports nothing of hlstm_tf or Keras, so that it starts as fast as TensorFlow allows.

The folder holds `job.json`, `representative.npz` and `trial.npz`; it gets `model.tflite`, or
`error.txt` where the converter says what is wrong.
"""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

Calls = list[tuple[str, dict[str, np.ndarray]]]
"""Calls of a file's signatures: each one's name and inputs."""


def load_calls(path: Path) -> Calls:
    """Reads what `save_calls` wrote."""
    calls: dict[int, tuple[str, dict[str, np.ndarray]]] = {}
    with np.load(path) as arrays:
        for key, array in arrays.items():
            number, signature, name = key.split("/", 2)
            calls.setdefault(int(number), (signature, {}))[1][name] = array
    return [calls[number] for number in sorted(calls)]


def save_calls(path: Path, calls: Calls) -> None:
    """Writes calls, the arrays of each under its number, signature and name."""
    arrays: dict[str, Any] = {}
    for number, (signature, inputs) in enumerate(calls):
        arrays |= {f"{number}/{signature}/{name}": array for name, array in inputs.items()}
    np.savez(path, **arrays)


def _convert(folder: Path) -> bytes:
    import tensorflow as tf

    job = json.loads((folder / "job.json").read_text())

    def representative() -> Iterator[tuple[str, dict[str, np.ndarray]]]:
        yield from load_calls(folder / "representative.npz")

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


def _try(content: bytes, calls: Calls) -> None:
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_content=content, num_threads=1)
    for signature, inputs in calls:
        interpreter.get_signature_runner(signature)(**inputs)


def main(folder: Path) -> int:
    """Does the job in `folder`; returns 1 where the conversion was refused."""
    try:
        content = _convert(folder)
    except Exception as error:  # the converter's own exception class is private
        (folder / "error.txt").write_text(str(error))
        return 1
    (folder / "model.tflite").write_bytes(content)
    _try(content, load_calls(folder / "trial.npz"))
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
