"""LiteRT's start, without the line that it prints on the terminal."""

import contextlib
import os
import threading
from collections.abc import Iterator

from hlstm_tf._stderr import held_stderr

_LINE = b"INFO: Created TensorFlow Lite XNNPACK delegate for CPU.\n"
_started = False


@contextlib.contextmanager
def quiet_start() -> Iterator[None]:
    """Keeps LiteRT's one line off the terminal when it lays out memory for the first time.

    LiteRT says once in a process which delegate it computes with, and has no switch for it: no
    option, no environment variable; its least severity is a constant. So what is written to the
    standard error in these milliseconds is held back, and printed without the line. Only a process
    of one thread does so: with others the line is printed rather than something of theirs lost.
    """
    global _started
    if _started or threading.active_count() > 1:
        _started = True
        yield
        return
    _started = True
    held = None
    try:
        with held_stderr() as held:
            yield
    finally:
        if held and (others := held.text.replace(_LINE, b"")):
            os.write(2, others)
