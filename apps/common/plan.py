"""The grow-and-prune part of a training: a plan, its options and what they make of `hl`."""

from __future__ import annotations

import argparse
import dataclasses
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import hlstm_tf as hl
from apps.common.errors import InputError
from apps.common.recipe import check


@dataclass(frozen=True)
class GrowAndPruneRecipe:
    """The grow-and-prune part of a training (arXiv 1805.11797, section 3.2).

    Attributes:
        seed_sparsity: Share of the connections that the random seed architecture lacks.
        growth_ratio: A dormant connection grows where its gradient exceeds this percentile of its
            matrix. 0 epochs of growth and a seed sparsity of 0 give plain pruning.
        growth_epochs: Epochs that end with a growth.
        growth_share: Share of the training batches that growth scores by.
        growth_score: "gradient", or "random" to see what the gradient is worth.
        step: Share of the existing connections (or neurons) that a pruning iteration removes.
        structures: What the pruning iterations remove, one each and the last of them from then on:
            "connection", "neuron" (hidden neurons of the gates), "unit" (of the recurrent states),
            or another that `hl.Pruning` has.
        retrain_epochs: Epochs of retraining after each.
        retrain_rate: Peak learning rate of retraining; it falls to zero in each iteration.
        threshold: Error rate on validation data, as a share, that each iteration has to meet. None:
            no worse than `tolerance` above that of the model before its first pruning.
        tolerance: Of the error rate, as a share.
        target_sparsity: Stop at the iteration that reaches it; None to go on while the threshold
            allows.
        max_iterations: Stop after so many; 0 to grow and train only, None for no limit.
        min_step: Finest step tried when a step does not meet the threshold; None for an eighth of
            `step`.

    Raises:
        InputError: A value is out of its range.
    """

    seed_sparsity: float = 0.5
    growth_ratio: float = 0.9
    growth_epochs: int = 3
    growth_share: float = 1.0
    growth_score: str = "gradient"
    step: float = 0.2
    structures: tuple[str, ...] = ("connection",)
    retrain_epochs: int = 8
    retrain_rate: float = 1e-3
    threshold: float | None = None
    tolerance: float = 0.0
    target_sparsity: float | None = None
    max_iterations: int | None = None
    min_step: float | None = None

    def __post_init__(self) -> None:
        check("seed_sparsity", self.seed_sparsity, 0 <= self.seed_sparsity < 1, "0 to below 1")
        check("retrain_rate", self.retrain_rate, self.retrain_rate > 0, "above 0")
        check("tolerance", self.tolerance, self.tolerance >= 0, "0 or more")
        lowest = self.threshold is None or self.threshold > 0
        check("threshold", self.threshold, lowest, "a share above 0")
        target = self.target_sparsity
        expected = f"above the seed's {self.seed_sparsity} and below 1"
        check(
            "target_sparsity", target, target is None or self.seed_sparsity < target < 1, expected
        )
        try:
            self.growth(), self.pruning()
        except ValueError as error:
            raise InputError(f"grow-and-prune: {error}") from error

    def growth(self) -> hl.Growth | None:
        """Return how connections grow; None where they do not."""
        if not self.growth_epochs:
            return None
        return hl.Growth(
            ratio=self.growth_ratio,
            epochs=self.growth_epochs,
            score=self.growth_score,
            share=self.growth_share,
        )

    def pruning(self) -> hl.Pruning | None:
        """Return how connections or neurons are pruned; None where they are not."""
        if not self.prunes:
            return None
        return hl.Pruning(
            step=self.step,
            structure=self.structures,
            retrain_epochs=self.retrain_epochs,
            min_step=self.min_step,
            target_sparsity=self.target_sparsity,
            max_iterations=self.max_iterations,
        )

    def callback(
        self, data: hl.EpochData, epochs: int, monitor: str, state: Path, seed: int
    ) -> hl.GrowAndPrune:
        """Return the callback that does it.

        Args:
            data: To score connections and neurons by.
            epochs: Of growth and training, before the first pruning.
            monitor: Name of the error rate in the logs.
            state: Folder of its state on disk.
            seed: Of random scores.
        """
        return hl.GrowAndPrune(
            data,
            growth=self.growth(),
            pruning=self.pruning(),
            monitor=monitor,
            threshold=self.threshold,
            tolerance=self.tolerance,
            train_epochs=epochs - self.growth_epochs,
            directory=state,
            seed=seed,
            verbose=0,
        )

    @property
    def prunes(self) -> bool:
        """Whether any pruning iteration is wanted."""
        return self.max_iterations != 0


def expected_epochs(epochs: int, plan: GrowAndPruneRecipe | None, iterations: int = 0) -> int:
    """Return how many epochs a run takes if every pruning step meets its threshold.

    Where nothing but the threshold ends the pruning, that is unknown: the next iteration is
    counted as the last.

    Args:
        epochs: Before the first pruning.
        plan: None for a dense training.
        iterations: Complete pruning iterations so far.

    Example:

    >>> plan = GrowAndPruneRecipe(step=0.5, retrain_epochs=2, target_sparsity=0.875)
    >>> expected_epochs(9, plan)
    13
    """
    if plan is None or not plan.prunes:
        return epochs
    limits = [plan.max_iterations] if plan.max_iterations is not None else []
    if plan.target_sparsity is not None:
        # From the seed's sparsity: growth adds little to it.
        left = math.log(1 - plan.target_sparsity) - math.log(1 - plan.seed_sparsity)
        limits.append(math.ceil(left / math.log(1 - plan.step) - 1e-9))
    return epochs + max(iterations + 1, min(limits, default=0)) * plan.retrain_epochs


AnyRecipe = TypeVar("AnyRecipe", bound=Any)


def changed(recipe: AnyRecipe, args: argparse.Namespace) -> AnyRecipe:
    """Return a preset with what the command line changes in it, all at once.

    Args:
        recipe: A dataclass; its `grow_and_prune` is a plan or None.
        args: What `recipe_option` and `add_plan` of `apps.common.command_line` were parsed to.

    Raises:
        InputError: A value is out of range, or there is one of grow-and-prune for a dense training.
    """
    given: dict[str, Any] = {
        n: tuple(v) if isinstance(v, list) else v for n, v in vars(args).items()
    }
    names = {field.name for field in dataclasses.fields(recipe)} - {"grow_and_prune"}
    changes: dict[str, Any] = {name: given[name] for name in names if name in given}
    plan = recipe.grow_and_prune
    wanted = bool(plan) if args.grow_and_prune is None else args.grow_and_prune
    fields = {field.name for field in dataclasses.fields(GrowAndPruneRecipe)}
    asked: dict[str, Any] = {name: value for name, value in given.items() if name in fields}
    if wanted:
        plan = dataclasses.replace(plan or GrowAndPruneRecipe(), **asked)
    elif asked:
        raise InputError(
            f"train: got {', '.join(asked)} for a dense training; leave out the options of"
            " grow-and-prune, or give --grow-and-prune"
        )
    return dataclasses.replace(recipe, **changes, grow_and_prune=plan if wanted else None)
