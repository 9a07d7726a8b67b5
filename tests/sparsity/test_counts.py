import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hlstm_tf.sparsity import (
    NM,
    Block,
    Column,
    Connection,
    Row,
    grow_to,
    grow_to_together,
    kept_count,
    prune_to,
    prune_to_together,
)
from tests.sparsity.strategies import (
    MANY,
    fractions,
    groups_of,
    patterns,
    problems,
    runs_hold,
    structures,
    table,
    tilings,
)


@pytest.mark.parametrize(
    ("size", "sparsity", "count"),
    [
        (10, 0.0, 10),
        (10, 1.0, 0),
        (10, 0.9, 1),  # 1 - 0.9 is 0.09999999999999998
        (5, 0.5, 3),  # a half goes up
        (5, 0.9, 1),  # 0.4999999999999999 is meant to be a half
        (5, 0.91, 0),
        (3, 0.34, 2),
        (6_400_000, 0.942, 371_200),
    ],
)
def test_the_count_kept_is_rounded_with_halves_up(size, sparsity, count):
    assert kept_count(size, sparsity) == count


def test_pruning_to_a_sparsity_keeps_the_best_and_of_equals_the_earlier():
    score = np.array([[3.0, 1.0, 2.0], [2.0, 2.0, 3.0]])
    full = np.ones((2, 3), dtype=bool)
    tables = {6: "xxx xxx", 5: "x.x xxx", 4: "x.x x.x", 3: "x.x ..x", 2: "x.. ..x", 1: "x.. ..."}
    for count, expected in tables.items():
        np.testing.assert_array_equal(prune_to(full, score, 1 - count / 6), table(expected))
    assert not prune_to(full, score, 1.0).any()


def test_pruning_to_a_sparsity_never_revives():
    score = np.array([[9.0, 8.0, 1.0, 2.0]])
    np.testing.assert_array_equal(prune_to(table("..xx"), score, 0.25), table("..xx"))
    np.testing.assert_array_equal(prune_to(table("..xx"), score, 0.75), table("...x"))


def test_growing_to_a_sparsity_activates_the_best_dormant_ones_and_never_removes():
    score = np.array([[9.0, 8.0, 1.0, 8.0]])
    np.testing.assert_array_equal(grow_to(table("..x."), score, 0.5), table("x.x."))
    np.testing.assert_array_equal(grow_to(table("..x."), score, 0.25), table("xxx."))
    np.testing.assert_array_equal(grow_to(table("..xx"), score, 0.75), table("..xx"))


SCORE = np.array([[1, 9, 2, 2], [1, 9, 2, 2], [5, 3, 8, 8], [5, 3, 8, 0.0]])


@pytest.mark.parametrize(
    ("structure", "sparsity", "expected"),
    [
        # 1x2 blocks [1 9 2 2] and [5 3 8 4], two connections each.
        (Block(1, 2), 0.5, ".x.. .x.. x.xx x.xx"),
        # 7 connections are as near to 6 as to 8: the larger.
        (Block(1, 2), 9 / 16, ".x.. .x.. x.xx x.xx"),
        # 1x3 blocks: [7/3 7 4 4] of three, then a ragged row [5 3 8 0] of one. 5 = 3 + 1 + 1.
        (Block(1, 3), 11 / 16, ".x.. .x.. .x.. x.x."),
        # 9 connections: 3 + 1 + 1 + 3 = 8 is nearer than 11.
        (Block(1, 3), 7 / 16, ".xx. .xx. .xx. x.x."),
        (Row(), 0.75, ".... .... xxxx ...."),
        (Row(), 0.99, ".... .... .... ...."),  # rounds to no connection at all
        (Row(), 0.95, ".... .... xxxx ...."),  # to one, so one row stays
        (Column(), 0.5, ".xx. .xx. .xx. .xx."),
        # The pattern's 50 % is the least; then the lowest go one by one.
        (NM(2, 4), 0.1, ".x.. .x.. x.xx x.xx"),
        (NM(2, 4), 0.75, ".x.. .x.. ..xx ...."),
    ],
)
def test_pruning_to_a_sparsity_by_structure_is_as_worked_by_hand(structure, sparsity, expected):
    score = SCORE.copy()
    if isinstance(structure, NM):
        score[3, 3] = 4
    if structure == NM(2, 4) and sparsity == 0.75:
        score[3, 2] = 7
    pruned = prune_to(np.ones((4, 4), bool), score, sparsity, structure)
    np.testing.assert_array_equal(pruned, table(expected))


def nearest(counts, target):
    """How many of the leading counts sum up nearest to a target; the more on a tie."""
    totals = np.concatenate([[0], np.cumsum(counts)])
    distance = np.abs(totals - target)
    return int(np.flatnonzero(distance == distance.min())[-1])


@MANY
@given(problem=problems(), sparsity=fractions())
def test_connections_come_to_exactly_the_count_asked_for(problem, sparsity):
    mask, score = problem
    count = kept_count(mask.size, sparsity)
    assert abs(count - (1 - sparsity) * mask.size) <= 0.5 + 1e-6
    assert prune_to(mask, score, sparsity).sum() == min(count, mask.sum())
    assert grow_to(mask, score, sparsity).sum() == max(count, mask.sum())


@MANY
@given(problem=problems(), sparsity=fractions(), structure=tilings())
def test_both_rules_equal_the_choice_made_group_by_group(problem, sparsity, structure):
    mask, score = problem
    groups = groups_of(structure, mask.shape)
    target = kept_count(mask.size, sparsity)

    pooled = structure.pool(np.where(mask, score, score.dtype.type(0))).ravel()
    sizes = [sum(mask[place] for place in group) for group in groups]
    alive = [k for k in np.argsort(-pooled, kind="stable") if sizes[k]]
    number = nearest([sizes[k] for k in alive], target)
    if target > 0:
        number = max(number, 1)
    expected = np.zeros_like(mask)
    for k in alive[:number]:
        for place in groups[k]:
            expected[place] = mask[place]
    np.testing.assert_array_equal(prune_to(mask, score, sparsity, structure), expected)

    pooled = structure.pool(score).ravel()
    sizes = [sum(not mask[place] for place in group) for group in groups]
    open_ = [k for k in np.argsort(-pooled, kind="stable") if sizes[k]]
    missing = target - int(mask.sum())
    expected = mask.copy()
    if missing > 0:
        for k in open_[: nearest([sizes[k] for k in open_], missing)]:
            for place in groups[k]:
                expected[place] = True
    np.testing.assert_array_equal(grow_to(mask, score, sparsity, structure), expected)


@MANY
@given(problem=problems(), low=fractions(), high=fractions(), structure=structures())
def test_a_higher_sparsity_leaves_a_subset(problem, low, high, structure):
    mask, score = problem
    low, high = sorted((low, high))
    for rule in (prune_to, grow_to):
        dense, sparse = (rule(mask, score, sparsity, structure) for sparsity in (low, high))
        assert (sparse <= dense).all()
    assert (prune_to(mask, score, low, structure) <= mask).all()
    assert (mask <= grow_to(mask, score, high, structure)).all()


@MANY
@given(problem=problems(), sparsity=fractions(), structure=structures())
def test_pruning_to_the_same_sparsity_twice_changes_nothing(problem, sparsity, structure):
    mask, score = problem
    once = prune_to(mask, score, sparsity, structure)
    np.testing.assert_array_equal(prune_to(once, score, sparsity, structure), once)


@MANY
@given(problem=problems(), sparsity=fractions(), pattern=patterns())
def test_a_pattern_comes_first_and_the_count_after(problem, sparsity, pattern):
    mask, score = problem
    count = kept_count(mask.size, sparsity)
    capped = pattern.limit(mask, score)
    pruned = prune_to(mask, score, sparsity, pattern)
    assert runs_hold(pruned, pattern)
    assert pruned.sum() == min(count, capped.sum())
    grown = grow_to(capped, score, sparsity, pattern)
    assert runs_hold(grown, pattern)
    room = pattern.limit(np.ones_like(mask), score)
    assert grown.sum() == max(capped.sum(), min(count, room.sum()))


@MANY
@given(problem=problems(), sparsity=fractions(), parts=st.integers(1, 3))
def test_matrices_taken_together_have_one_count(problem, sparsity, parts):
    mask, score = problem
    cuts = np.array_split(np.arange(mask.shape[0]), min(parts, mask.shape[0]))
    masks, scores = ([array[cut] for cut in cuts] for array in (mask, score))
    for together, alone in ((grow_to_together, grow_to), (prune_to_together, prune_to)):
        joined = np.concatenate(together(masks, scores, sparsity))
        np.testing.assert_array_equal(joined, alone(mask, score, sparsity, Connection()))


def test_nothing_in_nothing_out():
    assert grow_to_together([], [], 0.5) == []
    assert prune_to_together([], [], 0.5) == []


@pytest.mark.parametrize("rule", [grow_to, prune_to])
def test_malformed_arguments_are_one_clear_line(rule):
    mask, score = np.ones((2, 3), bool), np.ones((2, 3))
    for bad in (1.01, -1, float("nan"), "all", True):
        with pytest.raises(ValueError, match=re.escape(f"between 0 and 1, got {bad!r}")):
            rule(mask, score, bad)
    with pytest.raises(ValueError, match="`score` must be finite, got 1 NaN or infinite"):
        rule(mask, np.where(np.arange(6).reshape(2, 3) == 4, np.nan, 1.0), 0.5)
    with pytest.raises(ValueError, match="`score` must have the shape of its mask"):
        rule(mask, score[:, :2], 0.5)
