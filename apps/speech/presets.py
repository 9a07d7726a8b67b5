"""The recipes that have names, and the corpora that are synthesised for them."""

from __future__ import annotations

import dataclasses
from typing import Any

from apps.common.errors import InputError
from apps.speech.augment import SpecAugment
from apps.speech.front_end import LogMel
from apps.speech.normalise import RunningNormalisation
from apps.speech.recipe import GrowAndPruneRecipe, Recipe

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

AN4_EXTRA: dict[str, Any] = {
    **DEMO_CORPUS,
    "valid": 1,
    "test": 1,
    "speakers": (200, 1, 1),
}
"""What is synthesised to be mixed into AN4's recordings, in which most months and ordinals are said
once or twice."""

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

_STREAMING: dict[str, Any] = {
    "bidirectional": False,
    "front_end": LogMel(running=RunningNormalisation()),
    "rooms": 2,  # it hears all levels, and speech after any wait
}


def _planned(recipe: Recipe, changes: dict[str, Any], **plan: Any) -> Recipe:
    """Return a recipe with some of its values, and of those of its grow-and-prune part, changed."""
    assert recipe.grow_and_prune is not None
    return dataclasses.replace(
        recipe, **changes, grow_and_prune=dataclasses.replace(recipe.grow_and_prune, **plan)
    )


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
        **_STREAMING,
        epochs=16,
        vocal_tract=0.07,
        grow_and_prune=GrowAndPruneRecipe(growth_share=0.2, max_iterations=0),
    ),
    "an4-streaming-tuned": _planned(_AN4_TUNED, {**_STREAMING, "epochs": 20}, retrain_epochs=8),
}
"""Recipes by name: `demo` and its baseline `demo-lstm` for the synthesised corpus in minutes, `an4`
for AN4 in one training, `an4-mixed` for AN4 with spliced words and another corpus beside,
`an4-tuned` to go on from that with the recordings alone, `an4-thinned` from that once more,
`an4-polished` from what has been pruned; `an4-streaming-pretrained`, with another corpus beside,
and `an4-streaming-tuned` for a network that listens while somebody speaks."""


def unpruned(recipe: Recipe) -> Recipe:
    """Return a recipe that ends before its first pruning.

    Example:

    >>> unpruned(preset("an4")).expected_epochs()
    30
    """
    return _planned(recipe, {}, max_iterations=0)


def preset(name: str, **changes: Any) -> Recipe:
    """Return a preset with some of its values changed.

    Raises:
        InputError: There is no such preset, or a value is out of range.

    Example:

    >>> preset("demo", layers=2).layers
    2
    """
    if name not in PRESETS:
        raise InputError(f"preset: got {name!r}; expected one of {', '.join(PRESETS)}")
    return dataclasses.replace(PRESETS[name], **changes)
