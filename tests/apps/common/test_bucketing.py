import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from apps.common.bucketing import MULTIPLE, bucket_bounds, plan_batches
from apps.common.errors import InputError

lengths_lists = st.lists(st.integers(1, 900), min_size=1, max_size=60)
LENGTHS = [int(n) for n in np.random.default_rng(0).integers(20, 200, 23)]


@given(lengths_lists, st.integers(1, 9), st.integers(0, 3), st.booleans(), st.integers(1, 8))
def test_every_utterance_occurs_once_in_a_bucket_that_holds_it(lengths, size, epoch, shuffle, n):
    plan = plan_batches(lengths, size, epoch=epoch, shuffle=shuffle, buckets=n)
    assert sorted(k for batch in plan for k in batch.indices) == list(range(len(lengths)))
    assert all(lengths[k] <= batch.length for batch in plan for k in batch.indices)
    assert all(len(batch.indices) <= size for batch in plan)
    assert len({batch.length for batch in plan}) <= n
    assert len(plan) == len(plan_batches(lengths, size, epoch=epoch + 1, buckets=n))


@given(lengths_lists, st.integers(1, 8))
def test_bounds_are_few_ascending_multiples_and_fit_the_longest(lengths, buckets):
    bounds = bucket_bounds(lengths, buckets)
    assert bounds == sorted(set(bounds))
    assert 1 <= len(bounds) <= buckets
    assert all(bound % MULTIPLE == 0 for bound in bounds)
    assert 0 <= bounds[-1] - max(lengths) < MULTIPLE


@given(st.lists(st.integers(1, 160), min_size=1, max_size=30), st.integers(1, 4))
def test_no_other_bounds_pad_less(lengths, buckets):
    def padded(bounds):
        return sum(min(b for b in bounds if b >= n) for n in lengths)

    ends = sorted({-(-n // MULTIPLE) * MULTIPLE for n in lengths})
    choices = [
        (*some, ends[-1])
        for count in range(buckets)
        for some in itertools.combinations(ends[:-1], count)
    ]
    assert padded(bucket_bounds(lengths, buckets)) == min(map(padded, choices))


def test_the_order_is_a_function_of_seed_and_epoch_alone():
    lengths = LENGTHS
    one = plan_batches(lengths, 4, seed=1, epoch=2)
    plan_batches(lengths, 4, seed=9, epoch=9)
    np.random.default_rng().random()
    assert plan_batches(lengths, 4, seed=1, epoch=2) == one
    assert plan_batches(lengths, 4, seed=1, epoch=3) != one
    assert plan_batches(lengths, 4, seed=2, epoch=2) != one


def test_remainders_can_be_dropped_but_for_buckets_without_a_full_batch():
    lengths = [16] * 5 + [32] * 4 + [48]
    plans = [
        plan_batches(lengths, 2, epoch=epoch, buckets=3, drop_remainder=True) for epoch in range(9)
    ]
    for plan in plans:
        assert sorted((batch.length, len(batch.indices)) for batch in plan) == [
            (16, 2), (16, 2), (32, 2), (32, 2), (48, 1),
        ]  # fmt: skip
    missing = {k for plan in plans for k in set(range(10)) - {i for b in plan for i in b.indices}}
    assert len(missing) > 1  # not the same utterance each time


def test_without_shuffling_batches_go_from_short_to_long():
    lengths = LENGTHS
    plan = plan_batches(lengths, 4, shuffle=False)
    flat = [lengths[k] for batch in plan for k in batch.indices]
    assert flat == sorted(flat)


def test_numbers_below_one_are_refused():
    with pytest.raises(InputError, match="buckets: got 0; expected at least 1"):
        bucket_bounds([10], 0)
    with pytest.raises(InputError, match="batch_size: got 0; expected at least 1"):
        plan_batches([10], 0)
