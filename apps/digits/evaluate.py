"""Counts the digits that a network gets wrong."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from apps.common.rate import Rate
from apps.digits.mnist import Digits
from apps.digits.pixels import scaled


def errors(logits: Callable[[np.ndarray], Any], digits: Digits, batch_size: int = 500) -> Rate:
    """Return how many digits are taken for another.

    Args:
        logits: Takes images `(batch, 28, 28, 1)`, returns `(batch, 10)`: a Keras model, or a model
            file as `apps.digits.classifier.load` gives it.
        digits: What to look at.
        batch_size: Images a call.
    """
    wrong = 0
    for start in range(0, len(digits), batch_size):
        part = digits[start : start + batch_size]
        found = np.argmax(np.asarray(logits(scaled(part.images))), axis=1)
        wrong += int(np.count_nonzero(found != part.labels))
    return Rate(wrong, len(digits))
