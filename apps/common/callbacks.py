"""Callbacks of a training: its progress, its record, its best model, and its state on disk."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np

from apps.common.errors import InputError
from apps.common.files import write_json, written_beside
from apps.common.progress import say
from apps.common.record import NAME, read_record, versions


class EpochLog(keras.callbacks.Callback):
    """Print a line an epoch: what was reached, and about how long the rest takes.

    Place it after the `GrowAndPrune` callback.

    Args:
        label: First words of each line.
        figures: What is told of the epoch's logs: a function that makes the text, by the name in
            the logs.
        expected: Takes the complete pruning iterations, returns the epochs of the training.
        later: Epochs of the trainings that follow this one: their time is left, too.
        every: Print each so many epochs, the last one, and those that end with a growth or a
            pruning.
        grow_and_prune: The training's `GrowAndPrune` callback; None for a plain training.

    Example:

    >>> import contextlib, sys
    >>> log = EpochLog("lstm", {"loss": "loss {:.2f}".format}, lambda iterations: 3)
    >>> log.on_epoch_begin(0)
    >>> with contextlib.redirect_stderr(sys.stdout):
    ...     log.on_epoch_end(0, {"loss": 2.0})
    lstm: epoch 1/3, loss 2.00, 0:00 left
    """

    def __init__(
        self,
        label: str,
        figures: Mapping[str, Callable[[float], str]],
        expected: Callable[[int], int],
        *,
        later: int = 0,
        every: int = 1,
        grow_and_prune: Any = None,
    ) -> None:
        super().__init__()
        self.label = label
        self.figures = figures
        self.expected = expected
        self.later = later
        self.every = every
        self.grow_and_prune = grow_and_prune
        self._ends: list[float] = []

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        if not self._ends:
            self._ends.append(time.monotonic())

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        self._ends.append(time.monotonic())
        gp = self.grow_and_prune
        iterations, state = (gp.progress.iteration, gp.history[-1]) if gp else (0, {})
        epochs = max(epoch + 1, self.expected(iterations))
        if gp and gp.progress.phase == "finished":
            epochs = epoch + 1
        if (epoch + 1) % self.every and epoch + 1 != epochs and not state.get("events"):
            return
        values = logs or {}
        told = [make(float(values[name])) for name, make in self.figures.items() if name in values]
        if state:
            told += [state["phase"], f"{state['connections']:,} connections"]
        left = self._left(epochs - epoch - 1 + self.later)
        say(f"{self.label}: epoch {epoch + 1}/{epochs}, {', '.join(told)}, {left} left")

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        if self.grow_and_prune and self.grow_and_prune.progress.reason:
            say(f"{self.label}: {self.grow_and_prune.progress.reason}")

    def _left(self, epochs: int) -> str:
        # The first epoch traces; later ones tell better how long one takes.
        recent = self._ends[1:] if len(self._ends) > 2 else self._ends
        minutes, seconds = divmod(
            round(epochs * (recent[-1] - recent[0]) / max(1, len(recent) - 1)), 60
        )
        return f"{minutes}:{seconds:02d}"


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


def save_model(model: keras.Model, path: Path) -> None:
    """Save a model, written beside and renamed."""
    with written_beside(path) as temporary:
        model.save(temporary)


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


STATE_FILE = "state.npz"


class Backup(keras.callbacks.Callback):
    """Save everything a training is after each epoch, and go on from it.

    `GrowAndPrune` does this for its runs. `keras.callbacks.BackupAndRestore` would do for the
    weights and the optimizer, but leaves out the state of dropout's random generators: a resumed
    run would not end as the uninterrupted one.

    Place it last: what it saves is then the end of an epoch that all other callbacks have seen.

    Args:
        folder: For the state, written beside and renamed.

    Raises:
        InputError: The state is damaged.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.path = Path(folder) / STATE_FILE

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        if not self.path.exists():
            return
        try:
            with np.load(self.path) as saved:
                epoch = int(saved["epoch"])
                values = [saved[f"v{k}"] for k in range(len(saved.files) - 1)]
            for variable, value in zip(self._variables(), values, strict=True):
                variable.assign(value)
        except Exception as error:  # whatever a damaged archive or header makes NumPy raise
            raise InputError(
                f"{self.path}: the training's state is damaged; delete it to begin again"
            ) from error
        # As keras.callbacks.BackupAndRestore does; `fit` reads it after this.
        self.model._initial_epoch = epoch

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        self.model._initial_epoch = None

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        arrays: dict[str, Any] = {
            f"v{k}": np.asarray(value) for k, value in enumerate(self._variables())
        }
        with written_beside(self.path) as temporary:
            np.savez(temporary, epoch=epoch + 1, **arrays)

    def _variables(self) -> list[keras.Variable]:
        """Weights, the state of random generators, and the optimizer's slots."""
        optimizer = self.model.optimizer
        if not optimizer.built:
            optimizer.build(self.model.trainable_variables)
        return [*self.model.variables, *optimizer.variables]
