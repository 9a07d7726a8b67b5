"""From a trained `.keras` file to what is deployed: a SavedModel and a TFLite file."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import keras
import numpy as np

import hlstm_tf as hl
from apps.common.errors import InputError
from apps.digits.classifier import load_keras
from apps.digits.gathered import gathered

TFLITE = "model.tflite"


@dataclass(frozen=True)
class Exported:
    """What an export wrote.

    Attributes:
        tflite: The TFLite file, `tflite_bytes` long.
        saved_model: The SavedModel's numbered folder, `saved_model_bytes` in all its files.
        tflite_error: Largest difference of the TFLite file's logits from Keras's on the images it
            was compared on, as a share of their range.
        saved_model_error: The same of the SavedModel.
        network: The Keras model that was loaded, masks folded in and dead neurons removed.
    """

    tflite: Path
    tflite_bytes: int
    tflite_error: float
    saved_model: Path
    saved_model_bytes: int
    saved_model_error: float
    network: keras.Model


def compact(model: keras.Model) -> keras.Model:
    """Return the same function in plain layers, without dead neurons."""
    return hl.shrink(hl.strip(model) if hl.masked_kernels(model) else model)


def export_network(
    model: str | os.PathLike[str],
    folder: str | os.PathLike[str],
    quantization: str | None = None,
    images: np.ndarray | None = None,
) -> Exported:
    """Write a network as a SavedModel and a TFLite file, each compared with the Keras model.

    Args:
        model: A `.keras` file; masks are folded in, dead neurons removed.
        folder: Gets `model.tflite` and, as TensorFlow Serving wants it, the SavedModel's version 1.
        quantization: Of the TFLite file: None, "float16" or "dynamic" (`hl.export_tflite`).
        images: `(number, height, width, channels)` float32 to compare on; random ones by default.

    Raises:
        InputError: The file is no network that can be loaded, or the folder is a file.
        VerificationError: An exported file computes something else; it is not kept.
    """
    folder = Path(folder)
    if folder.is_file():
        raise InputError(f"{folder}: is a file; expected a folder for the exported files")
    small = compact(load_keras(model))
    network = gathered(small)
    folder.mkdir(parents=True, exist_ok=True)
    lite = hl.export_tflite(network, folder / TFLITE, quantization=quantization, verify_with=images)
    saved = hl.export_saved_model(
        network, folder / "1", warmup=False, verify_with=images, overwrite=True
    )
    return Exported(lite.path, lite.bytes, lite.error, saved.path, saved.bytes, saved.error, small)
