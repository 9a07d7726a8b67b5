"""Connects every neuron of a seed architecture.

A matrix (inputs, outputs) connects two axes of neurons. An input without a connection feeds
nothing here; an output without one has no input. `connect_neurons` gives each at least one.
"""

from __future__ import annotations

import numpy as np

from .checks import check_mask, check_matrices, check_rng
from .structures import CONNECTION, Structure

__all__ = ["connect_neurons", "dead_inputs", "dead_outputs"]


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
