"""From a trained `.keras` file to what is deployed: a SavedModel and a TFLite file."""

from __future__ import annotations

import dataclasses
import json
import os
from dataclasses import dataclass
from pathlib import Path

import keras

import hlstm_tf as hl
from apps.common.errors import InputError
from apps.speech.card import NAME, Card, of_model, write_to_tflite
from apps.speech.causal import is_causal, window_of, without_padding
from apps.speech.recognizer import load_keras

TFLITE = "model.tflite"


@dataclass(frozen=True)
class Exported:
    """What an export wrote.

    Attributes:
        saved_model: The SavedModel's numbered folder; None where none was asked for.
        tflite: The TFLite file.
        tflite_bytes: Its size, front end and alphabet included.
        network: The Keras model that was exported: plain layers, without dead neurons.
    """

    saved_model: Path | None
    tflite: Path
    tflite_bytes: int
    network: keras.Model


def compact(model: keras.Model) -> keras.Model:
    """Return the same function in plain layers, without dead neurons."""
    return hl.shrink(hl.strip(model)) if hl.masked_kernels(model) else model


def export_recognizer(
    model: str | os.PathLike[str],
    folder: str | os.PathLike[str],
    quantization: str | None = "dynamic",
    saved_model: bool = True,
    form: str = "step",
) -> Exported:
    """Write a recogniser as a SavedModel and a TFLite file, each compared with the Keras model.

    A unidirectional recogniser in step form is written for single utterances, without lengths and
    masks, so that it can run while the speaker is speaking (`apps.speech.streaming`).

    Args:
        model: A `.keras` file; masks are folded in and dead neurons removed.
        folder: Gets `model.tflite` and, as TensorFlow Serving wants it, the SavedModel's version 1.
        quantization: Of the TFLite file: None, "float16", "dynamic" (8-bit weights), "sparse" or
            "best" (`hl.export_tflite`).
        saved_model: Whether to write the SavedModel, too.
        form: Of the TFLite file: "step", or "sequence" (`hl.export_tflite`).

    Raises:
        InputError: The file is no recogniser.
        VerificationError: An exported file computes something else; it is not kept.
    """
    folder = Path(folder)
    if folder.is_file():
        raise InputError(f"{folder}: is a file; expected a folder for the exported files")
    network = compact(load_keras(model))
    card = of_model(network, model)
    folder.mkdir(parents=True, exist_ok=True)
    tflite = folder / TFLITE
    if form == "step" and is_causal(network):
        hl.export_tflite(without_padding(network), tflite, form=form, quantization=quantization)
        write_to_tflite(tflite, dataclasses.replace(card, window=window_of(network)))
    else:
        hl.export_tflite(network, tflite, form=form, quantization=quantization)
        write_to_tflite(tflite, card)
    version = _write_saved_model(network, card, folder / "1") if saved_model else None
    return Exported(version, tflite, tflite.stat().st_size, network)


def _write_saved_model(network: keras.Model, card: Card, path: Path) -> Path:
    content = json.dumps(card.to_json(), indent=1, sort_keys=True)
    hl.export_saved_model(network, path, extra_assets={NAME: content.encode()}, overwrite=True)
    return path
