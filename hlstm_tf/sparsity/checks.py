"""Checks of the arguments of functions on masks and scores."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np


def check_fraction(value: float, name: str) -> float:
    """Returns `value` as a float, or raise `ValueError` where it is no number in [0, 1].

    >>> check_fraction(1, "ratio")
    1.0
    """
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = float("nan")
    if isinstance(value, (bool, str)) or not 0.0 <= number <= 1.0:
        raise ValueError(f"`{name}` must be a number between 0 and 1, got {value!r}")
    return number


def check_count(value: int, name: str, minimum: int = 1) -> int:
    """Returns `value` as an int, or raise `ValueError` where it is no integer >= `minimum`.

    >>> check_count(4, "rows")
    4
    """
    is_integer = isinstance(value, (int, np.integer)) and not isinstance(value, bool)
    if not is_integer or value < minimum:
        raise ValueError(f"`{name}` must be an integer of at least {minimum}, got {value!r}")
    return int(value)


def check_rng(rng: np.random.Generator | int) -> np.random.Generator:
    """Returns a NumPy generator: the one given, or a new one from a seed.

    A seed is demanded rather than made up: an architecture that cannot be drawn again
    cannot be resumed or reported.

    >>> int(check_rng(0).integers(100)) == int(check_rng(0).integers(100))
    True
    """
    if isinstance(rng, np.random.Generator):
        return rng
    if isinstance(rng, (int, np.integer)) and not isinstance(rng, bool) and rng >= 0:
        return np.random.default_rng(int(rng))
    raise ValueError(f"`rng` must be a numpy.random.Generator or a seed of at least 0, got {rng!r}")


def check_mask(mask: Any, name: str = "mask") -> np.ndarray:
    """Returns `mask` as a boolean matrix (inputs, outputs), or raise `ValueError`.

    >>> check_mask([[True, False]]).shape
    (1, 2)
    """
    array = np.asarray(mask)
    if array.ndim != 2 or array.size == 0:
        raise ValueError(
            f"`{name}` must be a non-empty matrix (inputs, outputs), got shape {array.shape}"
        )
    if array.dtype != np.bool_:
        raise ValueError(f"`{name}` must be boolean (True: it exists), got dtype {array.dtype}")
    return array


def check_matrices(
    masks: Sequence[Any], scores: Sequence[Any]
) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Returns masks and scores as arrays of equal shapes, or raise `ValueError`.

    Scores of any real dtype are accepted; they come back as float32 or float64, the
    narrowest of the two that holds them.

    >>> masks, scores = check_matrices([np.ones((2, 3), bool)], [np.ones((2, 3), int)])
    >>> scores[0].dtype
    dtype('float64')
    """
    if len(masks) != len(scores):
        raise ValueError(
            f"`masks` and `scores` must be lists of equal length, got {len(masks)} masks "
            f"and {len(scores)} scores"
        )
    single = len(masks) == 1
    checked_masks, checked_scores = [], []
    for index, (mask, score) in enumerate(zip(masks, scores, strict=True)):
        suffix = "" if single else f"s[{index}]"
        checked_masks.append(check_mask(mask, f"mask{suffix}"))
        checked_scores.append(_check_score(score, checked_masks[-1].shape, f"score{suffix}"))
    return checked_masks, checked_scores


def _check_score(score: Any, shape: tuple[int, ...], name: str) -> np.ndarray:
    array = np.asarray(score)
    if array.shape != shape:
        raise ValueError(
            f"`{name}` must have the shape of its mask, {shape}, got shape {array.shape}"
        )
    if array.dtype not in (np.float32, np.float64):
        # float16 and bfloat16 (an extension dtype, kind "V") both fit in float32.
        narrow = array.dtype.itemsize <= 2
        try:
            array = array.astype(np.float32 if narrow else np.float64, casting="same_kind")
        except TypeError:
            raise ValueError(f"`{name}` must hold real numbers, got dtype {array.dtype}") from None
    if not np.isfinite(array).all():
        bad = int(np.count_nonzero(~np.isfinite(array)))
        raise ValueError(
            f"`{name}` must be finite, got {bad} NaN or infinite values of {array.size}"
        )
    return array
