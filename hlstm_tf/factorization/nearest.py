"""The nearest matrices of a form to trained ones, as the data that they multiply weigh them."""

from collections.abc import Sequence

import numpy as np

from hlstm_tf.layers.matrix_forms import (
    KernelShape,
    LowRank,
    MatrixForm,
    SharedLowRank,
    side_by_side,
)


def weighted_factors(
    matrix: np.ndarray, rank: int, root: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray]:
    """The factors `L, R` of a given rank for which `|root (matrix - L R)|` is least.

    With `root` the root of the second moment of the inputs X, it is `|X (matrix - L R)|` over the
    data: the outputs are projected on their principal components, `L = matrix V` and `R = V'`. So
    no moment is inverted, and inputs that never vary do no harm.

    Args:
        matrix: `(inputs, outputs)`.
        rank: At most the smaller side.
        root: `(inputs, inputs)`; `None` for the identity.
    """
    weighted = matrix if root is None else root @ matrix
    _, _, components = np.linalg.svd(weighted, full_matrices=False)
    right = components[:rank]
    left = matrix @ right.T
    balance = np.sqrt(np.maximum(np.linalg.norm(left, axis=0), 1e-12))
    return left / balance, right * balance[:, None]


def root_of_moment(moment: np.ndarray) -> np.ndarray:
    """The symmetric root of a second moment `(n, n)`, whose negative rounding errors count as 0."""
    values, vectors = np.linalg.eigh(moment.astype(np.float64))
    return (vectors * np.sqrt(np.maximum(values, 0.0))) @ vectors.T


def nearest_factors(
    form: MatrixForm,
    kernel: KernelShape,
    matrices: np.ndarray,
    roots: Sequence[np.ndarray] | None,
) -> list[np.ndarray]:
    """The factors of a form that are nearest to trained matrices, over data where it is given.

    Args:
        form: The form; Kronecker products are fitted to the matrix alone.
        kernel: The kernel's shape.
        matrices: `(gates, inputs, outputs)`.
        roots: The roots of the moments of the gates' inputs: one, or one a gate; `None` without
            data.
    """
    if roots is None or not isinstance(form, (LowRank, SharedLowRank)):
        return form.nearest(kernel, matrices)
    if isinstance(form, SharedLowRank) and not kernel.apart:
        whole = weighted_factors(side_by_side(matrices), form.rank_of(kernel), roots[0])
        return list(whole)
    rank, by_gate = form.rank_of(kernel), _by_gate(roots, kernel.gates)
    pairs = [weighted_factors(m, rank, root) for m, root in zip(matrices, by_gate, strict=True)]
    lefts, rights = [left for left, _ in pairs], [right for _, right in pairs]
    if kernel.gates == 1:
        return [lefts[0], rights[0]]
    left = np.stack(lefts) if kernel.apart else np.concatenate(lefts, axis=-1)
    return [left, np.stack(rights)]


def rank_for_energy(
    form: type[MatrixForm],
    kernel: KernelShape,
    matrices: np.ndarray,
    roots: Sequence[np.ndarray] | None,
    energy: float,
) -> int:
    """The least rank that keeps a fraction of the squared norm of what the matrices give.

    Args:
        form: `LowRank` or `SharedLowRank`.
        kernel, matrices, roots: As for `nearest_factors`.
        energy: The fraction, above 0 and up to 1.
    """
    shared = form is SharedLowRank and not kernel.apart
    wholes = [side_by_side(matrices)] if shared else list(matrices)
    by_part = [None] * len(wholes) if roots is None else _by_gate(roots, len(wholes))
    squares = np.sum(
        [
            np.linalg.svd(m if root is None else root @ m, compute_uv=False) ** 2
            for m, root in zip(wholes, by_part, strict=True)
        ],
        axis=0,
    )
    total = float(squares.sum())
    if total == 0:
        return 1  # matrices of zeros, or inputs that are always zero
    kept = np.cumsum(squares) / total
    return min(int(np.searchsorted(kept, energy - 1e-12)) + 1, len(squares))


def relative_error(
    matrices: np.ndarray, found: np.ndarray, roots: Sequence[np.ndarray] | None
) -> float:
    """The norm of the difference of what two kernels give, by that of what the first gives."""
    by_gate = [None] * len(matrices) if roots is None else _by_gate(roots, len(matrices))

    def norm(each: np.ndarray) -> float:
        parts = [m if root is None else root @ m for m, root in zip(each, by_gate, strict=True)]
        return float(np.linalg.norm(np.stack(parts)))

    return norm(matrices - found) / max(norm(matrices), 1e-30)


def _by_gate(roots: Sequence[np.ndarray], gates: int) -> list[np.ndarray]:
    return list(roots) if len(roots) == gates else [roots[0]] * gates
