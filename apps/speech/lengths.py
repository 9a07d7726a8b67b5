"""Lengths of utterances in frames of a network's output."""

from __future__ import annotations

from typing import Any


def reduced_lengths(lengths: Any, stride: int) -> Any:
    """Return how many frames are left of `lengths` frames after striding by `stride`.

    Rounds up, as a convolution with "same" padding does, and works on integers, NumPy arrays and
    tensors alike.

    >>> reduced_lengths(9, 4)
    3
    """
    return (lengths + (stride - 1)) // stride
