"""A model of any format as one callable: images in, logits out."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

import hlstm_tf as hl
from apps.common.errors import InputError
from apps.common.models import (
    FORMATS,
    check_model,
    load_saved_model,
    one_line_errors,
)
from apps.common.models import load_keras as load_model
from hlstm_tf import quiet_import

__all__ = ["Classifier", "load", "load_keras"]

Classifier = Callable[[np.ndarray], np.ndarray]


def load(path: str | os.PathLike[str]) -> Classifier:
    """Load a model; return a function of `(batch, height, width, channels)` images, 0 to 1.

    Args:
        path: A .keras file, a .tflite file or a SavedModel folder.

    Raises:
        InputError: The file is missing, damaged, too large, or of another kind; or, when called,
            the model takes no such images or gives no logits for them.
    """
    path = Path(path)
    check_model(path)
    with one_line_errors(path, f"loaded as {FORMATS}"):
        model = _load(path)

    def call(images: np.ndarray) -> np.ndarray:
        side = " x ".join(map(str, images.shape[1:]))
        with one_line_errors(path, f"run on images of {side}"):
            logits = np.asarray(model(images))
            if logits.ndim != 2 or len(logits) != len(images):
                raise ValueError(f"its output has the shape {logits.shape}")
        return logits

    return call


def load_keras(path: str | os.PathLike[str]) -> Any:
    """Load a network's `.keras` file, without its optimizer.

    Raises:
        InputError: It is missing, damaged, too large, or another kind of file.
    """
    quiet_import("keras")
    import apps.digits.gathered  # noqa: F401  registers a layer that files may hold

    return load_model(path)


def _load(path: Path) -> Callable[[np.ndarray], Any]:
    if path.is_dir():
        return _saved_model(path)
    if path.suffix == ".tflite":
        return hl.load_tflite(path)
    if path.suffix != ".keras":
        raise InputError(f"{path}: expected {FORMATS}")
    network = load_keras(path)
    return lambda images: network(images, training=False)


def _saved_model(path: Path) -> Callable[[np.ndarray], Any]:
    loaded = load_saved_model(path)
    tf = quiet_import("tensorflow")
    serve = loaded.signatures["serve"]
    names = list(serve.structured_input_signature[1])

    def call(images: np.ndarray) -> Any:
        (logits,) = serve(**dict.fromkeys(names, tf.constant(images))).values()
        return logits

    call.keep = loaded  # type: ignore[attr-defined]  # its variables live as long as it does
    return call
