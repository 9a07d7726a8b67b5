"""The recipes by architecture, and the shortened ones that ways of training are compared on."""

from __future__ import annotations

from typing import Any

from apps.common.recipe import named
from apps.digits.augment import Affine
from apps.digits.recipe import Recipe, Stage

_FINE: dict[str, Any] = {"distribution": "global", "score": "activation"}

RECIPES: dict[str, Recipe] = {
    "lenet-300-100": Recipe(
        "lenet-300-100",
        (
            Stage(
                "grow",
                growth_epochs=5,
                growth_ratio=0.7,
                births=0.08,
                train_epochs=18,
                rate=2e-3,
                shrink=True,
            ),
            Stage(
                "prune",
                step=0.25,
                iterations=30,
                retrain_rate=1.5e-3,
                retrain_floor=1.0,
                parameters=10_000,
                shrink=True,
                **_FINE,
            ),
            Stage(
                "thin",
                step=0.12,
                iterations=30,
                retrain_epochs=2,
                retrain_rate=2e-3,
                retrain_floor=0.3,
                parameters=3780,
                shrink=True,
                **_FINE,
            ),
            Stage("final", step=0.004, iterations=1, retrain_epochs=30, retrain_rate=3e-3, **_FINE),
        ),
        seed_neurons=0.6,
        seed_sparsity=0.4,
        augment=Affine(shift=0.7, turn=6.0, scale=0.06, slant=0.06),
        teacher_epochs=15,
        teacher_share=0.6,
    ),
    "lenet-5": Recipe(
        "lenet-5",
        (
            Stage(
                "grow",
                growth_epochs=4,
                growth_ratio=0.8,
                births=0.08,
                train_epochs=16,
                rate=4e-3,
                shrink=True,
            ),
            # Features that no digit excites score 0; a step has to be larger than their share.
            Stage("trim", step=0.4, iterations=1, retrain_epochs=2, retrain_rate=3e-3, **_FINE),
            Stage(
                "prune",
                step=0.12,
                iterations=30,
                retrain_epochs=2,
                retrain_rate=3e-3,
                retrain_floor=0.5,
                parameters=5600,
                shrink=True,
                **_FINE,
            ),
            Stage(
                "settle", step=0.004, iterations=1, retrain_epochs=30, retrain_rate=4e-3, **_FINE
            ),
            # What is left after a long retraining can be pruned on, until the convolutions are
            # cheap, too.
            Stage(
                "thin",
                step=0.08,
                iterations=30,
                retrain_epochs=2,
                retrain_rate=3e-3,
                retrain_floor=0.5,
                flops=104_000,
                shrink=True,
                **_FINE,
            ),
            Stage("final", step=0.004, iterations=1, retrain_epochs=20, retrain_rate=4e-3, **_FINE),
        ),
        widths=(10, 24, 120),
        seed_sparsity=0.4,
        seed_neurons=0.5,
        teacher_epochs=8,
        teacher_share=0.6,
    ),
    "alexnet-cifar": Recipe(
        "alexnet-cifar",
        (
            Stage("grow", growth_epochs=3, train_epochs=40, rate=1e-3),
            Stage("prune", step=0.3, iterations=7, retrain_epochs=4, retrain_rate=5e-4, **_FINE),
            Stage("final", step=0.05, iterations=1, retrain_epochs=15, retrain_rate=5e-4, **_FINE),
        ),
        batch_size=128,
        augment=Affine(shift=2.0, turn=5.0, scale=0.1, slant=0.05),
    ),
}


def recipe(arch: str, **changes: Any) -> Recipe:
    """Return an architecture's recipe with some of its values changed.

    Raises:
        InputError: There is no such architecture, or a value is out of range.

    Example:

    >>> recipe("lenet-5", seed=3).seed
    3
    """
    return named(RECIPES, "arch", arch, changes)


SHORT_EPOCHS = {"train": 8, "iterations": 12, "final": 8}
"""The shortened schedule of comparisons: 28 epochs, 1.6 % of the connections left."""

SHORT_STEP = 0.29
"""Share of what is left that each of its iterations removes; comparisons choose their own."""


def short(seed: int, seed_sparsity: float = 0.5, growth_score: str | None = "gradient") -> Recipe:
    """Return the shortened schedule for LeNet-300-100.

    Args:
        seed: Of everything.
        seed_sparsity: Of the seed architecture.
        growth_score: "gradient", "random", or None for no growth.
    """
    growth = {"growth_epochs": 3, "growth_score": growth_score} if growth_score else {}
    epochs = SHORT_EPOCHS
    first = Stage(
        "grow-and-prune",
        train_epochs=epochs["train"],
        rate=3e-3,
        step=SHORT_STEP,
        iterations=epochs["iterations"],
        retrain_floor=1.0,
        **growth,  # type: ignore[arg-type]
        **_FINE,
    )
    last = Stage(
        "final",
        step=0.02,
        iterations=1,
        retrain_epochs=epochs["final"],
        retrain_rate=2e-3,
        **_FINE,
    )
    return Recipe("lenet-300-100", (first, last), seed_sparsity=seed_sparsity, seed=seed)
