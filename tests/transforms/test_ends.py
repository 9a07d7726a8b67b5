"""The ends of layers in shrink: who writes neurons, who reads them, where constants go."""

from typing import Any

import keras
import numpy as np
import pytest

import hlstm_tf as hl
from tests.transforms.models import (
    check_shrunk,
    cut_inputs,
    cut_outputs,
    model_and_batch,
    randomize,
    zero,
)

layers = keras.layers


def test_a_reader_without_a_bias_gets_one_if_it_needs_it() -> None:
    model = keras.Sequential(
        [keras.Input((2,)), layers.Dense(3, "sigmoid"), layers.Dense(2, use_bias=False)]
    )
    cut_inputs(model.layers[0], [0])
    small = check_shrunk(model, np.ones((2, 2), "float32"))
    assert small.layers[1].use_bias
    assert small.layers[0].units == 2
    model = keras.Sequential(
        [keras.Input((2,)), layers.Dense(3, "relu"), layers.Dense(2, use_bias=False)]
    )
    cut_inputs(model.layers[0], [0])
    small = check_shrunk(model, np.ones((2, 2), "float32"))
    assert not small.layers[1].use_bias
    assert small.layers[0].units == 2


def test_units_under_a_softmax_stay_because_they_change_each_other() -> None:
    model = keras.Sequential([keras.Input((3,)), layers.Dense(4, "softmax"), layers.Dense(2)])
    cut_inputs(model.layers[0], [1])
    cut_outputs(model.layers[1], [2], 4)
    assert check_shrunk(model, np.ones((2, 3), "float32")).layers[0].units == 4


@pytest.mark.representatives("True-LSTM", "True-HLSTM", "False-SimpleRNN", "False-GRU")
@pytest.mark.parametrize("recurrent", [layers.SimpleRNN, layers.LSTM, layers.GRU, hl.HLSTM])
@pytest.mark.parametrize("use_bias", [True, False])
def test_recurrent_layers_take_the_constants_of_dead_inputs(recurrent: Any, use_bias: bool) -> None:
    model = keras.Sequential(
        [
            keras.Input((3, 4)),
            layers.Dense(5, activation="sigmoid"),
            recurrent(2, use_bias=use_bias),
        ]
    )
    randomize(model)
    cut_inputs(model.layers[0], [1, 2])
    batch = np.random.default_rng(0).normal(size=(2, 3, 4)).astype("float32")
    # Without a bias there is nowhere to put sigmoid(b), so those units stay.
    assert check_shrunk(model, batch).layers[0].units == (3 if use_bias else 5)


def test_a_gru_without_reset_after_takes_constants_too() -> None:
    model = keras.Sequential(
        [keras.Input((3, 4)), layers.Dense(5, "sigmoid"), layers.GRU(2, reset_after=False)]
    )
    randomize(model)
    cut_inputs(model.layers[0], [1, 2])
    batch = np.random.default_rng(0).normal(size=(2, 3, 4)).astype("float32")
    assert check_shrunk(model, batch).layers[0].units == 3


def test_columns_of_an_embedding_go() -> None:
    model, batch = model_and_batch("embedding")
    zero(model.layers[0].embeddings, (slice(None), 1))
    cut_outputs(model.layers[1], [3], 4)
    assert check_shrunk(model, batch).layers[0].output_dim == 2
