"""A line on stderr now and then: how far a benchmark is, and how long it will take."""

import sys
import time

_FIRST, _EVERY = 3.0, 5.0
"""Seconds before the first line, and between two."""


class Progress:
    """Counts the parts of a job.

    Args:
        what: What is being done.
        count: How many parts it has, all about as long.
    """

    def __init__(self, what: str, count: int) -> None:
        self._what, self._count, self._done = what, count, 0
        self._began = time.monotonic()
        self._next = self._began + _FIRST

    def advance(self) -> None:
        """One part is done."""
        self._done += 1
        now = time.monotonic()
        if now < self._next or self._done >= self._count:
            return
        self._next = now + _EVERY
        left = (now - self._began) / self._done * (self._count - self._done)
        print(
            f"  {self._what}: {self._done} of {self._count}, about {left:.0f} s left",
            file=sys.stderr,
            flush=True,
        )
