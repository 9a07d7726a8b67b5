import re

import ml_dtypes
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
    grow,
    grow_together,
    percentile,
    prune,
    prune_together,
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

# Eleven scores 0..10, so that the (100 r)th percentile is 10 r.
LADDER = np.arange(11.0).reshape(11, 1)
SCORE_4X4 = np.array(
    [[1, 9, 2, 2], [1, 9, 2, 2], [5, 3, 8, 8], [5, 3, 8, 0]],
    dtype=np.float32,
)


def brute_percentile(values, ratio):
    """The linear-interpolation percentile from its definition, in exact fractions."""
    ordered = sorted(values)
    position = ratio * (len(ordered) - 1)
    if abs(position - round(position)) < 1e-9:
        return float(ordered[round(position)])
    low = int(position)
    return ordered[low] + (position - low) * (float(ordered[low + 1]) - float(ordered[low]))


@MANY
@given(problem=problems(), ratio=fractions())
def test_the_percentile_is_numpys_linear_one_in_float64(problem, ratio):
    values = problem[1]
    ours = percentile(values, ratio)
    assert ours.dtype == np.float64
    np.testing.assert_allclose(ours, np.quantile(values.astype(np.float64), ratio), rtol=1e-7)
    assert values.min() <= ours <= values.max()


def test_the_percentile_hits_a_score_that_it_should_equal_in_spite_of_binary_fractions():
    # 0.55 * 100 is 55.00000000000001: no connection of score 55 may fall below it.
    scores = np.arange(101.0)[None]
    assert percentile(scores, 0.55) == 55.0
    pruned = prune(np.ones_like(scores, bool), scores, 0.55)
    assert not pruned[0, 54]
    assert pruned[0, 55]


def test_growth_activates_only_strictly_above_the_percentile_of_all_places():
    mask = LADDER == 3
    expected = (LADDER > 8) | mask
    np.testing.assert_array_equal(grow(mask, LADDER, 0.8), expected)
    np.testing.assert_array_equal(grow(mask, LADDER, 0.85), expected)
    np.testing.assert_array_equal(grow(mask, LADDER, 1.0), mask)
    np.testing.assert_array_equal(grow(mask, LADDER, 0.0), LADDER > 0)


def test_growth_counts_existing_connections_into_its_percentile():
    # The existing connection holds the highest score and so takes the tenth that grows.
    mask = LADDER == 10
    np.testing.assert_array_equal(grow(mask, LADDER, 0.9), mask)


def test_growth_activates_nothing_where_all_scores_are_equal():
    mask = table("x.. ...")
    np.testing.assert_array_equal(grow(mask, np.ones((2, 3)), 0.0), mask)


def test_pruning_takes_its_percentile_of_the_existing_connections_alone():
    mask = LADDER >= 6  # scores 6..10 exist; their median is 8
    np.testing.assert_array_equal(prune(mask, LADDER, 0.5), LADDER >= 8)
    np.testing.assert_array_equal(prune(mask, LADDER, 0.0), mask)
    np.testing.assert_array_equal(prune(mask, LADDER, 1.0), LADDER == 10)


def test_pruning_by_a_fifth_removes_a_fifth_of_what_is_left_each_time():
    rng = np.random.default_rng(0)
    mask, score = np.ones((100, 100), dtype=bool), rng.random((100, 100))
    left = [10000]
    for _ in range(4):
        mask = prune(mask, score, 0.2)
        left.append(int(mask.sum()))
    assert left == [10000, 8000, 6400, 5120, 4096]


def test_pruning_removes_nothing_where_all_scores_are_equal_or_nothing_exists():
    mask = table("xx. x..")
    np.testing.assert_array_equal(prune(mask, np.ones((2, 3)), 0.9), mask)
    empty = np.zeros((2, 3), dtype=bool)
    np.testing.assert_array_equal(prune(empty, np.ones((2, 3)), 0.9), empty)


def test_results_are_new_arrays_that_share_nothing_with_the_mask_given():
    for rule in (grow, prune):
        for mask in (np.zeros((2, 2), bool), np.ones((2, 2), bool)):
            before = mask.copy()
            result = rule(mask, np.arange(4.0).reshape(2, 2), 0.5)
            result[:] = ~result
            np.testing.assert_array_equal(mask, before)


@pytest.mark.parametrize(
    ("structure", "mask", "ratio", "expected"),
    [
        # Groups (mean): 1x2 blocks [1 9 2 2] and [5 3 8 4]; the median is 3.5.
        (Block(1, 2), ".... .... .... ....", 0.5, ".x.. .x.. x.xx x.xx"),
        # The group that exceeds is completed; the one that exists in part and does not, stays.
        (Block(1, 2), "x... .... ..x. ....", 0.9, "xx.. .x.. ..x. ...."),
        # 2x2 blocks: means [5 2] and [4 6]; the median is 4.5.
        (Block(2, 2), ".... .... .... ....", 0.5, "xx.. xx.. ..xx ..xx"),
        # Rows: means 3.5, 3.5, 6, 4; the median is 3.75.
        (Row(), "x... .... .... ....", 0.5, "x... .... xxxx xxxx"),
        # With the one that exists they would be three: one more, or one fewer, the worst.
        (Row(multiple=4), "x... .... .... ....", 0.5, "x... xxxx xxxx xxxx"),
        (Row(multiple=2), "x... .... .... ....", 0.8, "x... .... xxxx ...."),
        # Columns: means 3, 6, 5, 3; the median is 4.
        (Column(), ".... .... .... ....", 0.5, ".xx. .xx. .xx. .xx."),
        # 2:4 above the median of 3: at most two of each column, those that exist included.
        (NM(2, 4), "...x x..x x.x. ....", 0.5, ".x.x xx.x x.x. ..x."),
    ],
)
def test_growth_by_structure_is_as_worked_by_hand(structure, mask, ratio, expected):
    grown = grow(table(mask), SCORE_4X4, ratio, structure)
    np.testing.assert_array_equal(grown, table(expected))


@pytest.mark.parametrize(
    ("structure", "mask", "ratio", "expected"),
    [
        # 1x2 blocks: means [1 9 2 2] and [5 3 8 4]; below the median of 3.5 go 1, 2, 2, 3.
        (Block(1, 2), "xxxx xxxx xxxx xxxx", 0.5, ".x.. .x.. x.xx x.xx"),
        # With half a block dormant its score is 5/2; the existing ones are 9, 2.5, 8.
        (Block(1, 2), ".x.. .x.. x.x. ..x.", 0.5, ".x.. .x.. ..x. ..x."),
        # Rows: means 3.5, 3.5, 6, 4.
        (Row(), "xxxx xxxx xxxx xxxx", 0.5, ".... .... xxxx xxxx"),
        (Row(multiple=4), "xxxx xxxx xxxx xxxx", 0.3, "xxxx xxxx xxxx xxxx"),
        (Row(minimum=3), "xxxx xxxx xxxx xxxx", 0.9, "xxxx .... xxxx xxxx"),
        (Column(multiple=2), "xxxx xxxx xxxx xxxx", 0.9, ".xx. .xx. .xx. .xx."),
        # Columns that exist: means 3, 6, 5 (the last is dormant); the median is 5.
        (Column(), "xxx. xxx. xxx. xxx.", 0.5, ".xx. .xx. .xx. .xx."),
        # 1:2: nothing is below the minimum, then of each pair the better (the earlier) stays.
        (NM(1, 2), "xxxx xxxx xxxx xxxx", 0.0, "xxxx .... xxxx ...."),
    ],
)
def test_pruning_by_structure_is_as_worked_by_hand(structure, mask, ratio, expected):
    pruned = prune(table(mask), SCORE_4X4, ratio, structure)
    np.testing.assert_array_equal(pruned, table(expected))


@MANY
@given(problem=problems(), ratio=fractions(), structure=tilings())
def test_growth_equals_the_rule_applied_group_by_group(problem, ratio, structure):
    mask, score = problem
    groups, pooled = groups_of(structure, mask.shape), structure.pool(score).ravel()
    edge = brute_percentile(pooled, ratio)
    expected = mask.copy()
    for group, value in zip(groups, pooled, strict=True):
        if value > edge:
            for place in group:
                expected[place] = True
    np.testing.assert_array_equal(grow(mask, score, ratio, structure), expected)


@MANY
@given(problem=problems(), ratio=fractions(), structure=tilings())
def test_pruning_equals_the_rule_applied_group_by_group(problem, ratio, structure):
    mask, score = problem
    groups = groups_of(structure, mask.shape)
    pooled = structure.pool(np.where(mask, score, score.dtype.type(0))).ravel()
    alive = [any(mask[place] for place in group) for group in groups]
    expected = mask.copy()
    if any(alive):
        edge = brute_percentile(pooled[alive], ratio)
        for group, value in zip(groups, pooled, strict=True):
            if value < edge:
                for place in group:
                    expected[place] = False
    np.testing.assert_array_equal(prune(mask, score, ratio, structure), expected)


@MANY
@given(problem=problems(), low=fractions(), high=fractions(), structure=structures())
def test_growth_only_adds_pruning_only_removes_and_both_follow_the_ratio(
    problem, low, high, structure
):
    mask, score = problem
    low, high = sorted((low, high))
    grown = [grow(mask, score, ratio, structure) for ratio in (low, high)]
    assert (mask <= grown[1]).all()
    if not isinstance(structure, NM):
        assert (grown[1] <= grown[0]).all()
    pruned = [prune(mask, score, ratio, structure) for ratio in (low, high)]
    assert (pruned[0] <= mask).all()
    assert (pruned[1] <= pruned[0]).all()
    assert mask.any() == pruned[1].any()


@MANY
@given(problem=problems(), ratio=fractions(), pattern=patterns())
def test_a_pattern_holds_after_pruning_and_growth_fills_only_the_room_it_leaves(
    problem, ratio, pattern
):
    mask, score = problem
    pruned = prune(mask, score, ratio, pattern)
    assert runs_hold(pruned, pattern)
    assert runs_hold(grow(pruned, score, ratio, pattern), pattern)
    unlimited = grow(mask, score, ratio)
    grown = grow(mask, score, ratio, pattern)
    assert (grown <= unlimited).all()
    refused = unlimited & ~grown
    for i, j in zip(*np.nonzero(refused), strict=True):
        start = i // pattern.m * pattern.m
        assert grown[start : start + pattern.m, j].sum() >= pattern.n


@MANY
@given(
    problem=problems(),
    ratio=fractions(),
    scale=st.sampled_from([2.0**-20, 0.5, 2.0, 2.0**30]),
    seed=st.integers(0, 99),
)
def test_the_rules_do_not_depend_on_the_scale_of_scores_or_the_order_of_neurons(
    problem, ratio, scale, seed
):
    mask, score = problem
    rng = np.random.default_rng(seed)
    rows, columns = rng.permutation(mask.shape[0]), rng.permutation(mask.shape[1])
    for rule in (grow, prune):
        result = rule(mask, score, ratio)
        scaled = rule(mask, score * score.dtype.type(scale), ratio)
        np.testing.assert_array_equal(scaled, result)
        shuffled = rule(mask[rows][:, columns], score[rows][:, columns], ratio)
        np.testing.assert_array_equal(shuffled, result[rows][:, columns])
        transposed = rule(mask.T, score.T, ratio)
        np.testing.assert_array_equal(transposed, result.T)


@MANY
@given(problem=problems(), ratio=fractions(), parts=st.integers(1, 3))
def test_matrices_taken_together_have_one_percentile(problem, ratio, parts):
    mask, score = problem
    cuts = np.array_split(np.arange(mask.shape[0]), min(parts, mask.shape[0]))
    masks, scores = ([array[cut] for cut in cuts] for array in (mask, score))
    for together, alone in ((grow_together, grow), (prune_together, prune)):
        joined = np.concatenate(together(masks, scores, ratio))
        np.testing.assert_array_equal(joined, alone(mask, score, ratio))


def test_nothing_in_nothing_out():
    assert grow_together([], [], 0.5) == []
    assert prune_together([], [], 0.5) == []


@pytest.mark.parametrize("shape", [(64, 64), (50, 200), (257, 33)])
@pytest.mark.parametrize("seed", [0, 1])
def test_three_growths_at_nine_tenths_land_where_the_rule_puts_them(shape, seed):
    """From 50 % sparsity with fresh random gradients: about 0.5 * 0.9^3 = 36.5 % after three."""
    rng = np.random.default_rng(seed)
    mask = np.zeros(shape, dtype=bool)
    mask.flat[rng.permutation(mask.size)[: mask.size // 2]] = True
    expected = mask.copy()
    for _ in range(3):
        gradient = np.abs(rng.standard_normal(shape)).astype(np.float32)
        mask = grow(mask, gradient, 0.9)
        # The rule by counting ranks: what lies above the percentile among M N scores.
        rank = np.argsort(np.argsort(gradient, axis=None)).reshape(shape)
        expected |= rank > 0.9 * (gradient.size - 1)
        assert mask.sum() == expected.sum()
        np.testing.assert_array_equal(mask, expected)
    assert 1 - mask.mean() == pytest.approx(0.5 * 0.9**3, abs=0.015)


def test_scores_of_half_precision_and_integers_are_taken():
    mask = table("x. ..")
    for dtype in (np.float16, ml_dtypes.bfloat16, np.int32, np.uint8):
        score = np.array([[0, 1], [2, 9]], dtype=dtype)
        np.testing.assert_array_equal(grow(mask, score, 0.9), table("x. .x"))


def test_float32_scores_next_to_each_other_are_told_apart():
    # The percentile lies between two neighboring float32 numbers, where float32 has nothing.
    score = np.array([[1.0, np.nextafter(np.float32(1), np.float32(2))]], dtype=np.float32)
    np.testing.assert_array_equal(grow(table(".."), score, 0.5), table(".x"))
    np.testing.assert_array_equal(prune(table("xx"), score, 0.5), table(".x"))


GOOD = np.ones((2, 3))


@pytest.mark.parametrize("rule", [grow, prune])
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((GOOD > 0, GOOD, 1.5), "`ratio` must be a number between 0 and 1, got 1.5"),
        ((GOOD > 0, GOOD, -0.1), "`ratio` must be a number between 0 and 1, got -0.1"),
        ((GOOD > 0, GOOD, float("nan")), "`ratio` must be a number between 0 and 1, got nan"),
        ((GOOD > 0, GOOD, "half"), "`ratio` must be a number between 0 and 1, got 'half'"),
        ((GOOD > 0, GOOD, None), "`ratio` must be a number between 0 and 1, got None"),
        ((GOOD > 0, GOOD.T, 0.5), "`score` must have the shape of its mask, (2, 3), got"),
        ((GOOD, GOOD, 0.5), "`mask` must be boolean (True: it exists), got dtype float64"),
        ((GOOD[0] > 0, GOOD[0], 0.5), "`mask` must be a non-empty matrix (inputs, outputs), got"),
        ((GOOD[:0] > 0, GOOD[:0], 0.5), "`mask` must be a non-empty matrix"),
        ((GOOD > 0, GOOD * np.nan, 0.5), "`score` must be finite, got 6 NaN or infinite"),
        ((GOOD > 0, GOOD * np.inf, 0.5), "`score` must be finite, got 6 NaN or infinite"),
        ((GOOD > 0, GOOD * 1j, 0.5), "`score` must hold real numbers, got dtype complex128"),
        ((GOOD > 0, GOOD.astype(str), 0.5), "`score` must hold real numbers, got dtype <U32"),
    ],
)
def test_malformed_arguments_are_one_clear_line(rule, arguments, message):
    with pytest.raises(ValueError, match=re.escape(message)) as error:
        rule(*arguments)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("rule", [grow_together, prune_together])
def test_lists_that_do_not_match_name_the_matrix_at_fault(rule):
    mask = GOOD > 0
    with pytest.raises(ValueError, match="lists of equal length, got 2 masks and 1 scores"):
        rule([mask, mask], [GOOD], 0.5)
    with pytest.raises(ValueError, match=re.escape("`scores[1]` must have the shape")):
        rule([mask, mask], [GOOD, GOOD.T], 0.5)


def test_connection_is_the_default_structure():
    mask, score = table("x.x. .x.x"), np.arange(8.0).reshape(2, 4)
    for rule in (grow, prune):
        np.testing.assert_array_equal(rule(mask, score, 0.5), rule(mask, score, 0.5, Connection()))
