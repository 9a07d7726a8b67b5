"""Imports and blocks of code without what C++ libraries write on the terminal."""

import contextlib
import importlib
import os
import sys
import tempfile
from collections.abc import Iterator
from types import ModuleType


class Held:
    """What was held back.

    Attributes:
        text: It, once the block is left.
    """

    text = b""


@contextlib.contextmanager
def held_stderr() -> Iterator[Held]:
    """Holds back what the process writes to file descriptor 2 while the block runs.

    For moments when the process has one thread: what others write meanwhile is held back, too, and
    a process that they start then keeps the held file as its standard error.

    Example:

    >>> with held_stderr() as held:
    ...     _ = os.write(2, b"noise")
    >>> held.text
    b'noise'
    """
    held = Held()
    if sys.stderr is not None:
        sys.stderr.flush()
    with tempfile.TemporaryFile() as file, contextlib.ExitStack() as stack:
        try:
            screen = os.dup(2)
        except OSError:  # the standard error is closed
            yield held
            return
        stack.callback(os.close, screen)
        os.dup2(file.fileno(), 2)
        try:
            yield held
        finally:
            os.dup2(screen, 2)
            file.seek(0)
            held.text = file.read()


def quiet_import(module: str) -> ModuleType:
    """Imports a module, and holds back what C++ code writes on the terminal meanwhile.

    TensorFlow's writes before it reads any setting of its log level.

    Args:
        module: Its name, such as `"keras"`.

    Returns:
        The module.

    Raises:
        ImportError: It cannot be imported.

    Example:

    >>> import hlstm_tf as hl
    >>> hl.quiet_import("json").__name__
    'json'
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # failures come as exceptions
    held = Held()
    try:
        with held_stderr() as held:
            return importlib.import_module(module)
    except ImportError as error:
        raise ImportError(f"cannot import {module}: {error}") from error
    except BaseException:
        os.write(2, held.text)
        raise
