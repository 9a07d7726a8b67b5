"""Which removed connections come back: the most needed of them, and no more than a share."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hlstm_tf.sparsity import recover

MASK = np.array([[1, 0, 0], [0, 0, 0]], dtype=bool)
REMOVED = np.array([[0, 1, 1], [1, 1, 0]], dtype=bool)
WEIGHT = np.array([[5.0, 2.0, -1.0], [0.5, 3.0, 9.0]])
GRADIENT = np.array([[-9.0, -1.0, 1.5], [-1.0, 2.0, -9.0]])
# Given back, they change the loss by -2, -1.5, -0.5 and +6.


@pytest.mark.parametrize(
    ("share", "expected"),
    [
        (0.0, [[1, 0, 0], [0, 0, 0]]),
        (0.2, [[1, 0, 0], [0, 0, 0]]),
        (0.25, [[1, 1, 0], [0, 0, 0]]),
        (0.5, [[1, 1, 1], [0, 0, 0]]),
        (1.0, [[1, 1, 1], [1, 0, 0]]),
    ],
)
def test_those_come_back_by_which_the_loss_falls_most(share: float, expected: list) -> None:
    found = recover(MASK, REMOVED, WEIGHT, GRADIENT, share)
    np.testing.assert_array_equal(found.astype(int), expected)


@given(st.integers(0, 10**6), st.floats(0, 1))
def test_only_removed_and_needed_connections_come_back(seed: int, share: float) -> None:
    rng = np.random.default_rng(seed)
    before = rng.random((4, 5)) < 0.7
    mask = before & (rng.random((4, 5)) < 0.5)
    weight, gradient = rng.normal(size=(2, 4, 5))
    back = recover(mask, before & ~mask, weight, gradient, share) & ~mask
    assert not (back & ~before).any()
    assert back.sum() <= share * (before & ~mask).sum() + 1e-6
    assert (weight * gradient)[back].max(initial=-1) < 0


def test_a_share_that_is_none_is_named() -> None:
    with pytest.raises(ValueError, match="`share` must be a number between 0 and 1"):
        recover(MASK, REMOVED, WEIGHT, GRADIENT, 1.5)
