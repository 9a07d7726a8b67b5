"""Neuron growth of NeST on one matrix: the connections and weights of a new neuron.

The bridging gradient G, of shape (inputs, outputs), says of each input n of a layer and each
neuron m of the layer after it what a connection between them would do: it is the loss's derivative
by the activation of m times the value of n, averaged over the data. A new neuron between the two
layers is a bridge for the pairs of large |G|.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from hlstm_tf.sparsity.checks import check_count, check_fraction, check_rng
from hlstm_tf.sparsity.rules import percentile


@dataclass(frozen=True, eq=False)
class Birth:
    """The weights of a new neuron; where they are 0 there is no connection.

    Attributes:
        incoming: float64, `(inputs,)`.
        outgoing: float64, `(outputs,)`.
    """

    incoming: np.ndarray
    outgoing: np.ndarray


def bridged_pairs(bridging: np.ndarray, ratio: float) -> np.ndarray:
    """Returns the pairs whose |G| exceeds a percentile, the largest first.

    The percentile runs over the pairs of inputs and outputs that live: a row or column of zeros is
    a neuron that says or hears nothing (a dormant one, say), and does not count.

    Args:
        bridging: Real matrix (inputs, outputs).
        ratio: Growth ratio in [0, 1]: the higher, the fewer.

    Returns:
        Integers `(pairs, 2)`: input, output. Of equals, the first in row-major order comes first.

    Raises:
        ValueError: If the matrix is malformed or not finite, or the ratio is outside [0, 1].

    >>> bridged_pairs(np.array([[0.0, 3.0, 1.0], [0.0, -4.0, 2.0]]), 0.5).tolist()
    [[1, 1], [0, 1]]
    """
    ratio, size = check_fraction(ratio, "ratio"), np.abs(_check_matrix(bridging))
    inputs, outputs = size.any(axis=1), size.any(axis=0)
    if not inputs.any():
        return np.empty((0, 2), dtype=np.intp)
    threshold = percentile(size[np.ix_(inputs, outputs)], ratio)
    order = np.argsort(-size, axis=None, kind="stable")
    order = order[size.ravel()[order] > threshold]
    return np.stack(np.unravel_index(order, size.shape), axis=1)


def neuron_births(
    bridging: np.ndarray,
    count: int,
    ratio: float,
    rng: np.random.Generator | int,
    mean_input: np.ndarray | None = None,
) -> list[Birth]:
    """Returns the connections and weights of new neurons (NeST, arXiv 1711.02017, algorithm 2).

    Each pair (n, m) of `bridged_pairs` adds dw = sqrt(|G|) to its neuron: s dw to the outgoing
    weight of m, and -s dw sgn(G) to the incoming weight of n, so that the product of the two is
    opposite in sign to G, and the loss falls. Three things the algorithm leaves open:

    * *Signs.* The paper draws s at random. Where a pair shares an end with an earlier one, a sign
      drawn at random undoes half of what that one does, so s is drawn only where it makes no
      difference; else it is that by which the loss falls more. Thus every pair lowers the loss
      further to first order: the sum of G times incoming times outgoing, over all inputs and
      outputs, is negative.
    * *Several neurons* share the pairs out evenly, the first neuron taking the largest: new
      neurons differ because each bridges pairs of its own. Where there are fewer pairs than
      neurons, fewer are born.
    * *Activity.* Turning all signs of a neuron changes no product, but a rectified neuron with
      negative input everywhere would be dead at birth. The signs are those with which the mean
      input is not negative; so, where `mean_input` is that of the data, some example activates it.

    Args:
        bridging: G, real matrix (inputs, outputs).
        count: How many neurons are wanted.
        ratio: Growth ratio in [0, 1], of `bridged_pairs`.
        rng: Generator or seed for the signs that are drawn.
        mean_input: The inputs' mean over the data, `(inputs,)`. Default: all alike, as after a
            rectifier.

    Returns:
        At most `count` births, each with a connection at both ends. Their weights have the
        proportions of the algorithm and no scale; see `scaled`.

    Raises:
        ValueError: If an argument is malformed.

    >>> [birth] = neuron_births(np.array([[0.0, 4.0], [-1.0, 0.0]]), 1, ratio=0.9, rng=0)
    >>> birth.incoming.tolist(), birth.outgoing.tolist()
    ([2.0, 0.0], [0.0, -2.0])
    """
    matrix = _check_matrix(bridging)
    count, generator = check_count(count, "count"), check_rng(rng)
    mean = np.ones(matrix.shape[0]) if mean_input is None else np.asarray(mean_input, np.float64)
    if mean.shape != matrix.shape[:1]:
        raise ValueError(
            f"`mean_input` must have one value an input, {matrix.shape[0]}, got shape {mean.shape}"
        )
    pairs = bridged_pairs(matrix, ratio)
    births: list[Birth] = []
    for share in np.array_split(pairs, min(count, len(pairs))) if len(pairs) else []:
        draft = _Draft(matrix)
        for source, target in share:
            draft.bridge(source, target, generator)
        births.append(draft.birth(mean))
    return births


def scaled(values: np.ndarray, size: float) -> np.ndarray:
    """Returns values whose mean magnitude, zeros apart, is `size`; unchanged where that is 0.

    >>> scaled(np.array([1.0, 0.0, -3.0]), 0.5)
    array([ 0.25,  0.  , -0.75])
    """
    existing = np.abs(values[values != 0])
    if not existing.size or not size:
        return values
    return values * (size / existing.mean())


class _Draft:
    """A neuron that pairs are added to, and what it would do to the loss."""

    def __init__(self, bridging: np.ndarray) -> None:
        self._bridging = bridging
        self._incoming = np.zeros(bridging.shape[0])
        self._outgoing = np.zeros(bridging.shape[1])
        # What one unit more of an incoming, or outgoing, weight does to the loss.
        self._by_incoming = np.zeros(bridging.shape[0])
        self._by_outgoing = np.zeros(bridging.shape[1])

    def bridge(self, source: int, target: int, rng: np.random.Generator) -> None:
        """Adds a pair, so that the loss falls further by it."""
        gradient = self._bridging[source, target]
        size = np.sqrt(abs(gradient))
        into, out = -size * np.sign(gradient), size
        # What the pair does together with those before; its own product lowers the loss anyway.
        ends = into * self._by_incoming[source] + out * self._by_outgoing[target]
        sign = -np.sign(ends) if ends else rng.choice((-1.0, 1.0))
        self._incoming[source] += sign * into
        self._outgoing[target] += sign * out
        self._by_outgoing += sign * into * self._bridging[source]
        self._by_incoming += sign * out * self._bridging[:, target]

    def birth(self, mean: np.ndarray) -> Birth:
        sign = -1.0 if self._incoming @ mean < 0 else 1.0
        return Birth(sign * self._incoming + 0.0, sign * self._outgoing + 0.0)  # no -0.0


def _check_matrix(bridging: Sequence | np.ndarray) -> np.ndarray:
    matrix = np.asarray(bridging, dtype=np.float64)
    if matrix.ndim != 2 or not matrix.size or not np.isfinite(matrix).all():
        raise ValueError(
            "`bridging` must be a finite, non-empty matrix (inputs, outputs), got "
            f"shape {matrix.shape}"
        )
    return matrix
