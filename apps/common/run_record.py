"""What a training leaves while it goes on: its record, and the model of its best epoch."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras

from apps.common.files import write_json
from apps.common.record import NAME, read_record, versions
from apps.common.run import save_model


class RunRecord(keras.callbacks.Callback):
    """Write the record of a run after each epoch, whole or not at all.

    A run that is resumed keeps the epochs it has; those that are done again are replaced. Each has
    its `seconds`, and its `cpu_seconds`: those of all threads of the process, which depend less on
    what else the machine does.

    Args:
        folder: Of the run; the record is `record.json` in it.
        facts: What was chosen: recipe, seed, corpus, as JSON data.
        grow_and_prune: The run's `GrowAndPrune` callback, placed before this one; each epoch then
            has its phase, sparsity and connections. None for a plain training.
        packages: Whose versions the numbers depend on, beside those of `record.PACKAGES`.
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        facts: dict[str, Any],
        grow_and_prune: Any = None,
        packages: Sequence[str] = (),
    ) -> None:
        super().__init__()
        self.path = Path(folder) / NAME
        self.grow_and_prune = grow_and_prune
        self.content: dict[str, Any] = {**facts, "versions": versions(*packages), "epochs": []}
        if self.path.exists():
            self.content["epochs"] = read_record(self.path)["epochs"]
        self._began = self._worked = 0.0

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        self._began, self._worked = time.monotonic(), time.process_time()
        self.content["epochs"] = [e for e in self.content["epochs"] if e["epoch"] < epoch]

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        entry: dict[str, Any] = {
            "epoch": epoch,
            "seconds": time.monotonic() - self._began,
            "cpu_seconds": time.process_time() - self._worked,
        }
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
        if self.grow_and_prune is not None:
            self.content["reason"] = self.grow_and_prune.progress.reason
        for name in ("seconds", "cpu_seconds"):
            # A run that was begun by an earlier version has no processor time.
            self.content[name] = sum(entry.get(name, 0.0) for entry in self.content["epochs"])
        write_json(self.path, self.content)


def save_if_best(model: keras.Model, path: Path, value: float, earlier: Sequence[float]) -> None:
    """Keep a model, written beside and renamed, unless an earlier value was lower."""
    if not earlier or value <= min(earlier):
        save_model(model, path)


class BestModel(keras.callbacks.Callback):
    """Keep the model of the best epoch in a file, written beside and renamed.

    Args:
        path: The `.keras` file.
        record: The run's record, which knows the earlier epochs of a resumed run.
        monitor: A name in the logs; lower is better, and of equals the later.
        grow_and_prune: The run's `GrowAndPrune` callback, placed after this one; the file then has
            the model as it was before the first pruning. None for a plain training.
    """

    def __init__(
        self, path: Path, record: RunRecord, monitor: str, grow_and_prune: Any = None
    ) -> None:
        super().__init__()
        self.path = path
        self.record = record
        self.monitor = monitor
        self.grow_and_prune = grow_and_prune

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        if self.grow_and_prune is not None and self.grow_and_prune.progress.phase != "training":
            return
        earlier = [
            entry[self.monitor]
            for entry in self.record.content["epochs"]
            if entry["epoch"] < epoch and entry.get("phase", "training") == "training"
        ]
        if not self.path.exists():
            earlier = []
        save_if_best(self.model, self.path, (logs or {})[self.monitor], earlier)
