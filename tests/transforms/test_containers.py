"""The graph that shrink follows: forks, joins, layers called twice, nested models."""

import keras
import numpy as np

from tests.transforms.models import (
    check_shrunk,
    cut_inputs,
    cut_outputs,
    dense_net,
    model_and_batch,
    randomize,
)

layers = keras.layers


def test_outputs_of_the_model_keep_their_width() -> None:
    model = randomize(dense_net())
    cut_inputs(model.layers[-1], [0, 1])
    assert check_shrunk(model, np.ones((2, 6), "float32")).output_shape == (None, 3)


def test_a_fork_is_followed_to_all_its_readers() -> None:
    inputs = keras.Input((4,))
    x = layers.Dense(5, activation="relu", name="x")(inputs)
    left = layers.Dense(2, name="left")(x)
    right = layers.Dense(2, name="right")(layers.BatchNormalization(name="norm")(x))
    model = randomize(keras.Model(inputs, layers.Add()([left, right])))
    cut_outputs(model.get_layer("left"), [0, 1], 5)
    cut_outputs(model.get_layer("right"), [1, 2], 5)
    small = check_shrunk(model, np.ones((2, 4), "float32"))
    assert small.get_layer("x").units == 4  # only neuron 1 is read by neither
    assert small.get_layer("norm").gamma.shape == (4,)


def test_layers_that_are_called_twice_or_joined_keep_their_width() -> None:
    shared = layers.Dense(4, activation="relu", name="shared")
    inputs = keras.Input((4,))
    model = randomize(keras.Model(inputs, layers.Dense(2, name="last")(shared(shared(inputs)))))
    cut_outputs(model.get_layer("last"), [0], 4)
    assert check_shrunk(model, np.ones((2, 4), "float32")).get_layer("shared").units == 4
    a = layers.Dense(4, name="a")(inputs)
    joined = layers.Concatenate()([a, inputs])
    model = randomize(keras.Model(inputs, layers.Dense(2)(joined)))
    cut_inputs(model.get_layer("a"), [0])
    assert check_shrunk(model, np.ones((2, 4), "float32")).get_layer("a").units == 4


def test_nested_models_are_shrunk_inside_and_keep_their_outside() -> None:
    model, batch = model_and_batch("functional")
    inner = model.layers[2]
    cut_inputs(inner.layers[0], [0, 2])
    small = check_shrunk(model, batch)
    assert small.layers[2].layers[0].units == 3
    assert small.layers[2].output_shape == (None, 4)
