"""The growth rule and the pruning rule, by ratio, on matrices (inputs, outputs).

These are the rules of grow-and-prune training (H-LSTM, arXiv 1805.11797, section 3; NeST,
arXiv 1711.02017). They compare each score with a percentile, which is the
linear-interpolation percentile computed in float64:

- growth counts the score over ALL places of a matrix, dormant and existing, so a ratio of 0.9
  activates about a tenth of what is dormant when the two kinds score alike;
- pruning counts it over the EXISTING connections alone, so a ratio of 0.2 removes 20 % of what
  is left, not 20 % of the matrix;
- recovery gives back those of the connections just removed that were needed.

The rules that reach a given sparsity are in `hlstm_tf.sparsity.counts`. The `..._together`
functions treat several matrices as one, with one percentile;
`hlstm_tf.sparsity.distributions` decides which matrices share.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from hlstm_tf.sparsity.checks import check_fraction, check_matrices
from hlstm_tf.sparsity.structures import CONNECTION, Structure


def rounded_growth(
    alive: np.ndarray, grown: np.ndarray, scores: np.ndarray, structure: Structure
) -> np.ndarray:
    """Returns which groups grow, so many that all there are then make a multiple.

    Args:
        alive: Boolean array, the groups that have any connection.
        grown: Boolean array of the same shape, what a rule would grow.
        scores: Of the groups; of those that are not alive the best grow first.
        structure: Rounds the number. Where it does not, the rule's word stands.

    Returns:
        `grown`, with the best of the others or without its worst.

    >>> from hlstm_tf.sparsity import Row
    >>> alive = np.array([True, False, False, False])
    >>> wanted = np.array([False, True, True, False])
    >>> rounded_growth(alive, wanted, np.array([0.0, 2.0, 3.0, 1.0]), Row(multiple=2))
    array([False,  True,  True,  True])
    """
    before = int(np.count_nonzero(alive))
    new = int(np.count_nonzero(grown & ~alive))
    most = alive.size
    target = max(structure.rounded(before + new, most), before)
    if not new or target == before + new:
        return grown
    # What a rule chose comes before what it did not, whatever the scores.
    best = _best(np.where(alive, -np.inf, scores), grown & ~alive, target - before)
    return (grown & alive) | best


def rounded_pruning(
    alive: np.ndarray, kept: np.ndarray, scores: np.ndarray, structure: Structure
) -> np.ndarray:
    """Returns which groups stay, so many that they make a multiple.

    Args:
        alive: Boolean array, the groups that have any connection.
        kept: Boolean array of the same shape, those of them that a rule would keep.
        scores: Of the groups; the best stay.
        structure: Rounds the number. Where it does not, the rule's word stands.

    Returns:
        `kept`, with the best of the others or without its worst.

    >>> from hlstm_tf.sparsity import Column
    >>> alive, kept = np.array([True] * 5), np.array([True, True, True, False, False])
    >>> rounded_pruning(alive, kept, np.arange(5.0), Column(multiple=4))
    array([ True,  True,  True, False,  True])
    """
    stay, most = int(np.count_nonzero(kept)), int(np.count_nonzero(alive))
    # A rule that keeps some must not be rounded to none.
    target = structure.rounded(stay, most) or min(structure.multiple, most)
    if not stay or target == stay:
        return kept
    return _best(np.where(alive, scores, -np.inf), kept, target)


def _best(scores: np.ndarray, first: np.ndarray, number: int) -> np.ndarray:
    """Flags the `number` best groups, those of `first` before all others; of equals the earlier."""
    order = np.lexsort((-scores.ravel(), ~first.ravel()))
    flags = np.zeros(scores.size, dtype=bool)
    flags[order[:number]] = True
    return flags.reshape(scores.shape)


# An index this close to a whole number is meant to be one: 0.1 * 3 is not exact in binary.
ROUNDING = 1e-9


def percentile(scores: np.ndarray, ratio: float) -> np.float64:
    """Returns the (100 ratio)th percentile of `scores` by linear interpolation.

    A NumPy float64, so that comparing float32 scores with it does not round it first.

    The same number as `numpy.quantile(scores.astype(float), ratio)`, less the rounding that
    can place NumPy's result a hair above a score it should equal (and so prune that score).

    >>> float(percentile(np.array([4.0, 1.0, 3.0, 2.0]), 0.5))
    2.5
    """
    values = np.ravel(scores)
    position = ratio * (values.size - 1)
    if abs(position - round(position)) < ROUNDING:
        position = round(position)
    low = int(position)
    high = min(low + 1, values.size - 1)
    ordered = np.partition(values, (low, high))
    below, above = float(ordered[low]), float(ordered[high])
    return np.float64(min(below + (position - low) * (above - below), above))


def grow(
    mask: np.ndarray,
    score: np.ndarray,
    ratio: float,
    structure: Structure = CONNECTION,
) -> np.ndarray:
    """Activates the dormant connections whose score exceeds a percentile of all scores.

    A dormant w is activated iff score(w) > P, the (100 ratio)th percentile of the score over
    the whole matrix, dormant and existing places alike (H-LSTM, arXiv 1805.11797, section 3,
    connection growth, where the score is |dL/dw|). Strictly: where all scores are equal
    nothing grows. Nothing is ever removed.

    By groups, group scores are compared with the percentile over all groups, and a group that
    exceeds it is completed; where the structure has a multiple, so many grow as make the number
    of groups one. Under `NM` a run never comes to hold more than n: existing
    connections stay, the best-scored candidates fill what room is left.

    Args:
        mask: Boolean matrix (inputs, outputs), True where a connection exists.
        score: Real matrix of the same shape.
        ratio: In [0, 1]. The paper grows at 0.9 or so: the higher, the fewer.
        structure: What grows as one; single connections by default.

    Returns:
        A new boolean matrix that contains `mask`.

    Raises:
        ValueError: If the ratio is outside [0, 1], shapes differ, or a score is not finite.

    >>> mask = np.array([[True, False], [False, False]])
    >>> grow(mask, np.array([[9.0, 1.0], [2.0, 8.0]]), 0.5)
    array([[ True, False],
           [False,  True]])
    """
    return grow_together([mask], [score], ratio, structure)[0]


def grow_together(
    masks: Sequence[np.ndarray],
    scores: Sequence[np.ndarray],
    ratio: float,
    structure: Structure = CONNECTION,
) -> list[np.ndarray]:
    """`grow` with one percentile over all the matrices; arguments and errors as there."""
    ratio = check_fraction(ratio, "ratio")
    masks, scores = check_matrices(masks, scores)
    if not masks:
        return []
    pooled = [structure.pool(score) for score in scores]
    threshold = percentile(join(pooled), ratio)
    grown = [
        rounded_growth(structure.count(mask) > 0, groups > threshold, groups, structure)
        for mask, groups in zip(masks, pooled, strict=True)
    ]
    return [
        structure.limit(mask | structure.expand(groups, mask.shape), score, mask)
        for mask, score, groups in zip(masks, scores, grown, strict=True)
    ]


def prune(
    mask: np.ndarray,
    score: np.ndarray,
    ratio: float,
    structure: Structure = CONNECTION,
) -> np.ndarray:
    """Removes the existing connections whose score is below a percentile of the existing ones.

    An existing w is removed iff score(w) < P, the (100 ratio)th percentile of the score over
    the connections that exist in its matrix (H-LSTM, arXiv 1805.11797, section 3, magnitude
    pruning, where the score is |w|). So a ratio of 0.2 removes 20 % of what is left, each time
    it is applied. Strictly: where all scores are equal nothing goes, and a matrix that has
    connections keeps one at least, at a ratio of 1 too. Nothing ever comes back.

    By groups, the score of a group counts its dormant places as 0, the percentile runs over
    the groups that have any connection, and a group goes as a whole; where the structure has a
    multiple, so many go as make the number of those left one. Under `NM`, runs that
    still hold more than n connections then lose their lowest.

    Args:
        mask: Boolean matrix (inputs, outputs), True where a connection exists.
        score: Real matrix of the same shape; its values at dormant places do not matter.
        ratio: In [0, 1].
        structure: What is pruned as one; single connections by default.

    Returns:
        A new boolean matrix contained in `mask`.

    Raises:
        ValueError: If the ratio is outside [0, 1], shapes differ, or a score is not finite.

    >>> mask = np.array([[True, True, False], [True, True, False]])
    >>> prune(mask, np.array([[5.0, 1.0, 0.0], [3.0, 4.0, 0.0]]), 0.25)
    array([[ True, False, False],
           [ True,  True, False]])
    """
    return prune_together([mask], [score], ratio, structure)[0]


def prune_together(
    masks: Sequence[np.ndarray],
    scores: Sequence[np.ndarray],
    ratio: float,
    structure: Structure = CONNECTION,
) -> list[np.ndarray]:
    """`prune` with one percentile over all the matrices; arguments and errors as there."""
    ratio = check_fraction(ratio, "ratio")
    masks, scores = check_matrices(masks, scores)
    pooled = pool_existing(masks, scores, structure)
    counts = [structure.count(mask) for mask in masks]
    alive = [groups[count > 0] for groups, count in zip(pooled, counts, strict=True)]
    if not any(groups.size for groups in alive):
        return [mask.copy() for mask in masks]
    threshold = percentile(join(alive), ratio)
    kept = [
        rounded_pruning(count > 0, (count > 0) & (groups >= threshold), groups, structure)
        for count, groups in zip(counts, pooled, strict=True)
    ]
    return [
        structure.limit(mask & structure.expand(groups, mask.shape), score)
        for mask, score, groups in zip(masks, scores, kept, strict=True)
    ]


def join(arrays: Sequence[np.ndarray]) -> np.ndarray:
    """All values in one vector; a view where there is one array."""
    return arrays[0].ravel() if len(arrays) == 1 else np.concatenate([a.ravel() for a in arrays])


def pool_existing(
    masks: Sequence[np.ndarray], scores: Sequence[np.ndarray], structure: Structure
) -> list[np.ndarray]:
    """The scores of each matrix's groups; dormant places count as 0."""
    return [
        structure.pool(np.where(mask, score, score.dtype.type(0)))
        for mask, score in zip(masks, scores, strict=True)
    ]


def recover(
    mask: np.ndarray,
    removed: np.ndarray,
    weight: np.ndarray,
    gradient: np.ndarray,
    share: float,
) -> np.ndarray:
    """Returns the mask with those removed connections back that would lower the loss most.

    To first order, giving a connection its old weight w back changes the loss by w dL/dw, with the
    gradient at what the others have become without it. Where that is negative retraining has not
    made up for the connection; it was needed. Of these the most needed come back, at most a share
    of all that were removed. Nothing goes in exchange.

    Args:
        mask: Boolean matrix (inputs, outputs), True where a connection exists.
        removed: Boolean matrix: which connections may come back, none of them in `mask`.
        weight: The weights that they had.
        gradient: The loss's derivative by the effective weight.
        share: In [0, 1].

    Returns:
        A new boolean matrix that contains `mask`. Of equals, the first in row-major order comes
        back.

    Raises:
        ValueError: If the share is outside [0, 1], shapes differ, or a number is not finite.

    >>> mask, removed = np.array([[True, False, False]]), np.array([[False, True, True]])
    >>> weight, gradient = np.array([[0.0, 0.5, 0.1]]), np.array([[9.0, 2.0, -3.0]])
    >>> recover(mask, removed, weight, gradient, share=0.5)
    array([[ True, False,  True]])
    """
    share = check_fraction(share, "share")
    [mask, removed], [weight, gradient] = check_matrices([mask, removed], [weight, gradient])
    change = np.where(removed, weight.astype(np.float64) * gradient, 0.0).ravel()
    limit = int(share * np.count_nonzero(removed) + ROUNDING)
    order = np.argsort(change, kind="stable")[:limit]
    back = np.zeros(change.size, dtype=bool)
    back[order[change[order] < 0]] = True
    return mask | back.reshape(mask.shape)
