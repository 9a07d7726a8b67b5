"""Rows and columns whose number is a multiple, whatever rule they come or go by."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hlstm_tf.sparsity import Column, Row, grow, grow_to, prune, prune_to
from tests.sparsity.strategies import MANY, fractions, problems


def lines() -> st.SearchStrategy[Row | Column]:
    numbers = {"multiple": st.integers(1, 5), "minimum": st.integers(0, 5)}
    return st.builds(Row, **numbers) | st.builds(Column, **numbers)


def living(mask, structure):
    return int(np.count_nonzero(structure.count(mask)))


@MANY
@given(
    problem=problems(), amount=fractions(), lines=lines(), rule=st.sampled_from([prune, prune_to])
)
def test_what_pruning_leaves_is_a_multiple_or_all_there_were(problem, amount, lines, rule):
    mask, score = problem
    left, before = (living(each, lines) for each in (rule(mask, score, amount, lines), mask))
    assert left == before or left == lines.minimum or left % lines.multiple == 0
    assert left >= min(before, lines.minimum)
    assert not (rule(mask, score, amount, lines) & ~mask).any()


@MANY
@given(problem=problems(), amount=fractions(), lines=lines(), rule=st.sampled_from([grow, grow_to]))
def test_what_grows_makes_a_multiple_or_all_there_can_be(problem, amount, lines, rule):
    mask, score = problem
    grown = rule(mask, score, amount, lines)
    now, before, most = living(grown, lines), living(mask, lines), living(np.ones_like(mask), lines)
    assert now in (before, most, lines.minimum) or now % lines.multiple == 0
    assert not (mask & ~grown).any()


def test_the_best_lines_are_those_that_rounding_adds_or_takes():
    score = np.arange(1.0, 9.0)[:, None] * np.ones((8, 3))
    kept = prune(np.ones((8, 3), bool), score, 0.4, Row(multiple=4))
    np.testing.assert_array_equal(kept.any(axis=1), [0, 0, 0, 0, 1, 1, 1, 1])
    grown = grow(~kept & False, score, 0.7, Row(multiple=4))
    np.testing.assert_array_equal(grown.any(axis=1), [0, 0, 0, 0, 1, 1, 1, 1])


@pytest.mark.parametrize("lines", [Row, Column])
def test_numbers_out_of_range_are_refused(lines):
    with pytest.raises(ValueError, match="`multiple` must be an integer of at least 1, got 0"):
        lines(multiple=0)
    with pytest.raises(ValueError, match="`minimum` must be an integer of at least 0, got -1"):
        lines(minimum=-1)
