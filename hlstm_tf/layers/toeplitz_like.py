"""Toeplitz-like matrices: those of low displacement rank."""

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
    generator_of,
    with_variance_of,
)
from hlstm_tf.layers.operators import Dense, Operator

_register = keras.saving.register_keras_serializable(package="hlstm_tf")


@_register
class ToeplitzLike(RankForm):
    """A Toeplitz-like matrix: one of low displacement rank (arXiv 1604.02594, section 3.2).

    Each gate's matrix is the sum of `rank` products of a circulant and a skew-circulant matrix,
    `Z_1(g_i) Z_-1(h_i)`, whose first columns are `NAME_left` and `NAME_right`, both `(gates, rank,
    n)` with n the larger side of the matrix; of a matrix that is not square the upper left part is
    used. Rank 2 holds every Toeplitz matrix and its inverse.

    Weights are saved, not time: the matrix is written down once a call, outside the loop over time,
    and exported files hold it dense. Nothing finds the nearest such matrix to a trained one, so
    `factorize` does not take this form.

    Args:
        rank: The displacement rank.
        parameters: In place of `rank`, the fraction of the dense kernel's weights that the columns
            may have together; the rank is the largest within it.

    Raises:
        ValueError: Not exactly one of the two is given, or it is out of its range; and, when a
            layer is built, no rank meets the fraction, or the columns have at least as many weights
            as the dense matrix.

    Example:

    >>> import numpy as np, hlstm_tf as hl
    >>> layer = hl.CompactLSTM(8, kernel_form={"recurrent_kernel": hl.ToeplitzLike(2)})
    >>> layer(np.ones((1, 5, 6), "float32")).shape
    TensorShape([1, 8])
    >>> layer.cell.recurrent_kernel_left.shape
    TensorShape([4, 2, 8])
    """

    is_written_down = True

    def rank_of(self, kernel: KernelShape) -> int:
        per_rank, dense = 2 * max(kernel.inputs, kernel.outputs), kernel.inputs * kernel.outputs
        rank = self.rank_asked(kernel, per_rank, dense)
        if rank * per_rank >= dense:
            raise ValueError(
                f"{self!r}: {rank * per_rank} weights a gate are as many as a matrix {kernel} has "
                "itself. Choose a lower rank, or leave the kernel dense."
            )
        return rank

    def factors(self, kernel: KernelShape) -> tuple[Factor, ...]:
        n, rank = max(kernel.inputs, kernel.outputs), self.rank_of(kernel)
        shape = (kernel.gates, rank, n)
        uses = kernel.inputs * kernel.outputs / (2 * rank * n)  # those of the dense matrix
        return tuple(
            Factor(name, shape, kernel.gates, gates_first=True, uses=uses)
            for name in ("left", "right")
        )

    def operators(self, kernel: KernelShape, factors: Sequence[Any]) -> list[Operator]:
        left, right = factors
        n = max(kernel.inputs, kernel.outputs)
        behind = (np.arange(n)[:, None] - np.arange(n)) % n  # the entry of a column at (i, j)
        sign = np.where(np.arange(n)[:, None] < np.arange(n), -1.0, 1.0)
        circulant = ops.take(left, behind, axis=-1)
        skew = ops.take(right, behind, axis=-1) * ops.cast(sign, right.dtype)
        whole = ops.sum(ops.matmul(circulant, skew), axis=1)
        gates = [
            Dense(gate[: kernel.inputs, : kernel.outputs])
            for gate in ops.unstack(whole, kernel.gates, axis=0)
        ]
        if kernel.apart or kernel.gates == 1:
            return list(gates)
        return [Dense(ops.concatenate([gate.kernel for gate in gates], axis=-1))]

    def nearest(
        self, kernel: KernelShape, matrices: np.ndarray, roots: Roots = None
    ) -> list[np.ndarray]:
        raise ValueError(
            "ToeplitzLike has no method that finds the nearest such matrix to a given one; train "
            "it from the start, or take LowRank, SharedLowRank or Kronecker."
        )

    def initial(self, kernel: KernelShape, matrices: np.ndarray) -> list[np.ndarray]:
        rng = generator_of(matrices)
        drawn = [rng.standard_normal(factor.shape) for factor in self.factors(kernel)]
        return with_variance_of(self, kernel, drawn, matrices)
