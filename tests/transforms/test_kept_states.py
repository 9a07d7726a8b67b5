"""Comparisons of stateful models: equal at the start, and no trace at the end."""

from collections.abc import Callable

import keras
import numpy as np
import pytest

import hlstm_tf as hl
from hlstm_tf.export.layout import input_layout
from hlstm_tf.export.verification import reference_outputs
from hlstm_tf.transforms.verification import check_same_function, kept_states

layers = keras.layers
BATCH = np.random.default_rng(0).normal(size=(2, 5, 3)).astype("float32")


def _stateful(layer: keras.Layer) -> keras.Model:
    return keras.Sequential([keras.Input(batch_shape=(2, None, 3)), layer, layers.Dense(2)])


def _stacked() -> keras.Layer:
    cells = [layers.LSTMCell(3), hl.HLSTMCell(3, hidden_units=4)]
    return layers.RNN(layers.StackedRNNCells(cells), stateful=True)


STATEFUL: dict[str, Callable[[], keras.Layer]] = {
    "LSTM": lambda: layers.LSTM(4, stateful=True),
    "GRU": lambda: layers.GRU(4, stateful=True, return_sequences=True),
    "SimpleRNN": lambda: hl.MaskedSimpleRNN(4, stateful=True),
    "HLSTM": lambda: hl.HLSTM(4, hidden_units=5, stateful=True),
    "Bidirectional": lambda: layers.Bidirectional(layers.GRU(4, stateful=True)),
    "stacked cells": _stacked,
}


@pytest.mark.representatives(
    "strip-LSTM",
    "strip-stacked cells",
    "shrink-HLSTM",
    "shrink-Bidirectional",
    "reference-GRU",
    "reference-SimpleRNN",
)
@pytest.mark.parametrize("layer", STATEFUL)
@pytest.mark.parametrize("transform", ["strip", "shrink", "reference"])
def test_a_comparison_leaves_the_states_as_it_found_them(layer: str, transform: str) -> None:
    model = _stateful(STATEFUL[layer]())
    model(BATCH)  # the states are somewhere
    before = [np.array(state) for state in kept_states(model)]
    assert before
    assert all(np.any(state) for state in before)
    for _ in range(2):  # a second check raises no false alarm
        match transform:
            case "strip":
                hl.strip(model, verify_with=BATCH)
            case "shrink":
                hl.shrink(model, verify_with=BATCH)
            case "reference":
                found = reference_outputs(model, input_layout(model), {"inputs": BATCH})
                again = reference_outputs(model, input_layout(model), {"inputs": BATCH})
                np.testing.assert_array_equal(found["outputs"], again["outputs"])
    for state, value in zip(kept_states(model), before, strict=True):
        np.testing.assert_array_equal(state, value)


def test_states_are_put_back_where_a_comparison_fails() -> None:
    model, other = _stateful(layers.LSTM(4, stateful=True)), _stateful(layers.GRU(4, stateful=True))
    model(BATCH)
    before = [np.array(state) for state in kept_states(model)]
    with pytest.raises(ValueError, match="changed the function"):
        check_same_function(model, other, BATCH, "a test")
    for state, value in zip(kept_states(model), before, strict=True):
        np.testing.assert_array_equal(state, value)


class _Counting(layers.Layer):
    """Counts its calls, and adds noise in inference too."""

    def build(self, shape: tuple[int | None, ...]) -> None:
        self.calls = self.add_weight(shape=(), initializer="zeros", trainable=False, name="calls")
        self.seeds = keras.random.SeedGenerator(3)

    def call(self, x: keras.KerasTensor) -> keras.KerasTensor:
        self.calls.assign_add(1.0)
        return x + keras.random.normal((4,), seed=self.seeds)


def test_counters_and_random_states_are_put_back_too() -> None:
    model = keras.Sequential([keras.Input((3,)), layers.Dense(4), _Counting()])
    model(np.ones((1, 3), "float32"))
    calls, seeds = float(model.layers[1].calls), np.array(model.layers[1].seeds.state)
    hl.strip(model, verify_with=np.ones((1, 3), "float32"))
    reference_outputs(model, input_layout(model), {"inputs": np.ones((1, 3), "float32")})
    assert float(model.layers[1].calls) == calls
    np.testing.assert_array_equal(model.layers[1].seeds.state, seeds)
