"""From a trained `.keras` file to what is deployed: a SavedModel and a TFLite file."""

from __future__ import annotations

import dataclasses
import json
import os

import keras
import numpy as np

import hlstm_tf as hl
from apps.common.export import Exported, compact, export_folder, export_network
from apps.speech.card import NAME, of_model, write_to_tflite
from apps.speech.layers import SpeechInput, ValidFrames, ZeroInvalid
from apps.speech.recognizer import load_keras

_ONLY_FOR_PADDING = (keras.layers.InputLayer, SpeechInput, ValidFrames, ZeroInvalid)


def is_causal(model: keras.Model) -> bool:
    """Whether no recurrent layer of a recogniser waits for the end of the recording."""
    return not any(isinstance(layer, keras.layers.Bidirectional) for layer in model.layers)


def window_of(model: keras.Model) -> tuple[int, int]:
    """Return how many feature frames before and after its place an output frame is made of, past
    what the recurrent layers remember.

    Example:

    >>> from apps.speech.model import ModelConfig, build
    >>> window_of(build(ModelConfig(front_end={}, alphabet="ab", bands=8, channels=(2, 2),
    ...     kernels=((11, 3), (7, 3)), cell="lstm", layers=1, units=3, bidirectional=False)))
    (11, 11)
    """
    reach, stride = 0, 1
    for layer in model.layers:
        if isinstance(layer, keras.layers.Conv2D):
            reach += (layer.kernel_size[0] - 1) // 2 * stride
            stride *= layer.strides[0]
    return reach, reach


def without_padding(model: keras.Model) -> keras.Model:
    """Return a recogniser for single utterances: features in, logits out, no lengths, no masks.

    Where nothing is padded there is nothing to mask, and without masks a step is one call through
    all recurrent layers, which `hl.StepRunner` streams.

    Args:
        model: A recogniser whose masks are folded in, with `is_causal`. Layers are shared.

    Raises:
        VerificationError: It computes something else: the model is not what `build` makes.
    """
    features = keras.Input((None, model.input["features"].shape[-1]), name="features")
    x = keras.layers.Reshape((-1, features.shape[-1], 1), name="add_channel")(features)
    for layer in model.layers:
        if not isinstance(layer, _ONLY_FOR_PADDING):
            x = layer(x)
    single = keras.Model(features, x, name=model.name)
    some = np.random.default_rng(0).normal(size=(1, 61, features.shape[-1])).astype(np.float32)
    expected = model({"features": some, "lengths": np.array([61], np.int32)}, training=False)
    error = float(np.abs(single(some, training=False) - expected).max())
    if not error <= 1e-4 * (1 + float(np.ptp(expected))):
        raise hl.VerificationError(f"{model.name} without its masks: logits differ by {error:.2g}.")
    return single


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
    folder = export_folder(folder)
    network = load_keras(model)
    if hl.masked_kernels(network):
        network = compact(network)
    card = of_model(network, model)
    content = json.dumps(card.to_json(), indent=1, sort_keys=True).encode()
    streams = form == "step" and is_causal(network)
    exported = export_network(
        network,
        folder,
        lite=without_padding(network) if streams else None,
        tflite={"form": form, "quantization": quantization},
        saved_model={"extra_assets": {NAME: content}} if saved_model else None,
    )
    if streams:
        card = dataclasses.replace(card, window=window_of(network))
    write_to_tflite(exported.tflite, card)
    return exported
