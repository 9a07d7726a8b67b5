"""The record of a run: what was trained, how, and what came of it, epoch by epoch.

One small JSON file, from which tables and plots are made.
"""

from __future__ import annotations

import json
import os
import platform
import time
from importlib import metadata
from pathlib import Path
from typing import Any

import keras

from apps.speech.errors import InputError
from apps.speech.files import write_json

NAME = "record.json"
PACKAGES = ("tensorflow", "keras", "numpy", "librosa", "hlstm_tf")


def versions() -> dict[str, str]:
    """Return the versions that a run's numbers depend on."""
    found = {"python": platform.python_version(), "machine": platform.machine()}
    for package in PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            found[package] = "not installed"
    return found


def read_record(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Read the record of a run.

    Args:
        path: The file, or the folder of the run.

    Raises:
        InputError: There is none, or it is damaged.
    """
    path = Path(path)
    path = path / NAME if path.is_dir() else path
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise InputError(
            f"{path}: no such run record; expected the folder of a training"
        ) from error
    except ValueError as error:
        raise InputError(f"{path}: damaged; train again into another folder") from error
    if not isinstance(record, dict) or "epochs" not in record:
        raise InputError(f"{path}: no run record; expected one that `train` wrote")
    return record


class RunRecord(keras.callbacks.Callback):
    """Write the record of a run after each epoch, whole or not at all.

    A run that is resumed keeps the epochs it has; those that are done again are replaced.

    Args:
        folder: Of the run; the record is `record.json` in it.
        facts: What was chosen: recipe, seed, corpus, as JSON data.
        grow_and_prune: The run's `GrowAndPrune` callback, placed before this one; each epoch then
            has its phase, sparsity and connections. None for a plain training.
    """

    def __init__(
        self, folder: str | os.PathLike[str], facts: dict[str, Any], grow_and_prune: Any = None
    ) -> None:
        super().__init__()
        self.path = Path(folder) / NAME
        self.grow_and_prune = grow_and_prune
        self.content: dict[str, Any] = {**facts, "versions": versions(), "epochs": []}
        if self.path.exists():
            self.content["epochs"] = read_record(self.path)["epochs"]
        self._began = 0.0

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        self._began = time.monotonic()
        self.content["epochs"] = [e for e in self.content["epochs"] if e["epoch"] < epoch]

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        entry: dict[str, Any] = {"epoch": epoch, "seconds": time.monotonic() - self._began}
        if self.grow_and_prune is not None:
            state = self.grow_and_prune.history[-1]
            for name in ("phase", "iteration", "sparsity", "connections", "events"):
                entry[name] = state[name]
        entry |= {name: float(value) for name, value in (logs or {}).items()}
        self.content["epochs"].append(entry)
        write_json(self.path, self.content)

    def finish(self, result: dict[str, Any]) -> None:
        """Add what came of the run."""
        self.content["result"] = result
        self.content["seconds"] = sum(entry["seconds"] for entry in self.content["epochs"])
        write_json(self.path, self.content)
