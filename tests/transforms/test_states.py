"""Units of a recurrent state in shrink: dead if only the dead read them."""

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import hlstm_tf as hl
from tests.tiers import few
from tests.transforms.models import check_shrunk, mask_at_random, randomize, zero

layers = keras.layers

RECURRENT: dict[str, Callable[..., keras.Layer]] = {
    "SimpleRNN": layers.SimpleRNN,
    "LSTM": layers.LSTM,
    "GRU": layers.GRU,
    "GRU, one bias": lambda *args, **kwargs: layers.GRU(*args, reset_after=False, **kwargs),
    "LSTM, no bias": lambda *args, **kwargs: layers.LSTM(*args, use_bias=False, **kwargs),
    "HLSTM": lambda *args, **kwargs: hl.HLSTM(*args, hidden_units=(5, 4), **kwargs),
    "HLSTM, unequal gates": lambda *args, **kwargs: hl.HLSTM(
        *args, hidden_units=((5, 4, 3, 2), 4), **kwargs
    ),
    "HLSTM without hidden layers": lambda *args, **kwargs: hl.HLSTM(
        *args, hidden_units=(), **kwargs
    ),
}


def leave_unread(cell: Any, dead: list[int]) -> None:
    """Cuts units off the living, but leaves the dead to read each other."""
    if isinstance(cell, hl.HLSTMCell) and cell.hidden_units:
        for variable in cell.trainable_variables:
            if variable.name.startswith("recurrent_kernel"):
                zero(variable, dead)
        return
    living = [unit for unit in range(cell.units) if unit not in dead]
    kernel = cell.recurrent_kernel.numpy().reshape(cell.units, -1, cell.units)
    kernel[np.ix_(dead, range(kernel.shape[1]), living)] = 0
    cell.recurrent_kernel.assign(kernel.reshape(cell.recurrent_kernel.shape))


def frames(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(2, 5, 3)).astype("float32")


@pytest.mark.representatives("SimpleRNN", "GRU", "LSTM, no bias", "HLSTM, unequal gates")
@pytest.mark.parametrize("name", RECURRENT)
def test_units_that_only_the_dead_read_go(name: str) -> None:
    make = RECURRENT[name]
    model = randomize(
        keras.Sequential(
            [
                keras.Input((None, 3)),
                layers.Bidirectional(make(6, return_sequences=True)),
                make(5, return_sequences=True),
                layers.BatchNormalization(),
                layers.Dropout(0.1),
                layers.Dense(4),
            ]
        )
    )
    both, forward, head = model.layers[0], model.layers[1], model.layers[4]
    leave_unread(both.forward_layer.cell, [1, 4])
    leave_unread(both.backward_layer.cell, [0, 2, 3])
    for variable in forward.cell.trainable_variables:
        if variable.name.startswith("kernel"):
            zero(variable, [1, 4, 6, 8, 9])
    leave_unread(forward.cell, [2])
    zero(head.kernel, [2])
    small = check_shrunk(model, frames())
    # Of the backward units three are dead, but both directions stay equally wide.
    assert small.layers[0].forward_layer.units == small.layers[0].backward_layer.units == 4
    assert small.layers[1].units == 4
    assert small.layers[0].output.shape == (None, None, 8)


def test_a_unit_without_new_content_is_the_constant_zero() -> None:
    model = randomize(
        keras.Sequential(
            [keras.Input((None, 3)), layers.LSTM(4, return_sequences=True), layers.Dense(2)]
        )
    )
    cell = model.layers[0].cell
    content = (slice(None), 2 * 4 + 1)  # of unit 1
    zero(cell.kernel, content)
    zero(cell.recurrent_kernel, content)
    assert check_shrunk(model, frames()).layers[0].units == 4  # the bias fills it
    zero(cell.bias, 2 * 4 + 1)
    assert check_shrunk(model, frames()).layers[0].units == 3


def test_a_unit_that_a_living_one_reads_stays() -> None:
    model = randomize(keras.Sequential([keras.Input((None, 3)), layers.GRU(4), layers.Dense(2)]))
    zero(model.layers[1].kernel, [0])
    assert check_shrunk(model, frames()).layers[0].units == 4


def test_a_state_that_is_handed_over_keeps_its_width() -> None:
    inputs = keras.Input((None, 3))
    outputs, _, _ = layers.LSTM(4, return_state=True)(inputs)
    model = randomize(keras.Model(inputs, layers.Dense(2)(outputs)))
    leave_unread(model.layers[1].cell, [3])
    zero(model.layers[-1].kernel, [3])
    assert check_shrunk(model, frames()).layers[1].units == 4


@pytest.mark.representatives("GRU", "HLSTM")
@pytest.mark.parametrize("kind", ["LSTM", "GRU", "SimpleRNN", "HLSTM"])
def test_dead_units_of_a_stateful_layer_go(kind: str) -> None:
    layer = {
        "LSTM": layers.LSTM,
        "GRU": layers.GRU,
        "SimpleRNN": layers.SimpleRNN,
        "HLSTM": hl.HLSTM,
    }[kind](4, stateful=True)
    batch = frames()
    inputs = keras.Input(batch_shape=batch.shape)
    model = randomize(keras.Model(inputs, layers.Dense(2)(layer(inputs))))
    leave_unread(layer.cell, [3])
    zero(model.layers[-1].kernel, [3])
    model(batch)  # not `check_shrunk`: each call gives something else
    small = hl.shrink(model, verify_with=batch)
    assert small.layers[1].units == 3
    assert small.layers[1].stateful
    layer.reset_state()
    for _ in range(3):  # call after call, each from where the last one ended
        np.testing.assert_allclose(small(batch), model(batch), rtol=1e-4, atol=1e-5)


def test_a_layer_that_is_given_its_first_state_keeps_its_width() -> None:
    inputs, first = keras.Input((None, 3)), keras.Input((3,))
    states = [layers.Dense(4)(first), layers.Dense(4)(first)]
    outputs = layers.LSTM(4, name="driven")(inputs, initial_state=states)
    model = randomize(keras.Model([inputs, first], layers.Dense(2)(outputs)))
    leave_unread(model.get_layer("driven").cell, [3])
    zero(model.layers[-1].kernel, [3])
    small = check_shrunk(model, [frames(), frames()[:, 0]])
    assert small.get_layer("driven").units == 4


@few(3)
@given(
    name=st.sampled_from(sorted(RECURRENT)),
    bidirectional=st.booleans(),
    density=st.floats(0.05, 0.5),
    seed=st.integers(0, 1000),
)
def test_any_masks_keep_the_function(
    name: str, bidirectional: bool, density: float, seed: int
) -> None:
    layer = RECURRENT[name](4, return_sequences=True)
    wrapped = layers.Bidirectional(layer) if bidirectional else layer
    model = hl.sparsify(
        keras.Sequential([keras.Input((None, 3)), wrapped, layers.Dense(3, "relu"), layers.GRU(2)]),
        sparsity=0.0,
    )
    mask_at_random(randomize(model, seed), density, seed)
    check_shrunk(model, frames(seed))
