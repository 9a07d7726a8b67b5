import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hlstm_tf.sparsity import (
    ERK,
    NM,
    Block,
    Column,
    Global,
    PerMatrix,
    Row,
    connect_neurons,
    dead_inputs,
    dead_outputs,
    kept_count,
    seed_mask,
    seed_masks,
)
from tests.sparsity.strategies import (
    MANY,
    fractions,
    patterns,
    runs_hold,
    shapes,
    structures,
    tilings,
)

SEEDS = st.integers(0, 999)


@MANY
@given(shape=shapes(12), sparsity=fractions(), seed=SEEDS)
def test_a_seed_has_exactly_its_count_and_no_neuron_is_left_out(shape, sparsity, seed):
    mask = seed_mask(shape, sparsity, seed)
    assert mask.shape == shape
    assert mask.dtype == bool
    assert not dead_inputs(mask).any()
    assert not dead_outputs(mask).any()
    assert mask.sum() == max(kept_count(mask.size, sparsity), *shape)


@MANY
@given(shape=shapes(12), sparsity=fractions(), structure=tilings(), seed=SEEDS)
def test_a_seed_by_groups_is_whole_groups_as_near_as_can_be(shape, sparsity, structure, seed):
    mask = seed_mask(shape, sparsity, seed, structure)
    sizes = structure.sizes(shape)
    assert np.isin(structure.count(mask) - sizes, [0, *-np.unique(sizes)]).all()
    np.testing.assert_array_equal(structure.expand(structure.count(mask) == sizes, shape), mask)
    assert structure.removes_inputs or not dead_inputs(mask).any()
    assert structure.removes_outputs or not dead_outputs(mask).any()
    fewest = connect_neurons(np.zeros(shape, bool), rng=seed, structure=structure)
    groups = structure.group_shape(shape)
    assert (structure.count(fewest) > 0).sum() == max(
        1 if structure.removes_inputs else groups[0],
        1 if structure.removes_outputs else groups[1],
    )
    if mask.sum() > fewest.sum() + sizes.max():
        assert abs(mask.sum() - kept_count(mask.size, sparsity)) <= sizes.max() / 2


@MANY
@given(shape=shapes(12), sparsity=fractions(), pattern=patterns(), seed=SEEDS)
def test_a_seed_under_a_pattern_keeps_to_it(shape, sparsity, pattern, seed):
    mask = seed_mask(shape, sparsity, seed, pattern)
    assert runs_hold(mask, pattern)
    assert not dead_outputs(mask).any()
    if pattern.m <= pattern.n * shape[1]:
        assert not dead_inputs(mask).any()
        full = sum(min(pattern.n, shape[0] - i) for i in range(0, shape[0], pattern.m)) * shape[1]
        assert mask.sum() == min(full, max(kept_count(mask.size, sparsity), *shape))


@pytest.mark.parametrize("structure", [None, Block(1, 4), NM(2, 4), Row(), Column()])
def test_the_same_seed_draws_the_same_mask_and_another_another(structure):
    kwargs = {"structure": structure} if structure else {}
    first = seed_mask((16, 16), 0.5, 3, **kwargs)
    np.testing.assert_array_equal(first, seed_mask((16, 16), 0.5, 3, **kwargs))
    generator = np.random.default_rng(3)
    np.testing.assert_array_equal(first, seed_mask((16, 16), 0.5, generator, **kwargs))
    assert (first != seed_mask((16, 16), 0.5, generator, **kwargs)).any()


def test_each_place_is_equally_likely_to_exist():
    draws = 1500
    rng = np.random.default_rng(0)
    often = sum(seed_mask((3, 5), 0.6, rng).astype(int) for _ in range(draws))
    assert often.sum() == 6 * draws
    # 0.4 each, standard deviation 0.0126.
    np.testing.assert_allclose(often / draws, 0.4, atol=0.05)


def test_a_two_of_four_seed_fills_every_run():
    mask = seed_mask((16, 8), 0.5, 0, NM(2, 4))
    np.testing.assert_array_equal(mask.reshape(4, 4, 8).sum(axis=1), np.full((4, 8), 2))


@MANY
@given(
    all_shapes=st.lists(shapes(10), max_size=4),
    sparsity=fractions(),
    structure=structures(),
    distribution=st.sampled_from([PerMatrix(), Global(), ERK()]),
    seed=SEEDS,
)
def test_seeds_of_many_matrices_leave_no_neuron_out(
    all_shapes, sparsity, structure, distribution, seed
):
    masks = seed_masks(all_shapes, sparsity, seed, structure, distribution)
    assert [mask.shape for mask in masks] == all_shapes
    for mask in masks:
        assert structure.removes_outputs or not dead_outputs(mask).any()
        if not isinstance(structure, NM):
            assert structure.removes_inputs or not dead_inputs(mask).any()


def test_distributions_share_out_the_connections_of_a_seed():
    all_shapes = [(40, 40), (40, 40), (8, 8)]
    counts = {
        type(distribution): [
            int(mask.sum()) for mask in seed_masks(all_shapes, 0.8, 0, distribution=distribution)
        ]
        for distribution in (PerMatrix(), Global(), ERK())
    }
    assert counts[PerMatrix] == [320, 320, 13]
    assert sum(counts[Global]) == kept_count(3264, 0.8)
    assert counts[Global][0] != 320
    # 652.8 over 80 + 80 + 16 would make the last one denser than dense.
    assert counts[ERK] == [round((652.8 - 59.3454) / 2)] * 2 + [59]


def test_kernel_shapes_tell_erk_what_a_matrix_was():
    plain = seed_masks([(72, 16), (64, 64)], 0.9, 0, distribution=ERK())
    told = seed_masks(
        [(72, 16), (64, 64)], 0.9, 0, distribution=ERK(), kernel_shapes=[(3, 3, 8, 16), (64, 64)]
    )
    assert told[0].sum() < plain[0].sum()
    assert told[1].sum() > plain[1].sum()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (((4,), 0.5, 0), "`shape` must be (inputs, outputs), got (4,)"),
        ((4, 0.5, 0), "`shape` must be (inputs, outputs), got 4"),
        (((0, 4), 0.5, 0), "`inputs` must be an integer of at least 1, got 0"),
        (((4, 2.5), 0.5, 0), "`outputs` must be an integer of at least 1, got 2.5"),
        (((4, 4), 1.5, 0), "`sparsity` must be a number between 0 and 1, got 1.5"),
        (((4, 4), 0.5, None), "`rng` must be a numpy.random.Generator or a seed of at least 0"),
    ],
)
def test_malformed_arguments_are_one_clear_line(arguments, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        seed_mask(*arguments)


def test_kernel_shapes_that_do_not_match_are_refused():
    with pytest.raises(ValueError, match="`kernel_shapes` must have one shape a matrix, 1, got 2"):
        seed_masks([(4, 4)], 0.5, 0, kernel_shapes=[(4, 4), (4, 4)])
