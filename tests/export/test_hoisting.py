"""Loops with all that does not depend on the state before them: the same numbers as Keras's."""

from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

import hlstm_tf as hl
from hlstm_tf.export.archive import trace_serving
from hlstm_tf.export.layout import input_layout
from tests.export.models import scrambled

layers = keras.layers
SEQUENCE = np.random.default_rng(0).normal(size=(3, 6, 4)).astype("float32")
SEQUENCE[1, 4:] = 0.0  # what `Masking` takes for the end
SEQUENCE[2, :2] = 0.0


def served(model: keras.Model, sequence: np.ndarray = SEQUENCE) -> np.ndarray:
    function = trace_serving(model, input_layout(model))["serve"]
    return function(tf.constant(sequence))["outputs"].numpy()


def loops(function: Any) -> int:
    """Loops in which the input is multiplied by a kernel of its own."""
    graph = function.graph.as_graph_def()
    bodies = {node.attr["body"].func.name for node in graph.node if "body" in node.attr}
    return sum(
        sum(node.op == "MatMul" for node in each.node_def) > 1
        for each in graph.library.function
        if each.signature.name in bodies
    )


@pytest.mark.representatives(
    "True-<lambda>0",
    "False-<lambda>1",
    "True-<lambda>2",
    "False-<lambda>3",
    "True-<lambda>4",
    "False-<lambda>5",
    "True-<lambda>6",
)
@pytest.mark.parametrize(
    "layer",
    [
        lambda: hl.HLSTM(3, hidden_units=(5, (4, 3, 1, 2)), return_sequences=True),
        lambda: hl.HLSTM(3, hidden_units=(), go_backwards=True),
        lambda: layers.LSTM(3, use_bias=False, return_sequences=True, zero_output_for_mask=True),
        lambda: layers.GRU(3, go_backwards=True, return_sequences=True),
        lambda: layers.GRU(3, reset_after=False),
        lambda: layers.SimpleRNN(3, use_bias=False, return_sequences=True),
        lambda: layers.Bidirectional(layers.RNN(hl.HLSTMCell(3, hidden_units=2))),
    ],
)
@pytest.mark.parametrize("masked", [False, True])
def test_every_known_layer_gives_the_numbers_of_keras(layer: Any, masked: bool) -> None:
    parts = [layers.Masking()] * masked + [layer()]
    model = scrambled(keras.Sequential([keras.Input((None, 4)), *parts]))
    np.testing.assert_allclose(served(model), model(SEQUENCE, training=False), atol=1e-6)


def test_the_inputs_are_multiplied_before_the_loop() -> None:
    model = keras.Sequential([keras.Input((None, 4)), layers.LSTM(3)])
    layout = input_layout(model)
    plain = tf.function(model, input_signature=[layout.with_batch(None)], autograph=False)
    assert loops(plain.get_concrete_function()) == 1
    assert loops(trace_serving(model, layout)["serve"]) == 0


@keras.saving.register_keras_serializable("tests")
class Doubled(keras.layers.LSTM):
    """A layer with a loop of its own."""

    def inner_loop(self, *args: Any, **kwargs: Any) -> Any:
        last, outputs, states = super().inner_loop(*args, **kwargs)
        return 2 * last, 2 * outputs, states


def test_a_layer_that_is_not_known_keeps_its_own_loop() -> None:
    model = keras.Sequential([keras.Input((None, 4)), Doubled(3, return_sequences=True)])
    np.testing.assert_allclose(served(model), model(SEQUENCE), atol=1e-6)
    video = np.random.default_rng(0).normal(size=(2, 3, 4, 4, 1)).astype("float32")
    model = keras.Sequential([keras.Input((None, 4, 4, 1)), layers.ConvLSTM2D(2, 2)])
    np.testing.assert_allclose(served(model, video), model(video), atol=1e-6)


def test_a_layer_that_is_used_twice_or_started_by_another_keeps_its_own_loop() -> None:
    x = keras.Input((None, 4), name="x")
    twice = layers.GRU(4, return_sequences=True)
    model = keras.Model(x, twice(twice(x)))
    np.testing.assert_allclose(served(model), model(SEQUENCE), atol=1e-6)
    _, h = layers.GRU(3, return_state=True)(x)
    model = keras.Model(x, layers.GRU(3)(x, initial_state=h))
    np.testing.assert_allclose(served(model), model(SEQUENCE), atol=1e-6)


def test_half_precision_stays_in_the_loop() -> None:
    layer = hl.HLSTM(3, return_sequences=True, dtype="mixed_bfloat16")
    model = keras.Sequential([keras.Input((None, 4)), layer])
    outputs = served(model)
    assert outputs.dtype == tf.bfloat16.as_numpy_dtype
    expected = np.asarray(model(SEQUENCE, training=False), np.float32)
    np.testing.assert_allclose(outputs.astype(np.float32), expected, atol=0.01)
