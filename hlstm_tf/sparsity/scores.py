"""Scores: how important a connection is, one number for every place of a matrix.

A score is a frozen value that says what it needs, so that a callback gathers no gradient
where none is asked for. All of them are called alike, with keywords.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from hlstm_tf.sparsity.checks import check_rng

_INPUTS = ("weight", "gradient", "momentum", "activation", "output", "rng")
NEED_DATA = frozenset({"gradient", "momentum", "activation", "output"})
"""What only a pass of the training data can tell."""


@dataclass(frozen=True)
class Score:
    """A named score and what it is computed from.

    Call it with (at least) the keywords in `needs`; others are ignored, so a caller may
    always pass all it has.

    Args:
        name: What configurations and logs call it.
        needs: Any of "weight" (the effective weight, shape (inputs, outputs)), "gradient"
            (the loss's derivative by the effective weight, nonzero at dormant places too,
            averaged over the data), "momentum" (the optimizer's first moment), "activation" (root
            mean square of each input over the data, shape (inputs, 1)), "output" (that of what
            each output's neuron puts out, shape (1, outputs)) and "rng" (a
            `numpy.random.Generator`, or a seed).
        function: Takes those keywords, returns an array of the weight's shape.
        of_neurons: Whether it says the same of all connections that lead to a neuron, something of
            that neuron. Structures of whole neurons then go by it alone; by other scores, a neuron
            counts by the sum over its connections.

    Raises:
        ValueError: If `needs` names anything else; when called, if a need is missing.

    Make your own:

    >>> taylor = Score("taylor", ("weight", "gradient"), lambda weight, gradient:
    ...                abs(weight * gradient))
    >>> taylor(weight=np.array([[2.0]]), gradient=np.array([[-3.0]]))
    array([[6.]])
    """

    name: str
    needs: tuple[str, ...]
    function: Callable[..., np.ndarray]
    of_neurons: bool = False

    def __post_init__(self) -> None:
        unknown = [need for need in self.needs if need not in _INPUTS]
        if unknown:
            raise ValueError(f"`needs` may name {', '.join(_INPUTS)}; got {', '.join(unknown)}")

    def __str__(self) -> str:
        return self.name

    def __call__(self, **inputs: Any) -> np.ndarray:
        missing = [need for need in self.needs if inputs.get(need) is None]
        if missing:
            raise ValueError(f"score '{self.name}' needs `{'`, `'.join(missing)}`, got none")
        return self.function(**{need: inputs[need] for need in self.needs})


def _gradient(gradient: np.ndarray) -> np.ndarray:
    return np.abs(gradient)


def _magnitude(weight: np.ndarray) -> np.ndarray:
    return np.abs(weight)


def _momentum(momentum: np.ndarray) -> np.ndarray:
    return np.abs(momentum)


def _saliency(weight: np.ndarray, gradient: np.ndarray) -> np.ndarray:
    return np.abs(np.multiply(weight, gradient))


def _activation(weight: np.ndarray, activation: np.ndarray) -> np.ndarray:
    return np.abs(np.multiply(weight, activation))


def _output(weight: np.ndarray, output: np.ndarray) -> np.ndarray:
    return np.broadcast_to(output, np.shape(weight))


def _random(weight: np.ndarray, rng: np.random.Generator | int) -> np.ndarray:
    return check_rng(rng).random(np.shape(weight))


SCORES: dict[str, Score] = {
    score.name: score
    for score in (
        # |dL/dw|: what growth uses (H-LSTM, arXiv 1805.11797, section 3; NeST, 1711.02017).
        Score("gradient", ("gradient",), _gradient),
        # |w|: what pruning uses (Han et al., 1506.02626).
        Score("magnitude", ("weight",), _magnitude),
        # |m|: the optimizer's running mean of gradients (Dettmers & Zettlemoyer, 1907.04840).
        Score("momentum", ("momentum",), _momentum),
        # |w dL/dw|: the first-order change of the loss when w is removed (Molchanov, 1611.06440).
        Score("saliency", ("weight", "gradient"), _saliency),
        # |w| times the size of what it multiplies: what is lost of the output (Wanda, 2306.11695).
        Score("activation", ("weight", "activation"), _activation),
        # The size of what the neuron puts out (NeST, 1711.02017: by neuron output, by feature map).
        Score("output", ("weight", "output"), _output, of_neurons=True),
        # Uniform in [0, 1): the control that every other growth score has to beat.
        Score("random", ("weight", "rng"), _random),
    )
}


def get_score(name: str | Score) -> Score:
    """Returns the score of that name; a `Score` comes back as it is.

    Args:
        name: "gradient", "magnitude", "momentum", "saliency", "activation", "output" or
            "random".

    Raises:
        ValueError: If there is no score of that name.

    >>> get_score("gradient")(gradient=np.array([[-0.5, 0.25]]))
    array([[0.5 , 0.25]])
    >>> get_score("random").needs
    ('weight', 'rng')
    """
    if isinstance(name, Score):
        return name
    if isinstance(name, str) and name.lower() in SCORES:
        return SCORES[name.lower()]
    raise ValueError(f"`score` must be a Score or one of {', '.join(SCORES)}, got {name!r}")
