"""The recipe of a training: architecture, treatment of the data and schedule, as one value."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass, field
from typing import Any

import hlstm_tf as hl
from apps.common.errors import InputError
from apps.speech.alphabet import Alphabet
from apps.speech.augment import Augment, SpecAugment
from apps.speech.front_end import FrontEnd, LogMel, from_config


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
        threshold: Validation WER, as a share, that each iteration has to meet. None: no worse than
            `tolerance` above that of the model before its first pruning.
        tolerance: WER, as a share.
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
        _check_range(
            "seed_sparsity", self.seed_sparsity, 0 <= self.seed_sparsity < 1, "0 to below 1"
        )
        _check_range("retrain_rate", self.retrain_rate, self.retrain_rate > 0, "above 0")
        _check_range("tolerance", self.tolerance, self.tolerance >= 0, "0 or more")
        if self.threshold is not None:
            _check_range("threshold", self.threshold, self.threshold > 0, "a share above 0")
        if self.target_sparsity is not None:
            between = self.seed_sparsity < self.target_sparsity < 1
            expected = f"above the seed's {self.seed_sparsity} and below 1"
            _check_range("target_sparsity", self.target_sparsity, between, expected)
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

    @property
    def prunes(self) -> bool:
        """Whether any pruning iteration is wanted."""
        return self.max_iterations != 0


@dataclass(frozen=True)
class Recipe:
    """A whole training.

    Attributes:
        cell, layers, units, hidden_units, hidden_dropout, dropout, bidirectional, channels,
            kernels, strides: As in `apps.speech.model.ModelConfig`.
        front_end: Makes the features.
        characters: Of the alphabet.
        epochs: Of training; with grow-and-prune, of growth and training before the first pruning.
        batch_size: Utterances a step. Small batches, many steps: on corpora of an hour updates are
            worth more than smooth gradients.
        learning_rate: Peak of the rate, which rises over `warmup_epochs` and falls to zero along a
            cosine.
        warmup_epochs: May be a fraction.
        weight_decay: AdamW's.
        clipnorm: Largest norm of the whole gradient.
        augment: SpecAugment on the features; None for none.
        sorted_epochs: Epochs at the beginning that go from short utterances to long ones, without
            augmentation.
        speeds: Each makes a copy of the training split played that much faster.
        rooms: How many copies more are made of the training split, each recording in another place
            each: other levels, rooms, noise and waits.
        max_seconds: Longest training utterance; None to take all.
        buckets: How many padded lengths the training batches have.
        drop_remainder: Leave out training batches that are not full, other utterances each epoch:
            each shape of batches costs seconds to compile.
        grow_and_prune: None for a dense training.
        seed: Of weights, masks, data order, augmentation and dropout.
    """

    cell: str = "hlstm"
    layers: int = 2
    units: int = 128
    hidden_units: tuple[int, ...] | None = None
    hidden_dropout: float = 0.0
    dropout: float = 0.0
    bidirectional: bool = True
    channels: tuple[int, int] = (16, 16)
    kernels: tuple[tuple[int, int], tuple[int, int]] = ((5, 9), (5, 5))
    strides: tuple[tuple[int, int], tuple[int, int]] = ((2, 4), (2, 2))
    front_end: FrontEnd = field(default_factory=LogMel)
    characters: str = Alphabet().characters
    epochs: int = 12
    batch_size: int = 16
    learning_rate: float = 2e-3
    warmup_epochs: float = 1.0
    weight_decay: float = 0.01
    clipnorm: float = 5.0
    augment: SpecAugment | None = field(default_factory=SpecAugment)
    sorted_epochs: int = 1
    speeds: tuple[float, ...] = (1.0,)
    rooms: int = 0
    max_seconds: float | None = None
    buckets: int = 6
    drop_remainder: bool = False
    grow_and_prune: GrowAndPruneRecipe | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("epochs", "batch_size", "layers", "units"):
            if getattr(self, name) < 1:
                raise InputError(f"{name}: got {getattr(self, name)}; expected at least 1")
        for name in ("learning_rate", "clipnorm"):
            if not getattr(self, name) > 0:
                raise InputError(f"{name}: got {getattr(self, name)}; expected above 0")
        for name in ("dropout", "hidden_dropout"):
            if not 0 <= getattr(self, name) < 1:
                raise InputError(f"{name}: got {getattr(self, name)}; expected 0 to below 1")
        if not self.speeds or min(self.speeds) < 0.5 or max(self.speeds) > 2:
            raise InputError(f"speeds: got {self.speeds}; expected one or more, each 0.5 to 2")
        if self.max_seconds is not None and not self.max_seconds > 0:
            raise InputError(f"max_seconds: got {self.max_seconds}; expected above 0, or None")
        if self.rooms < 0:
            raise InputError(f"rooms: got {self.rooms}; expected 0 or more")
        if not 0 <= self.warmup_epochs < self.epochs:
            raise InputError(
                f"warmup_epochs: got {self.warmup_epochs}; expected 0 to below {self.epochs} epochs"
            )
        if self.hidden_units is not None and self.cell != "hlstm":
            raise InputError(
                f"hidden_units: got {self.hidden_units} for cell {self.cell!r}; only the gates of"
                " hlstm have hidden layers"
            )
        plan = self.grow_and_prune
        without = self.cell != "hlstm" or self.hidden_units == ()
        if plan and plan.prunes and "neuron" in plan.structures and without:
            raise InputError(
                f"structures: got {' '.join(plan.structures)} for gates without hidden layers,"
                " which have no neurons to prune; expected connection or unit"
                " (--prune-structures)"
            )
        growth = plan.growth_epochs if plan else 0
        if growth >= self.epochs:
            raise InputError(
                f"growth_epochs: got {growth}; expected fewer than the {self.epochs} epochs"
            )

    @property
    def augmentation(self) -> Augment | None:
        """What is done to the features of a training batch."""
        return self.augment

    @property
    def alphabet(self) -> Alphabet:
        """Of `characters`."""
        return Alphabet(self.characters)

    def expected_epochs(self, iterations: int = 0) -> int:
        """Return how many epochs the run takes if every pruning step meets its threshold.

        Where nothing but the threshold ends the pruning, that is unknown: the next iteration is
        counted as the last.

        Args:
            iterations: Complete pruning iterations so far.

        Example:

        >>> pruning = GrowAndPruneRecipe(step=0.5, retrain_epochs=2, target_sparsity=0.875)
        >>> Recipe(epochs=9, grow_and_prune=pruning).expected_epochs()
        13
        """
        plan = self.grow_and_prune
        if plan is None or not plan.prunes:
            return self.epochs
        limits = [plan.max_iterations] if plan.max_iterations is not None else []
        if plan.target_sparsity is not None:
            # From the seed's sparsity: growth adds little to it.
            left = math.log(1 - plan.target_sparsity) - math.log(1 - plan.seed_sparsity)
            limits.append(math.ceil(left / math.log(1 - plan.step) - 1e-9))
        return self.epochs + max(iterations + 1, min(limits, default=0)) * plan.retrain_epochs

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        values = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        values["front_end"] = self.front_end.config()
        values["augment"] = self.augment.config() if self.augment else None
        if self.grow_and_prune:
            values["grow_and_prune"] = dataclasses.asdict(self.grow_and_prune)
        return _lists(values)

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Recipe:
        """Read what `to_json` returned.

        Example:

        >>> recipe = Recipe(units=64, grow_and_prune=GrowAndPruneRecipe())
        >>> Recipe.from_json(recipe.to_json()) == recipe
        True
        """
        values = {name: _tuples(value) for name, value in values.items()}
        values["front_end"] = from_config(values["front_end"])
        if values["augment"] is not None:
            values["augment"] = SpecAugment(**values["augment"])
        if values["grow_and_prune"] is not None:
            plan = {name: _tuples(value) for name, value in values["grow_and_prune"].items()}
            values["grow_and_prune"] = GrowAndPruneRecipe(**plan)
        return cls(**values)


def _check_range(name: str, value: float, holds: bool, expected: str) -> None:
    if not holds:
        raise InputError(f"{name}: got {value}; expected {expected}")


def _lists(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _lists(inner) for name, inner in value.items()}
    return [_lists(inner) for inner in value] if isinstance(value, (list, tuple)) else value


def _tuples(value: Any) -> Any:
    return tuple(_tuples(inner) for inner in value) if isinstance(value, list) else value
