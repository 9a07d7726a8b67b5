"""Distributions: how a sparsity, or a ratio, is shared out among the matrices of a model.

A distribution cuts a list of matrices into pools: the matrices of a pool share one count of
connections (by sparsity) or one percentile (by ratio). Structure, score, schedule and
distribution are independent choices.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from hlstm_tf.sparsity.checks import check_fraction

Shapes = Sequence[Sequence[int]]

Item = TypeVar("Item")


@dataclass(frozen=True)
class Pool:
    """Matrices that share one budget.

    Attributes:
        indices: Their places in the list of matrices.
        sparsity: The sparsity they have together.
    """

    indices: tuple[int, ...]
    sparsity: float

    def pick(self, of_all: Sequence[Item]) -> list[Item]:
        """Returns what belongs to its matrices, of a list with an item a matrix."""
        return [of_all[index] for index in self.indices]

    def put(self, values: Sequence[Item], of_all: list[Item]) -> None:
        """Put its matrices' values in their places in a list with an item a matrix."""
        for index, value in zip(self.indices, values, strict=True):
            of_all[index] = value


@dataclass(frozen=True)
class Distribution:
    """What all distributions can do."""

    def pools(self, shapes: Shapes, sparsity: float) -> list[Pool]:
        """Returns the pools of matrices of these shapes, and the sparsity of each.

        Args:
            shapes: Shapes of the matrices (inputs, outputs), or of the kernels they come
                from, such as (height, width, inputs, outputs): `ERK` tells them apart.
            sparsity: The overall sparsity, in [0, 1].
        """
        raise NotImplementedError

    def follows_ratio(self) -> bool:
        """Whether a ratio applies to each pool; if not, the sparsity it leads to is shared."""
        return True


@dataclass(frozen=True)
class PerMatrix(Distribution):
    """Each matrix by itself: the same sparsity, or ratio, for all. The paper's choice.

    >>> [pool.sparsity for pool in PerMatrix().pools([(10, 10), (4, 2)], 0.5)]
    [0.5, 0.5]
    """

    def pools(self, shapes: Shapes, sparsity: float) -> list[Pool]:
        sparsity = check_fraction(sparsity, "sparsity")
        return [Pool((index,), sparsity) for index in range(len(shapes))]


PER_MATRIX = PerMatrix()


@dataclass(frozen=True)
class Global(Distribution):
    """One threshold over all matrices: each gets what its scores earn.

    Scores have to be comparable between the matrices. A matrix may lose every connection.

    >>> Global().pools([(10, 10), (4, 2)], 0.5)
    [Pool(indices=(0, 1), sparsity=0.5)]
    """

    def pools(self, shapes: Shapes, sparsity: float) -> list[Pool]:
        sparsity = check_fraction(sparsity, "sparsity")
        return [Pool(tuple(range(len(shapes))), sparsity)] if len(shapes) else []


@dataclass(frozen=True)
class ERK(Distribution):
    """Erdos-Renyi-Kernel: density in proportion to (sum of dimensions) / (their product).

    Small matrices stay denser than big ones (RigL, arXiv 1911.11134, section 3, "Sparsity
    distribution"; Mocanu et al., 1707.04780). Where the proportion would exceed a density of 1
    the matrix is dense and the others share the rest, so the overall sparsity is met. A ratio
    is turned into the overall sparsity that it leads to, and that is shared out.

    Args:
        power: Exponent on the proportion; 0 is the same sparsity for all, 1 (the default) is
            ERK as published.

    Raises:
        ValueError: If the power is negative or not finite.

    >>> [round(pool.sparsity, 4) for pool in ERK().pools([(100, 100), (10, 10)], 0.9)]
    [0.9082, 0.0818]
    """

    power: float = 1.0

    def __post_init__(self) -> None:
        if not (isinstance(self.power, (int, float)) and 0.0 <= self.power < math.inf):
            raise ValueError(f"`power` must be a number of at least 0, got {self.power!r}")

    def pools(self, shapes: Shapes, sparsity: float) -> list[Pool]:
        sparsity = check_fraction(sparsity, "sparsity")
        if not len(shapes):
            return []
        sizes = np.array([math.prod(shape) for shape in shapes], dtype=np.float64)
        raw = np.array([sum(shape) / math.prod(shape) for shape in shapes]) ** self.power
        density = np.zeros(len(sizes))
        dense = np.zeros(len(sizes), dtype=bool)
        budget = (1.0 - sparsity) * sizes.sum()
        while not dense.all():
            # What the dense ones leave over, in proportion to `raw` among the rest.
            scale = (budget - sizes[dense].sum()) / (raw * sizes)[~dense].sum()
            density = np.where(dense, 1.0, scale * raw)
            over = ~dense & (density > 1.0)
            if not over.any():
                break
            dense |= over
        density = np.where(dense, 1.0, density)
        sparsities = np.clip(1.0 - density, 0.0, 1.0)
        return [Pool((index,), float(value)) for index, value in enumerate(sparsities)]

    def follows_ratio(self) -> bool:
        return False


def get_distribution(name: str | Distribution) -> Distribution:
    """Returns the distribution of that name; a distribution comes back as it is.

    Args:
        name: "per_matrix", "global" or "erk".

    Raises:
        ValueError: If there is none of that name.

    >>> get_distribution("erk")
    ERK(power=1.0)
    """
    if isinstance(name, Distribution):
        return name
    known: dict[str, Distribution] = {
        "per_matrix": PerMatrix(),
        "global": Global(),
        "erk": ERK(),
    }
    key = name.strip().lower() if isinstance(name, str) else ""
    if key in known:
        return known[key]
    raise ValueError(
        f"`distribution` must be a Distribution or one of {', '.join(known)}, got {name!r}"
    )
