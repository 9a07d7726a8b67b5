"""Growth and pruning to a given sparsity, on matrices (inputs, outputs).

Where the rules by ratio compare with a percentile, these reach a count of connections, as
schedules and seed architectures ask for. Everything is deterministic: of equal scores, the
one earlier in row-major order is kept (or activated) first. The `..._together` functions
treat several matrices as one, with one count.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from hlstm_tf.sparsity.checks import check_fraction, check_matrices
from hlstm_tf.sparsity.rules import ROUNDING, join, pool_existing, rounded_growth, rounded_pruning
from hlstm_tf.sparsity.structures import CONNECTION, Structure


def kept_count(size: int, sparsity: float) -> int:
    """Returns how many of `size` connections exist at `sparsity`: rounded, halves up.

    >>> kept_count(10, 0.9), kept_count(5, 0.5), kept_count(5, 0.9)
    (1, 3, 1)
    """
    return int((1.0 - sparsity) * size + 0.5 + ROUNDING)


def grow_to(
    mask: np.ndarray,
    score: np.ndarray,
    sparsity: float,
    structure: Structure = CONNECTION,
) -> np.ndarray:
    """Activates the best-scored dormant connections until the matrix has `sparsity`.

    The counterpart of `prune_to`: `kept_count(mask.size, sparsity)` connections exist after,
    or as many as before where that is more. By groups, the count comes as near as whole
    groups allow; under `NM` no run exceeds its cap.

    Args:
        mask: Boolean matrix (inputs, outputs).
        score: Real matrix of the same shape.
        sparsity: In [0, 1], of the whole matrix.
        structure: What grows as one.

    Returns:
        A new boolean matrix that contains `mask`.

    Raises:
        ValueError: As `grow`.

    >>> grow_to(np.zeros((1, 4), bool), np.array([[1.0, 4.0, 2.0, 3.0]]), 0.5)
    array([[False,  True, False,  True]])
    """
    return grow_to_together([mask], [score], sparsity, structure)[0]


def grow_to_together(
    masks: Sequence[np.ndarray],
    scores: Sequence[np.ndarray],
    sparsity: float,
    structure: Structure = CONNECTION,
) -> list[np.ndarray]:
    """`grow_to` with one count over all the matrices; arguments and errors as there."""
    sparsity = check_fraction(sparsity, "sparsity")
    masks, scores = check_matrices(masks, scores)
    # What a pattern leaves room for is all that can grow.
    allowed = [
        structure.limit(np.ones_like(mask), score, mask)
        for mask, score in zip(masks, scores, strict=True)
    ]
    pooled = [structure.pool(score) for score in scores]
    missing = [structure.count(room & ~mask) for room, mask in zip(allowed, masks, strict=True)]
    target = kept_count(sum(mask.size for mask in masks), sparsity)
    target -= sum(int(np.count_nonzero(mask)) for mask in masks)
    chosen = choose_groups(pooled, missing, target)
    grown = [
        rounded_growth(structure.count(mask) > 0, groups, scored, structure)
        for mask, groups, scored in zip(masks, chosen, pooled, strict=True)
    ]
    return [
        mask | (room & structure.expand(groups, mask.shape))
        for mask, room, groups in zip(masks, allowed, grown, strict=True)
    ]


def prune_to(
    mask: np.ndarray,
    score: np.ndarray,
    sparsity: float,
    structure: Structure = CONNECTION,
) -> np.ndarray:
    """Removes the lowest-scored connections until the matrix has `sparsity`.

    `kept_count(mask.size, sparsity)` connections exist after, or as many as before where that
    is fewer: nothing comes back. By groups, the count comes as near as whole groups allow
    (the larger of two equally near), and one group stays unless the count asked for is 0.
    Under `NM` the pattern comes first: its sparsity of 1 - n/m is the least there is, and
    beyond it single connections go.

    Args:
        mask: Boolean matrix (inputs, outputs).
        score: Real matrix of the same shape; its values at dormant places do not matter.
        sparsity: In [0, 1], of the whole matrix.
        structure: What is pruned as one.

    Returns:
        A new boolean matrix contained in `mask`.

    Raises:
        ValueError: If the sparsity is outside [0, 1], shapes differ, or a score is not finite.

    >>> prune_to(np.ones((1, 4), bool), np.array([[1.0, 4.0, 2.0, 3.0]]), 0.5)
    array([[False,  True, False,  True]])
    """
    return prune_to_together([mask], [score], sparsity, structure)[0]


def prune_to_together(
    masks: Sequence[np.ndarray],
    scores: Sequence[np.ndarray],
    sparsity: float,
    structure: Structure = CONNECTION,
) -> list[np.ndarray]:
    """`prune_to` with one count over all the matrices; arguments and errors as there."""
    sparsity = check_fraction(sparsity, "sparsity")
    masks, scores = check_matrices(masks, scores)
    masks = [structure.limit(mask, score) for mask, score in zip(masks, scores, strict=True)]
    pooled = pool_existing(masks, scores, structure)
    counts = [structure.count(mask) for mask in masks]
    target = kept_count(sum(mask.size for mask in masks), sparsity)
    chosen = choose_groups(pooled, counts, target, at_least=min(target, 1))
    kept = [
        rounded_pruning(count > 0, groups, scored, structure)
        for count, groups, scored in zip(counts, chosen, pooled, strict=True)
    ]
    return [
        mask & structure.expand(groups, mask.shape)
        for mask, groups in zip(masks, kept, strict=True)
    ]


def choose_groups(
    scores: Sequence[np.ndarray], counts: Sequence[np.ndarray], target: int, at_least: int = 0
) -> list[np.ndarray]:
    """Returns which groups are best, so many that their counts sum up nearest to `target`.

    Args:
        scores: Arrays of group scores; the higher is chosen first.
        counts: Arrays of equal shapes, how many connections each group brings. Groups that
            bring none are never chosen.
        target: The sum of counts wanted; of two equally near, the larger is taken.
        at_least: How many groups are chosen in any case, where there are so many.

    Returns:
        Boolean arrays of the same shapes.

    >>> choose_groups([np.array([1.0, 3.0, 2.0])], [np.array([4, 4, 2])], 6)
    [array([False,  True,  True])]
    """
    if not scores:
        return []
    flat_scores, flat_counts = join(scores), join(counts)
    candidates = flat_counts != 0
    values, sizes = flat_scores[candidates], flat_counts[candidates]
    chosen = np.zeros(flat_scores.size, dtype=bool)
    if values.size:
        size = int(sizes[0])
        if (sizes == size).all():
            number = max(2 * target + size, 0) // (2 * size)
        else:
            order = np.argsort(-values, kind="stable")
            number = _nearest(np.cumsum(sizes[order], dtype=np.intp), target)
        chosen[candidates] = _best(values, min(max(number, at_least), values.size))
    parts = np.split(chosen, np.cumsum([score.size for score in scores])[:-1])
    return [part.reshape(score.shape) for part, score in zip(parts, scores, strict=True)]


def _nearest(totals: np.ndarray, target: int) -> int:
    """Returns how many of the leading groups sum up nearest to `target`; on a tie, the more."""
    if target <= 0:
        return 0
    above = int(np.searchsorted(totals, target))
    if above == totals.size:
        return above
    below = int(totals[above - 1]) if above else 0
    return above + 1 if int(totals[above]) - target <= target - below else above


def _best(scores: np.ndarray, number: int) -> np.ndarray:
    """Returns which are the `number` highest scores; of equal ones, the earlier."""
    if number <= 0:
        return np.zeros(scores.size, dtype=bool)
    if number >= scores.size:
        return np.ones(scores.size, dtype=bool)
    # A partition, not a sort: linear, and the ties at the edge are then told by position.
    edge = np.partition(scores, scores.size - number)[scores.size - number]
    above = scores > edge
    ties = np.flatnonzero(scores == edge)[: number - int(np.count_nonzero(above))]
    above[ties] = True
    return above
