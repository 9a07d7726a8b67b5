import math
import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hlstm_tf.sparsity import ERK, Global, PerMatrix, Pool, get_distribution
from tests.sparsity.strategies import MANY, fractions, shapes


def overall(kernel_shapes, sparsities):
    sizes = [math.prod(shape) for shape in kernel_shapes]
    return sum(s * size for s, size in zip(sparsities, sizes, strict=True)) / sum(sizes)


def erk(kernel_shapes, sparsity, power=1.0):
    pools = ERK(power).pools(kernel_shapes, sparsity)
    assert [pool.indices for pool in pools] == [(i,) for i in range(len(kernel_shapes))]
    return [pool.sparsity for pool in pools]


def test_per_matrix_gives_each_the_same_and_global_pools_all():
    kernel_shapes = [(4, 4), (10, 2), (3, 3)]
    assert PerMatrix().pools(kernel_shapes, 0.7) == [Pool((i,), 0.7) for i in range(3)]
    assert Global().pools(kernel_shapes, 0.7) == [Pool((0, 1, 2), 0.7)]


def test_erk_shares_density_in_proportion_to_sum_over_product():
    # (10, 10): 20/100 = 0.2; (40, 10): 50/400 = 0.125. 250 of 500 places exist:
    # scale * (0.2 * 100 + 0.125 * 400) = 250, so scale = 25/7 and the densities 5/7 and 25/56.
    assert erk([(10, 10), (40, 10)], 0.5) == pytest.approx([2 / 7, 31 / 56])


def test_erk_makes_dense_what_would_exceed_one_and_the_rest_makes_up_for_it():
    # (2, 2): 1.0; (10, 10): 0.2; half of 104 places is 52. The scale would be 52/24 > 1, so the
    # small one is dense (4) and the big one has 48 of 100.
    assert erk([(2, 2), (10, 10)], 0.5) == pytest.approx([0.0, 0.52])


def test_erk_counts_the_kernels_own_dimensions_of_a_convolution():
    # 3x3 kernel of 8 -> 16: (3 + 3 + 8 + 16) / 1152, as a matrix (72 + 16) / 1152.
    convolution, dense = (3, 3, 8, 16), (64, 64)
    as_kernel = erk([convolution, dense], 0.9)
    as_matrix = erk([(72, 16), dense], 0.9)
    assert as_kernel[0] > as_matrix[0]
    assert (1 - as_kernel[0]) / (1 - as_kernel[1]) == pytest.approx((30 / 1152) / (128 / 4096))


@MANY
@given(
    kernel_shapes=st.lists(shapes(40), min_size=1, max_size=6),
    sparsity=fractions(),
    power=st.sampled_from([0.0, 0.5, 1.0, 2.0]),
)
def test_erk_meets_the_overall_sparsity_whatever_the_shapes(kernel_shapes, sparsity, power):
    sparsities = erk(kernel_shapes, sparsity, power)
    assert all(0.0 <= value <= 1.0 for value in sparsities)
    assert overall(kernel_shapes, sparsities) == pytest.approx(sparsity, abs=1e-9)
    # Among those that are not dense, density / proportion is one number.
    scales = [
        (1 - value) / (sum(shape) / math.prod(shape)) ** power
        for shape, value in zip(kernel_shapes, sparsities, strict=True)
        if value > 0.0
    ]
    assert scales == pytest.approx([scales[0]] * len(scales) if scales else [], abs=1e-9)


def test_erk_with_a_power_of_zero_is_uniform():
    assert erk([(2, 2), (10, 10), (5, 1)], 0.3, power=0) == pytest.approx([0.3] * 3)


@pytest.mark.parametrize("distribution", [PerMatrix(), Global(), ERK()])
def test_nothing_is_shared_out_among_nothing_and_bad_sparsities_are_refused(distribution):
    assert distribution.pools([], 0.5) == []
    with pytest.raises(ValueError, match=re.escape("between 0 and 1, got 1.1")):
        distribution.pools([(2, 2)], 1.1)


def test_distributions_are_found_by_name():
    assert get_distribution("per_matrix") == PerMatrix()
    assert get_distribution("Global") == Global()
    assert get_distribution("ERK") == ERK()
    assert get_distribution(ERK(0.5)) == ERK(0.5)
    with pytest.raises(ValueError, match="per_matrix, global, erk, got 'uniform'"):
        get_distribution("uniform")
    with pytest.raises(ValueError, match="got None"):
        get_distribution(None)


@pytest.mark.parametrize("power", [-1, float("inf"), float("nan"), "1"])
def test_a_bad_power_is_refused(power):
    with pytest.raises(ValueError, match="`power` must be a number of at least 0, got"):
        ERK(power)


def test_distributions_are_values():
    assert len({ERK(), ERK(1.0), Global(), Global(), PerMatrix()}) == 3
    assert np.array_equal(ERK().pools([(3, 3)], 0.5), ERK().pools([(3, 3)], 0.5))
