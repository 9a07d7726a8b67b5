import re

import numpy as np
import pytest
from hypothesis import given

from hlstm_tf.sparsity import NM, Block, Column, Connection, Row, get_structure
from tests.sparsity.strategies import (
    MANY,
    groups_of,
    patterns,
    problems,
    runs_hold,
    table,
    tilings,
)

SCORES = np.arange(1.0, 13.0).reshape(4, 3)  # inputs 0..3 down, outputs 0..2 across


@pytest.mark.parametrize(
    ("structure", "pooled"),
    [
        (Connection(), SCORES),
        # 1x4: four consecutive inputs of ONE output, hence one row of groups.
        (Block(1, 4), [[5.5, 6.5, 7.5]]),
        (Block(1, 2), [[2.5, 3.5, 4.5], [8.5, 9.5, 10.5]]),
        # 2x1: two consecutive outputs of one input; the third output is a ragged block.
        (Block(2, 1), [[1.5, 3.0], [4.5, 6.0], [7.5, 9.0], [10.5, 12.0]]),
        # 2x3 over 4 inputs and 3 outputs: ragged both ways.
        (Block(2, 3), [[4.5, 6.0], [10.5, 12.0]]),
        (Block(2, 3, "max"), [[8.0, 9.0], [11.0, 12.0]]),
        (Block(1, 4, "l2"), np.sqrt([[166 / 4, 214 / 4, 270 / 4]])),
        (Block(16, 16), [[6.5]]),
        (Row(), [[2.0], [5.0], [8.0], [11.0]]),
        (Row("max"), [[3.0], [6.0], [9.0], [12.0]]),
        (Column(), [[5.5, 6.5, 7.5]]),
    ],
)
def test_group_scores_are_pooled_as_worked_by_hand(structure, pooled):
    np.testing.assert_allclose(structure.pool(SCORES), pooled)


@pytest.mark.parametrize(
    ("structure", "groups", "expected"),
    [
        (Block(1, 2), "x.. ..x", "x.. x.. ..x ..x"),
        (Block(2, 3), ".x x.", "..x ..x ..x xx."),
        (Row(), "x . x .", "xxx ... xxx ..."),
        (Column(), ".x.", ".x. .x. .x. .x."),
    ],
)
def test_group_masks_expand_to_the_matrix_as_worked_by_hand(structure, groups, expected):
    np.testing.assert_array_equal(structure.expand(table(groups), (4, 3)), table(expected))


def test_a_pattern_keeps_the_best_of_each_run_and_the_earlier_of_equals():
    mask = table("xx xx xx .x xx x.")
    scores = np.array([[1, 5], [2, 5], [3, 5], [9, 5], [1, 1], [1, 9]], dtype=float)
    # Runs of 4 inputs, then a ragged run of 2.
    expected = table(".x xx x. .. xx x.")
    np.testing.assert_array_equal(NM(2, 4).limit(mask, scores), expected)


def test_a_pattern_lets_protected_connections_stay_even_above_its_cap():
    mask = table("x x x x")
    scores = np.array([[4.0], [3.0], [2.0], [1.0]])
    np.testing.assert_array_equal(
        NM(1, 4).limit(mask, scores, protected=table(". . x x")), table(". . x x")
    )


@MANY
@given(problem=problems(), structure=tilings())
def test_pooling_counting_and_expanding_agree_with_loops_over_the_groups(problem, structure):
    mask, score = problem
    groups = groups_of(structure, mask.shape)
    pool = {
        "mean": np.mean,
        "max": np.max,
        "l2": lambda values: np.sqrt(np.mean(np.square(values, dtype=float))),
    }[getattr(structure, "pooling", "mean")]
    pooled = structure.pool(score)
    assert pooled.shape == structure.group_shape(mask.shape)
    np.testing.assert_allclose(
        pooled.ravel(), [pool([score[place] for place in group]) for group in groups], rtol=1e-6
    )
    np.testing.assert_array_equal(
        structure.sizes(mask.shape).ravel(), [len(group) for group in groups]
    )
    np.testing.assert_array_equal(
        structure.count(mask).ravel(), [sum(mask[place] for place in group) for group in groups]
    )
    numbers = np.arange(len(groups)).reshape(pooled.shape)
    expanded = structure.expand(numbers, mask.shape)
    for number, group in enumerate(groups):
        assert all(expanded[place] == number for place in group)


@MANY
@given(problem=problems(), pattern=patterns())
def test_a_pattern_drops_no_more_than_its_cap_demands(problem, pattern):
    mask, score = problem
    limited = pattern.limit(mask, score)
    assert runs_hold(limited, pattern)
    assert not (limited & ~mask).any()
    for start in range(0, mask.shape[0], pattern.m):
        for j in range(mask.shape[1]):
            run, kept = (array[start : start + pattern.m, j] for array in (mask, limited))
            values = score[start : start + pattern.m, j]
            assert kept.sum() == min(run.sum(), pattern.n)
            if (run & ~kept).any():
                assert values[kept].min() >= values[run & ~kept].max()


@pytest.mark.parametrize(
    ("name", "structure"),
    [
        ("connection", Connection()),
        ("row", Row()),
        ("Column", Column()),
        ("2:4", NM(2, 4)),
        ("1x4", Block(1, 4)),
        ("block 1x16", Block(1, 16)),
        ("block_4x4", Block(4, 4)),
        ("16x1", Block(16, 1)),
        (Block(2, 2), Block(2, 2)),
    ],
)
def test_structures_are_found_by_name_and_print_it(name, structure):
    assert get_structure(name) == structure
    assert get_structure(str(structure)) == structure


@pytest.mark.parametrize("name", ["", "4", "blocks", "1x", "x4", "2:", "-1x4", None, 3])
def test_an_unknown_structure_is_one_clear_line(name):
    with pytest.raises(ValueError, match="`structure` must be") as error:
        get_structure(name)
    assert "\n" not in str(error.value)
    assert repr(name) in str(error.value)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Block(0, 4), "`outputs` must be an integer of at least 1, got 0"),
        (lambda: Block(1, 2.5), "`inputs` must be an integer of at least 1, got 2.5"),
        (lambda: get_structure("0x4"), "`outputs` must be an integer of at least 1, got 0"),
        (lambda: NM(0, 4), "`n` must be an integer of at least 1, got 0"),
        (lambda: NM(5, 4), "`n` must be at most `m`, got 5:4"),
        (lambda: NM(True, 4), "`n` must be an integer of at least 1, got True"),
        (lambda: Row("median"), "`pooling` must be one of mean, max, l2, got 'median'"),
        (lambda: Block(1, 4, "sum"), "`pooling` must be one of mean, max, l2, got 'sum'"),
    ],
)
def test_impossible_sizes_are_refused(make, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        make()
