"""Operators against their matrices in NumPy, and the recurrences that train through them."""

from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from hlstm_tf.layers.gate_networks import Activations, GateNetworks
from hlstm_tf.layers.gru_recurrence import GRUEquations, GRUWeights, recur_gru
from hlstm_tf.layers.lstm_recurrence import recur
from hlstm_tf.layers.operators import Dense, Operator
from hlstm_tf.layers.passes import Settings
from hlstm_tf.layers.structured_operators import Factors, KroneckerFactors, Sum

TIME, BATCH, UNITS, RANK = 5, 2, 6, 2
RNG = np.random.default_rng(3)


def draw(*shape: int) -> tf.Tensor:
    return tf.constant(0.5 * RNG.standard_normal(shape), tf.float32)


def factors(inputs: int, outputs: int) -> Factors:
    return Factors((draw(inputs, RANK),), (draw(RANK, outputs),))


def gates(inputs: int, widths: Sequence[int], ranks: Sequence[int]) -> Factors:
    """A product a gate."""
    return Factors(
        tuple(draw(inputs, rank) for rank in ranks),
        tuple(draw(rank, width) for rank, width in zip(ranks, widths, strict=True)),
    )


def kronecker(inputs: int, outputs: int) -> KroneckerFactors:
    return KroneckerFactors(draw(inputs // 2, outputs // 3), draw(2, 3))


def doped(inputs: int, outputs: int) -> Sum:
    return Sum((kronecker(inputs, outputs), Dense(draw(inputs, outputs))))


def written_down(operator: Any) -> Dense:
    return Dense(operator.apply(tf.eye(operator.shape[0])))


OPERATORS: dict[str, Any] = {
    "dense": Dense(draw(6, 9)),
    "factors": factors(6, 9),
    "factors-of-gates": gates(6, (2, 4, 3), (1, 3, 2)),
    "transposed-factors": gates(9, (1, 2, 3), (1, 3, 2)).transposed(),
    "kronecker": kronecker(6, 9),
    "sum": doped(6, 9),
}
each_operator = pytest.mark.parametrize("operator", OPERATORS.values(), ids=OPERATORS)


def matrix_of(operator: Any) -> np.ndarray:
    """The matrix by the definition of each operator, in NumPy."""
    if isinstance(operator, Dense):
        return np.asarray(operator.kernel)
    if isinstance(operator, Sum):
        return np.sum([matrix_of(term) for term in operator.terms], axis=0)
    if isinstance(operator, KroneckerFactors):
        return np.kron(operator.left, operator.right)
    products = [
        np.asarray(a) @ np.asarray(b) for a, b in zip(operator.left, operator.right, strict=True)
    ]
    return np.concatenate(products, axis=1 if isinstance(operator, Factors) else 0)


@each_operator
def test_an_operator_is_its_matrix(operator: Operator) -> None:
    matrix = matrix_of(operator)
    assert operator.shape == matrix.shape == (6, 9)
    x, dy = draw(4, 6).numpy(), draw(4, 9).numpy()
    np.testing.assert_allclose(operator.apply(x), x @ matrix, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(operator.transposed().apply(dy), dy @ matrix.T, rtol=1e-5, atol=1e-6)
    twice = operator.transposed().transposed()
    np.testing.assert_allclose(twice.apply(x), x @ matrix, rtol=1e-5, atol=1e-6)
    over_time = draw(2, 3, 6).numpy()
    np.testing.assert_allclose(operator.apply(over_time), over_time @ matrix, rtol=1e-5, atol=1e-6)
    again = operator.with_weights(operator.weights)
    np.testing.assert_array_equal(again.apply(x), operator.apply(x))


@each_operator
@pytest.mark.parametrize("widths", [(6, 3), (3, 3, 3)])
def test_its_columns_are_those_of_the_matrix(operator: Operator, widths: tuple[int, ...]) -> None:
    x, matrix = draw(4, 6).numpy(), matrix_of(operator)
    parts = operator.columns(widths)
    assert [part.shape for part in parts] == [(6, width) for width in widths]
    applied = [part.apply(x) for part in parts]
    np.testing.assert_allclose(np.concatenate(applied, axis=1), x @ matrix, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("transposed", [False, True], ids=["itself", "its-transpose"])
@each_operator
def test_its_weight_gradients_are_those_of_differentiation(
    operator: Operator, transposed: bool
) -> None:
    operator = operator.transposed() if transposed else operator
    x, dy = draw(4, operator.shape[0]), draw(4, operator.shape[1])
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
    run: Callable[[Callable[[Any], Operator]], Any], operators: Sequence[Any]
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


RECURRENT: dict[str, Callable[[int], Any]] = {
    "factors": lambda gates_: factors(UNITS, gates_ * UNITS),
    "factors-of-gates": lambda gates_: gates(UNITS, [UNITS] * gates_, range(1, gates_ + 1)),
    "kronecker": lambda gates_: kronecker(UNITS, gates_ * UNITS),
    "sum": lambda gates_: doped(UNITS, gates_ * UNITS),
}
of_each_kind = pytest.mark.parametrize("kind", RECURRENT)


@pytest.mark.representatives("factors-stored", "kronecker-recomputed")
@SETTINGS
@of_each_kind
def test_an_lstm_trains_through_factors(kind: str, recompute: bool) -> None:
    recurrent = RECURRENT[kind](4)
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


@pytest.mark.representatives("factors-of-gates-True-stored", "sum-False-recomputed")
@SETTINGS
@pytest.mark.parametrize("reset_after", [True, False])
@of_each_kind
def test_a_gru_trains_through_factors(kind: str, reset_after: bool, recompute: bool) -> None:
    recurrent = RECURRENT[kind](3)
    projected, h = draw(TIME, BATCH, 3 * UNITS), draw(BATCH, UNITS)
    how = GRUEquations(keras.ops.sigmoid, keras.ops.tanh, reset_after)

    def run(form: Callable[[Any], Operator]) -> Any:
        matrix = form(recurrent)
        kernels = [matrix] if reset_after else matrix.columns([2 * UNITS, UNITS])
        weights = GRUWeights(tuple(kernels))
        return recur_gru(projected, MASK, h, weights, how, Settings(None, recompute))

    assert_the_same(run, [recurrent])
