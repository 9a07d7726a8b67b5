"""The model of each pruning iteration, where a training is to keep them all."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras

from apps.common.callbacks import RunRecord, save_if_best


def iteration_file(folder: Path, iteration: int) -> Path:
    """Return where the model of a pruning iteration is, counted from 1; masks included."""
    return folder / f"iteration-{iteration}.keras"


class IterationModels(keras.callbacks.Callback):
    """Keep the best epoch of each pruning iteration in a file of its own.

    It is the model that `GrowAndPrune` takes as the iteration's result, before it prunes on: place
    this callback before that one, and after what puts the monitor into the logs.

    Args:
        folder: Of the run.
        record: The run's record, which knows the earlier epochs of a resumed run.
        grow_and_prune: The run's `GrowAndPrune` callback.
        monitor: A name in the logs; lower is better, and of equals the later.
    """

    def __init__(
        self, folder: Path, record: RunRecord, grow_and_prune: Any, monitor: str = "val_wer"
    ) -> None:
        super().__init__()
        self.folder = folder
        self.record = record
        self.grow_and_prune = grow_and_prune
        self.monitor = monitor

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        progress = self.grow_and_prune.progress
        if progress.phase != "retraining":
            return
        # A step that is tried anew, finer, begins its iteration anew.
        done = [e for e in self.record.content["epochs"] if e["epoch"] < epoch]
        earlier = [e[self.monitor] for e in done[len(done) - progress.phase_epoch :]]
        path = iteration_file(self.folder, progress.iteration + 1)
        save_if_best(self.model, path, (logs or {})[self.monitor], earlier)
