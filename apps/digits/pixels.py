"""The input of a network that looks at some of the pixels only."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np


@keras.saving.register_keras_serializable(package="digits")
class Pixels(keras.layers.Layer):
    """Takes chosen pixels of an image, in a row.

    `hl.shrink` takes out neurons; inputs it leaves, since a network's input is its face. With this
    layer in place of `Flatten` the rows of the first kernel that pruning has emptied are gone, too.

    Args:
        places: Of the pixels, in the flattened image.
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
    """Return the same function with the pixels gone that no first-layer weight reads.

    Of a model that begins otherwise than with `Flatten` and a dense layer nothing changes.

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
    starts_dense = (
        len(layers) > 1
        and isinstance(layers[0], keras.layers.Flatten)
        and isinstance(layers[1], keras.layers.Dense)
    )
    if not starts_dense:
        return model
    kernel = layers[1].get_weights()[0]
    places = np.flatnonzero(np.any(kernel != 0, axis=1)).tolist()
    rest = [layer.__class__.from_config(layer.get_config()) for layer in layers[1:]]
    network = keras.Sequential(
        [keras.Input(model.input_shape[1:]), Pixels(places, name="pixels"), *rest], name=model.name
    )
    rest[0].set_weights([kernel[places], *layers[1].get_weights()[1:]])
    for new, old in zip(rest[1:], layers[2:], strict=True):
        new.set_weights(old.get_weights())
    return network


def pixel_weights(model: keras.Model) -> np.ndarray:
    """Return how many weights read each pixel, `(height, width)`, of a network of dense layers."""
    height, width = model.input_shape[1:3]
    dense = next(layer for layer in model.layers if isinstance(layer, keras.layers.Dense))
    chosen = [layer.places for layer in model.layers if isinstance(layer, Pixels)]
    counts = np.zeros(height * width, int)
    counts[chosen[0] if chosen else slice(None)] = np.count_nonzero(dense.get_weights()[0], axis=1)
    return counts.reshape(height, width)
