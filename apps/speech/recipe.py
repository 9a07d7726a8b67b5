"""The recipe of a training: architecture, treatment of the data and schedule, as one value; and the
recipes that have names.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Any

from apps.common.errors import InputError
from apps.common.plan import GrowAndPruneRecipe, expected_epochs
from apps.common.recipe import check, named, plain, restored
from apps.speech.alphabet import Alphabet
from apps.speech.augment import Augment, SpecAugment
from apps.speech.front_end import FrontEnd, LogMel, from_config
from apps.speech.spectrum import RunningNormalisation

MONITOR = ("val_wer", "validation WER")
"""What a training is judged by: its name in the logs, and what tables and plots call it."""


@dataclass(frozen=True)
class Recipe:
    """A whole training.

    Attributes:
        cell, layers, units, hidden_units, hidden_dropout, matrix_form, matrix_parameters, dropout,
            bidirectional, channels, kernels, strides: As in `apps.speech.model.ModelConfig`.
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
    matrix_form: str = "dense"
    matrix_parameters: float = 0.25
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
            check(name, getattr(self, name), getattr(self, name) >= 1, "at least 1")
        for name in ("learning_rate", "clipnorm"):
            check(name, getattr(self, name), getattr(self, name) > 0, "above 0")
        for name in ("dropout", "hidden_dropout"):
            check(name, getattr(self, name), 0 <= getattr(self, name) < 1, "0 to below 1")
        share = self.matrix_parameters
        check("matrix_parameters", share, 0 < share < 1, "above 0 and below 1")
        allowed = bool(self.speeds) and min(self.speeds) >= 0.5 and max(self.speeds) <= 2
        check("speeds", self.speeds, allowed, "one or more, each 0.5 to 2")
        longest = self.max_seconds
        check("max_seconds", longest, longest is None or longest > 0, "above 0, or None")
        check("rooms", self.rooms, self.rooms >= 0, "0 or more")
        fits = 0 <= self.warmup_epochs < self.epochs
        check("warmup_epochs", self.warmup_epochs, fits, f"0 to below {self.epochs} epochs")
        if self.hidden_units is not None and self.cell != "hlstm":
            raise InputError(
                f"hidden_units: got {self.hidden_units} for cell {self.cell!r}; only the gates of"
                " hlstm have hidden layers"
            )
        plan = self.grow_and_prune
        if plan is None:
            return
        without = self.cell != "hlstm" or self.hidden_units == ()
        if plan.prunes and "neuron" in plan.structures and without:
            raise InputError(
                f"structures: got {' '.join(plan.structures)} for gates without hidden layers,"
                " which have no neurons to prune; expected connection or unit"
                " (--prune-structures)"
            )
        growth = plan.growth_epochs
        check("growth_epochs", growth, growth < self.epochs, f"fewer than the {self.epochs} epochs")

    @property
    def augmentation(self) -> Augment | None:
        """What is done to the features of a training batch."""
        return self.augment

    @property
    def alphabet(self) -> Alphabet:
        """Of `characters`."""
        return Alphabet(self.characters)

    def expected_epochs(self, iterations: int = 0) -> int:
        """Return how many epochs the run takes after so many complete pruning iterations."""
        return expected_epochs(self.epochs, self.grow_and_prune, iterations)

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        return plain(self)

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Recipe:
        """Read what `to_json` returned.

        Example:

        >>> recipe = Recipe(units=64, grow_and_prune=GrowAndPruneRecipe())
        >>> Recipe.from_json(recipe.to_json()) == recipe
        True
        """
        values = restored(
            values,
            front_end=from_config,
            augment=lambda config: SpecAugment(**config),
            grow_and_prune=lambda plan: GrowAndPruneRecipe(**restored(plan)),
        )
        return cls(**values)


DEMO_CORPUS: dict[str, Any] = {
    "train": 3000,
    "valid": 120,
    "test": 200,
    "speakers": (200, 8, 12),
    "accents": ("us",),
    "telephone": 0.0,
}
"""What the demo synthesises, in half a minute. Several accents and telephone lines would take more
examples and epochs than it has time for."""

MILD = SpecAugment(frequency_masks=2, frequency_width=6, time_masks=2, time_width=8)

_DEMO = Recipe(
    batch_size=16,
    learning_rate=3e-3,
    warmup_epochs=0.25,
    dropout=0.05,
    augment=MILD,
    max_seconds=3.0,
    buckets=3,
    drop_remainder=True,
)

_AN4 = Recipe(
    units=128,
    channels=(32, 32),
    kernels=((11, 11), (7, 5)),
    strides=((2, 2), (2, 2)),
    epochs=30,
    batch_size=8,
    dropout=0.2,
    hidden_dropout=0.1,
    speeds=(0.9, 1.0, 1.1),
    drop_remainder=True,
    grow_and_prune=GrowAndPruneRecipe(
        step=0.35, retrain_epochs=7, tolerance=0.03, max_iterations=3
    ),
)

STREAMING: dict[str, Any] = {
    "bidirectional": False,
    "front_end": LogMel(running=RunningNormalisation()),
    "rooms": 2,  # it hears all levels, and speech after any wait
}
"""What is different in a network that listens while somebody speaks."""


PRESETS: dict[str, Recipe] = {
    "demo": dataclasses.replace(
        _DEMO,
        layers=1,
        units=128,
        epochs=18,
        learning_rate=7e-3,
        grow_and_prune=GrowAndPruneRecipe(
            growth_epochs=2,
            growth_share=1 / 3,
            step=0.46,
            structures=("neuron", "connection"),
            retrain_epochs=6,
            retrain_rate=3e-3,
            tolerance=0.05,
            max_iterations=2,
        ),
    ),
    "demo-lstm": dataclasses.replace(_DEMO, cell="lstm", layers=3, units=128, epochs=8),
    "an4": _AN4,
    "streaming": dataclasses.replace(_AN4, **STREAMING),
}
"""Recipes by name: `demo` and its baseline `demo-lstm` for the synthesised corpus in minutes, `an4`
for AN4 or as many recordings of people, `streaming` the same for a network that listens while
somebody speaks."""


def preset(name: str, **changes: Any) -> Recipe:
    """Return a preset with some of its values changed.

    Raises:
        InputError: There is no such preset, or a value is out of range.

    Example:

    >>> preset("demo", layers=2).layers
    2
    """
    return named(PRESETS, "preset", name, changes)
