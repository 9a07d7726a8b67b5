"""What a training needs beside the model: pairs of inputs and targets, and callbacks.

Order in `model.fit(callbacks=[...])`: `EpochNumber` first, then `WordErrorRate`, then whatever
reads `val_wer`.
"""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Iterable
from typing import Any, TextIO

import keras
import tensorflow as tf

from apps.speech.alphabet import Alphabet
from apps.speech.evaluate import Batch, Recognition, error_rates

INPUTS = ("features", "lengths")
TARGETS = ("labels", "label_lengths")


def supervised(batches: tf.data.Dataset) -> tf.data.Dataset:
    """Turn batches into the `(inputs, targets)` pairs that `model.fit` wants.

    Example:

    >>> batch = {name: tf.zeros((1, 1)) for name in (*INPUTS, *TARGETS)}
    >>> x, y = next(iter(supervised(tf.data.Dataset.from_tensors(batch))))
    >>> sorted(x), sorted(y)
    (['features', 'lengths'], ['label_lengths', 'labels'])
    """
    return batches.map(
        lambda batch: (
            {name: batch[name] for name in INPUTS},
            {name: batch[name] for name in TARGETS},
        )
    )


class EpochNumber(keras.callbacks.Callback):
    """Keep a variable equal to the number of the running epoch.

    Give the variable to `apps.speech.batches.batches(epoch=...)`: the order of the data and its
    augmentation are then functions of the epoch, and a run resumed at epoch 7 sees what the
    uninterrupted run saw there.

    Example:

    >>> epoch = EpochNumber()
    >>> epoch.on_epoch_begin(3)
    >>> int(epoch.variable.numpy())
    3
    """

    def __init__(self) -> None:
        super().__init__()
        self.variable = tf.Variable(0, dtype=tf.int64, trainable=False)

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        self.variable.assign(epoch)


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


class WarmupCosine(keras.optimizers.schedules.LearningRateSchedule):
    """A learning rate that rises linearly, then falls to zero along half a cosine.

    Args:
        peak: The highest rate.
        steps: Training steps in all; the rate is 0 from there on.
        warmup: Steps of the rise; 0 for none.

    Raises:
        ValueError: If `warmup` is not below `steps`.

    Example:

    >>> schedule = WarmupCosine(1.0, steps=30, warmup=10)
    >>> [round(float(schedule(step)), 2) for step in (0, 9, 10, 20, 30)]
    [0.1, 1.0, 1.0, 0.5, 0.0]
    """

    def __init__(self, peak: float, steps: int, warmup: int = 0) -> None:
        super().__init__()
        if not 0 <= warmup < steps:
            raise ValueError(f"warmup must be at least 0 and below steps={steps}; got {warmup}.")
        self.peak = peak
        self.steps = steps
        self.warmup = warmup

    def __call__(self, step: Any) -> Any:
        step = tf.cast(step, tf.float32)
        rise = (step + 1.0) / max(self.warmup, 1)
        done = tf.clip_by_value((step - self.warmup) / (self.steps - self.warmup), 0.0, 1.0)
        fall = 0.5 * (1.0 + tf.cos(math.pi * done))
        return self.peak * tf.where(step < self.warmup, rise, fall)

    def get_config(self) -> dict[str, Any]:
        return {"peak": self.peak, "steps": self.steps, "warmup": self.warmup}


class EpochLines(keras.callbacks.Callback):
    """Print one line an epoch: what was reached, and about how long the rest takes.

    Args:
        epochs: Epochs in all, for the time left.
        label: First word of each line.
        stream: Where to print; standard error by default.
    """

    def __init__(self, epochs: int, label: str = "train", stream: TextIO | None = None) -> None:
        super().__init__()
        self.epochs = epochs
        self.label = label
        self.stream = stream
        self._began = 0.0
        self._first = 0

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        if not self._began:
            self._began, self._first = time.monotonic(), epoch

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        done = epoch + 1 - self._first
        left = (time.monotonic() - self._began) / done * (self.epochs - epoch - 1)
        logs = logs or {}
        figures = [f"loss {float(logs['loss']):.2f}"] if "loss" in logs else []
        if "val_wer" in logs:
            figures.append(f"WER {100 * float(logs['val_wer']):.1f} %")
        minutes, seconds = divmod(round(left), 60)
        print(
            f"{self.label}: epoch {epoch + 1}/{self.epochs}, {', '.join(figures)},"
            f" {minutes}:{seconds:02d} left",
            file=self.stream or sys.stderr,
            flush=True,
        )
