"""A model of any format as one callable: images in, logits out."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

import hlstm_tf as hl
from apps.common.errors import InputError

# Registers a layer that files may hold.
from apps.digits.gathered import GatheredDense  # noqa: F401

FORMATS = "a .keras file, a .tflite file or a SavedModel folder"
Classifier = Callable[[np.ndarray], np.ndarray]


def load(path: str | os.PathLike[str]) -> Classifier:
    """Load a model; return a function of `(batch, height, width, channels)` images, 0 to 1.

    Args:
        path: A .keras file, a .tflite file or a SavedModel folder.

    Raises:
        InputError: The file is missing, damaged, or no classifier of images.
    """
    path = Path(path)
    if not path.exists():
        raise InputError(f"{path}: no such file; expected {FORMATS}")
    try:
        model = _load(path)
    except InputError:
        raise
    except Exception as error:  # whatever a damaged file makes each loader raise
        first = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise InputError(f"{path}: cannot be loaded as {FORMATS}: {first}") from error
    return model


def load_keras(path: str | os.PathLike[str]) -> Any:
    """Load a `.keras` file.

    Raises:
        InputError: It is missing, damaged, or another kind of file.
    """
    import keras

    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path}: no such file; expected a .keras file of a training")
    try:
        return keras.models.load_model(path, compile=False)
    except Exception as error:  # whatever a damaged archive makes Keras raise
        first = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise InputError(f"{path}: cannot be loaded as a .keras file: {first}") from error


def _load(path: Path) -> Classifier:
    if path.is_dir():
        return _saved_model(path)
    if path.suffix == ".tflite":
        model = hl.load_tflite(path)
        return lambda images: np.asarray(model(images))
    if path.suffix != ".keras":
        raise InputError(f"{path}: expected {FORMATS}")
    network = load_keras(path)
    return lambda images: np.asarray(network(images, training=False))


def _saved_model(path: Path) -> Classifier:
    import tensorflow as tf

    loaded = tf.saved_model.load(str(path))
    serve = loaded.signatures["serve"]
    (name,) = serve.structured_input_signature[1]

    def call(images: np.ndarray) -> np.ndarray:
        (logits,) = serve(**{name: tf.constant(images)}).values()
        return logits.numpy()

    call.keep = loaded  # type: ignore[attr-defined]  # its variables live as long as it does
    return call
