"""Schedules: when to prune, and how far.

A schedule is any callable `(step) -> (should_prune, sparsity)`. That is the protocol of the
TensorFlow Model Optimization toolkit (tfmot), so its `PolynomialDecay` and `ConstantSparsity`
objects serve as they are, through `as_schedule`, and the ones here give the same numbers. What
a step is, an optimizer's step, an epoch or a pruning iteration, is the caller's to say.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np

from hlstm_tf.sparsity.checks import check_count, check_fraction


@runtime_checkable
class Schedule(Protocol):
    """What a schedule is: a callable from a step to (whether to prune, the sparsity)."""

    def __call__(self, step: int) -> tuple[bool, float]: ...


def _check_window(begin: int, end: int | None, frequency: int) -> None:
    check_count(begin, "begin", minimum=0)
    check_count(frequency, "frequency")
    if end is not None and check_count(end, "end", minimum=0) < begin:
        raise ValueError(f"`end` must not be before `begin`, got begin={begin}, end={end}")


def _is_turn(step: int, begin: int, end: int | None, frequency: int) -> bool:
    in_window = step >= begin and (end is None or step <= end)
    return in_window and (step - begin) % frequency == 0


@dataclass(frozen=True)
class Constant:
    """The same sparsity at every turn.

    Args:
        sparsity: In [0, 1].
        begin: First step at which to prune; 0 by default.
        end: Last one; None (the default) for no end.
        frequency: Steps from one turn to the next; 1 by default, since steps here are mostly
            epochs or iterations (tfmot counts batches and has 100).

    Raises:
        ValueError: If an argument is out of range.

    >>> schedule = Constant(0.5, begin=2, frequency=2)
    >>> [schedule(step) for step in (1, 2, 3)]
    [(False, 0.5), (True, 0.5), (False, 0.5)]
    """

    sparsity: float
    begin: int = 0
    end: int | None = None
    frequency: int = 1

    def __post_init__(self) -> None:
        check_fraction(self.sparsity, "sparsity")
        _check_window(self.begin, self.end, self.frequency)

    def __call__(self, step: int) -> tuple[bool, float]:
        return _is_turn(step, self.begin, self.end, self.frequency), float(self.sparsity)


@dataclass(frozen=True)
class Polynomial:
    """From an initial to a final sparsity, fast at first and slower toward the end.

    sparsity(t) = final + (initial - final) (1 - (t - begin) / (end - begin))^power, held
    before `begin` and after `end` (Zhu & Gupta 2017, arXiv 1710.01878, equation 1, with a
    power of 3).

    Args:
        initial: Sparsity at `begin`, in [0, 1].
        final: Sparsity at `end`, in [0, 1].
        begin: First step at which to prune.
        end: Last one. With `end` equal to `begin`, that one step goes to `final`.
        power: Exponent, above 0; 3 by default.
        frequency: Steps from one turn to the next; 1 by default.

    Raises:
        ValueError: If an argument is out of range.

    >>> schedule = Polynomial(0.0, 0.8, begin=0, end=10, power=1)
    >>> [schedule(step) for step in (0, 5, 10, 11)]
    [(True, 0.0), (True, 0.4), (True, 0.8), (False, 0.8)]
    """

    initial: float
    final: float
    begin: int
    end: int
    power: float = 3.0
    frequency: int = 1

    def __post_init__(self) -> None:
        check_fraction(self.initial, "initial")
        check_fraction(self.final, "final")
        _check_window(self.begin, check_count(self.end, "end", minimum=0), self.frequency)
        if not (isinstance(self.power, (int, float)) and 0.0 < self.power < float("inf")):
            raise ValueError(f"`power` must be a number above 0, got {self.power!r}")

    def __call__(self, step: int) -> tuple[bool, float]:
        span = self.end - self.begin
        progress = (step - self.begin) / span if span else float(step >= self.begin)
        left = (1.0 - min(max(progress, 0.0), 1.0)) ** self.power
        sparsity = self.final + (self.initial - self.final) * left
        return _is_turn(step, self.begin, self.end, self.frequency), sparsity


@dataclass(frozen=True)
class Cubic(Polynomial):
    """`Polynomial` with the power of 3 of Zhu & Gupta 2017 (arXiv 1710.01878).

    >>> Cubic(0.0, 0.8, begin=0, end=2)(1)
    (True, 0.7000000000000001)
    """

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.power != 3:
            raise ValueError(f"`power` of Cubic is 3, got {self.power!r}; use Polynomial")


@dataclass(frozen=True)
class Iterative:
    """Each iteration removes the same part of what is left (Han et al., arXiv 1506.02626).

    The step counts iterations: after k of them the sparsity is
    1 - (1 - initial) (1 - ratio)^k. This is the pruning of grow-and-prune training, where
    `ratio` also goes to the pruning rule as it is.

    Args:
        ratio: Part of the existing connections that an iteration removes, in [0, 1].
        initial: Sparsity before the first iteration; 0 by default.

    Raises:
        ValueError: If an argument is outside [0, 1].

    >>> [Iterative(0.5, initial=0.5)(k) for k in range(3)]
    [(False, 0.5), (True, 0.75), (True, 0.875)]
    """

    ratio: float
    initial: float = 0.0

    def __post_init__(self) -> None:
        check_fraction(self.ratio, "ratio")
        check_fraction(self.initial, "initial")

    def __call__(self, step: int) -> tuple[bool, float]:
        return step > 0, 1.0 - (1.0 - self.initial) * (1.0 - self.ratio) ** max(step, 0)


@dataclass(frozen=True)
class _Converted:
    """A foreign schedule whose answers are turned into Python numbers and checked."""

    schedule: Callable[[Any], Any]

    def __call__(self, step: int) -> tuple[bool, float]:
        answer = self.schedule(step)
        try:
            should_prune, sparsity = answer
            # tfmot returns tensors; NumPy reads any kind of them, whatever made it.
            return bool(np.asarray(should_prune)), check_fraction(
                float(np.asarray(sparsity)), "sparsity"
            )
        except (TypeError, ValueError) as error:
            raise ValueError(
                f"schedule {type(self.schedule).__name__} must return (should_prune, sparsity "
                f"in [0, 1]) for a step, got {answer!r} for step {step}"
            ) from error


def as_schedule(schedule: Any) -> Schedule:
    """Returns a schedule that answers in Python numbers, whatever the one given answers in.

    Args:
        schedule: One of this module's schedules (comes back as it is), a tfmot
            `PruningSchedule` object, or any callable `(step) -> (should_prune, sparsity)` that
            may return tensors. Importing tfmot sets TF_USE_LEGACY_KERAS=1 for the process, so
            set it back to "0", or import keras first.

    Raises:
        ValueError: If it is not callable; when called, if its answer is not as it should be.

    >>> as_schedule(lambda step: (np.bool_(step > 1), np.float32(0.5)))(2)
    (True, 0.5)
    """
    if isinstance(schedule, (Constant, Polynomial, Iterative, _Converted)):
        return schedule
    if isinstance(schedule, type) or not callable(schedule):
        raise ValueError(
            f"`schedule` must be a callable (step) -> (should_prune, sparsity), got {schedule!r}"
        )
    return _Converted(schedule)
