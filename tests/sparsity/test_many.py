import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hlstm_tf.sparsity import (
    ERK,
    Connection,
    Global,
    PerMatrix,
    grow,
    grow_all,
    grow_all_to,
    grow_to,
    kept_count,
    prune,
    prune_all,
    prune_all_to,
    prune_to,
)
from tests.sparsity.strategies import MANY, fractions, problems, structures, table

DISTRIBUTIONS = st.sampled_from([PerMatrix(), Global(), ERK()])
FULL = np.ones((2, 2), dtype=bool)
SMALL, LARGE = np.array([[1.0, 2.0], [3.0, 4.0]]), np.array([[5.0, 6.0], [7.0, 8.0]])


def split(drawn):
    return [mask for mask, _ in drawn], [score for _, score in drawn]


def test_the_distribution_decides_which_matrices_share_a_percentile():
    masks, scores = [FULL, FULL], [SMALL, LARGE]
    for distribution, expected in [
        (PerMatrix(), [".. xx", ".. xx"]),
        (Global(), [".. ..", "xx xx"]),
        (ERK(), [".. xx", ".. xx"]),
    ]:
        for pruned in (
            prune_all(masks, scores, 0.5, distribution=distribution),
            prune_all_to(masks, scores, 0.5, distribution=distribution),
            grow_all([~FULL, ~FULL], scores, 0.5, distribution=distribution),
            grow_all_to([~FULL, ~FULL], scores, 0.5, distribution=distribution),
        ):
            for mask, drawn in zip(pruned, expected, strict=True):
                np.testing.assert_array_equal(mask, table(drawn))


def test_erk_prunes_the_big_matrix_harder_than_the_small():
    rng = np.random.default_rng(0)
    masks = [np.ones((40, 40), bool), np.ones((8, 8), bool)]
    scores = [rng.random(mask.shape) for mask in masks]
    pruned = prune_all(masks, scores, 0.5, distribution=ERK())
    # 832 of 1664 are left; the small one would be above dense, so it is whole.
    assert [mask.sum() for mask in pruned] == [768, 64]
    # From there a ratio of 0.5 halves what is left: 416, in proportion to 80 and 16.
    pruned = prune_all(pruned, scores, 0.5, distribution=ERK())
    assert sum(mask.sum() for mask in pruned) == 416
    assert [mask.sum() for mask in pruned] == [352, 64]


def test_erk_grows_to_what_equal_scores_would_lead_to():
    rng = np.random.default_rng(0)
    masks = [np.zeros((40, 40), bool), np.zeros((8, 8), bool)]
    scores = [rng.random(mask.shape) for mask in masks]
    grown = grow_all(masks, scores, 0.9, distribution=ERK())
    # A tenth of 1664: 166.4, in proportion to 80 and 16.
    assert [mask.sum() for mask in grown] == [139, 28]


def test_kernel_shapes_tell_erk_what_a_matrix_was():
    rng = np.random.default_rng(0)
    masks = [np.ones((72, 16), bool), np.ones((64, 64), bool)]
    scores = [rng.random(mask.shape) for mask in masks]
    counts = [
        [int(mask.sum()) for mask in prune_all_to(masks, scores, 0.9, distribution=ERK(), **more)]
        for more in ({}, {"kernel_shapes": [(3, 3, 8, 16), (64, 64)]})
    ]
    assert counts[1][0] < counts[0][0]
    assert counts[1][1] > counts[0][1]
    with pytest.raises(ValueError, match="`kernel_shapes` must have one shape a mask"):
        prune_all(masks, scores, 0.9, distribution=ERK(), kernel_shapes=[(72, 16), (64, 63)])


@MANY
@given(drawn=st.lists(problems(), max_size=4), ratio=fractions(), structure=structures())
def test_per_matrix_is_each_rule_by_itself(drawn, ratio, structure):
    masks, scores = split(drawn)
    for every, one in (
        (grow_all, grow),
        (grow_all_to, grow_to),
        (prune_all, prune),
        (prune_all_to, prune_to),
    ):
        for result, mask, score in zip(
            every(masks, scores, ratio, structure), masks, scores, strict=True
        ):
            np.testing.assert_array_equal(result, one(mask, score, ratio, structure))


@MANY
@given(
    drawn=st.lists(problems(), min_size=1, max_size=4),
    ratio=fractions(),
    structure=structures(),
    distribution=DISTRIBUTIONS,
)
def test_growth_only_adds_and_pruning_only_removes_under_every_distribution(
    drawn, ratio, structure, distribution
):
    masks, scores = split(drawn)
    before = [mask.copy() for mask in masks]
    for rule in (grow_all, grow_all_to):
        for old, new in zip(
            masks, rule(masks, scores, ratio, structure, distribution), strict=True
        ):
            assert (old <= new).all()
    for rule in (prune_all, prune_all_to):
        for old, new in zip(
            masks, rule(masks, scores, ratio, structure, distribution), strict=True
        ):
            assert (new <= old).all()
    for mask, copy in zip(masks, before, strict=True):
        np.testing.assert_array_equal(mask, copy)


@MANY
@given(drawn=st.lists(problems(), min_size=1, max_size=4), sparsity=fractions())
def test_global_counts_over_all_matrices_are_exact(drawn, sparsity):
    masks, scores = split(drawn)
    places = sum(mask.size for mask in masks)
    existing = sum(int(mask.sum()) for mask in masks)
    count = kept_count(places, sparsity)
    pruned = prune_all_to(masks, scores, sparsity, distribution=Global())
    assert sum(mask.sum() for mask in pruned) == min(count, existing)
    grown = grow_all_to(masks, scores, sparsity, distribution=Global())
    assert sum(mask.sum() for mask in grown) == max(count, existing)


@MANY
@given(
    shapes=st.lists(st.tuples(*[st.integers(1, 12)] * 2), min_size=1, max_size=4),
    sparsity=fractions(),
)
def test_erk_counts_are_within_rounding_of_the_overall_sparsity(shapes, sparsity):
    rng = np.random.default_rng(0)
    masks = [np.ones(shape, bool) for shape in shapes]
    scores = [rng.random(shape) for shape in shapes]
    places = sum(mask.size for mask in masks)
    for result in (
        prune_all_to(masks, scores, sparsity, distribution=ERK()),
        grow_all_to([~mask for mask in masks], scores, sparsity, distribution=ERK()),
    ):
        count = sum(int(mask.sum()) for mask in result)
        assert abs(count - (1 - sparsity) * places) <= len(masks) / 2 + 1e-6


def test_nothing_in_nothing_out_under_every_distribution():
    for rule in (grow_all, grow_all_to, prune_all, prune_all_to):
        for distribution in (PerMatrix(), Global(), ERK()):
            assert rule([], [], 0.5, Connection(), distribution) == []


@pytest.mark.parametrize("rule", [grow_all, grow_all_to, prune_all, prune_all_to])
def test_malformed_arguments_are_one_clear_line(rule):
    with pytest.raises(ValueError, match="between 0 and 1, got 2"):
        rule([FULL], [SMALL], 2)
    with pytest.raises(ValueError, match=re.escape("`scores[1]` must be finite, got 4 NaN")):
        rule([FULL, FULL], [SMALL, SMALL * np.nan], 0.5, distribution=ERK())
    with pytest.raises(ValueError, match="lists of equal length, got 1 masks and 2 scores"):
        rule([FULL], [SMALL, SMALL], 0.5)
