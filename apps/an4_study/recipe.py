"""What a training of the study does: a recipe of the recogniser with the parts that it tries."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

from apps.an4_study.vocal_tract import VocalTractLength
from apps.common.errors import InputError
from apps.common.recipe import check
from apps.speech.augment import Augment
from apps.speech.front_end import LogMel
from apps.speech.recipe import Recipe


def chain(*augments: Augment) -> Augment:
    """Do one augmentation after the other, each with a seed of its own.

    Example:

    >>> add = lambda features, lengths, seed: features + 1
    >>> chain(add, add)(0, None, [0, 1])
    2
    """
    if len(augments) == 1:
        return augments[0]

    def augment(features: Any, lengths: Any, seed: Any) -> Any:
        import tensorflow as tf

        seeds = tf.random.experimental.stateless_split(seed, len(augments))
        for number, part in enumerate(augments):
            features = part(features, lengths, seeds[number])
        return features

    return augment


@dataclass(frozen=True)
class StudyRecipe(Recipe):
    """A whole training of the study; its other values are those of `apps.speech.recipe.Recipe`.

    Attributes:
        averaged: Momentum, a step, of the running average of the weights that is scored and kept
            instead of the weights themselves (Polyak and Juditsky, "Acceleration of Stochastic
            Approximation by Averaging", 1992). 0 for none; not with grow-and-prune.
        vocal_tract: Largest change of the vocal tract's length, as a share, drawn anew for each
            utterance; for log-mel features.
        spliced: How many utterances of words from elsewhere are made for each of these
            (`apps.an4_study.splice`). The training then needs an aligner.
        teacher_share: Share of the loss that is the distance from a teacher's outputs
            (`apps.an4_study.distillation`). Above 0 the training needs a teacher.

    Example:

    >>> recipe = StudyRecipe.of(Recipe(units=64), averaged=0.998)
    >>> recipe.units, StudyRecipe.from_json(recipe.to_json()) == recipe
    (64, True)
    """

    averaged: float = 0.0
    vocal_tract: float = 0.0
    spliced: int = 0
    teacher_share: float = 0.0

    @classmethod
    def of(cls, recipe: Recipe, **changes: Any) -> StudyRecipe:
        """Return a recipe of the recogniser as one of the study, with some of its values changed.

        Raises:
            InputError: A value is out of range.
        """
        values = {field.name: getattr(recipe, field.name) for field in dataclasses.fields(recipe)}
        return cls(**{**values, **changes})

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("vocal_tract", "teacher_share", "averaged"):
            check(name, getattr(self, name), 0 <= getattr(self, name) < 1, "0 to below 1")
        check("spliced", self.spliced, self.spliced >= 0, "0 or more")
        if self.vocal_tract and self.front_end.kind != LogMel.kind:
            raise InputError("vocal_tract: needs log-mel features, whose bands are frequencies")
        if self.averaged and self.grow_and_prune:
            raise InputError(
                f"averaged: got {self.averaged} with grow-and-prune, which scores the weights that"
                " it changes; expected 0"
            )

    @property
    def augmentation(self) -> Augment | None:
        """What is done to the features of a training batch: warped, then masked."""
        parts: list[Augment] = [self.augment] if self.augment else []
        if self.vocal_tract:
            parts.insert(0, VocalTractLength(self.front_end.centres, self.vocal_tract))
        return chain(*parts) if parts else None
