"""Dense layers that hold the connections that exist, and nothing for the others."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np


@keras.saving.register_keras_serializable(package="digits")
class GatheredDense(keras.layers.Layer):
    """A dense layer whose units each read their own few inputs.

    Of a kernel with one weight in thirty left, a file of the dense matrix is zeros for the most.
    Here a unit has as many weights as the one with the most connections; those with fewer are
    filled up with zeros. In TFLite it is GATHER, MUL and SUM, builtin operations.

    Args:
        units: How many.
        reads: Inputs that each unit reads, at most.
        activation: As of `keras.layers.Dense`.
    """

    def __init__(self, units: int, reads: int, activation: Any = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.units = units
        self.reads = reads
        self.activation = keras.activations.get(activation)

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        shape = (self.units, self.reads)
        self.places = self.add_weight(
            shape=shape, dtype="int16", initializer="zeros", trainable=False, name="places"
        )
        self.kernel = self.add_weight(shape=shape, initializer="zeros", name="kernel")
        self.bias = self.add_weight(shape=(self.units,), initializer="zeros", name="bias")

    def call(self, inputs: Any) -> Any:
        places = keras.ops.cast(self.places, "int32")
        read = keras.ops.take(inputs, places, axis=1)
        return self.activation(keras.ops.sum(read * self.kernel, axis=-1) + self.bias)

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, int]:
        return input_shape[0], self.units

    def get_config(self) -> dict[str, Any]:
        activation = keras.activations.serialize(self.activation)
        own = {"units": self.units, "reads": self.reads, "activation": activation}
        return {**super().get_config(), **own}


def gathered(model: keras.Model) -> keras.Model:
    """Return the same function with sparse dense layers as `GatheredDense`, where that is smaller.

    Args:
        model: A Sequential model of plain layers.

    Example:

    >>> model = keras.Sequential([keras.Input((784,)), keras.layers.Dense(10)])
    >>> kernel = np.zeros((784, 10), "float32")
    >>> kernel[100:150] = 1
    >>> model.layers[0].set_weights([kernel, np.zeros(10)])
    >>> gathered(model).layers[0].reads
    50
    """
    layers, weights = [], []
    for layer in model.layers:
        sparse = _sparse_weights(layer)
        if sparse is None:
            layers.append(layer.__class__.from_config(layer.get_config()))
            weights.append(layer.get_weights())
            continue
        units, reads = sparse[0].shape
        layers.append(GatheredDense(units, reads, layer.activation, name=layer.name))
        weights.append(sparse)
    network = keras.Sequential([keras.Input(model.input_shape[1:]), *layers], name=model.name)
    for layer, values in zip(layers, weights, strict=True):
        layer.set_weights(values)
    return network


def _sparse_weights(layer: keras.Layer) -> list[np.ndarray] | None:
    """A dense layer's weights, biases and places, where they are fewer than the dense kernel."""
    if not isinstance(layer, keras.layers.Dense) or not layer.use_bias:
        return None
    kernel, bias = layer.get_weights()
    reads = max(1, int(np.count_nonzero(kernel, axis=0).max()))
    # A weight has four bytes, a place two.
    if 6 * reads >= 4 * len(kernel) or len(kernel) > np.iinfo(np.int16).max:
        return None
    # Of each column the existing first, in their order.
    order = np.argsort(kernel == 0, axis=0, kind="stable")[:reads]
    values = np.take_along_axis(kernel, order, axis=0)
    places = np.where(values != 0, order, 0)
    return [np.ascontiguousarray(values.T), bias, places.T.astype(np.int16)]


def pixel_weights(model: keras.Model) -> np.ndarray:
    """Return how many weights read each pixel, `(height, width)`, of a network of plain layers.

    Raises:
        ValueError: The network does not begin with dense layers.
    """
    height, width = model.input_shape[1:3]
    first = next(layer for layer in model.layers if layer.weights)
    if not isinstance(first, keras.layers.Dense):
        raise ValueError(f"{model.name} begins with {type(first).__name__}; expected Dense")
    return np.count_nonzero(first.get_weights()[0], axis=1).reshape(height, width)
