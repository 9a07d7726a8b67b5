"""Batches of examples of similar length, in an order that is a function of seed and epoch alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from apps.common.recipe import check

MULTIPLE = 16
"""Padded lengths are multiples of it: friendly to strides and vector units."""


@dataclass(frozen=True)
class Batch:
    """Which examples one batch holds, and the length that they are padded to."""

    indices: tuple[int, ...]
    length: int


def bucket_bounds(lengths: Sequence[int], buckets: int = 6) -> list[int]:
    """Padded lengths of at most so many buckets, ascending, that pad least.

    Few, because every static shape costs a trace where shapes are static (`jit_compile`), and makes
    batches less random. Dynamic programming over the distinct lengths: the best k buckets up to a
    length extend the best k - 1 up to a shorter one.

    Args:
        lengths: of each example.
        buckets: how many at most, at least 1.

    Example:
        >>> bucket_bounds([10, 12, 100, 90], 2)
        [16, 112]
    """
    check("buckets", buckets, buckets >= 1, "at least 1")
    multiples = -(-np.asarray(lengths, np.int64) // MULTIPLE) * MULTIPLE
    ends, counts = np.unique(multiples, return_counts=True)
    if len(ends) <= buckets:
        return [int(end) for end in ends] or [MULTIPLE]
    below = np.concatenate([[0], np.cumsum(counts)])
    cost = np.concatenate([[0.0], np.full(len(ends), np.inf)])  # of what is below each cut
    choices = []
    for _ in range(buckets):
        # totals[i, j]: cut at i, then one bucket from i to j, padded to ends[j - 1].
        totals = cost[:, None] + (below[None, :] - below[:, None]) * np.concatenate([[0], ends])
        totals[np.tril_indices(len(cost))] = np.inf
        choices.append(totals.argmin(axis=0))
        cost = totals.min(axis=0)
    bounds, cut = [], len(ends)
    for choice in reversed(choices):
        bounds.append(int(ends[cut - 1]))
        cut = int(choice[cut])
    return bounds[::-1]


def plan_batches(
    lengths: Sequence[int],
    batch_size: int,
    *,
    epoch: int = 0,
    seed: int = 0,
    shuffle: bool = True,
    buckets: int = 6,
    drop_remainder: bool = False,
) -> list[Batch]:
    """The batches of one epoch: which examples, in which order.

    With `shuffle`, examples are shuffled within their bucket and batches across buckets, by a
    generator seeded with (seed, epoch) and nothing else. Without, batches go from short to long.
    Every example occurs exactly once; each bucket's last batch may be smaller; the number of
    batches is the same in every epoch.

    With `drop_remainder` such smaller batches are left out where their bucket has a full one, so
    that a bucket's batches have one shape; with `shuffle` others are missing each epoch.

    Example:
        >>> [batch.indices for batch in plan_batches([30, 10, 20], 2, shuffle=False, buckets=1)]
        [(1, 2), (0,)]
    """
    check("batch_size", batch_size, batch_size >= 1, "at least 1")
    bounds = bucket_bounds(lengths, buckets)
    bucket_of = np.searchsorted(bounds, np.asarray(lengths, np.int64))
    by_length = np.argsort(np.asarray(lengths), kind="stable")
    rng = np.random.default_rng([seed, epoch])
    plan: list[Batch] = []
    for bucket, bound in enumerate(bounds):
        members = by_length[bucket_of[by_length] == bucket]
        if shuffle:
            members = rng.permutation(members)
        groups = [members[k : k + batch_size] for k in range(0, len(members), batch_size)]
        if drop_remainder and len(groups) > 1 and len(groups[-1]) < batch_size:
            del groups[-1]
        plan += [Batch(tuple(int(k) for k in group), bound) for group in groups]
    return [plan[int(k)] for k in rng.permutation(len(plan))] if shuffle else plan
