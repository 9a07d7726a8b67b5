"""The files that the command `hlstm` reads and writes."""

import contextlib
import json
import os
import re
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

import keras
import numpy as np


def load_model(path: str | Path) -> keras.Model:
    """Loads a `.keras` file for looking at or exporting; an optimizer in it is left out.

    Args:
        path: A file that `keras.Model.save` wrote.

    Raises:
        ValueError: The file is no `.keras` file, is damaged, or holds a class that is not
            registered.

    Example:

    >>> import os, tempfile, keras
    >>> from hlstm_tf._cli.files import load_model
    >>> path = os.path.join(tempfile.mkdtemp(), "model.keras")
    >>> keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)]).save(path)
    >>> load_model(path).count_params()
    10
    """
    path = Path(path)
    if not zipfile.is_zipfile(path):
        raise ValueError(
            f"{path} is not a .keras file or is damaged ({path.stat().st_size:,} bytes, "
            "no complete zip archive); save the model again with model.save('NAME.keras')"
        )
    try:
        # Keras chooses the reader by the suffix; whatever the name, the content is a zip archive.
        with _named_keras(path) as named:
            return keras.models.load_model(named, compile=False)
    except Exception as error:  # a damaged file can fail in any way: zip, JSON, HDF5, Keras
        raise ValueError(
            f"cannot read the model {path}: {_reason(error)}{_of_keras_2(path)}"
        ) from error


def _of_keras_2(path: Path) -> str:
    """Says that a file was written by Keras 2, where it was."""
    try:
        with zipfile.ZipFile(path) as archive:
            version = json.loads(archive.read("metadata.json"))["keras_version"]
    except (KeyError, TypeError, ValueError, OSError, zipfile.BadZipFile):
        return ""
    if not str(version).startswith("2."):
        return ""
    return f" (Keras {version} wrote it; make and save the model with Keras 3, as hlstm_tf needs)"


def _reason(error: Exception) -> str:
    """Returns what Keras says is wrong, without the configs that it prints around it."""
    message = " ".join(str(error).split()).split("Exception encountered: ")[-1]
    if unregistered := re.search("Could not locate (class|function) '([^']+)'", message):
        kind, name = unregistered.groups()
        return (
            f"its {kind} {name!r} is not registered; name the Python module that registers it "
            "with --import MODULE"
        )
    message = re.split("Full object config|config={", message)[0].strip()
    return f"{type(error).__name__}: {message[:300]}"


@contextlib.contextmanager
def _named_keras(path: Path) -> Iterator[Path]:
    if path.suffix == ".keras":
        yield path
        return
    with tempfile.TemporaryDirectory() as folder:
        link = Path(folder, "model.keras")
        link.symlink_to(path.resolve())
        yield link


def check_suffix(path: Path, suffix: str) -> None:
    """Raises a `ValueError` for an output of another suffix."""
    if path.suffix != suffix:
        raise ValueError(f"the output {path} must end in {suffix}")


def check_folder(path: Path) -> None:
    """Raises a `FileNotFoundError` for an output whose folder does not exist."""
    if not path.parent.is_dir():
        raise FileNotFoundError(
            f"the folder {path.parent} of the output {path.name} does not exist"
        )


def load_inputs(path: Path | None, option: str) -> np.ndarray | dict[str, np.ndarray] | None:
    """Reads model inputs, samples first: one array (.npy), or one a model input by name (.npz)."""
    if path is None:
        return None
    if not path.is_file():
        raise FileNotFoundError(f"{option}: {path} does not exist; expected a .npy or .npz file")
    try:
        content = np.load(path, allow_pickle=False)
        return content if isinstance(content, np.ndarray) else dict(content)
    except Exception as error:  # a damaged header can fail in any way: as text, zip or Python
        reason = " ".join(str(error).split())[:300] or type(error).__name__
        raise ValueError(
            f"{option}: {path} is no .npy or .npz file or is damaged: {reason}"
        ) from error


@contextlib.contextmanager
def renamed_into_place(path: Path) -> Iterator[Path]:
    """Gives a name beside `path` to write to, and renames it to `path` if all went well."""
    check_folder(path)
    unfinished = path.with_name(f".{path.stem}.{os.getpid()}{path.suffix}")
    try:
        yield unfinished
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)
