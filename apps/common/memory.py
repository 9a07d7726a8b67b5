"""Lets the process keep memory that it will want again in a moment."""

from __future__ import annotations

import ctypes
import platform

# Names and numbers of glibc's malloc.h.
_TRIM_THRESHOLD, _TOP_PAD, _MMAP_MAX = -1, -2, -4


def keep_freed_memory(top_pad: int = 256 << 20) -> bool:
    """Ask glibc not to hand freed memory back to the system; return whether it will not.

    TensorFlow allocates every tensor of a training step anew. By default glibc maps the large ones
    and unmaps them again, and the system zeroes each page at each step: on a virtual machine that
    was half of an epoch's time. The price is that the process stays as large as it ever was.

    Does nothing where the C library is another one.

    Args:
        top_pad: Bytes by which the heap grows at least.

    Example:

    >>> keep_freed_memory() == (platform.libc_ver()[0] == "glibc")
    True
    """
    if platform.libc_ver()[0] != "glibc":
        return False
    libc = ctypes.CDLL(None)
    settings = {_TRIM_THRESHOLD: 2**31 - 1, _TOP_PAD: top_pad, _MMAP_MAX: 0}
    return all(libc.mallopt(name, value) for name, value in settings.items())
