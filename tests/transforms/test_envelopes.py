"""Seed architectures in which only some neurons live."""

from typing import Any

import keras
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import hlstm_tf as hl
from tests.tiers import few

layers = keras.layers


def net() -> keras.Model:
    return keras.Sequential(
        [
            keras.Input((6, 6, 2)),
            layers.Conv2D(7, 3, name="conv"),
            layers.Flatten(),
            layers.Dense(5, name="hidden", bias_initializer="ones"),
            layers.Dense(3, name="out"),
        ]
    )


def ends(model: keras.Model) -> list[np.ndarray]:
    """For each neuron of the two hidden layers how many connections it has before and after."""
    conv, hidden, out = (kernel.mask.numpy() for kernel in hl.masked_kernels(model))
    read = hidden.reshape(16, 7, 5).sum(axis=(0, 2))
    return [conv.sum(axis=(0, 1, 2)), read, hidden.sum(axis=0), out.sum(axis=1)]


@few(4)
@given(
    st.sampled_from([{"conv": 2, "hidden": 3}, {"hidden": 0.4}, 0.5, 0.0, 1.0, {}]),
    st.sampled_from([0.0, 0.5, 1.0]),
    st.integers(0, 3),
)
def test_living_neurons_are_connected_at_both_ends_and_the_others_at_none(
    neurons: Any, sparsity: float, seed: int
) -> None:
    expected = {
        "{'conv': 2, 'hidden': 3}": (2, 3),
        "{'hidden': 0.4}": (7, 2),
        "0.5": (4, 2),
        "0.0": (1, 1),
        "1.0": (7, 5),
        "{}": (7, 5),
    }[str(neurons)]
    model = hl.sparsify(net(), sparsity, seed, neurons=neurons, seed_architecture="random")
    before_conv, after_conv, before_hidden, after_hidden = (count > 0 for count in ends(model))
    np.testing.assert_array_equal(before_conv, after_conv)
    np.testing.assert_array_equal(before_hidden, after_hidden)
    assert (before_conv.sum(), before_hidden.sum()) == expected
    assert not model.get_layer("hidden").bias.numpy()[~before_hidden].any()
    assert model.get_layer("hidden").bias.numpy()[before_hidden].all()
    shrunk = hl.shrink(model)
    assert (shrunk.layers[0].filters, shrunk.layers[2].units) == expected


def test_the_sparsity_is_that_of_the_connections_between_living_neurons() -> None:
    model = hl.sparsify(net(), 0.5, neurons={"conv": 2, "hidden": 4})
    counts = [int(kernel.mask.numpy().sum()) for kernel in hl.masked_kernels(model)]
    assert counts == [3 * 3 * 2 * 2 // 2, 16 * 2 * 4 // 2, 4 * 3 // 2]


def test_all_neurons_living_is_the_seed_without_the_argument() -> None:
    for distribution in ("per_matrix", "erk"):
        seed = {"seed_architecture": "random", "distribution": distribution}
        one = hl.sparsify(net(), 0.6, 4, **seed)
        other = hl.sparsify(net(), 0.6, 4, **seed, neurons=1.0)
        for mine, yours in zip(hl.masked_kernels(one), hl.masked_kernels(other), strict=True):
            np.testing.assert_array_equal(mine.mask.numpy(), yours.mask.numpy())


def test_neurons_that_something_else_reads_live_all() -> None:
    model = keras.Sequential(
        [keras.Input((5, 4)), layers.Dense(6, name="a"), layers.GRU(3), layers.Dense(2)]
    )
    sparse = hl.sparsify(model, 0.0, neurons=0.5)
    assert sparse.get_layer("a").kernel_mask.numpy().all()
    with pytest.raises(ValueError, match="`neurons`: layer 'a' cannot have dormant neurons"):
        hl.sparsify(model, 0.0, neurons={"a": 2})


@pytest.mark.parametrize(
    ("neurons", "message"),
    [
        ({"hidden": 6}, "layer 'hidden' has 5 neurons, fewer than 6"),
        ({"hidden": 0}, "must be an integer of at least 1"),
        ({"out": 1}, r"layer 'out' cannot have dormant neurons.*such are: conv, hidden"),
        (1.5, "`neurons` must be a number between 0 and 1"),
    ],
)
def test_malformed_numbers_of_neurons_are_named(neurons: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        hl.sparsify(net(), neurons=neurons)
