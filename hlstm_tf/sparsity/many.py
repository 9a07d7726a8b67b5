"""The growth and pruning rules on all the matrices of a model, under a distribution."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from hlstm_tf.sparsity.checks import check_fraction, check_matrices
from hlstm_tf.sparsity.counts import grow_to_together, prune_to_together
from hlstm_tf.sparsity.distributions import PER_MATRIX, Distribution, Shapes
from hlstm_tf.sparsity.rules import grow_together, prune_together
from hlstm_tf.sparsity.structures import CONNECTION, Structure


def grow_all(
    masks: Sequence[np.ndarray],
    scores: Sequence[np.ndarray],
    ratio: float,
    structure: Structure = CONNECTION,
    distribution: Distribution = PER_MATRIX,
    kernel_shapes: Shapes | None = None,
) -> list[np.ndarray]:
    """Applies the growth rule (`rules.grow`) to many matrices.

    Under `ERK` the best-scored dormant connections are activated until the overall sparsity
    is `ratio` times what it was, which is where equal scores would lead, shared out by ERK.

    Args:
        masks: Boolean matrices (inputs, outputs).
        scores: Real matrices of the same shapes.
        ratio: In [0, 1].
        structure: What grows as one.
        distribution: Which matrices share one percentile; each its own by default.
        kernel_shapes: For `ERK`, the shapes of the kernels that the matrices come from, where
            those have more dimensions; the matrices' own by default.

    Returns:
        New boolean matrices, each containing the one given.

    Raises:
        ValueError: As `rules.grow`, or if the lists differ in length.

    >>> from hlstm_tf.sparsity import Global
    >>> mask, score = np.zeros((1, 2), bool), np.array([[1.0, 2.0]])
    >>> grow_all([mask, mask], [score, 10 * score], 0.5, distribution=Global())
    [array([[False, False]]), array([[ True,  True]])]
    """
    ratio = check_fraction(ratio, "ratio")
    masks, scores = check_matrices(masks, scores)
    if not distribution.follows_ratio():
        target = ratio * _sparsity(masks)
        return grow_all_to(masks, scores, target, structure, distribution, kernel_shapes)
    result = list(masks)
    for pool in distribution.pools(_shapes(masks, kernel_shapes), 0.0):
        some_masks, some_scores = pool.pick(masks), pool.pick(scores)
        pool.put(grow_together(some_masks, some_scores, ratio, structure), result)
    return result


def grow_all_to(
    masks: Sequence[np.ndarray],
    scores: Sequence[np.ndarray],
    sparsity: float,
    structure: Structure = CONNECTION,
    distribution: Distribution = PER_MATRIX,
    kernel_shapes: Shapes | None = None,
) -> list[np.ndarray]:
    """Grow many matrices to an overall sparsity (`counts.grow_to`); arguments as `grow_all`.

    >>> mask, score = np.zeros((1, 2), bool), np.array([[1.0, 2.0]])
    >>> grow_all_to([mask, mask], [score, score], 0.5)
    [array([[False,  True]]), array([[False,  True]])]
    """
    masks, scores = check_matrices(masks, scores)
    result = list(masks)
    for pool in distribution.pools(_shapes(masks, kernel_shapes), sparsity):
        some_masks, some_scores = pool.pick(masks), pool.pick(scores)
        pool.put(grow_to_together(some_masks, some_scores, pool.sparsity, structure), result)
    return result


def prune_all(
    masks: Sequence[np.ndarray],
    scores: Sequence[np.ndarray],
    ratio: float,
    structure: Structure = CONNECTION,
    distribution: Distribution = PER_MATRIX,
    kernel_shapes: Shapes | None = None,
) -> list[np.ndarray]:
    """Applies the pruning rule (`rules.prune`) to many matrices; arguments as `grow_all`.

    A ratio of 0.2 removes 20 % of the existing connections: of each matrix under `PerMatrix`,
    of all together under `Global` and `ERK`.

    >>> from hlstm_tf.sparsity import Global
    >>> mask, score = np.ones((1, 2), bool), np.array([[1.0, 2.0]])
    >>> prune_all([mask, mask], [score, 10 * score], 0.5, distribution=Global())
    [array([[False, False]]), array([[ True,  True]])]
    """
    ratio = check_fraction(ratio, "ratio")
    masks, scores = check_matrices(masks, scores)
    if not distribution.follows_ratio():
        target = 1.0 - (1.0 - ratio) * (1.0 - _sparsity(masks))
        return prune_all_to(masks, scores, target, structure, distribution, kernel_shapes)
    result = list(masks)
    for pool in distribution.pools(_shapes(masks, kernel_shapes), 0.0):
        some_masks, some_scores = pool.pick(masks), pool.pick(scores)
        pool.put(prune_together(some_masks, some_scores, ratio, structure), result)
    return result


def prune_all_to(
    masks: Sequence[np.ndarray],
    scores: Sequence[np.ndarray],
    sparsity: float,
    structure: Structure = CONNECTION,
    distribution: Distribution = PER_MATRIX,
    kernel_shapes: Shapes | None = None,
) -> list[np.ndarray]:
    """Prune many matrices to an overall sparsity (`counts.prune_to`); arguments as `grow_all`.

    A matrix that is sparser than its share already stays as it is.

    >>> mask, score = np.ones((1, 2), bool), np.array([[1.0, 2.0]])
    >>> prune_all_to([mask, mask], [score, score], 0.5)
    [array([[False,  True]]), array([[False,  True]])]
    """
    masks, scores = check_matrices(masks, scores)
    result = list(masks)
    for pool in distribution.pools(_shapes(masks, kernel_shapes), sparsity):
        some_masks, some_scores = pool.pick(masks), pool.pick(scores)
        pool.put(prune_to_together(some_masks, some_scores, pool.sparsity, structure), result)
    return result


def _sparsity(masks: Sequence[np.ndarray]) -> float:
    total = sum(mask.size for mask in masks)
    return 1.0 - sum(int(np.count_nonzero(mask)) for mask in masks) / total if total else 0.0


def _shapes(masks: Sequence[np.ndarray], kernel_shapes: Shapes | None) -> Shapes:
    if kernel_shapes is None:
        return [mask.shape for mask in masks]
    if [math.prod(shape) for shape in kernel_shapes] != [mask.size for mask in masks]:
        raise ValueError(
            f"`kernel_shapes` must have one shape a mask and as many places as it, got "
            f"{[tuple(shape) for shape in kernel_shapes]} for masks of shapes "
            f"{[mask.shape for mask in masks]}"
        )
    return kernel_shapes
