"""Models that the tests transform, and ways to hurt them."""

from collections.abc import Callable, Iterable
from typing import Any

import keras
import numpy as np

import hlstm_tf as hl
from hlstm_tf.transforms import shrink, summary

layers = keras.layers
ACTIVATIONS = ["linear", "relu", "leaky_relu", "tanh", "sigmoid"]


def randomize(model: keras.Model, seed: int = 0) -> keras.Model:
    """Gives every weight a value of its own, biases and statistics included."""
    rng = np.random.default_rng(seed)
    masks = {id(kernel.mask) for kernel in hl.masked_kernels(model)}
    for weight in model.weights:
        if id(weight) in masks:
            continue
        value = rng.normal(scale=0.5, size=weight.shape)
        weight.assign(np.abs(value) + 0.1 if "variance" in weight.name else value)
    return model


def mask_at_random(model: keras.Model, density: float, seed: int = 0) -> keras.Model:
    """Makes connections dormant at random, whatever neurons that leaves out."""
    rng = np.random.default_rng(seed)
    hl.edit_masks({k: rng.random(k.mask.shape) < density for k in hl.masked_kernels(model)})
    return model


def zero(variable: keras.Variable, *places: Any) -> None:
    """Zeroes parts of a weight."""
    values = variable.numpy()
    for place in places:
        values[place] = 0
    variable.assign(values)


def cut_inputs(layer: keras.Layer, neurons: Iterable[int]) -> None:
    """Zeroes all incoming weights of units or filters."""
    zero(layer.kernel, (..., list(neurons)))


def cut_outputs(reader: keras.Layer, neurons: Iterable[int], width: int) -> None:
    """Zeroes what a dense layer or convolution reads of neurons, of `width`."""
    rows = reader.kernel.shape[-2]
    zero(reader.kernel, (..., [r for r in range(rows) if r % width in set(neurons)], slice(None)))


def dense_net() -> keras.Model:
    return keras.Sequential(
        [
            keras.Input((6,)),
            layers.Dense(5, activation="tanh"),
            layers.Dense(4, activation="relu"),
            layers.Dropout(0.5, seed=1),
            layers.Dense(3),
        ]
    )


def lenet() -> keras.Model:
    """LeNet-5's shape at a quarter of its size."""
    return keras.Sequential(
        [
            keras.Input((12, 12, 1)),
            layers.Conv2D(4, 5, padding="same", activation="tanh"),
            layers.MaxPooling2D(),
            layers.Conv2D(5, 3, use_bias=False),
            layers.BatchNormalization(),
            layers.ReLU(),
            layers.AveragePooling2D(2),
            layers.Flatten(),
            layers.Dense(8, activation="relu"),
            layers.Dense(3, activation="softmax"),
        ]
    )


def recurrent_net() -> keras.Model:
    """Every supported recurrent layer and cell, in every wrapper."""
    cells = [layers.LSTMCell(3), layers.GRUCell(4), hl.HLSTMCell(3, hidden_units=2)]
    return keras.Sequential(
        [
            keras.Input((None, 5)),
            layers.Bidirectional(layers.LSTM(3, return_sequences=True)),
            layers.RNN(layers.StackedRNNCells(cells), return_sequences=True),
            layers.TimeDistributed(layers.Dense(4)),
            hl.HLSTM(3, hidden_units=(4, 2), return_sequences=True),
            layers.GRU(3, return_sequences=True),
            layers.SimpleRNN(2),
        ]
    )


def embedding_net() -> keras.Model:
    return keras.Sequential(
        [
            keras.Input((7,), dtype="int32"),
            layers.Embedding(10, 4),
            layers.Conv1D(5, 3, activation="relu"),
            layers.LSTM(3),
        ]
    )


def functional_net() -> keras.Model:
    """A fork, a join, and a nested model that is called twice."""
    inner = keras.Sequential([keras.Input((4,)), layers.Dense(5, "relu"), layers.Dense(4)])
    inputs = keras.Input((6,))
    x = layers.Dense(4, activation="relu")(inputs)
    x = layers.Dense(4)(inner(inner(x)))
    left = layers.Dense(3)(x)
    right = layers.Dense(3, activation="tanh")(layers.BatchNormalization()(x))
    return keras.Model(inputs, layers.Add()([left, right]))


@keras.saving.register_keras_serializable("hlstm_tf.tests")
class WithLoss(keras.Model):
    """A functional model with a method of its own."""

    def compute_loss(self, *args: Any, **kwargs: Any) -> Any:
        return 2.0 * super().compute_loss(*args, **kwargs)


def with_loss() -> keras.Model:
    functional = functional_net()
    return WithLoss(inputs=functional.input, outputs=functional.output, name="with_loss")


@keras.saving.register_keras_serializable("hlstm_tf.tests")
class Attributes(keras.Model):
    """A model that makes its layers itself and keeps them in attributes, lists and dicts."""

    def __init__(self, units: int = 4, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.units = units
        self.first = layers.Dense(units, activation="relu")
        self.blocks = [layers.Dense(units), layers.Dropout(0.2), layers.Dense(units)]
        self.recurrent = layers.Bidirectional(layers.LSTM(3))
        self.heads = {"a": keras.Sequential([layers.Dense(3, "relu"), layers.Dense(2)])}

    def call(self, x: Any, training: bool = False) -> Any:
        x = self.first(x)
        for block in self.blocks:
            x = block(x)
        return self.heads["a"](self.recurrent(x))

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "units": self.units}


def with_attributes() -> keras.Model:
    model = Attributes()
    model(np.zeros((2, 3, 3), "float32"))
    return model


MODELS: dict[str, tuple[Callable[[], keras.Model], tuple[int, ...]]] = {
    "dense": (dense_net, (4, 6)),
    "lenet": (lenet, (2, 12, 12, 1)),
    "recurrent": (recurrent_net, (2, 3, 5)),
    "embedding": (embedding_net, (3, 7)),
    "functional": (functional_net, (4, 6)),
    "with_loss": (with_loss, (4, 6)),
    "attributes": (with_attributes, (2, 3, 3)),
}


def model_and_batch(name: str) -> tuple[keras.Model, np.ndarray]:
    make, shape = MODELS[name]
    rng = np.random.default_rng(3)
    if name == "embedding":
        return randomize(make()), rng.integers(0, 10, shape)
    return randomize(make()), rng.normal(size=shape).astype("float32")


def weights_of(model: keras.Model) -> list[np.ndarray]:
    return [weight.numpy() for weight in model.weights]


def outputs(model: keras.Model, batch: Any) -> np.ndarray:
    return keras.ops.convert_to_numpy(model(batch, training=False))


def shapes(model: keras.Model) -> list[tuple[int, ...]]:
    return [tuple(weight.shape) for weight in model.weights]


def check_shrunk(model: keras.Model, batch: Any) -> keras.Model:
    """Shrinks, and checks all that holds for every model."""
    before, expected = weights_of(model), outputs(model, batch)
    small = shrink(model, verify_with=batch)
    np.testing.assert_allclose(outputs(small, batch), expected, rtol=1e-4, atol=1e-5)
    for weight, value in zip(model.weights, before, strict=True):
        np.testing.assert_array_equal(weight.numpy(), value)
    old, new = summary(model, print_fn=None).model, summary(small, print_fn=None).model
    assert new.places <= old.places
    assert new.connections <= old.connections
    assert not hl.masked_kernels(small)
    return small
