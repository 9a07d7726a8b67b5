"""Seed architectures: random masks of a given sparsity in which no neuron is left out.

A seed is drawn in two parts, so that its count is exact and no repair is needed after. First
comes a random cover: the fewest connections that give every input and every output one,
drawn at random. Then the rest of the count, uniformly among the places left. By symmetry each
place is equally likely to exist. `connect_neurons` does the same for masks made otherwise: it
gives each input and each output at least one connection.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from hlstm_tf.sparsity.checks import (
    check_count,
    check_fraction,
    check_mask,
    check_matrices,
    check_rng,
)
from hlstm_tf.sparsity.counts import choose_groups, kept_count
from hlstm_tf.sparsity.distributions import PER_MATRIX, Distribution, Shapes
from hlstm_tf.sparsity.structures import CONNECTION, Structure


def dead_inputs(mask: np.ndarray) -> np.ndarray:
    """Return, for each input of a mask (inputs, outputs), whether it has no connection.

    >>> dead_inputs(np.array([[True, False], [False, False]]))
    array([False,  True])
    """
    return np.logical_not(check_mask(mask).any(axis=1))


def dead_outputs(mask: np.ndarray) -> np.ndarray:
    """Return, for each output of a mask (inputs, outputs), whether it has no connection.

    >>> dead_outputs(np.array([[True, False], [False, False]]))
    array([False,  True])
    """
    return np.logical_not(check_mask(mask).any(axis=0))


def connect_neurons(
    mask: np.ndarray,
    score: np.ndarray | None = None,
    rng: np.random.Generator | int | None = None,
    structure: Structure = CONNECTION,
) -> np.ndarray:
    """Gives every input and every output a connection, adding the fewest that can do it.

    With r inputs and c outputs unconnected, max(r, c) connections (or groups) are added: each
    unconnected input is paired with an unconnected output while there are such, then with any;
    among the choices the highest score wins. Nothing is removed.

    By groups, an input is connected by completing a group that holds it. Row and column
    structures leave inputs (or outputs) out by definition, so only the other side is
    connected. Under `NM` an input whose runs are full in every output stays as it is.

    Args:
        mask: Boolean matrix (inputs, outputs).
        score: Real matrix of the same shape that says which connections are preferred.
        rng: Where no score is given, a generator or seed to draw one from.
        structure: What is connected as one.

    Returns:
        A new boolean matrix that contains `mask`.

    Raises:
        ValueError: If neither score nor rng is given, or the arguments are malformed.

    >>> connect_neurons(np.array([[True, True, False], [False, False, False]]), rng=0)
    array([[ True,  True, False],
           [False, False,  True]])
    """
    mask = check_mask(mask)
    if score is None:
        if rng is None:
            raise ValueError("`connect_neurons` needs `score` or `rng`, got neither")
        score = check_rng(rng).random(mask.shape)
    _, [score] = check_matrices([mask], [score])
    groups = structure.exists(mask)
    inputs = np.zeros(groups.shape[0], dtype=bool)
    outputs = np.zeros(groups.shape[1], dtype=bool)
    height, width = structure.tile(mask.shape)
    if not structure.removes_inputs:
        inputs[np.flatnonzero(dead_inputs(mask)) // height] = True
    if not structure.removes_outputs:
        outputs[np.flatnonzero(dead_outputs(mask)) // width] = True
    added = _connect(groups, structure.pool(score), inputs, outputs, structure)
    return mask | structure.expand(added, mask.shape)


def _connect(
    groups: np.ndarray,
    score: np.ndarray,
    inputs: np.ndarray,
    outputs: np.ndarray,
    structure: Structure,
) -> np.ndarray:
    """Returns the groups to add so that the flagged group rows and columns get one each."""
    current, waiting = groups.copy(), outputs.copy()
    added = np.zeros_like(groups)
    rows, left = np.flatnonzero(inputs), int(np.count_nonzero(outputs))
    # While outputs wait, each input takes one of them; after that inputs do not touch each other,
    # but where a pattern caps what several may have.
    caps = rows.size > left and structure.room(current, int(rows[left])) is not None
    in_turn = rows if caps else rows[:left]
    for row in in_turn:
        # A group that exists in part can be completed, but brings the other side nothing new
        # unless that side waits for one; so those that wait come first.
        room = structure.room(current, int(row))
        allowed = waiting if left else np.ones_like(waiting)
        allowed = allowed if room is None else allowed & room
        column = int(np.argmax(np.where(allowed, score[row], -np.inf)))
        if allowed[column]:
            current[row, column] = added[row, column] = True
            left -= int(waiting[column])
            waiting[column] = False
    free = rows[in_turn.size :]
    added[free, np.argmax(score[free], axis=1)] = True
    columns = np.flatnonzero(waiting)
    # An output without connections has room in every run, so the best place will do.
    added[np.argmax(score[:, columns], axis=0), columns] = True
    return added


def seed_mask(
    shape: Sequence[int],
    sparsity: float,
    rng: np.random.Generator | int,
    structure: Structure = CONNECTION,
) -> np.ndarray:
    """Draws a random mask of exactly `sparsity` in which every neuron is connected.

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
    """Draws seed masks for many matrices; `seed_mask` says how.

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
    """Draws masks whose counts sum up to one sparsity."""
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
