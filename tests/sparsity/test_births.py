"""New neurons: the pairs they bridge, the signs of their weights, what they do to the loss."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from hlstm_tf.sparsity import bridged_pairs, neuron_births, scaled

MATRICES = arrays.arrays(
    np.float64,
    arrays.array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=6),
    elements=st.floats(-4, 4).map(lambda value: value if abs(value) > 1e-3 else 0.0),
)


def test_pairs_above_the_percentile_come_largest_first() -> None:
    matrix = np.array([[1.0, -5.0], [3.0, 2.0]])
    assert bridged_pairs(matrix, 0.0).tolist() == [[0, 1], [1, 0], [1, 1]]
    assert bridged_pairs(matrix, 0.5).tolist() == [[0, 1], [1, 0]]
    assert bridged_pairs(matrix, 1.0).tolist() == []


def test_dormant_neurons_do_not_move_the_percentile() -> None:
    matrix = np.array([[1.0, -5.0], [3.0, 2.0]])
    envelope = np.zeros((9, 7))
    envelope[np.ix_([2, 4], [0, 5])] = matrix
    assert bridged_pairs(envelope, 0.5).tolist() == [[2, 5], [4, 0]]
    assert len(bridged_pairs(np.zeros((3, 2)), 0.0)) == 0


def test_one_pair_has_the_root_of_its_gradient_at_both_ends_and_the_signs_that_help() -> None:
    falls = neuron_births(np.array([[0.0, 4.0], [1.0, 0.0]]), 1, ratio=0.9, rng=0)[0]
    assert (falls.incoming.tolist(), falls.outgoing.tolist()) == ([2.0, 0.0], [0.0, -2.0])
    rises = neuron_births(np.array([[0.0, -4.0], [1.0, 0.0]]), 1, ratio=0.9, rng=0)[0]
    assert (rises.incoming.tolist(), rises.outgoing.tolist()) == ([2.0, 0.0], [0.0, 2.0])


def test_pairs_that_share_an_end_add_up_there() -> None:
    # 9 first: outgoing 3, incoming 3 for input 1; then 4 with the same outgoing sign.
    [birth] = neuron_births(np.array([[4.0], [-9.0], [1.0]]), 1, ratio=0.0, rng=0)
    assert birth.incoming.tolist() == [-2.0, 3.0, 0.0]
    assert birth.outgoing.tolist() == [5.0]


def test_several_neurons_bridge_other_pairs_the_first_the_largest() -> None:
    matrix = np.diag([16.0, 9.0, 4.0, 1.0])
    first, second = neuron_births(matrix, 2, ratio=0.0, rng=0)
    assert np.abs(first.incoming).tolist() == [4.0, 3.0, 0.0, 0.0]
    assert np.abs(second.incoming).tolist() == [0.0, 0.0, 2.0, 1.0]
    assert len(neuron_births(matrix, 9, ratio=0.0, rng=0)) == 4


@pytest.mark.parametrize("seed", range(4))
def test_a_neuron_is_born_active_on_the_mean_input(seed: int) -> None:
    matrix = np.random.default_rng(seed).normal(size=(5, 3))
    for mean in (np.ones(5), np.array([1.0, -2.0, 0.0, 3.0, -1.0])):
        for birth in neuron_births(matrix, 3, 0.3, seed, mean):
            assert birth.incoming @ mean > 0


@given(MATRICES, st.integers(1, 5), st.floats(0, 1), st.integers(0, 9))
def test_every_neuron_lowers_the_loss_to_first_order_and_is_connected_at_both_ends(
    matrix: np.ndarray, count: int, ratio: float, seed: int
) -> None:
    births = neuron_births(matrix, count, ratio, seed)
    assert len(births) == min(count, len(bridged_pairs(matrix, ratio)))
    for birth in births:
        assert birth.incoming @ matrix @ birth.outgoing < 0
        # No connection leads where there is no gradient.
        assert not birth.incoming[~matrix.any(axis=1)].any()
        assert not birth.outgoing[~matrix.any(axis=0)].any()


def test_scaling_goes_by_the_weights_that_exist() -> None:
    assert scaled(np.array([0.0, 2.0, -6.0]), 1.0).tolist() == [0.0, 0.5, -1.5]
    assert scaled(np.array([0.0, 2.0]), 0.0).tolist() == [0.0, 2.0]
    assert scaled(np.zeros(2), 1.0).tolist() == [0.0, 0.0]


def test_malformed_arguments_are_named() -> None:
    with pytest.raises(ValueError, match="`bridging` must be a finite"):
        neuron_births(np.array([[np.nan]]), 1, 0.5, 0)
    with pytest.raises(ValueError, match="`count` must be an integer"):
        neuron_births(np.ones((2, 2)), 0, 0.5, 0)
    with pytest.raises(ValueError, match="`mean_input` must have one value an input, 2"):
        neuron_births(np.ones((2, 2)), 1, 0.5, 0, np.ones(3))
