"""Pruning by a schedule, epoch by epoch or step by step."""

import warnings
from typing import Any

import keras

from hlstm_tf.callbacks.base import MaskCallback
from hlstm_tf.callbacks.epoch_data import set_epoch
from hlstm_tf.layers.masking import masked_kernels, require_masked_kernels
from hlstm_tf.pruning.architecture import Rule, count_connections, prune_model
from hlstm_tf.pruning.widths import sparsity_missed
from hlstm_tf.scoring.data import check_data, one_epoch, steps_per_epoch
from hlstm_tf.scoring.score_source import ScoreSource
from hlstm_tf.sparsity import (
    NEED_DATA,
    Constant,
    Distribution,
    Polynomial,
    Schedule,
    Score,
    Structure,
    as_schedule,
)
from hlstm_tf.sparsity.checks import check_fraction


class MagnitudePruning(MaskCallback):
    """Removes the connections of the smallest weights, to the sparsity that a schedule names.

    For pruning that watches a metric and goes on as far as it allows, use `GrowAndPrune`.

    A connection that is gone stays gone: where the model is sparser than the schedule already,
    nothing happens. Hidden neurons of H-LSTM gates that lost all inputs or outputs go with the
    rest of their connections; the constant they put out moves to the next bias.

    Args:
        schedule: The sparsity to hold (a number in [0, 1]), or any callable
            `(step) -> (should_prune, sparsity)`: `Polynomial`, `Cubic`, `Constant`, `Iterative`, or
            a `PolynomialDecay` or `ConstantSparsity` of tfmot as it is.
        begin: First epoch or step to prune at, where `schedule` is a number.
        end: Where `schedule` is a number: the epoch or step to reach it at, rising from the
            sparsity that the model has when `fit` begins, along a cubic curve (arXiv 1710.01878);
            for a `fit` that may be resumed, give a `Polynomial`, which names where it starts.
            Default `None`: at once.
        per: "epoch": the schedule counts epochs and acts at their beginning, before the first
            batch. "step": it counts the optimizer's steps, and acts between batches (tfmot's
            schedules count so).
        frequency: Epochs or steps from one pruning to the next, where `schedule` is a number.
        score: "magnitude", "gradient", "saliency", "momentum", "activation", "output" (what a
            neuron puts out, for whole neurons), "random" or a `Score`.
        structure: What is removed as one. "neuron" or "unit", whole neurons or units of recurrent
            states, which `shrink` takes out, so that every exported file becomes smaller and
            faster; the sparsity is then the part of them that is gone. "connection" (default, as in
            the papers and in tfmot) leaves the most accuracy for its number, and a file of the same
            size and time: it buys bytes only where the file is gzipped. Blocks of "1x16" and "1x4"
            buy bytes with `export_tflite(quantization="sparse")` and "sparse_float32". "row" and
            "column", inputs and outputs of a matrix, go where no other matrix needs them. Or a
            pattern as "2:4", or a `Structure`. `benchmarks/structures.py` has bytes and
            times of each.
        distribution: "per_matrix", "global", "erk", or a `Distribution`.
        data: The training set, where the score needs a gradient. Of data without an end a pass
            takes as many batches as an epoch of `fit` has.
        batch_size: How arrays are batched for scoring.
        seed: Of random scores.
        verbose: Whether to print a line at the end of each epoch with a pruning: 1 or 0, or "auto"
            (default) for as `fit` does, by its own `verbose`.

    Attributes:
        history: A dictionary for each pruning that removed something: `step`, `removed`,
            `connections`, `sparsity`.

    Raises:
        ValueError: An argument is out of its range, or the sparsity less than a pattern's least;
            at training, the model has no masked kernel, or the score needs `data`, which has no
            end, and `fit` has no `steps_per_epoch`.

    Example:

    >>> import keras, numpy as np, hlstm_tf as hl
    >>> from hlstm_tf.callbacks import MagnitudePruning
    >>> model = keras.Sequential([keras.Input((4,)), hl.MaskedDense(5)])
    >>> model.compile("sgd", "mse")
    >>> x, y = np.ones((8, 4)), np.ones((8, 5))
    >>> _ = model.fit(x, y, callbacks=[MagnitudePruning(0.75)], verbose=0)
    >>> int(hl.masked_kernels(model)[0].mask.numpy().sum())
    5
    """

    def __init__(
        self,
        schedule: Any,
        begin: int = 0,
        end: int | None = None,
        per: str = "epoch",
        frequency: int = 1,
        score: str | Score = "magnitude",
        structure: str | Structure = "connection",
        distribution: str | Distribution = "per_matrix",
        data: Any = None,
        batch_size: int = 32,
        seed: int = 0,
        verbose: int | str | None = "auto",
    ) -> None:
        super().__init__(verbose)
        if per not in ("epoch", "step"):
            raise ValueError(f'per must be "epoch" or "step"; got {per!r}.')
        self.rule = Rule.of(score, structure, distribution)
        self._needs_data = bool(NEED_DATA & set(self.rule.score.needs))
        if self._needs_data:
            check_data(data, "data (which this score needs)")
        self._is_number = isinstance(schedule, (int, float, str)) or schedule is None
        self.schedule = (
            Constant(check_fraction(schedule, "schedule"), begin, None, frequency)
            if self._is_number
            else as_schedule(schedule)
        )
        if self._is_number:
            self.rule.structure.check_sparsity(float(schedule), "schedule")
        if self._is_number and end is not None:
            Polynomial(0.0, float(schedule), begin, end, frequency=frequency)  # checks the window
        self.begin, self.end, self.frequency = begin, end, frequency
        self.per = per
        self.data = data
        self.batch_size = batch_size
        self.seed = seed

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        kernels = require_masked_kernels(self.model)
        super().on_train_begin(logs)
        self._said = 0
        self._asked = self._reached = 0.0
        data = self.data
        if self._needs_data:
            data = one_epoch(data, "data", steps_per_epoch(self))
        self._source = ScoreSource(self.model, data, self.batch_size, seed=self.seed)
        self._counted, self._next_step = -1, 0
        self._schedule = self._of_this_fit(*count_connections(kernels))

    def _of_this_fit(self, connections: int, places: int) -> Schedule:
        """The schedule of a `fit` that begins with so many connections."""
        if not self._is_number or self.end is None:
            return self.schedule
        start, final = 1 - connections / places, self.schedule(self.begin)[1]
        return Polynomial(min(start, final), final, self.begin, self.end, frequency=self.frequency)

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        set_epoch(self.data, epoch)
        if self.per == "epoch":
            self._prune_if_due(epoch, epoch)
        else:
            # Read once an epoch: reading it at each batch would wait for the device. A model with
            # optimizers of its own may leave that of `compile` unused, which then stays at 0.
            counted = _iterations(self.model)
            self._first_step = counted if counted > self._counted else self._next_step
            self._counted, self._next_step = counted, self._first_step

    def on_train_batch_begin(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        if self.per == "step":
            # With steps_per_execution this runs once for several steps; none may be missed.
            step = self._first_step + batch
            self._prune_if_due(min(self._next_step, step), step)
            self._next_step = step + 1

    def _prune_if_due(self, first: int, last: int) -> None:
        answers = [(step, *self._schedule(step)) for step in range(first, last + 1)]
        due = [(step, sparsity) for step, should_prune, sparsity in answers if should_prune]
        if not due:
            return
        step, sparsity = due[-1]
        where = f"pruning at {self.per} {step}"
        removed = prune_model(self._source, self.rule, where, event=step, sparsity=sparsity)
        self._asked, self._reached = sparsity, _sparsity(self.model)
        if removed:
            self.keep(step=step, removed=removed)

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        super().on_epoch_end(epoch, logs)
        removed = sum(record["removed"] for record in self.history[self._said :])
        self._said = len(self.history)
        if removed:
            self.say_done(epoch, f"{removed:,} connections removed")

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        super().on_train_end(logs)
        missed = sparsity_missed(self.model, self.rule.structure, self._asked, self._reached)
        if missed:
            # Not by `verbose`: the model is not what was asked for.
            warnings.warn(
                f"MagnitudePruning: a sparsity of {self._asked:.1%} was asked for with "
                f"structure='{self.rule.structure}'; {missed}.",
                stacklevel=2,
            )


def _sparsity(model: keras.Model) -> float:
    connections, places = count_connections(masked_kernels(model))
    return 1 - connections / places


def _iterations(model: keras.Model) -> int:
    """How many steps the optimizer of `compile` has done."""
    optimizer = model.optimizer
    return 0 if optimizer is None else int(optimizer.iterations)
