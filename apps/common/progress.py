"""Progress with the time left, on a terminal and in a log."""

import sys
import time
from typing import TextIO


def say(text: str) -> None:
    """Print a line of progress on standard error, so that results can be piped."""
    print(text, file=sys.stderr, flush=True)


class Progress:
    """Counts finished items and says how long the rest will take.

    On a terminal one line is rewritten; in a log a line is printed at most every `every` seconds.
    A job shorter than `every` seconds prints its last line only.

    Args:
        total: items to come.
        label: what is being done, such as "synthesise".
        stream: where to write; default standard error, so that results can be piped.
        every: seconds between lines in a log.
        quiet: print nothing.

    Example:
        >>> import io
        >>> stream = io.StringIO()
        >>> with Progress(2, "read", stream=stream) as progress:
        ...     progress.step()
        ...     progress.step()
        >>> stream.getvalue().startswith("read: 2/2 in 0")
        True
    """

    def __init__(
        self,
        total: int,
        label: str,
        *,
        stream: TextIO | None = None,
        every: float = 10.0,
        quiet: bool = False,
    ) -> None:
        self.total = total
        self.label = label
        self.done = 0
        self._stream = stream if stream is not None else sys.stderr
        self._every = every
        self._quiet = quiet
        self._terminal = self._stream.isatty()
        self._start = self._last = time.monotonic()

    def __enter__(self) -> "Progress":
        return self

    def __exit__(self, kind: object, *rest: object) -> None:
        if kind is None and not self._quiet:
            seconds = time.monotonic() - self._start
            self._write(f"{self.label}: {self.done}/{self.total} in {clock(seconds)}", end="\n")
        elif self._terminal and not self._quiet:
            self._stream.write("\n")

    def step(self, count: int = 1) -> None:
        """Says that `count` more items are finished."""
        self.done += count
        now = time.monotonic()
        if self._quiet or now - self._last < (0.2 if self._terminal else self._every):
            return
        self._last = now
        left = (now - self._start) / self.done * (self.total - self.done)
        line = f"{self.label}: {self.done}/{self.total}, {clock(left)} left"
        self._write(line, end="" if self._terminal else "\n")

    def _write(self, line: str, end: str) -> None:
        # \x1b[K clears what a longer line left behind.
        self._stream.write(f"\r{line}\x1b[K{end}" if self._terminal else line + end)
        self._stream.flush()


def clock(seconds: float) -> str:
    """Return a duration in minutes and seconds.

    >>> clock(65)
    '1 min 05 s'
    """
    minutes, seconds = divmod(round(seconds), 60)
    return f"{minutes} min {seconds:02d} s" if minutes else f"{seconds} s"
