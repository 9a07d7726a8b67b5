"""Importing TensorFlow without the lines that it writes on the terminal."""

from __future__ import annotations

import contextlib
import importlib
import os
import sys
import tempfile
from collections.abc import Iterator
from types import ModuleType


def quiet_import(module: str) -> ModuleType:
    """Import a module, and hold back what C++ code writes to the standard error meanwhile.

    TensorFlow's writes before it reads any setting of its log level.

    Example:

    >>> quiet_import("json").__name__
    'json'
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # failures come as exceptions
    with _silent_stderr():
        return importlib.import_module(module)


@contextlib.contextmanager
def _silent_stderr() -> Iterator[None]:
    sys.stderr.flush()
    with tempfile.TemporaryFile() as nowhere, contextlib.ExitStack() as stack:
        try:
            screen = os.dup(2)
        except OSError:  # the standard error is closed
            yield
            return
        stack.callback(os.close, screen)
        stack.callback(os.dup2, screen, 2)
        os.dup2(nowhere.fileno(), 2)
        yield
