"""Dense layers that read some of an image, or of its features, only."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np


@keras.saving.register_keras_serializable(package="digits")
class Pixels(keras.layers.Layer):
    """Takes chosen pixels of an image, or places of feature maps, in a row.

    `hl.shrink` takes out neurons and whole maps; places in them it leaves, and of a network's input
    the pixels. With this layer in place of `Flatten` the rows that pruning has emptied in the
    kernel behind it are gone, too.

    Args:
        places: In the flattened image or maps.
    """

    def __init__(self, places: Sequence[int], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.places = [int(place) for place in places]

    def call(self, inputs: Any) -> Any:
        flat = keras.ops.reshape(inputs, (-1, int(np.prod(inputs.shape[1:]))))
        return keras.ops.take(flat, self.places, axis=1)

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, int]:
        return input_shape[0], len(self.places)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "places": self.places}


def without_dead_pixels(model: keras.Model) -> keras.Model:
    """Return the same function with the places gone that the dense layer after `Flatten` ignores.

    Of a model without a `Flatten` before a dense layer nothing changes.

    Args:
        model: A Sequential model of plain layers.

    Example:

    >>> from apps.digits.model import lenet_300_100
    >>> model = lenet_300_100()
    >>> kernel = np.zeros((784, 300), "float32")
    >>> kernel[100:150] = 1
    >>> model.layers[1].set_weights([kernel, np.zeros(300)])
    >>> tuple(without_dead_pixels(model).layers[1].kernel.shape)
    (50, 300)
    """
    layers = model.layers
    flat = _flatten(layers)
    if flat is None:
        return model
    kernel, *bias = layers[flat + 1].get_weights()
    places = np.flatnonzero(np.any(kernel != 0, axis=1)).tolist()
    new = [layer.__class__.from_config(layer.get_config()) for layer in layers]
    new[flat] = Pixels(places, name="pixels" if flat == 0 else "places")
    network = keras.Sequential([keras.Input(model.input_shape[1:]), *new], name=model.name)
    for number, layer in enumerate(layers):
        weights = [kernel[places], *bias] if number == flat + 1 else layer.get_weights()
        new[number].set_weights(weights)
    return network


def _flatten(layers: Sequence[keras.Layer]) -> int | None:
    """Where a `Flatten` stands right before a dense layer."""
    for number, (layer, following) in enumerate(itertools.pairwise(layers)):
        if isinstance(layer, keras.layers.Flatten) and isinstance(following, keras.layers.Dense):
            return number
    return None


def pixel_weights(model: keras.Model) -> np.ndarray:
    """Return how many weights read each pixel, `(height, width)`, of a network of dense layers."""
    height, width = model.input_shape[1:3]
    dense = next(layer for layer in model.layers if isinstance(layer, keras.layers.Dense))
    chosen = [layer.places for layer in model.layers if isinstance(layer, Pixels)]
    counts = np.zeros(height * width, int)
    counts[chosen[0] if chosen else slice(None)] = np.count_nonzero(dense.get_weights()[0], axis=1)
    return counts.reshape(height, width)
