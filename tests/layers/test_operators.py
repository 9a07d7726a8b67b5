"""The recurrences take any operator: a product of two thin matrices stands for the others."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import ops

from hlstm_tf.layers.gate_networks import Activations, GateNetworks
from hlstm_tf.layers.gru_recurrence import GRUForm, GRUWeights, recur_gru
from hlstm_tf.layers.lstm_recurrence import recur
from hlstm_tf.layers.operators import (
    Dense,
    Multiply,
    Operator,
    multiply_in,
    split_columns,
    weight_gradient,
)
from hlstm_tf.layers.passes import Settings

TIME, BATCH, UNITS, RANK = 5, 2, 6, 2
RNG = np.random.default_rng(3)


class Factors(NamedTuple):
    """`left @ right`, never written down."""

    left: Any
    right: Any

    @property
    def shape(self) -> tuple[int, int]:
        return self.left.shape[0], self.right.shape[1]

    @property
    def weights(self) -> list[Any]:
        return [self.left, self.right]

    def with_weights(self, weights: Sequence[Any]) -> "Factors":
        return Factors(*weights)

    def apply(self, values: Any, multiply: Multiply = ops.matmul) -> Any:
        return multiply(multiply(values, self.left), self.right)

    def transposed(self) -> "Factors":
        return Factors(ops.transpose(self.right), ops.transpose(self.left))

    def columns(self, widths: Sequence[int]) -> list[Operator]:
        return [Factors(self.left, part) for part in split_columns(self.right, widths)]

    def weight_gradients(self, values: Any, deltas: Any, dtype: str | None) -> list[Any]:
        multiply = multiply_in(dtype)
        inner = multiply(values, self.left)
        through = multiply(deltas, ops.transpose(self.right))
        return [weight_gradient(values, through, dtype), weight_gradient(inner, deltas, dtype)]


def draw(*shape: int) -> tf.Tensor:
    return tf.constant(0.5 * RNG.standard_normal(shape), tf.float32)


def factors(inputs: int, outputs: int) -> Factors:
    return Factors(draw(inputs, RANK), draw(RANK, outputs))


def written_down(operator: Any) -> Dense:
    return Dense(tf.matmul(operator.left, operator.right))


@pytest.mark.parametrize("operator", [Dense(draw(6, 9)), factors(6, 9)], ids=["dense", "factors"])
def test_an_operator_is_its_matrix(operator: Operator) -> None:
    matrix = operator.apply(np.eye(6, dtype="float32")).numpy()
    assert operator.shape == matrix.shape
    x, dy = draw(4, 6).numpy(), draw(4, 9).numpy()
    np.testing.assert_allclose(operator.apply(x), x @ matrix, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(operator.transposed().apply(dy), dy @ matrix.T, rtol=1e-5, atol=1e-6)
    parts = [part.apply(x) for part in operator.columns([2, 4, 3])]
    np.testing.assert_allclose(np.concatenate(parts, axis=1), x @ matrix, rtol=1e-5, atol=1e-6)
    again = operator.with_weights(operator.weights)
    np.testing.assert_array_equal(again.apply(x), operator.apply(x))


@pytest.mark.parametrize("operator", [Dense(draw(6, 9)), factors(6, 9)], ids=["dense", "factors"])
def test_its_weight_gradients_are_those_of_differentiation(operator: Operator) -> None:
    x, dy = draw(4, 6), draw(4, 9)
    with tf.GradientTape() as tape:
        tape.watch(operator.weights)
        loss = tf.reduce_sum(operator.apply(x) * dy)
    expected = tape.gradient(loss, operator.weights)
    found = operator.weight_gradients(x, dy, None)
    for want, got in zip(expected, found, strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-6)


def results(run: Callable[[], Any], weights: list[Any]) -> tuple[Any, list[Any]]:
    with tf.GradientTape() as tape:
        tape.watch(weights)
        outputs = run()
        loss = tf.reduce_sum(tf.sin(3.0 * outputs))
    return outputs, tape.gradient(loss, weights)


def assert_the_same(
    run: Callable[[Callable[[Any], Operator]], Any], operators: Sequence[Factors]
) -> None:
    """`run` gives the same with factors and with the dense matrices that they stand for."""
    weights = [weight for operator in operators for weight in operator.weights]
    outputs, found = results(lambda: run(lambda operator: operator), weights)
    dense, expected = results(lambda: run(written_down), weights)
    np.testing.assert_allclose(outputs, dense, rtol=1e-4, atol=1e-5)
    for want, got in zip(expected, found, strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-3, atol=1e-5)


SETTINGS = pytest.mark.parametrize("recompute", [False, True], ids=["stored", "recomputed"])
MASK = tf.constant(RNG.random((TIME, BATCH, 1)) < 0.7)


@SETTINGS
def test_an_lstm_trains_through_factors(recompute: bool) -> None:
    recurrent = factors(UNITS, 4 * UNITS)
    projected, h, c = draw(TIME, BATCH, 4 * UNITS), draw(BATCH, UNITS), draw(BATCH, UNITS)
    activations = Activations(keras.ops.relu, keras.ops.sigmoid, keras.ops.tanh)

    def run(form: Callable[[Any], Operator]) -> Any:
        networks = GateNetworks(form(recurrent))
        return recur(projected, MASK, h, c, networks, activations, Settings(None, recompute))[0]

    assert_the_same(run, [recurrent])


@SETTINGS
def test_an_hlstm_trains_through_factors_in_every_layer(recompute: bool) -> None:
    recurrent = factors(UNITS, 14)
    deeper = [factors(width, UNITS) for width in (3, 4, 5, 2)]
    projected, h, c = draw(TIME, BATCH, 14), draw(BATCH, UNITS), draw(BATCH, UNITS)
    activations = Activations(keras.ops.softplus, keras.ops.sigmoid, keras.ops.tanh)

    def run(form: Callable[[Any], Operator]) -> Any:
        networks = GateNetworks(form(recurrent), (tuple(map(form, deeper)),))
        return recur(projected, None, h, c, networks, activations, Settings(None, recompute))[0]

    assert_the_same(run, [recurrent, *deeper])


@SETTINGS
@pytest.mark.parametrize("reset_after", [True, False])
def test_a_gru_trains_through_factors(reset_after: bool, recompute: bool) -> None:
    recurrent = factors(UNITS, 3 * UNITS)
    projected, h = draw(TIME, BATCH, 3 * UNITS), draw(BATCH, UNITS)
    how = GRUForm(keras.ops.sigmoid, keras.ops.tanh, reset_after)

    def run(form: Callable[[Any], Operator]) -> Any:
        matrix = form(recurrent)
        kernels = [matrix] if reset_after else matrix.columns([2 * UNITS, UNITS])
        weights = GRUWeights(tuple(kernels))
        return recur_gru(projected, MASK, h, weights, how, Settings(None, recompute))

    assert_the_same(run, [recurrent])
