"""Which of the connections just removed were needed: recoverable pruning, on one matrix."""

from __future__ import annotations

import numpy as np

from .checks import check_fraction, check_matrices
from .rules import ROUNDING

__all__ = ["recover"]


def recover(
    mask: np.ndarray,
    removed: np.ndarray,
    weight: np.ndarray,
    gradient: np.ndarray,
    share: float,
) -> np.ndarray:
    """Return the mask with those removed connections back that would lower the loss most.

    To first order, giving a connection its old weight w back changes the loss by w dL/dw, with the
    gradient at what the others have become without it. Where that is negative retraining has not
    made up for the connection; it was needed. Of these the most needed come back, at most a share
    of all that were removed. Nothing goes in exchange.

    Args:
        mask: Boolean matrix (inputs, outputs), True where a connection exists.
        removed: Boolean matrix: which connections may come back, none of them in `mask`.
        weight: The weights that they had.
        gradient: The loss's derivative by the effective weight.
        share: In [0, 1].

    Returns:
        A new boolean matrix that contains `mask`. Of equals, the first in row-major order comes
        back.

    Raises:
        ValueError: If the share is outside [0, 1], shapes differ, or a number is not finite.

    >>> mask, removed = np.array([[True, False, False]]), np.array([[False, True, True]])
    >>> weight, gradient = np.array([[0.0, 0.5, 0.1]]), np.array([[9.0, 2.0, -3.0]])
    >>> recover(mask, removed, weight, gradient, share=0.5)
    array([[ True, False,  True]])
    """
    share = check_fraction(share, "share")
    [mask, removed], [weight, gradient] = check_matrices([mask, removed], [weight, gradient])
    change = np.where(removed, weight.astype(np.float64) * gradient, 0.0).ravel()
    limit = int(share * np.count_nonzero(removed) + ROUNDING)
    order = np.argsort(change, kind="stable")[:limit]
    back = np.zeros(change.size, dtype=bool)
    back[order[change[order] < 0]] = True
    return mask | back.reshape(mask.shape)
