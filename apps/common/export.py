"""From a trained network to what is deployed: a SavedModel and a TFLite file in a folder."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras

import hlstm_tf as hl
from apps.common.errors import InputError

TFLITE = "model.tflite"


@dataclass(frozen=True)
class Exported:
    """What an export wrote.

    Attributes:
        network: The Keras model that was exported: plain layers, without dead neurons.
        tflite: The TFLite file.
        saved_model: The SavedModel's numbered folder; None where none was asked for.
        errors: Largest difference of either file's outputs from Keras's on the inputs they were
            compared on, as a share of their range.
    """

    network: keras.Model
    tflite: Path
    saved_model: Path | None
    errors: tuple[float, ...] = ()

    @property
    def files(self) -> tuple[Path, ...]:
        """The TFLite file, and the SavedModel where there is one."""
        return (self.tflite, *([self.saved_model] if self.saved_model else []))


def compact(model: keras.Model) -> keras.Model:
    """Return the same function in plain layers, without dead neurons."""
    return hl.shrink(hl.strip(model) if hl.masked_kernels(model) else model)


def export_folder(folder: str | os.PathLike[str]) -> Path:
    """Return the folder of an export, before anything is loaded for it.

    Raises:
        InputError: It is a file.
    """
    folder = Path(folder)
    if folder.is_file():
        raise InputError(f"{folder}: is a file; expected a folder for the exported files")
    return folder


def export_network(
    network: keras.Model,
    folder: Path,
    *,
    lite: keras.Model | None = None,
    tflite: Mapping[str, Any],
    saved_model: Mapping[str, Any] | None,
) -> Exported:
    """Write a network as a SavedModel and a TFLite file, each compared with the Keras model.

    Args:
        network: Of plain layers.
        folder: Gets `model.tflite` and, as TensorFlow Serving wants it, the SavedModel's version 1.
        lite: What the TFLite file is made of, where that is another form of the network.
        tflite: Arguments of `hl.export_tflite`.
        saved_model: Arguments of `hl.export_saved_model`; None for no SavedModel.

    Raises:
        VerificationError: An exported file computes something else; it is not kept.
    """
    folder.mkdir(parents=True, exist_ok=True)
    made = hl.export_tflite(network if lite is None else lite, folder / TFLITE, **tflite)
    if saved_model is None:
        return Exported(network, made.path, None, (made.error,))
    saved = hl.export_saved_model(network, folder / "1", overwrite=True, **saved_model)
    return Exported(network, made.path, saved.path, (made.error, saved.error))
