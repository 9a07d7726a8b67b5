"""GP training as one callback: growth, activation shift, training, pruning, retraining."""

import math
import os
import warnings
from typing import Any

import keras
import numpy as np

from hlstm_tf.callbacks.base import MaskCallback
from hlstm_tf.callbacks.epoch_data import set_epoch
from hlstm_tf.keras_internals import begin_fit_at
from hlstm_tf.scoring.data import steps_per_epoch
from hlstm_tf.scoring.score_source import ScoreSource
from hlstm_tf.training_run.phases import Phase, Plan, Progress, advance, begin
from hlstm_tf.training_run.plan import Growth, Pruning, describe
from hlstm_tf.training_run.resume import DirectoryUse, RunState, restore_random_state
from hlstm_tf.training_run.run_checks import (
    check_fit,
    check_scoring_data,
    monitored,
    restore_logs,
    scalars,
    scoring_data,
    warn_of_order,
)
from hlstm_tf.training_run.run_log import RunLog, as_csv
from hlstm_tf.training_run.stage import Stage

_HIGHER_IS_BETTER = ("acc", "accuracy", "auc", "precision", "recall", "f1_score", "iou", "cider")


class GrowAndPrune(MaskCallback):
    r"""Trains by growing, then pruning, connections: GP training in one callback.

    The sequence (arXiv 1805.11797, section 3.2; NeST, arXiv 1711.02017), at the ends of epochs:

    1. *Growth*: hidden activations are leaky ReLU; each of `growth.epochs` epochs ends with the
       activation of the dormant connections of large gradient, and the birth of neurons where
       `growth.neurons` asks for it.
    2. *Activation shift*: to ReLU.
    3. *Training* of what has grown: `train_epochs`, and on until the threshold is met.
    4. *Pruning iterations*: remove `pruning.step` of the existing connections, retrain
       `pruning.retrain_epochs`, check the threshold. Met: that is a complete iteration, and the
       next begins. Not met: weights, masks and optimizers go back together to the last complete
       iteration, and half the step is tried, down to `pruning.min_step`.
    5. The end: the last complete iteration is in the model, and training stops.

    The best epoch of a training or retraining phase, the later of equals, is the one that
    goes on. The `epochs` of `fit` are an upper limit; if they end before, the model gets its last
    complete iteration.

    With a `directory`, everything is on disk after each epoch: a process that is killed at any
    moment and started again by the same command ends with the same model, bit for bit on one
    machine, if the data's order is a function of the epoch (`EpochData`) and its computation is
    deterministic. `fit` then starts at the epoch it had reached; a run that has finished loads
    its result and trains no more. State that other callbacks keep to themselves is not in it.

    Args:
        train: The training set, for the growth score and to set its epoch where it is an
            `EpochData`: a `tf.data.Dataset`, `keras.utils.PyDataset`, or arrays `(x, y)` or
            `(x, y, sample_weight)`. What else weighs examples in `fit`, such as `class_weight`,
            has to be in its sample weights to count. Of data without an end a pass takes as many
            batches as an epoch of `fit` has. It may be `None` where nothing is scored by gradient.
        growth: A `Growth`; `None` to prune only.
        pruning: A `Pruning`; `None` to grow only.
        monitor: A name in the logs of an epoch. What other callbacks put there counts if they come
            before this one. `fit` has to give it in every epoch.
        mode: "min", "max", or "auto": "max" for accuracies and the like, by name, else "min".
        threshold: What the monitor has to meet after each iteration, in its own unit. Default
            `None`: relative to the best value between growth and the first pruning (or that of the
            last growth epoch with `train_epochs=0`).
        tolerance: With `threshold=None`, how much worse than that value is accepted, in the
            monitor's unit.
        train_epochs: Epochs of training before the first pruning. Default `None`: with a threshold,
            until it is first met; without, as many as `pruning.retrain_epochs`. With a threshold
            training goes on in any case until it is met.
        directory: Where the run keeps its state; `None` for nowhere. Each run needs its own, so a
            tuner's trials, too, which get copies of this callback: make it where a trial is fitted.
        batch_size: How arrays are batched for scoring.
        seed: Of random scores.
        verbose: Whether to print a line an epoch: 1 or 0, or "auto" (default) for as `fit` does,
            by its own `verbose`.

    Attributes:
        history: A dictionary an epoch: `epoch`, `phase`, `phase_epoch`, `iteration` (complete
            ones), `step`, `value` (the monitor's), `threshold`, `complete` (value of the last
            complete iteration), `sparsity`, `connections` and `cost` (by the pruning's
            budget, from the first pruning on) during the epoch and `..._after` the `events` at its
            end, `budget` (its limit), `learning_rate`, `seconds`, `logs`. Also in
            `directory/history.csv`.
        progress: Where the run is; `progress.reason` says why it finished.

    Raises:
        ValueError: An argument is out of its range; at training, the model has no masked kernel,
            `epochs` leave no room for pruning, `train` has no end and `fit` no `steps_per_epoch`,
            the monitor is not in the logs, or the directory holds another run.
        FloatingPointError: The loss of a batch is not finite, in whatever phase. The state on disk
            is that of the epoch before.
        OSError: The state cannot be written or read.

    Example:

    >>> import keras, numpy as np, hlstm_tf as hl
    >>> from hlstm_tf.callbacks import GrowAndPrune, Growth, Pruning
    >>> x = np.random.default_rng(0).normal(size=(64, 6)).astype("float32")
    >>> y = x[:, :1] - x[:, 1:2]
    >>> model = keras.Sequential([keras.Input((6,)), hl.MaskedDense(1)])
    >>> model.compile(keras.optimizers.Adam(0.05), "mse")
    >>> gp = GrowAndPrune((x, y), growth=None, pruning=Pruning(step=0.3, retrain_epochs=3),
    ...                   monitor="loss", threshold=0.2, verbose=0)
    >>> history = model.fit(x, y, epochs=100, callbacks=[gp], verbose=0)
    >>> gp.progress.phase.value, gp.history[-1]["sparsity_after"] > 0.5
    ('finished', True)
    """

    def __init__(
        self,
        train: Any,
        growth: Growth | None = Growth(),  # noqa: B008  (frozen)
        pruning: Pruning | None = Pruning(),  # noqa: B008
        monitor: str = "val_loss",
        mode: str = "auto",
        threshold: float | None = None,
        tolerance: float = 0.0,
        train_epochs: int | None = None,
        directory: str | os.PathLike | None = None,
        batch_size: int = 32,
        seed: int = 0,
        verbose: int | str | None = "auto",
    ) -> None:
        super().__init__(verbose)
        if mode not in ("min", "max", "auto"):
            raise ValueError(f'mode must be "min", "max" or "auto"; got {mode!r}.')
        if not _is_finite(tolerance) or tolerance < 0:
            raise ValueError(f"tolerance must be 0 or more; got {tolerance!r}.")
        if threshold is not None and not _is_finite(threshold):
            raise ValueError(f"threshold must be a finite number, or None; got {threshold!r}.")
        if train_epochs is not None and train_epochs < 0:
            raise ValueError(f"train_epochs must be 0 or more, or None; got {train_epochs!r}.")
        if not isinstance(growth, Growth | None):
            raise ValueError(f"growth must be a Growth, or None; got {growth!r}.")
        if not isinstance(pruning, Pruning | None):
            raise ValueError(f"pruning must be a Pruning, or None; got {pruning!r}.")
        if not isinstance(monitor, str):
            raise ValueError(f"monitor must be a name in the logs of fit; got {monitor!r}.")
        if not isinstance(directory, str | os.PathLike | None):
            raise ValueError(f"directory must be a path, or None; got {directory!r}.")
        if growth is None and pruning is None:
            raise ValueError("growth and pruning are both None: there is nothing to do.")
        self.train = train
        check_scoring_data(train, growth, pruning)
        maximize = mode == "max" or (mode == "auto" and monitor.endswith(_HIGHER_IS_BETTER))
        self.plan = Plan(growth, pruning, train_epochs, threshold, tolerance, maximize)
        begin(self.plan)  # raises where nothing tells the threshold
        self.monitor = monitor
        self.directory = directory
        self.batch_size = batch_size
        self.seed = seed
        self.progress = Progress(Phase.GROWTH)
        self._directory_use = DirectoryUse()

    # The events of `fit`.

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        growth = self.plan.growth
        training, share = (growth.training, growth.share) if growth else (False, 1.0)
        data = scoring_data(self.train, growth, self.plan.pruning, steps_per_epoch(self))
        source = ScoreSource(self.model, data, self.batch_size, training, share, self.seed)
        self._stage = Stage(self.model, self.plan, source)
        check_fit(self.model, self.plan, self.params["epochs"])
        if self.directory is not None:
            self._directory_use.claim(self, self.directory)
            warn_of_order(self.model)
        super().on_train_begin(logs)
        pruning = self.plan.pruning
        self._log = RunLog(self.monitor, self.history, pruning.budget if pruning else None)
        choices = {**describe(self.plan), "monitor": self.monitor, "seed": self.seed}
        self._state = RunState(self.directory, self.model, choices)
        if not self._resume():
            self.progress, actions = begin(self.plan)
            self._stage.progress = self.progress
            self._stage.set_activation()
            self._stage.do(actions)
            self._say_notes()
            if self.progress.phase is Phase.FINISHED:
                self._say_end()
                begin_fit_at(self.model, self.params["epochs"])  # as a resumed run that is done
            self._save()
        if growth is not None and growth.during == "epoch" and self._grows:
            source.collect()

    @property
    def _grows(self) -> bool:
        return self.progress.phase is Phase.GROWTH

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        # `fit` has read it; a later `fit` of this model is to start where it says itself.
        begin_fit_at(self.model, None)
        restore_logs(self.model, self.history)
        self._stage.current = None
        self._stage.source.begin_epoch()
        self._log.clock.begin_epoch()
        set_epoch(self.train, epoch)
        if self.plan.pruning is not None and self.progress.phase is Phase.RETRAINING:
            rate = self.plan.pruning.rate(self.progress.phase_epoch)
            if rate is not None:
                self.model.optimizer.learning_rate = rate

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        self._stage.source.count(batch)
        loss = (logs or {}).get("loss")
        if loss is not None and not math.isfinite(loss):
            done, where = self._stage.epochs, self._stage.where()
            intact = f"The state after {done} epochs is intact in {self.directory}. "
            raise FloatingPointError(
                f"the loss is {loss} at batch {batch} of epoch {done}, {where}. "
                f"{intact if self.directory is not None else ''}"
                "Lower the learning rate or clip gradients (clipnorm=1)."
            )

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        super().on_epoch_end(epoch, logs)
        numbers = scalars(logs)
        value = monitored(self.monitor, numbers, epoch)
        stage = self._stage
        stage.epochs = epoch + 1
        record = self._log.open(epoch, self.progress, stage.size(), value, numbers)
        events = stage.do(advance(self.plan, self.progress, value, record["sparsity"]))
        if not self._grows:
            stage.source.stop_collecting()
        rate = float(keras.ops.convert_to_numpy(self.model.optimizer.learning_rate))
        self._log.close(record, self.progress, stage.size(), events, rate)
        self._save()
        self.say(self._log.line(self.plan), after_batches=True)
        self._say_notes()
        if self.progress.phase is Phase.FINISHED:
            self._say_end()
            self.model.stop_training = True

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        self._stage.source.stop_collecting()
        begin_fit_at(self.model, None)
        restore_logs(self.model, self.history)
        if self.progress.phase is Phase.RETRAINING:
            self._end_early()
        elif self.progress.phase is not Phase.FINISHED and self.plan.pruning is not None:
            warnings.warn(
                f"GrowAndPrune: {self._ended()} {self._stage.where()}, before the first pruning "
                f"({self.monitor} is to meet {self.progress.threshold}). {self._remedy()}.",
                stacklevel=2,
            )
        self._end.promise(self._put_back_complete)
        super().on_train_end(logs)

    def _end_early(self) -> None:
        """Gives the model its last complete iteration where `fit` ended during retraining."""
        self._stage.put_complete()
        missed = self._stage.missed_budget()
        warnings.warn(
            f"GrowAndPrune: {self._ended()} {self._stage.where()}; the last complete iteration, "
            f"{self.progress.iteration}, is in the model. {self._remedy()}; with a directory "
            f"the same command goes on from here.{' ' + missed + '.' if missed else ''}",
            stacklevel=2,
        )

    def _ended(self) -> str:
        return "another callback stopped fit" if self.model.stop_training else "fit's epochs ended"

    def _remedy(self) -> str:
        if self.model.stop_training:
            return "Leave out EarlyStopping and the like: GrowAndPrune ends fit by itself"
        return "Give fit more epochs"

    def _put_back_complete(self) -> None:
        """Gives the model its last complete iteration where another callback has changed it."""
        over = self.progress.phase in (Phase.RETRAINING, Phase.FINISHED)
        if over and self._stage.complete is not None and self._stage.put_complete():
            warnings.warn(
                f"GrowAndPrune: {self._end.others()} changed the model's weights after the run had "
                f"ended; the last complete iteration, {self.progress.iteration}, is in the model "
                "again. Leave out EarlyStopping(restore_best_weights=True) and the like: "
                "GrowAndPrune keeps the best epoch of each iteration by itself.",
                stacklevel=2,
            )

    # State on disk.

    def _resume(self) -> bool:
        saved = self._state.load()
        if saved is None:
            return False
        facts, snapshots = saved
        stage = self._stage
        self.progress = stage.progress = Progress.from_json(facts["progress"])
        self.history[:] = facts["history"]
        stage.epochs = facts["epoch"]
        stage.best, stage.complete = snapshots.get("best"), snapshots.get("complete")
        stage.set_activation()
        stage.put(snapshots["current"])
        restore_random_state(facts["random"])
        finished = self.progress.phase is Phase.FINISHED
        # As keras.callbacks.BackupAndRestore does; `fit` reads it after this.
        begin_fit_at(self.model, max(stage.epochs, self.params["epochs"] if finished else 0))
        then = f"finished: {self.progress.reason}" if finished else stage.where()
        self.say(
            f"grow-and-prune: {self.directory} holds {stage.epochs} epochs of this run ({then})"
        )
        return True

    def _save(self) -> None:
        if self._state.files is None:
            return
        stage = self._stage
        snapshots = stage.snapshots()
        self._state.save(stage.epochs, self.progress.as_json(), self.history, snapshots)
        self._state.files.write_text("history.csv", as_csv(self.history))

    def _say_notes(self) -> None:
        for note in self._stage.take_notes():
            self.say(f"grow-and-prune: {note}")

    def _say_end(self) -> None:
        reason = f"finished: {self.progress.reason}"
        self.say(f"grow-and-prune: {reason}")
        if missed := self._stage.missed_budget():
            # Not by `verbose`: nobody should deploy it in the belief that it is within the budget.
            warnings.warn(f"GrowAndPrune: {missed}; {reason}", stacklevel=2)


def _is_finite(value: Any) -> bool:
    return isinstance(value, (int, float, np.number)) and math.isfinite(value)
