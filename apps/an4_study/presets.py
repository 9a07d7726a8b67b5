"""The recipes of the study that have names, and the corpus that is synthesised for them."""

from __future__ import annotations

import dataclasses
from typing import Any

from apps.an4_study.recipe import StudyRecipe
from apps.common.plan import GrowAndPruneRecipe
from apps.common.recipe import named
from apps.speech.recipe import DEMO_CORPUS, STREAMING
from apps.speech.recipe import PRESETS as SPEECH

AN4_EXTRA: dict[str, Any] = {
    **DEMO_CORPUS,
    "valid": 1,
    "test": 1,
    "speakers": (200, 1, 1),
}
"""What is synthesised to be mixed into AN4's recordings, in which most months and ordinals are said
once or twice."""

_AN4 = StudyRecipe.of(SPEECH["an4"])

_AN4_TUNED = dataclasses.replace(
    _AN4,
    epochs=24,
    learning_rate=1e-3,
    sorted_epochs=0,
    vocal_tract=0.07,
    grow_and_prune=GrowAndPruneRecipe(
        growth_epochs=0,
        step=0.3,
        structures=("neuron", "connection"),
        retrain_epochs=12,
        tolerance=0.03,
        max_iterations=2,
    ),
)


def _planned(recipe: StudyRecipe, changes: dict[str, Any], **plan: Any) -> StudyRecipe:
    """Return a recipe with some of its values, and of those of its grow-and-prune part, changed."""
    assert recipe.grow_and_prune is not None
    return dataclasses.replace(
        recipe, **changes, grow_and_prune=dataclasses.replace(recipe.grow_and_prune, **plan)
    )


PRESETS: dict[str, StudyRecipe] = {
    "an4": _AN4,
    "an4-mixed": dataclasses.replace(
        _AN4,
        spliced=1,
        epochs=16,
        grow_and_prune=GrowAndPruneRecipe(
            growth_share=0.2,
            step=0.35,
            structures=("neuron", "connection"),
            retrain_epochs=4,
            tolerance=0.03,
            max_iterations=3,
        ),
    ),
    "an4-tuned": _AN4_TUNED,
    "an4-thinned": _planned(
        _AN4_TUNED, {"epochs": 14}, structures=("connection",), max_iterations=1
    ),
    "an4-polished": dataclasses.replace(
        _AN4_TUNED, epochs=20, averaged=0.9995, grow_and_prune=None
    ),
    "an4-streaming-pretrained": dataclasses.replace(
        _AN4,
        **STREAMING,
        epochs=16,
        vocal_tract=0.07,
        grow_and_prune=GrowAndPruneRecipe(growth_share=0.2, max_iterations=0),
    ),
    "an4-streaming-tuned": _planned(_AN4_TUNED, {**STREAMING, "epochs": 20}, retrain_epochs=8),
}
"""Recipes by name: `an4` for AN4 in one training, `an4-mixed` for AN4 with spliced words and
another corpus beside, `an4-tuned` to go on from that with the recordings alone, `an4-thinned` from
that once more, `an4-polished` from what has been pruned; `an4-streaming-pretrained`, with another
corpus beside, and `an4-streaming-tuned` for a network that listens while somebody speaks."""


def unpruned(recipe: StudyRecipe) -> StudyRecipe:
    """Return a recipe that ends before its first pruning.

    Example:

    >>> unpruned(preset("an4")).expected_epochs()
    30
    """
    return _planned(recipe, {}, max_iterations=0)


def preset(name: str, **changes: Any) -> StudyRecipe:
    """Return a preset with some of its values changed.

    Raises:
        InputError: There is no such preset, or a value is out of range.

    Example:

    >>> preset("an4", layers=1).layers
    1
    """
    return named(PRESETS, "preset", name, changes)
