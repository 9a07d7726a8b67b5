"""Values that hold in the running thread while a block is entered.

Layers are called deep inside Keras, which hands no arguments of ours on to them. Threads do not
share these values, since `tf.distribute` traces one replica a thread.
"""

import contextlib
import threading
from collections.abc import Iterator
from typing import Any


class Scoped(threading.local):
    """A value that each thread has for itself.

    Args:
        default: The value outside all blocks.

    Attributes:
        value: The value that holds in the running thread.

    >>> depth = Scoped(0)
    >>> with depth.holding(1):
    ...     depth.value
    1
    >>> depth.value
    0
    """

    def __init__(self, default: Any) -> None:
        self.value = default  # called anew in each thread

    @contextlib.contextmanager
    def holding(self, value: Any) -> Iterator[None]:
        """While entered, `value` holds in the thread that entered it."""
        before, self.value = self.value, value
        try:
            yield
        finally:
            self.value = before
