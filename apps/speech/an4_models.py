"""From AN4's folder to the trainings that the models of `saved_models/an4-*` are from."""

from __future__ import annotations

import os
from pathlib import Path

from apps.speech.corpus import synthesise
from apps.speech.presets import AN4_EXTRA, preset
from apps.speech.train import GROWN, Trained, train
from apps.speech.utterance import Corpus

EXTRA, PRETRAINED, TUNED, STREAMING = "synthesised", "pretrained", "tuned", "streaming-"


def synthesise_extra(folder: Path) -> Corpus:
    """Return the speech that is mixed into AN4's recordings, made in a folder's `synthesised`."""
    return synthesise(folder / EXTRA, **AN4_EXTRA)


def train_models(
    corpus: Corpus,
    folder: str | os.PathLike[str],
    cache: str | os.PathLike[str] | None = None,
    streaming: bool = False,
) -> Trained:
    """Train AN4's networks, from what the corpus alone is too small for to what it is like.

    The preset `an4-pretrained` learns from recordings and synthesised speech; `an4-tuned` goes on
    from there with the recordings alone, and prunes. Killed and started again, it goes on where it
    was.

    Args:
        corpus: AN4.
        folder: Gets `synthesised`, and a folder for each training: `pretrained` and `tuned`, or
            `streaming-pretrained` and `streaming-tuned`.
        cache: Folder of the features' cache.
        streaming: Train the network that listens while somebody speaks, not the one that hears an
            utterance both ways.

    Returns:
        The second training; it keeps the model of each pruning iteration.

    Raises:
        InputError: A folder holds something else, or the corpus cannot be used.
    """
    folder = Path(folder)
    first, second = (f"{STREAMING if streaming else ''}{name}" for name in (PRETRAINED, TUNED))
    pretrained = train(
        preset(f"an4-{first}"),
        corpus,
        folder / first,
        cache,
        extra=synthesise_extra(folder),
        label=first,
    )
    return train(
        preset(f"an4-{second}"),
        corpus,
        folder / second,
        cache,
        start=pretrained.folder / GROWN,
        label=second,
        keep_iterations=True,
    )
