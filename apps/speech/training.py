"""What a training needs beside the model and its data: error rates, learning rate, progress.

Put `WordErrorRate` before whatever reads `val_wer` in `model.fit(callbacks=[...])`.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, TextIO

import keras

from apps.common.files import write_json, written_beside
from apps.common.record import NAME, read_record, versions
from apps.speech.alphabet import Alphabet
from apps.speech.evaluate import Batch, Recognition, error_rates


class WordErrorRate(keras.callbacks.Callback):
    """Put the greedy word and character error rates of a split into the epoch's logs.

    Args:
        batches: The split's batches, unshuffled.
        alphabet: The model's.
        prefix: Of the names in the logs: `val_wer` and `val_cer` with the default, shares
            (0.087 for 8.7 %), and `val_word_errors`, a count.
    """

    def __init__(self, batches: Iterable[Batch], alphabet: Alphabet, prefix: str = "val_") -> None:
        super().__init__()
        self.batches = batches
        self.alphabet = alphabet
        self.prefix = prefix
        self._recognition: Recognition | None = None

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        if self._recognition is None or self._recognition.model is not self.model:
            self._recognition = Recognition(self.model)
        rates = error_rates(self._recognition, self.batches, self.alphabet)
        if logs is not None:
            logs[f"{self.prefix}wer"] = rates.wer
            logs[f"{self.prefix}cer"] = rates.cer
            logs[f"{self.prefix}word_errors"] = rates.words.errors


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
    """

    def __init__(
        self, folder: str | os.PathLike[str], facts: dict[str, Any], grow_and_prune: Any = None
    ) -> None:
        super().__init__()
        self.path = Path(folder) / NAME
        self.grow_and_prune = grow_and_prune
        self.content: dict[str, Any] = {**facts, "versions": versions("librosa"), "epochs": []}
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
        with written_beside(path) as temporary:
            model.save(temporary)


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
        self, path: Path, record: RunRecord, monitor: str = "val_wer", grow_and_prune: Any = None
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


class EpochLines(keras.callbacks.Callback):
    """Print one line an epoch: what was reached, and about how long the rest takes.

    Args:
        expected: Takes the complete pruning iterations, returns the epochs of the whole run.
        label: First word of each line.
        grow_and_prune: The run's `GrowAndPrune` callback; None for a plain training.
        stream: Where to print; standard error by default.
    """

    def __init__(
        self,
        expected: Callable[[int], int],
        label: str = "train",
        grow_and_prune: Any = None,
        stream: TextIO | None = None,
    ) -> None:
        super().__init__()
        self.expected = expected
        self.label = label
        self.grow_and_prune = grow_and_prune
        self.stream = stream
        self._ends: list[float] = []

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        if not self._ends:
            self._ends.append(time.monotonic())

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        self._ends.append(time.monotonic())
        gp = self.grow_and_prune
        iterations, finished = (gp.progress.iteration, gp.history[-1]) if gp else (0, None)
        epochs = max(epoch + 1, self.expected(iterations))
        if gp and gp.progress.phase == "finished":
            epochs = epoch + 1
        print(
            f"{self.label}: epoch {epoch + 1}/{epochs}, {_figures(logs or {}, finished)},"
            f" {self._left(epochs - epoch - 1)} left",
            file=self.stream or sys.stderr,
            flush=True,
        )

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        if self.grow_and_prune and self.grow_and_prune.progress.reason:
            reason = self.grow_and_prune.progress.reason
            print(f"{self.label}: {reason}", file=self.stream or sys.stderr, flush=True)

    def _left(self, epochs: int) -> str:
        # The first epoch traces; later ones tell better how long one takes.
        recent = self._ends[1:] if len(self._ends) > 2 else self._ends
        minutes, seconds = divmod(
            round(epochs * (recent[-1] - recent[0]) / max(1, len(recent) - 1)), 60
        )
        return f"{minutes}:{seconds:02d}"


def _figures(logs: dict[str, Any], state: dict[str, Any] | None) -> str:
    figures = [f"loss {float(logs['loss']):.2f}"] if "loss" in logs else []
    if "val_wer" in logs:
        figures.append(f"WER {100 * float(logs['val_wer']):.1f} %")
    if state is not None:
        figures.append(f"{state['phase']}, {state['connections']:,} connections")
    return ", ".join(figures)
