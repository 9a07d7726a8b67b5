"""Text and JSON files that a user names."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from apps.common.errors import InputError
from apps.common.files import check_size

LARGEST = 48_000_000
"""Bytes; the manifest of 100,000 recordings with long texts has 31 million. In memory a character
takes up to four."""
LINES = 300_000
"""Of a list of recordings, a kilobyte each in memory; LibriSpeech's are 281,000."""
VALUES = 2_000_000
"""Lists, dictionaries and their entries in a JSON text, a hundred bytes each in memory."""


def read_text(path: str | os.PathLike[str], expected: str, most: int = LARGEST) -> str:
    """Return the text of a file in UTF-8.

    Args:
        path: The file.
        expected: What it should be, for the message.
        most: Bytes of the largest that is read.

    Raises:
        InputError: It cannot be read, is too large, or is no text.

    Example:

    >>> import tempfile
    >>> read_text(tempfile.gettempdir() + "/none.txt", "words")
    Traceback (most recent call last):
    ...
    apps.common.errors.InputError: ...none.txt: no such file or directory; expected words
    """
    with _text_errors(path, expected):
        check_size(path, most, expected)
        return Path(path).read_text(encoding="utf-8")


def read_lines(path: str | os.PathLike[str], expected: str) -> Iterator[str]:
    """Yield the lines of a file in UTF-8 one by one, without their ends.

    Args:
        path: The file.
        expected: What it should be, for the message.

    Raises:
        InputError: It cannot be read, is larger than `LARGEST` or `LINES`, or is no text.
    """
    with _text_errors(path, expected):
        check_size(path, LARGEST, expected)
        with Path(path).open(encoding="utf-8") as file:
            for number, line in enumerate(file, 1):
                check_lines(path, number)
                yield line.removesuffix("\n")


def check_lines(path: str | os.PathLike[str], number: int) -> None:
    """Refuse a list that goes on after `LINES` lines.

    Raises:
        InputError: The number of a line is larger.
    """
    if number > LINES:
        raise InputError(f"{path}: more than {LINES:,} lines; divide the list")


@contextlib.contextmanager
def _text_errors(path: str | os.PathLike[str], expected: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise InputError(f"{path}: {str(error.strerror).lower()}; expected {expected}") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: no text in UTF-8; expected {expected}") from error


def parse_json(text: str | bytes) -> Any:
    """Return the value of a JSON text.

    Raises:
        ValueError: It is damaged, nested too deeply to be parsed, or has more than `VALUES` values.

    Example:

    >>> parse_json("[" * 100_000)
    Traceback (most recent call last):
    ...
    ValueError: nested too deeply
    """
    marks: Sequence[Any] = "[{," if isinstance(text, str) else (b"[", b"{", b",")
    if sum(map(text.count, marks)) > VALUES:
        raise ValueError(f"more than {VALUES:,} values")
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
        raise InputError(f"{path}: damaged ({str(error)[:200]}); {damaged}") from error
