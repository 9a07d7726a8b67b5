"""The recurrence with the hand-written backward pass against a plain loop in float64."""

from collections.abc import Callable, Iterator
from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from hlstm_tf.layers import lstm_recurrence, passes
from hlstm_tf.layers.gate_networks import Activations, GateNetworks
from hlstm_tf.layers.lstm_recurrence import recur
from hlstm_tf.layers.operators import Dense
from hlstm_tf.layers.passes import Settings
from tests.layers.helpers import assert_all_close, assert_gradients_close, numpy

TIME, BATCH, UNITS = 4, 3, 3
# Each gate's widths: two hidden layers, then the gates themselves.
WIDTHS = {
    "unequal": ((5, 2, 7, 1), (4, 6, 1, 3), (UNITS,) * 4),
    "plain": ((UNITS,) * 4,),
}
PADDING = np.array([[1, 1, 0, 1], [0, 1, 1, 0], [0, 0, 0, 0]], bool).T[:, :, None]
ACTIVATIONS = Activations(tf.nn.leaky_relu, tf.sigmoid, tf.tanh)


@pytest.fixture
def _loops_as_they_are(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Nothing is compiled, and recomputing takes two chunks, the last one shorter."""
    monkeypatch.setattr(passes, "XLA_WEIGHTS", 0)
    monkeypatch.setattr(passes, "CHUNK", 3)
    lstm_recurrence._passes.cache_clear()
    yield
    lstm_recurrence._passes.cache_clear()


def case(
    widths: tuple[tuple[int, ...], ...], use_bias: bool, dropout: bool
) -> tuple[list[Any], GateNetworks]:
    """What `recur` takes, random: the projected input, h and c; and the networks."""
    rng = np.random.default_rng(0)

    def draw(*shape: int) -> tf.Tensor:
        return tf.constant(0.5 * rng.standard_normal(shape), tf.float32)

    first = sum(widths[0])
    networks = GateNetworks(
        recurrent=Dense(draw(UNITS, first)),
        kernels=tuple(
            tuple(Dense(draw(n, m)) for n, m in zip(fan_in, fan_out, strict=True))
            for fan_in, fan_out in pairwise(widths)
        ),
        biases=tuple(tuple(map(draw, layer)) for layer in widths[1:]) if use_bias else (),
        dropped=tuple(
            tf.constant(1.25 * (rng.random((BATCH, sum(layer))) < 0.8), tf.float32)
            for layer in widths[:-1]
        )
        if dropout
        else (),
    )
    return [draw(TIME, BATCH, first), draw(BATCH, UNITS), draw(BATCH, UNITS)], networks


def plain_loop(
    projected: Any, mask: Any, h: Any, c: Any, networks: GateNetworks, activations: Activations
) -> tuple[Any, Any]:
    """The equations, gate by gate and step by step."""
    outputs = []
    for t in range(TIME):
        places = np.cumsum([0, *networks.gate_widths[0]])
        values = projected[t] + networks.recurrent.apply(h)
        gates = [values[:, a:b] for a, b in pairwise(places)]
        for layer, kernels in enumerate(networks.kernels):
            ends = np.cumsum([0, *networks.gate_widths[layer]])
            for gate, kernel in enumerate(kernels):
                value = activations.hidden_activation(gates[gate])
                if networks.dropped:
                    value *= networks.dropped[layer][:, ends[gate] : ends[gate + 1]]
                gates[gate] = kernel.apply(value)
                if networks.biases:
                    gates[gate] += networks.biases[layer][gate]
        i, f, g, o = gates
        new_c = activations.recurrent_activation(f) * c + activations.recurrent_activation(
            i
        ) * activations.activation(g)
        new_h = activations.recurrent_activation(o) * activations.activation(new_c)
        here = np.ones((BATCH, 1), bool) if mask is None else mask[t]
        h, c = tf.where(here, new_h, h), tf.where(here, new_c, c)
        outputs.append(h)
    return tf.stack(outputs), c


def results(
    run: Callable[..., Any], dtype: Any, inputs: list[Any], mask: Any, networks: GateNetworks
) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Outputs and last c of `run`, and the gradients of all that has one."""
    inputs, networks = tf.nest.map_structure(lambda x: tf.cast(x, dtype), (inputs, networks))
    with tf.GradientTape() as tape:
        watched = tf.nest.flatten([inputs, networks._replace(dropped=())])
        tape.watch(watched)
        projected, h, c = inputs
        outputs, last = run(projected, mask, h, c, networks, ACTIVATIONS)
        weights = tf.reshape(tf.cos(tf.range(tf.size(outputs), dtype=dtype)), outputs.shape)
        loss = tf.reduce_sum(outputs * weights) + tf.reduce_sum(tf.square(last))
    return numpy([outputs, last]), numpy(tape.gradient(loss, watched))


@pytest.mark.representatives(
    "unequal-mask0-True-True-stored",
    "unequal-mask0-True-True-recomputed",
    "plain-mask3-True-False-stored",
    "unequal-None-True-False-recomputed",
)
@pytest.mark.parametrize("recompute", [False, True], ids=["stored", "recomputed"])
@pytest.mark.parametrize(
    ("widths", "mask", "use_bias", "dropout"),
    [
        ("unequal", PADDING, True, True),
        ("unequal", None, True, False),
        ("unequal", PADDING, False, False),
        ("plain", PADDING, True, False),
    ],
)
@pytest.mark.usefixtures("_loops_as_they_are")
def test_it_equals_the_plain_loop(
    widths: str, mask: Any, use_bias: bool, dropout: bool, recompute: bool
) -> None:
    check(widths, mask, use_bias, dropout, Settings(recompute=recompute))


@pytest.mark.compiled
def test_it_equals_the_plain_loop_when_xla_compiles_it() -> None:
    check("unequal", PADDING, True, True, Settings())


def test_recomputing_knows_no_length_beforehand(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(passes, "CHUNK", 3)
    inputs, networks = case(WIDTHS["unequal"], True, True)

    @tf.function(input_signature=[tf.TensorSpec([None, None, inputs[0].shape[2]])])
    def run(projected: tf.Tensor) -> Any:
        with tf.GradientTape() as tape:
            tape.watch([projected, *networks.recurrent.weights])
            settings = Settings(recompute=True)
            outputs, _ = recur(projected, None, *inputs[1:], networks, ACTIVATIONS, settings)
        return tape.gradient(outputs, [projected, *networks.recurrent.weights])

    with tf.GradientTape() as tape:
        tape.watch([inputs[0], *networks.recurrent.weights])
        outputs, _ = plain_loop(inputs[0], None, *inputs[1:], networks, ACTIVATIONS)
    expected = tape.gradient(outputs, [inputs[0], *networks.recurrent.weights])
    assert_gradients_close(numpy(expected), numpy(run(inputs[0])))


def check(widths: str, mask: Any, use_bias: bool, dropout: bool, settings: Settings) -> None:
    inputs, networks = case(WIDTHS[widths], use_bias, dropout)
    assert networks.gate_widths == WIDTHS[widths]
    expected, expected_gradients = results(plain_loop, tf.float64, inputs, mask, networks)
    fast = partial(recur, settings=settings)
    found, found_gradients = results(fast, tf.float32, inputs, mask, networks)
    assert_all_close(found, expected)
    assert_gradients_close(expected_gradients, found_gradients)
    assert all(np.abs(gradient).max() > 1e-3 for gradient in expected_gradients)
