"""Model files of any format: checked before they are read, and errors of loading in one line."""

from __future__ import annotations

import contextlib
import logging
import os
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from apps.common.errors import InputError
from apps.common.files import check_size
from hlstm_tf import quiet_import

FORMATS = "a .keras file, a .tflite file or a SavedModel folder"
LARGEST = 300_000_000
"""Bytes of a model; five bidirectional layers of 800 units have 200 million."""
LARGEST_TEXT = 8_000_000
"""Bytes of a configuration in a `.keras` file; that of a large network has a million."""


def check_model(path: str | os.PathLike[str]) -> None:
    """Check that a model is there and not too large, also when it is unpacked.

    Raises:
        InputError: It is not.
    """
    path = Path(path)
    if not path.exists():
        raise InputError(f"{path}: no such model; expected {FORMATS}")
    check_size(path, LARGEST, FORMATS)
    if path.suffix == ".keras":
        with one_line_errors(path, "loaded as a .keras file"):
            _check_archive(path)


@contextlib.contextmanager
def one_line_errors(path: str | os.PathLike[str], done: str) -> Iterator[None]:
    """Turn whatever a damaged file makes a loader raise into one line.

    Args:
        path: The file.
        done: What is done with it, for the message.

    Raises:
        InputError: Anything was raised inside.

    Example:

    >>> with one_line_errors("a.tflite", "run on digits"):
    ...     [][0]
    Traceback (most recent call last):
    ...
    apps.common.errors.InputError: a.tflite: cannot be run on digits (list index out of range); it \
is damaged or was made by another program
    """
    try:
        yield
    except InputError:
        raise
    except Exception as error:  # zipfile, json, h5py, protobuf, TensorFlow, LiteRT and Keras
        lines = (str(error).strip() or type(error).__name__).splitlines()
        raise InputError(
            f"{path}: cannot be {done} ({lines[0][:200]}); it is damaged or was made by"
            " another program"
        ) from error


def load_keras(path: str | os.PathLike[str]) -> Any:
    """Load a `.keras` file, without its optimizer.

    The classes of its layers have to be registered.

    Raises:
        InputError: It is missing, damaged, too large, or another kind of file.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path}: no such model; expected a .keras file")
    if path.suffix != ".keras" or not zipfile.is_zipfile(path):
        raise InputError(
            f"{path}: cannot be loaded: no .keras file, or a damaged one; expected what"
            " `train` wrote"
        )
    check_model(path)
    keras = quiet_import("keras")
    with one_line_errors(path, "loaded as a .keras file"):
        return keras.models.load_model(path, compile=False)


def load_saved_model(folder: str | os.PathLike[str]) -> Any:
    """Load a SavedModel that has the signature `serve`.

    Raises:
        InputError: It is damaged, or has no such signature.
    """
    tf = quiet_import("tensorflow")
    with one_line_errors(folder, "loaded as a SavedModel with the signature serve"), _no_log():
        model = tf.saved_model.load(str(folder))
        model.signatures["serve"]
    return model


@contextlib.contextmanager
def _no_log() -> Iterator[None]:
    """TensorFlow logs a traceback of a damaged fingerprint, and loads the model."""
    logger = logging.getLogger("absl")

    def nothing(record: logging.LogRecord) -> bool:
        return False

    logger.addFilter(nothing)
    try:
        yield
    finally:
        logger.removeFilter(nothing)


def _check_archive(path: Path) -> None:
    with zipfile.ZipFile(path) as archive:
        entries = archive.infolist()
    size = sum(entry.file_size for entry in entries)
    text = sum(entry.file_size for entry in entries if entry.filename.endswith(".json"))
    if size > LARGEST or text > LARGEST_TEXT:
        raise InputError(
            f"{path}: {size:,} bytes when it is unpacked, {text:,} of them configuration; expected"
            f" at most {LARGEST:,} and {LARGEST_TEXT:,}"
        )
