"""Neurons: every one of a seed connected at both ends, dead ones swept away.

A matrix (inputs, outputs) connects two axes of neurons. An input without a connection feeds
nobody here; an output without one hears nothing. `connect_neurons` gives each at least one,
`cascade` follows the dead through a whole network. Biases are the caller's: a neuron whose
inputs are gone still puts out the constant of its bias.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence

import numpy as np

from .checks import check_mask, check_matrices, check_rng
from .structures import CONNECTION, Structure

__all__ = [
    "cascade",
    "connect_neurons",
    "dead_inputs",
    "dead_outputs",
    "neuron_strength",
    "prune_neurons",
]


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
    """Give every input and every output a connection, adding the fewest that can do it.

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
    groups = structure.count(mask) > 0
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
    """Return the groups to add so that the flagged group rows and columns get one each."""
    current, waiting = groups.copy(), outputs.copy()
    added = np.zeros_like(groups)
    for row in np.flatnonzero(inputs):
        # A group that exists in part can be completed, but brings the other side nothing new
        # unless that side waits for one; so those that wait come first.
        room = structure.room(current, int(row))
        allowed = room & waiting if waiting.any() else room
        if not allowed.any():
            continue
        column = int(np.argmax(np.where(allowed, score[row], -np.inf)))
        current[row, column] = added[row, column] = True
        waiting[column] = False
    columns = np.flatnonzero(waiting)
    # An output without connections has room in every run, so the best place will do.
    added[np.argmax(score[:, columns], axis=0), columns] = True
    return added


def cascade(
    masks: Sequence[np.ndarray],
    axes: Sequence[tuple[Hashable, Hashable]] | None = None,
    keep: Iterable[Hashable] = (),
) -> list[np.ndarray]:
    """Remove the connections of neurons that have lost all inputs or all outputs.

    A neuron on an axis hears through every matrix whose outputs are that axis and speaks
    through every matrix whose inputs are it. If all the first are silent its outgoing
    connections go, if all the second are its incoming ones, until nothing changes. An axis
    with matrices on one side only is an end of the network: its neurons are never judged by
    the side that is missing.

    Args:
        masks: Boolean matrices (inputs, outputs).
        axes: For each mask, the names of its input and output axis, any hashable values.
            Matrices share neurons by naming the same axis: the four gates of an LSTM their
            inputs, say. By default the masks are a chain, each output axis the next mask's
            input axis.
        keep: Axes whose neurons live on whatever happens around them, such as a recurrent
            state that elementwise operations feed too.

    Returns:
        New boolean matrices, each contained in the one given.

    Raises:
        ValueError: If masks are malformed, `axes` is of another length, or two matrices
            disagree on the size of an axis.

    >>> first = np.array([[True, False], [True, True]])
    >>> second = np.array([[False], [True]])
    >>> cascade([first, second])[0]     # hidden neuron 0 speaks to nobody
    array([[False, False],
           [False,  True]])
    """
    result = [check_mask(mask, f"masks[{i}]").copy() for i, mask in enumerate(masks)]
    if axes is None:
        axes = [(i, i + 1) for i in range(len(result))]
    sizes = _axis_sizes(result, axes)
    keep = set(keep)
    unknown = keep - set(sizes)
    if unknown:
        raise ValueError(f"`keep` names axes that no mask has: {sorted(map(repr, unknown))}")
    judged = [
        axis
        for axis in sizes
        if axis not in keep
        and any(axis == pair[0] for pair in axes)
        and any(axis == pair[1] for pair in axes)
    ]
    changed = True
    while changed:
        changed = False
        for axis in judged:
            changed |= _sweep(result, axes, axis)
    return result


def prune_neurons(
    masks: Sequence[np.ndarray],
    scores: Sequence[np.ndarray],
    axes: Sequence[tuple[Hashable, Hashable]],
    axis: Hashable,
    width: int,
) -> list[np.ndarray]:
    """Remove all connections of the weakest neurons of an axis until `width` of them are alive.

    Which are weak and alive `neuron_strength` says; of equals the first stays.

    Args:
        masks: Boolean matrices (inputs, outputs).
        scores: Real matrices of the same shapes, not negative.
        axes: As in `cascade`.
        axis: The neurons.
        width: How many are to stay.

    Returns:
        New boolean matrices, each contained in the one given.

    >>> first = np.array([[True, True, True]])
    >>> second = np.array([[True], [True], [False]])
    >>> scores = [np.array([[1.0, 3.0, 5.0]]), np.array([[3.0], [3.0], [9.0]])]
    >>> prune_neurons([first, second], scores, [("x", "h"), ("h", "y")], "h", 2)[0]
    array([[False,  True,  True]])
    """
    strength, alive = neuron_strength(masks, scores, axes, axis)
    # The dead rank last, whatever their score: they are not among the `width`.
    order = np.argsort(np.where(alive, -strength, np.inf), kind="stable")
    gone = np.zeros(alive.size, dtype=bool)
    gone[order[width:]] = True
    result = []
    for mask, pair in zip(masks, axes, strict=True):
        kept = np.array(mask, dtype=bool)
        if pair[0] == axis:
            kept[gone] = False
        if pair[1] == axis:
            kept[:, gone] = False
        result.append(kept)
    return result


def neuron_strength(
    masks: Sequence[np.ndarray],
    scores: Sequence[np.ndarray],
    axes: Sequence[tuple[Hashable, Hashable]],
    axis: Hashable,
) -> tuple[np.ndarray, np.ndarray]:
    """Return what the neurons of an axis count, and which of them are alive.

    A neuron is alive if it has a connection. It counts by the sum of its existing connections'
    scores, incoming and outgoing.

    Args:
        masks: Boolean matrices (inputs, outputs).
        scores: Real matrices of the same shapes, not negative.
        axes: As in `cascade`.
        axis: The neurons.

    >>> masks = [np.array([[True, False]]), np.array([[True], [False]])]
    >>> scores = [np.array([[1.0, 3.0]]), np.array([[3.0], [9.0]])]
    >>> strength, alive = neuron_strength(masks, scores, [("x", "h"), ("h", "y")], "h")
    >>> strength.tolist(), alive.tolist()
    ([4.0, 0.0], [True, False])
    """
    masks, scores = check_matrices(masks, scores)
    size = _axis_sizes(masks, axes)[axis]
    strength, alive = np.zeros(size), np.zeros(size, dtype=bool)
    for mask, score, pair in zip(masks, scores, axes, strict=True):
        for side, across in ((0, 1), (1, 0)):
            if pair[side] == axis:
                strength += np.where(mask, score, 0.0).sum(axis=across)
                alive |= mask.any(axis=across)
    return strength, alive


def _sweep(
    masks: list[np.ndarray], axes: Sequence[tuple[Hashable, Hashable]], axis: Hashable
) -> bool:
    """Remove, in place, what the dead neurons of an axis still have; tell whether any did."""
    incoming = [mask for mask, pair in zip(masks, axes, strict=True) if pair[1] == axis]
    outgoing = [mask for mask, pair in zip(masks, axes, strict=True) if pair[0] == axis]
    hears = np.logical_or.reduce([mask.any(axis=0) for mask in incoming])
    speaks = np.logical_or.reduce([mask.any(axis=1) for mask in outgoing])
    half_dead = hears ^ speaks
    for mask in incoming:
        mask[:, half_dead] = False
    for mask in outgoing:
        mask[half_dead] = False
    return bool(half_dead.any())


def _axis_sizes(
    masks: Sequence[np.ndarray], axes: Sequence[tuple[Hashable, Hashable]]
) -> dict[Hashable, int]:
    if len(axes) != len(masks):
        raise ValueError(f"`axes` must have one pair a mask, {len(masks)}, got {len(axes)}")
    sizes: dict[Hashable, int] = {}
    for index, (mask, pair) in enumerate(zip(masks, axes, strict=True)):
        for axis, size in zip(pair, mask.shape, strict=True):
            if sizes.setdefault(axis, size) != size:
                raise ValueError(
                    f"axis {axis!r} has {sizes[axis]} neurons in one mask and {size} in "
                    f"masks[{index}]; masks that share an axis must agree on its size"
                )
    return sizes
