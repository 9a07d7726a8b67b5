"""The cost of a recogniser: connections, and FLOPs a second of speech."""

from __future__ import annotations

from dataclasses import dataclass

import keras

import hlstm_tf as hl
from apps.speech.card import of_model


@dataclass(frozen=True)
class Cost:
    """The size of a network.

    Attributes:
        connections: Weights of kernels that exist: by the masks, or that are not zero.
        flops: For a second of speech, 2 (a multiplication and an addition) for each connection at
            each place where its kernel is applied: a convolution at each of its output's frames
            and bands, the other layers at each frame that the convolutions leave. Biases,
            normalisation and activations are not counted; nor is what zeros after a ReLU would
            save.
    """

    connections: int
    flops: float


def cost_of(model: keras.Model) -> Cost:
    """Count a recogniser's connections and FLOPs.

    Raises:
        InputError: The model is no recogniser.
    """
    frames = 1.0 / of_model(model).front_end.hop  # a second, at the layer that is looked at
    counts = hl.summary(model, level="layer", print_fn=None).to_dict()
    connections: dict[str, int] = {}
    for layer in counts["layers"]:
        # A wrapper's directions are listed under its name.
        name = layer["name"].split("/")[0]
        connections[name] = connections.get(name, 0) + layer["connections"]
    flops = 0.0
    for layer in model.layers:
        bands = 1
        if isinstance(layer, keras.layers.Conv2D):
            frames /= layer.strides[0]
            bands = layer.output.shape[2]
        flops += 2 * connections.get(layer.name, 0) * frames * bands
    return Cost(counts["connections"], flops)
