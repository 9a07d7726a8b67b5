"""The sequence of GP training as a state machine: plain numbers in, actions out.

    growth -> (activation shift) -> training -> prune -> retraining -> ... -> finished
                                                  ^          |
                                                  +----------+  threshold met: next iteration
                                                  +----------+  not met: roll back, finer step

Everything happens at the ends of epochs. The callback tells the value of the monitor and gets
the actions to do in order; nothing here knows Keras.
"""

import math
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any

from hlstm_tf.training_run.plan import Growth, Pruning


class Phase(StrEnum):
    """What the epochs are for."""

    GROWTH = "growth"
    TRAINING = "training"
    RETRAINING = "retraining"
    FINISHED = "finished"


class Action(StrEnum):
    """What the callback does to the model, at the end of an epoch."""

    GROW = "grow"  # activate dormant connections
    SHIFT = "shift"  # leaky ReLU to ReLU
    KEEP_BEST = "keep_best"  # remember this state as the phase's best
    RESTORE_BEST = "restore_best"  # go back to the phase's best state
    COMPLETE = "complete"  # remember this state as the last complete iteration
    ROLL_BACK = "roll_back"  # go back to the last complete iteration
    RECOVER = "recover"  # give needed connections of the last pruning back
    PRUNE = "prune"  # remove connections by the current step
    FINISH = "finish"  # stop training


@dataclass(frozen=True)
class Plan:
    """What is to be done.

    Attributes:
        growth: `None` for no growth phase.
        pruning: `None` for growth only.
        train_epochs: Epochs between growth and the first pruning; `None` for the default.
        threshold: What the monitor has to meet; `None` for relative to the value before pruning.
        tolerance: With `threshold=None`, how much worse than that value is accepted.
        maximize: Whether higher is better.
    """

    growth: Growth | None
    pruning: Pruning | None
    train_epochs: int | None
    threshold: float | None
    tolerance: float
    maximize: bool

    def better(self, value: float, than: float | None) -> bool:
        """Whether a value is better than another; NaN never is, any number beats `None`."""
        if than is None:
            return not math.isnan(value)
        return value > than if self.maximize else value < than

    def meets(self, value: float | None, threshold: float | None) -> bool:
        """Whether a value is good enough."""
        if value is None or threshold is None:
            return False
        return value >= threshold if self.maximize else value <= threshold

    def length(self, phase: Phase) -> int | None:
        """How many epochs a phase has; `None` where it depends."""
        if phase is Phase.GROWTH and self.growth is not None:
            return self.growth.epochs
        if phase is Phase.RETRAINING and self.pruning is not None:
            return self.pruning.retrain_epochs
        return (self.shortest_training or None) if phase is Phase.TRAINING else None

    @property
    def shortest_training(self) -> int:
        """The least number of epochs between growth and the first pruning."""
        if self.train_epochs is not None:
            return self.train_epochs
        if self.pruning is None or self.threshold is not None:
            return 0
        return self.pruning.retrain_epochs


@dataclass
class Progress:
    """Where a run is.

    Attributes:
        phase: What the next epoch is for.
        phase_epoch: Epochs done in the phase, or in this retraining.
        iteration: Complete pruning iterations.
        step: The current pruning step.
        threshold: The threshold in force; `None` until it is known.
        best: The best value in the phase, or in this retraining.
        complete: The value of the last complete iteration.
        cost: What the pruning's budget limits, of the model as it is; `None` while unknown.
        complete_cost: That of the last complete iteration.
        turn: How many prunings there were, those that were rolled back included.
        tried: What the prunings since the last complete iteration led to: a checksum of the masks.
        reason: Why the run finished.
    """

    phase: Phase
    phase_epoch: int = 0
    iteration: int = 0
    step: float = 0.0
    threshold: float | None = None
    best: float | None = None
    complete: float | None = None
    cost: float | None = None
    complete_cost: float | None = None
    turn: int = 0
    tried: list[int] = field(default_factory=list)
    reason: str = ""

    def as_json(self) -> dict[str, Any]:
        """The fields as JSON holds them."""
        return {**asdict(self), "phase": str(self.phase)}

    @classmethod
    def from_json(cls, fields: dict[str, Any]) -> "Progress":
        """The progress that `as_json` described."""
        return cls(**{**fields, "phase": Phase(fields["phase"])})


def begin(plan: Plan) -> tuple[Progress, list[Action]]:
    """Returns where a run starts, and what to do before its first epoch.

    Raises:
        ValueError: There is nothing to tell the threshold from.
    """
    step = plan.pruning.step if plan.pruning else 0.0
    phase = Phase.GROWTH if plan.growth else Phase.TRAINING
    progress = Progress(phase, step=step, threshold=plan.threshold)
    if plan.growth or plan.pruning is None or plan.train_epochs != 0:
        return progress, []
    if plan.threshold is None:
        raise ValueError(
            "threshold: with neither growth nor training epochs before the first pruning there is "
            "no value to be relative to; give a threshold, or train_epochs of 1 or more."
        )
    # A trained model is taken at its word: pruning begins at once.
    return progress, _prune_first(progress)


def advance(
    plan: Plan,
    progress: Progress,
    value: float,
    sparsity: float = 0.0,
) -> list[Action]:
    """Takes the end of an epoch: moves `progress` on and returns what to do, in order.

    Args:
        plan: What is to be done.
        progress: Where the run is; changed.
        value: The monitor's value after the epoch.
        sparsity: The model's sparsity, which `Pruning.target_sparsity` is compared with.
    """
    progress.phase_epoch += 1
    if progress.phase is Phase.GROWTH:
        return _end_of_growth_epoch(plan, progress, value)
    if progress.phase is Phase.TRAINING:
        return _end_of_training_epoch(plan, progress, value)
    return _end_of_retraining_epoch(plan, progress, value, sparsity)


def end_before_pruning(progress: Progress, reason: str) -> None:
    """Takes that a pruning that was due does not happen: the run ends with what it has."""
    _finish(progress, reason)


def _end_of_growth_epoch(plan: Plan, progress: Progress, value: float) -> list[Action]:
    assert plan.growth is not None
    actions = [Action.GROW]
    if progress.phase_epoch < plan.growth.epochs:
        return actions
    actions.append(Action.SHIFT)
    _enter(progress, Phase.TRAINING)
    if plan.pruning is None and plan.train_epochs == 0:
        return actions + _finish(progress, "growth is complete")
    # New neurons change the model, so that this epoch's value is not that of what has grown.
    if plan.pruning is not None and plan.train_epochs == 0 and plan.growth.neurons is None:
        # What grew starts at zero, so the value of this epoch is the value after growth.
        progress.best = value
        _settle_threshold(plan, progress)
        if plan.meets(value, progress.threshold):
            return actions + _prune_first(progress)
        progress.best = None
    return actions


def _end_of_training_epoch(plan: Plan, progress: Progress, value: float) -> list[Action]:
    if plan.pruning is None:
        if plan.train_epochs is not None and progress.phase_epoch >= plan.train_epochs:
            return _finish(progress, "training after growth is complete")
        return []
    actions = _note(plan, progress, value)
    if progress.phase_epoch < plan.shortest_training:
        return actions
    _settle_threshold(plan, progress)
    # Pruning before the threshold is met once would leave nothing to roll back to.
    if not plan.meets(progress.best, progress.threshold):
        return actions
    return actions + _back_to_best(actions) + _prune_first(progress)


def _end_of_retraining_epoch(
    plan: Plan, progress: Progress, value: float, sparsity: float
) -> list[Action]:
    pruning = plan.pruning
    assert pruning is not None
    actions = _note(plan, progress, value)
    met = plan.meets(progress.best, progress.threshold)
    early = met and pruning.retrain == "until_threshold"
    if progress.phase_epoch < pruning.retrain_epochs and not early:
        due = pruning.recovers(progress.iteration, progress.phase_epoch)
        return [*actions, Action.RECOVER] if due else actions
    if not met:
        return _finer_step(pruning, progress)
    actions += [*_back_to_best(actions), Action.COMPLETE]
    progress.iteration += 1
    progress.tried = []
    progress.complete, progress.complete_cost = progress.best, progress.cost
    budget = pruning.budget
    if budget is not None and progress.cost is not None and budget.met(progress.cost):
        return actions + _finish(progress, f"within the budget: {budget.says(progress.cost)}")
    if pruning.reached(sparsity):
        return actions + _finish(progress, f"the target sparsity {pruning.target_sparsity:.1%}")
    if progress.iteration == pruning.max_iterations:
        return actions + _finish(progress, f"{progress.iteration} iterations are complete")
    _enter(progress, Phase.RETRAINING)
    return [*actions, Action.PRUNE]


def _finer_step(pruning: Pruning, progress: Progress) -> list[Action]:
    finer = progress.step / 2
    # Halving is exact, but `min_step` may come from a division that is not.
    if finer < pruning.finest_step * (1 - 1e-9):
        reason = f"a step of {progress.step:.2%} does not meet the threshold, nor may a finer one"
        progress.cost = progress.complete_cost
        return [Action.ROLL_BACK, *_finish(progress, reason)]
    progress.step, progress.cost = finer, progress.complete_cost
    _enter(progress, Phase.RETRAINING)
    return [Action.ROLL_BACK, Action.PRUNE]


def _prune_first(progress: Progress) -> list[Action]:
    progress.complete = progress.best
    _enter(progress, Phase.RETRAINING)
    return [Action.COMPLETE, Action.PRUNE]


def _note(plan: Plan, progress: Progress, value: float) -> list[Action]:
    # Of equals the later: it has been trained longer, and rates mostly fall.
    if not plan.better(value, progress.best) and value != progress.best:
        return []
    progress.best = value
    return [Action.KEEP_BEST]


def _back_to_best(actions: list[Action]) -> list[Action]:
    return [] if Action.KEEP_BEST in actions else [Action.RESTORE_BEST]


def _settle_threshold(plan: Plan, progress: Progress) -> None:
    if progress.threshold is None and progress.best is not None:
        worse = -plan.tolerance if plan.maximize else plan.tolerance
        progress.threshold = progress.best + worse


def _enter(progress: Progress, phase: Phase) -> None:
    progress.phase = phase
    progress.phase_epoch = 0
    progress.best = None


def _finish(progress: Progress, reason: str) -> list[Action]:
    _enter(progress, Phase.FINISHED)
    progress.reason = reason
    return [Action.FINISH]
