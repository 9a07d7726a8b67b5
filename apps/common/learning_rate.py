"""The learning rate of a training, and the end of one whose loss is no number."""

from __future__ import annotations

import math
from typing import Any

import keras


def warmup_cosine(done: float, warmup: float = 0.0) -> float:
    """Return the share of the peak learning rate after a share of the training.

    Args:
        done: Share of the training that is done, 0 to 1; beyond 1 counts as 1.
        warmup: Share in which the rate rises linearly; half a cosine falls to 0 after it.

    Example:

    >>> [round(warmup_cosine(done, warmup=0.2), 2) for done in (0.1, 0.2, 0.6, 1.0)]
    [0.5, 1.0, 0.5, 0.0]
    """
    if done < warmup:
        return done / warmup
    return 0.5 * (1 + math.cos(math.pi * min(1.0, (done - warmup) / (1 - warmup))))


class LearningRate(keras.callbacks.Callback):
    """Set the learning rate before each step, from the epoch's number and the step's.

    The rate is a function of where the run is and of nothing else, so that a resumed run goes on
    with the rate it had; while `GrowAndPrune` retrains, it falls anew in each iteration.

    Args:
        peak: Highest rate.
        epochs: Epochs of the training; growth is part of it.
        warmup: Epochs of the linear rise.
        floor: Lowest share of `peak`: of its first steps, and of epochs beyond `epochs`, which
            happen where a threshold has not been met by then.
        retraining: Highest rate while retraining.
        retrain_epochs: Epochs of one retraining.
        grow_and_prune: The run's `GrowAndPrune` callback; None for a plain training.
    """

    def __init__(
        self,
        peak: float,
        epochs: int,
        warmup: float = 0.0,
        *,
        floor: float = 0.01,
        retraining: float = 0.0,
        retrain_epochs: int = 1,
        grow_and_prune: Any = None,
    ) -> None:
        super().__init__()
        self.peak = peak
        self.epochs = epochs
        self.warmup = warmup
        self.floor = floor
        self.retraining = retraining
        self.retrain_epochs = retrain_epochs
        self.grow_and_prune = grow_and_prune
        self._epoch = 0

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        self._epoch = epoch

    def on_train_batch_begin(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        steps = self.params.get("steps") or 1
        self.model.optimizer.learning_rate = self.rate(batch / steps)

    def rate(self, share: float) -> float:
        """Return the rate after `share` of the current epoch."""
        progress = getattr(self.grow_and_prune, "progress", None)
        if progress is not None and progress.phase == "retraining":
            done = (progress.phase_epoch + share) / self.retrain_epochs
            return self.retraining * max(self.floor, warmup_cosine(done))
        done = (self._epoch + share) / self.epochs
        return self.peak * max(self.floor, warmup_cosine(done, self.warmup / self.epochs))


class FiniteLoss(keras.callbacks.Callback):
    """End a training whose loss is no number, as `GrowAndPrune` does.

    Raises:
        FloatingPointError: After the first such batch.
    """

    def __init__(self) -> None:
        super().__init__()
        self._epoch = 0

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        self._epoch = epoch

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        loss = (logs or {}).get("loss", 0.0)
        if not math.isfinite(loss):
            raise FloatingPointError(
                f"the loss is {loss} after batch {batch} of epoch {self._epoch}: lower the"
                " learning rate; the state of the epoch before is kept"
            )
