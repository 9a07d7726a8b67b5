"""The recipe of a training: seed architecture, treatment of the data and stages, as one value."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

from apps.common.errors import InputError
from apps.common.recipe import check, plain, restored
from apps.digits.augment import Affine


@dataclass(frozen=True)
class Stage:
    """One `hl.GrowAndPrune` of a training; the next goes on with its result.

    Attributes:
        name: Of its state on disk and in the record.
        growth_epochs: Epochs that end with a growth.
        growth_ratio: A dormant connection grows where its score exceeds this percentile.
        growth_score: "gradient", or "random" to see what the gradient is worth.
        growth_distribution: "per_matrix" or "global".
        births: Neurons born into each layer at each growth, as a share of its width; 0 for none.
        train_epochs: Epochs of training, growth included, before any pruning.
        rate: Peak learning rate of growth and training; it falls to zero along a cosine.
        structure: What pruning removes: "connection" or "neuron".
        score: What pruning ranks by, as in `hl.Pruning`.
        distribution: "per_matrix", or "global": each layer keeps what its scores earn.
        step: Share of what is left that a pruning iteration removes.
        iterations: How many pruning iterations at most; 0 for none.
        parameters: Pruning ends as the shrunk network has no more parameters than these; 0 for no
            such limit.
        flops: The same of FLOPs an image; where both are given, it ends within both.
        retrain_epochs: Epochs of retraining after each.
        retrain_rate: Peak learning rate of retraining.
        retrain_floor: Share of it that the rate falls to within an iteration; 1 keeps it.
        recover: Share of what an iteration removed that may come back (`hl.Pruning.recover`).
        shrink: Whether the stage ends with `hl.shrink`: dead neurons gone, and the next stage
            faster.
    """

    name: str
    growth_epochs: int = 0
    growth_ratio: float = 0.9
    growth_score: str = "gradient"
    growth_distribution: str = "per_matrix"
    births: float = 0.0
    train_epochs: int = 0
    rate: float = 1e-3
    structure: str = "connection"
    score: str = "magnitude"
    distribution: str = "per_matrix"
    step: float = 0.2
    iterations: int = 0
    parameters: int = 0
    flops: int = 0
    retrain_epochs: int = 1
    retrain_rate: float = 1e-3
    retrain_floor: float = 0.0
    recover: float = 0.0
    shrink: bool = False

    @property
    def epochs(self) -> int:
        """How many epochs the stage takes at most."""
        return self.train_epochs + self.iterations * self.retrain_epochs


@dataclass(frozen=True)
class Recipe:
    """A whole training.

    Attributes:
        arch: A name that `apps.digits.model.network` knows.
        stages: In their order.
        classes: Outputs of the network.
        widths: Room for neurons in the hidden layers that growth begins with; as in the dense
            network where it is None. What growth never fills need not be computed.
        seed_sparsity: Share of the connections, between living neurons, that the random seed
            architecture lacks.
        seed_neurons: Share of each hidden layer's neurons that live in the seed; 1 for all.
        batch_size: Images a step.
        weight_decay: AdamW's.
        augment: Changes of the training images; None for none.
        teacher_epochs: Epochs of the dense network, trained first, that the targets are mixed
            with and the result is compared with; 0 for none.
        teacher_share: Its share in the targets.
        temperature: What its logits are divided by.
        seed: Of weights, masks, data order and augmentation.
    """

    arch: str
    stages: tuple[Stage, ...]
    classes: int = 10
    widths: tuple[int, ...] | None = None
    seed_sparsity: float = 0.5
    seed_neurons: float = 1.0
    batch_size: int = 256
    weight_decay: float = 0.0
    augment: Affine | None = dataclasses.field(default_factory=Affine)
    teacher_epochs: int = 0
    teacher_share: float = 0.5
    temperature: float = 2.0
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("seed_sparsity", "teacher_share"):
            check(name, getattr(self, name), 0 <= getattr(self, name) <= 1, "0 to 1")
        check("batch_size", self.batch_size, self.batch_size >= 1, "at least 1")
        names = [stage.name for stage in self.stages]
        if len(set(names)) < len(names):
            raise InputError(f"stages: two have the same name among {', '.join(names)}")

    @property
    def epochs(self) -> int:
        """Epochs of all stages, the teacher's included."""
        return self.teacher_epochs + sum(stage.epochs for stage in self.stages)

    def to_json(self) -> dict[str, Any]:
        """Return plain values.

        Example:

        >>> recipe = Recipe("lenet-5", (Stage("grow", growth_epochs=1, train_epochs=2),))
        >>> Recipe.from_json(recipe.to_json()) == recipe
        True
        """
        return plain(self)

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Recipe:
        """Read what `to_json` returned."""
        values = restored(
            values,
            stages=lambda stages: tuple(Stage(**stage) for stage in stages),
            augment=lambda augment: Affine(**augment),
        )
        return cls(**values)
