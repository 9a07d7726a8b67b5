"""How many groups of a matrix come or go where their number is to be a multiple."""

from __future__ import annotations

import numpy as np

from .structures import Structure

__all__ = ["rounded_growth", "rounded_pruning"]


def rounded_growth(
    alive: np.ndarray, grown: np.ndarray, scores: np.ndarray, structure: Structure
) -> np.ndarray:
    """Return which groups grow, so many that all there are then make a multiple.

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
    """Return which groups stay, so many that they make a multiple.

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
