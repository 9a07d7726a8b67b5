"""The time that nothing beats: that in which the weights can be read.

At batch 1 every weight of a step is read once and multiplied once, and reading is what takes the
time. From the caches ("hot") or from memory ("cold") it goes at the rate that one core reads a
block of that size at, which is measured here.
"""

import functools
import time
from dataclasses import dataclass

import numpy as np

COLD_BYTES = 64 << 20
"""What is read before a cold call: more than the caches of a server core hold."""

_SECONDS = 1.0
"""How long each size is read; the best of many short readings counts, on a busy machine too."""


@dataclass(frozen=True)
class Weights:
    """Bytes of weights that a run reads.

    Attributes:
        step: At each step.
        once: Once for the whole sequence.
        steps: How many steps it has.
    """

    step: int
    once: int = 0
    steps: int = 1

    def floor_us(self, cold: bool) -> float:
        """Microseconds in which they can be read, in caches or in memory at the beginning."""
        first = self.step + self.once
        if cold:
            repeated = (self.steps - 1) * self.step
            return 1e6 * (first / memory_rate() + repeated / cache_rate(self.step))
        once = self.once / cache_rate(self.once) if self.once else 0.0
        return 1e6 * (once + self.steps * self.step / cache_rate(self.step))


def cache_rate(size: int) -> float:
    """Bytes a second at which one core reads a block of `size` bytes again and again."""
    unit = 1 << max(12, size.bit_length() - 3)  # sizes of which one measurement does
    return _rate(-(-size // unit) * unit)


def memory_rate() -> float:
    """Bytes a second at which one core reads what is in no cache."""
    for _ in range(0 if _memory_seconds else 10):
        empty_caches()
    return COLD_BYTES / min(_memory_seconds)


def empty_caches() -> None:
    """Reads so much other memory that nothing else is left in the caches."""
    began = time.perf_counter()
    _other_memory().max()
    _memory_seconds.append(time.perf_counter() - began)


_memory_seconds: list[float] = []
"""How long each emptying took; on a busy machine only the best of many says what memory gives."""


@functools.cache
def _other_memory() -> np.ndarray:
    return np.ones(COLD_BYTES, np.uint8)


@functools.cache
def _rate(size: int) -> float:
    # The largest of many bytes is the fastest way that NumPy has to read memory.
    block = np.ones(size, np.uint8)
    times = max(1, (4 << 20) // size)
    views = np.lib.stride_tricks.as_strided(block, (times, size), (0, 1))
    views.max(axis=1)
    best, end = float("inf"), time.perf_counter() + _SECONDS
    while time.perf_counter() < end:
        began = time.perf_counter()
        views.max(axis=1)
        best = min(best, time.perf_counter() - began)
    return times * size / best
