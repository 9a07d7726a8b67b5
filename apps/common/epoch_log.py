"""A training's lines of progress."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

import keras

from apps.common.progress import say


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
