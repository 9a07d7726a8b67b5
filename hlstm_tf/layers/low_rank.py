"""Matrices of low rank: products of two thin ones."""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from hlstm_tf.layers.matrix_forms import (
    Factor,
    KernelShape,
    RankForm,
    Roots,
    by_gate,
    side_by_side,
)
from hlstm_tf.layers.structured_operators import Factors

_register = keras.saving.register_keras_serializable(package="hlstm_tf")


@_register
class LowRank(RankForm):
    """A matrix as the product of two thin ones, `(inputs, rank)` and `(rank, outputs)`.

    Of a kernel with gates each gate has a product of its own. The variables are `NAME_left` and
    `NAME_right`.

    Args:
        rank: The rank of each gate's matrix.
        parameters: In place of `rank`, the fraction of the dense kernel's weights that both factors
            may have together; the rank is the largest within it.

    Raises:
        ValueError: Not exactly one of the two is given, or it is out of its range; and, when a
            layer is built, the rank is above the matrix's, or no rank meets the fraction.

    Example:

    >>> import numpy as np, hlstm_tf as hl
    >>> layer = hl.CompactDense(8, kernel_form=hl.LowRank(2))
    >>> layer(np.ones((1, 6), "float32")).shape
    TensorShape([1, 8])
    >>> layer.kernel_left.shape, layer.kernel_right.shape
    (TensorShape([6, 2]), TensorShape([2, 8]))
    """

    def rank_of(self, kernel: KernelShape) -> int:
        one = self.product_of(kernel)
        full = min(one.inputs, one.outputs)
        rank = self.rank_asked(kernel, one.inputs + one.outputs, one.inputs * one.outputs)
        if self.rank is not None and rank > full:
            raise ValueError(
                f"{self!r}: a matrix {kernel} has no rank above {full}. Choose a lower rank, or "
                "leave the kernel dense."
            )
        return min(rank, full)

    def product_of(self, kernel: KernelShape) -> KernelShape:
        """The shape of what is one product: each gate's matrix."""
        return kernel

    def wholes(self, kernel: KernelShape, matrices: np.ndarray) -> np.ndarray:
        """The matrices that are one product each, of the gates' matrices."""
        alone = self.product_of(kernel) == kernel
        return matrices if alone else side_by_side(matrices)[None]

    def factors(self, kernel: KernelShape) -> tuple[Factor, ...]:
        rank, one = self.rank_of(kernel), self.product_of(kernel)
        if one.gates == 1:
            right = Factor("right", (rank, one.outputs), kernel.gates)
            return Factor("left", (one.inputs, rank)), right
        gates = one.gates
        right = Factor("right", (gates, rank, one.outputs), gates, gates_first=True)
        if one.apart:
            return Factor("left", (gates, one.inputs, rank), gates, gates_first=True), right
        return Factor("left", (one.inputs, gates * rank), gates), right

    def operators(self, kernel: KernelShape, factors: Sequence[Any]) -> list[Factors]:
        (left, right), one = factors, self.product_of(kernel)
        if one.gates == 1:
            return [Factors((left,), (right,))]
        rights = ops.unstack(right, one.gates, axis=0)
        if not one.apart:
            return [Factors(tuple(ops.split(left, one.gates, axis=-1)), tuple(rights))]
        lefts = ops.unstack(left, one.gates, axis=0)
        return [Factors((each,), (other,)) for each, other in zip(lefts, rights, strict=True)]

    def inputs(self, kernel: KernelShape, factors: Sequence[Any], values: Any) -> dict[str, Any]:
        operators, one = self.operators(kernel, factors), self.product_of(kernel)
        if one.apart and one.gates > 1:
            pairs = zip(operators, values, strict=True)
            return {"left": values, "right": [each.projected(value) for each, value in pairs]}
        projected = operators[0].projected(values)
        apart = projected if one.gates == 1 else ops.split(projected, one.gates, axis=-1)
        return {"left": values, "right": apart}

    def nearest(
        self, kernel: KernelShape, matrices: np.ndarray, roots: Roots = None
    ) -> list[np.ndarray]:
        rank, one = self.rank_of(kernel), self.product_of(kernel)
        wholes = self.wholes(kernel, matrices)
        of_each = zip(wholes, by_gate(roots, len(wholes)), strict=True)
        pairs = [thin_factors(whole, rank, root) for whole, root in of_each]
        lefts, rights = [left for left, _ in pairs], [right for _, right in pairs]
        if one.gates == 1:
            return [lefts[0], rights[0]]
        left = np.stack(lefts) if one.apart else np.concatenate(lefts, axis=-1)
        return [left, np.stack(rights)]


@_register
class SharedLowRank(LowRank):
    """A matrix of low rank whose projection all gates share (arXiv 1604.02594, section 3.1).

    The gates side by side, `(inputs, gates * outputs)`, are one product of `NAME_left (inputs,
    rank)` and `NAME_right (rank, gates * outputs)`. Gates that read inputs of their own, as those
    of the hidden layers of an H-LSTM, cannot share a projection: each has one of its own, of the
    same rank.

    Args:
        rank: The rank of all gates together.
        parameters: In place of `rank`, the fraction of the dense kernel's weights that both factors
            may have together; the rank is the largest within it.

    Raises:
        ValueError: As for `LowRank`.

    Example:

    >>> import numpy as np, hlstm_tf as hl
    >>> layer = hl.CompactLSTM(8, kernel_form=hl.SharedLowRank(2))
    >>> layer(np.ones((1, 5, 6), "float32")).shape
    TensorShape([1, 8])
    >>> layer.cell.kernel_left.shape, layer.cell.kernel_right.shape
    (TensorShape([6, 2]), TensorShape([2, 32]))
    """

    def product_of(self, kernel: KernelShape) -> KernelShape:
        """The shape of what is one product: all gates side by side, where they read the same."""
        return kernel if kernel.apart else KernelShape(kernel.inputs, kernel.gates * kernel.outputs)


def thin_factors(
    matrix: np.ndarray, rank: int, root: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """The two factors `L, R`, of equal norms, of the nearest matrix of this rank (Eckart-Young).

    With `root` the root of the second moment of the inputs X, it is the one for which `|X (matrix -
    L R)|` is least over the data: the outputs are projected on their principal components, `L =
    matrix V` and `R = V'`. So no moment is inverted, and inputs that never vary do no harm.

    Args:
        matrix: `(inputs, outputs)`.
        rank: At most the smaller side.
        root: `(inputs, inputs)`; `None` for the identity.

    >>> left, right = thin_factors(np.array([[2.0, 0.0], [0.0, 0.5]]), 1)
    >>> np.round(left @ right, 6).tolist()
    [[2.0, 0.0], [0.0, 0.0]]
    """
    weighted = matrix if root is None else root @ matrix
    u, s, components = np.linalg.svd(weighted, full_matrices=False)
    right = components[:rank]
    if root is None:
        balance = np.sqrt(s[:rank])
        return u[:, :rank] * balance, balance[:, None] * right
    left = matrix @ right.T
    balance = np.sqrt(np.maximum(np.linalg.norm(left, axis=0), 1e-12))
    return left / balance, right * balance[:, None]
