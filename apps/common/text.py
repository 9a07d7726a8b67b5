"""Text files that a user names."""

from __future__ import annotations

import os
from pathlib import Path

from apps.common.errors import InputError


def read_text(path: str | os.PathLike[str], expected: str) -> str:
    """Return the text of a file in UTF-8.

    Args:
        path: The file.
        expected: What it should be, for the message.

    Raises:
        InputError: It cannot be read, or is no text.

    Example:

    >>> import tempfile
    >>> read_text(tempfile.gettempdir() + "/none.txt", "words")
    Traceback (most recent call last):
    ...
    apps.common.errors.InputError: ...none.txt: no such file or directory; expected words
    """
    try:
        return Path(path).read_text(encoding="utf-8")
    except OSError as error:
        raise InputError(f"{path}: {str(error.strerror).lower()}; expected {expected}") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: no text in UTF-8; expected {expected}") from error
