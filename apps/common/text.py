"""Text and JSON files that a user names."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from apps.common.errors import InputError
from apps.common.files import check_size

LARGEST = 16_000_000
"""Bytes; the lists of a large corpus have a few million. JSON takes up to 25 times as many."""


def read_text(path: str | os.PathLike[str], expected: str) -> str:
    """Return the text of a file in UTF-8.

    Args:
        path: The file.
        expected: What it should be, for the message.

    Raises:
        InputError: It cannot be read, is larger than `LARGEST`, or is no text.

    Example:

    >>> import tempfile
    >>> read_text(tempfile.gettempdir() + "/none.txt", "words")
    Traceback (most recent call last):
    ...
    apps.common.errors.InputError: ...none.txt: no such file or directory; expected words
    """
    try:
        check_size(path, LARGEST, expected)
        return Path(path).read_text(encoding="utf-8")
    except OSError as error:
        raise InputError(f"{path}: {str(error.strerror).lower()}; expected {expected}") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: no text in UTF-8; expected {expected}") from error


def parse_json(text: str | bytes) -> Any:
    """Return the value of a JSON text.

    Raises:
        ValueError: It is damaged, or nested too deeply to be parsed.

    Example:

    >>> parse_json("[" * 100_000)
    Traceback (most recent call last):
    ...
    ValueError: nested too deeply
    """
    try:
        return json.loads(text)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error


def read_json(path: str | os.PathLike[str], expected: str, damaged: str) -> Any:
    """Return the value of a JSON file.

    Args:
        path: The file.
        expected: What it should be, for the message.
        damaged: What to do where it is no JSON.

    Raises:
        InputError: It cannot be read, is larger than `LARGEST`, or is damaged.
    """
    text = read_text(path, expected)
    try:
        return parse_json(text)
    except ValueError as error:
        raise InputError(f"{path}: damaged; {damaged}") from error
