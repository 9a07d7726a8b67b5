"""Seed architectures: random masks of a given sparsity in which no neuron is left out.

A seed is drawn in two parts, so that its count is exact and no repair is needed after. First
comes a random cover: the fewest connections that give every input and every output one,
drawn at random. Then the rest of the count, uniformly among the places left. By symmetry each
place is equally likely to exist.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .checks import check_count, check_fraction, check_rng
from .counts import choose_groups, kept_count
from .distributions import PER_MATRIX, Distribution, Shapes
from .neurons import connect_neurons
from .structures import CONNECTION, Structure

__all__ = ["best_masks", "seed_mask", "seed_masks"]


def seed_mask(
    shape: Sequence[int],
    sparsity: float,
    rng: np.random.Generator | int,
    structure: Structure = CONNECTION,
) -> np.ndarray:
    """Draw a random mask of exactly `sparsity` in which every neuron is connected.

    `kept_count(inputs * outputs, sparsity)` connections exist, or, where those cannot
    connect every neuron, the fewest that can: max(inputs, outputs). By groups the count comes
    as near as whole groups allow. Row and column structures leave out inputs (or outputs) by
    definition. Under `NM` runs hold at most n, so the sparsity is at least 1 - n/m.

    Args:
        shape: (inputs, outputs).
        sparsity: In [0, 1].
        rng: Generator or seed; the same one gives the same mask.
        structure: What exists as one.

    Returns:
        A boolean matrix, True where a connection exists.

    Raises:
        ValueError: If an argument is malformed.

    >>> mask = seed_mask((8, 6), 0.5, rng=0)
    >>> int(mask.sum()), bool(mask.any(axis=0).all()), bool(mask.any(axis=1).all())
    (24, True, True)
    """
    return _seed_together([shape], sparsity, check_rng(rng), structure)[0]


def seed_masks(
    shapes: Sequence[Sequence[int]],
    sparsity: float,
    rng: np.random.Generator | int,
    structure: Structure = CONNECTION,
    distribution: Distribution = PER_MATRIX,
    kernel_shapes: Shapes | None = None,
) -> list[np.ndarray]:
    """Draw seed masks for many matrices; `seed_mask` says how.

    Args:
        shapes: The matrices' shapes (inputs, outputs).
        sparsity: The overall sparsity, in [0, 1].
        rng: Generator or seed.
        structure: What exists as one.
        distribution: How the sparsity is shared out.
        kernel_shapes: For `ERK`, the shapes of the kernels that the matrices come from.

    Returns:
        Boolean matrices in the order of `shapes`.

    Raises:
        ValueError: If an argument is malformed.

    >>> from hlstm_tf.sparsity import ERK
    >>> masks = seed_masks([(20, 20), (4, 4)], 0.8, rng=0, distribution=ERK())
    >>> [int(mask.sum()) for mask in masks]
    [69, 14]
    """
    if kernel_shapes is not None and len(kernel_shapes) != len(shapes):
        raise ValueError(
            f"`kernel_shapes` must have one shape a matrix, {len(shapes)}, got {len(kernel_shapes)}"
        )
    generator = check_rng(rng)
    result: list[np.ndarray] = [np.empty((0, 0), dtype=bool)] * len(shapes)
    for pool in distribution.pools(shapes if kernel_shapes is None else kernel_shapes, sparsity):
        masks = _seed_together(pool.pick(shapes), pool.sparsity, generator, structure)
        pool.put(masks, result)
    return result


def best_masks(
    scores: Sequence[np.ndarray],
    sparsity: float,
    structure: Structure = CONNECTION,
    distribution: Distribution = PER_MATRIX,
    kernel_shapes: Shapes | None = None,
) -> list[np.ndarray]:
    """Make the masks that `seed_masks` would draw of the best-scored places instead.

    As many connections exist as there, and every neuron is connected: to the best place it has.

    Args:
        scores: Real matrices (inputs, outputs), the higher the rather kept.
        sparsity: The overall sparsity, in [0, 1].
        structure: What exists as one.
        distribution: How the sparsity is shared out.
        kernel_shapes: For `ERK`, the shapes of the kernels that the matrices come from.

    Returns:
        Boolean matrices in the order of `scores`.

    Raises:
        ValueError: If an argument is malformed.

    >>> best_masks([np.array([[9.0, 1.0], [8.0, 2.0]])], 0.5)
    [array([[ True, False],
           [False,  True]])]
    """
    shapes = [score.shape for score in scores]
    result: list[np.ndarray] = [np.empty((0, 0), dtype=bool)] * len(shapes)
    for pool in distribution.pools(kernel_shapes or shapes, sparsity):
        pool.put(_best_together(pool.pick(scores), pool.sparsity, structure), result)
    return result


def _seed_together(
    shapes: Sequence[Sequence[int]],
    sparsity: float,
    rng: np.random.Generator,
    structure: Structure,
) -> list[np.ndarray]:
    """Draw masks whose counts sum up to one sparsity."""
    scores = [rng.random(_check_shape(shape)) for shape in shapes]
    return _best_together(scores, check_fraction(sparsity, "sparsity"), structure)


def _best_together(
    scores: Sequence[np.ndarray], sparsity: float, structure: Structure
) -> list[np.ndarray]:
    """Choose the best places of masks whose counts sum up to one sparsity."""
    sizes = [score.shape for score in scores]
    covers = [
        connect_neurons(np.zeros(shape, dtype=bool), score, structure=structure)
        for shape, score in zip(sizes, scores, strict=True)
    ]
    rooms = [
        structure.limit(np.ones(shape, dtype=bool), score, cover)
        for shape, score, cover in zip(sizes, scores, covers, strict=True)
    ]
    target = kept_count(sum(inputs * outputs for inputs, outputs in sizes), sparsity)
    target -= sum(int(np.count_nonzero(cover)) for cover in covers)
    chosen = choose_groups(
        [structure.pool(score) for score in scores],
        [structure.count(room & ~cover) for room, cover in zip(rooms, covers, strict=True)],
        target,
    )
    return [
        cover | (room & structure.expand(groups, cover.shape))
        for cover, room, groups in zip(covers, rooms, chosen, strict=True)
    ]


def _check_shape(shape: Sequence[int]) -> tuple[int, int]:
    if not isinstance(shape, Sequence) or isinstance(shape, str) or len(shape) != 2:
        raise ValueError(f"`shape` must be (inputs, outputs), got {shape!r}")
    return check_count(shape[0], "inputs"), check_count(shape[1], "outputs")
