"""The recipes that have names, and the corpora that are synthesised for them."""

from __future__ import annotations

import dataclasses
from typing import Any

from apps.common.plan import GrowAndPruneRecipe
from apps.common.recipe import named
from apps.speech.augment import SpecAugment
from apps.speech.front_end import LogMel
from apps.speech.recipe import Recipe
from apps.speech.spectrum import RunningNormalisation

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
