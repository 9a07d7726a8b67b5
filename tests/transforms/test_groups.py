"""Neuron groups in shrink: the two rules, worked out by hand."""

import keras
import numpy as np
import pytest

from hlstm_tf.transforms import shrink
from tests.transforms.models import (
    ACTIVATIONS,
    check_shrunk,
    cut_inputs,
    cut_outputs,
    dense_net,
    randomize,
    zero,
)

layers = keras.layers


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_a_neuron_that_nobody_reads_and_one_that_nothing_feeds_are_gone(activation: str) -> None:
    model = keras.Sequential(
        [keras.Input((6,)), layers.Dense(5, activation=activation), layers.Dense(3)]
    )
    randomize(model)
    cut_inputs(model.layers[0], [1])
    cut_outputs(model.layers[1], [3], 5)
    kernel = model.layers[0].kernel.numpy()
    small = check_shrunk(model, np.ones((2, 6), "float32"))
    assert small.layers[0].units == 3
    np.testing.assert_array_equal(small.layers[0].kernel.numpy(), kernel[:, [0, 2, 4]])


def test_the_constant_of_a_dead_neuron_goes_into_the_next_bias() -> None:
    model = keras.Sequential([keras.Input((1,)), layers.Dense(2, "relu"), layers.Dense(2)])
    model.set_weights([
        np.array([[1.0, 0.0]]), np.array([0.0, 3.0]),  # the second puts out 3 whatever comes
        np.array([[1.0, 1.0], [2.0, -1.0]]), np.array([10.0, 20.0]),
    ])  # fmt: skip
    small = shrink(model)
    expected = [[[1.0]], [0.0], [[1.0, 1.0]], [16.0, 17.0]]
    for weight, value in zip(small.get_weights(), expected, strict=True):
        np.testing.assert_array_equal(weight, value)


def test_deaths_are_followed_through_the_model_both_ways() -> None:
    model = keras.Sequential(
        [keras.Input((4,)), *(layers.Dense(3, "tanh") for _ in range(3)), layers.Dense(2)]
    )
    randomize(model)
    first, second, third, last = model.layers
    cut_inputs(first, [0])
    zero(second.kernel, (slice(1, None), 0))  # hears the dead one alone
    zero(second.kernel, (1, slice(None)), (1, 2))
    second.kernel.assign(np.array([[0.5, 0.4, 0.3], [0.0, 0.0, 0.7], [0.0, 0.2, 0.6]]))
    cut_outputs(last, [2], 3)
    third.kernel.assign(np.array([[0.1, 0.2, 0.3], [0.4, 0.5, 0.6], [0.0, 0.0, 0.9]]))
    small = check_shrunk(model, np.ones((2, 4), "float32"))
    # third[2] is unread, so second[2] is, so first[1] is; first[0] and so second[0] are constant.
    assert [layer.units for layer in small.layers] == [1, 1, 2, 2]


def test_a_layer_whose_neurons_are_all_dead_keeps_one() -> None:
    model = randomize(dense_net())
    cut_inputs(model.layers[0], range(5))
    small = check_shrunk(model, np.ones((2, 6), "float32"))
    assert [layer.units for layer in small.layers if hasattr(layer, "units")] == [1, 1, 3]
