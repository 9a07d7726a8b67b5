"""From a trained `.keras` file to what is deployed: a SavedModel and a TFLite file."""

from __future__ import annotations

import dataclasses
import os

import numpy as np

from apps.common.export import Exported, compact, export_folder, export_network
from apps.digits.classifier import load_keras
from apps.digits.gathered import gathered


def export_digits(
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

    Returns:
        What was written; its network is the one that was loaded, masks folded in and dead neurons
        removed.

    Raises:
        InputError: The file is no network that can be loaded, or the folder is a file.
        VerificationError: An exported file computes something else; it is not kept.
    """
    folder = export_folder(folder)
    small = compact(load_keras(model))
    exported = export_network(
        gathered(small),
        folder,
        tflite={"quantization": quantization, "verify_with": images},
        saved_model={"warmup": False, "verify_with": images},
    )
    return dataclasses.replace(exported, network=small)
