"""How near factors are to trained matrices, as the data that these multiply weigh them."""

import numpy as np

from hlstm_tf.layers.low_rank import LowRank
from hlstm_tf.layers.matrix_forms import KernelShape, Roots, by_gate


def root_of_moment(moment: np.ndarray) -> np.ndarray:
    """The symmetric root of a second moment `(n, n)`, whose negative rounding errors count as 0."""
    values, vectors = np.linalg.eigh(moment.astype(np.float64))
    return (vectors * np.sqrt(np.maximum(values, 0.0))) @ vectors.T


def rank_for_energy(
    form: type[LowRank],
    kernel: KernelShape,
    matrices: np.ndarray,
    roots: Roots,
    energy: float,
) -> int:
    """The least rank that keeps a fraction of the squared norm of what the matrices give.

    Args:
        form: `LowRank` or `SharedLowRank`.
        kernel, matrices, roots: As for `MatrixForm.nearest`.
        energy: The fraction, above 0 and up to 1.
    """
    wholes = form(1).wholes(kernel, matrices)
    squares = np.sum(
        [
            np.linalg.svd(m if root is None else root @ m, compute_uv=False) ** 2
            for m, root in zip(wholes, by_gate(roots, len(wholes)), strict=True)
        ],
        axis=0,
    )
    total = float(squares.sum())
    if total == 0:
        return 1  # matrices of zeros, or inputs that are always zero
    kept = np.cumsum(squares) / total
    return min(int(np.searchsorted(kept, energy - 1e-12)) + 1, len(squares))


def relative_error(matrices: np.ndarray, found: np.ndarray, roots: Roots) -> float:
    """The norm of the difference of what two kernels give, by that of what the first gives."""
    of_gates = by_gate(roots, len(matrices))

    def norm(each: np.ndarray) -> float:
        parts = [m if root is None else root @ m for m, root in zip(each, of_gates, strict=True)]
        return float(np.linalg.norm(np.stack(parts)))

    return norm(matrices - found) / max(norm(matrices), 1e-30)
