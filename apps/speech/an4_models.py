"""From AN4's folder to the trainings that the models of `saved_models/an4-*` are from."""

from __future__ import annotations

import os
from pathlib import Path

from apps.speech.corpus import synthesise
from apps.speech.iterations import iteration_file
from apps.speech.presets import AN4_EXTRA, preset, unpruned
from apps.speech.train import GROWN, Trained, train
from apps.speech.utterance import Corpus

EXTRA, ALIGNER, MIXED, TUNED, THINNED = "synthesised", "aligner", "mixed", "tuned", "thinned"


def synthesise_extra(folder: Path) -> Corpus:
    """Return the speech that is mixed into AN4's recordings, made in a folder's `synthesised`."""
    return synthesise(folder / EXTRA, **AN4_EXTRA)


def train_models(
    corpus: Corpus, folder: str | os.PathLike[str], cache: str | os.PathLike[str] | None = None
) -> Trained:
    """Train AN4's networks, from what the corpus alone is too small for to what it is like.

    The preset `an4`, without its pruning, gives a network that finds the words in the recordings;
    `an4-mixed`, without its pruning, learns from recordings, spliced words and synthesised speech;
    `an4-tuned` goes on from there with the recordings alone, and prunes; so does `an4-thinned` once
    more.

    Killed and started again, it goes on where it was.

    Args:
        corpus: AN4.
        folder: Gets `synthesised`, and a folder for each training.
        cache: Folder of the features' cache.

    Returns:
        The last training.

    Raises:
        InputError: A folder holds something else, or the corpus cannot be used.
    """
    folder = Path(folder)
    extra = synthesise_extra(folder)
    aligner = train(unpruned(preset("an4")), corpus, folder / ALIGNER, cache, label=ALIGNER)
    mixed = train(
        unpruned(preset("an4-mixed")),
        corpus,
        folder / MIXED,
        cache,
        extra=extra,
        aligner=aligner.folder / GROWN,
        label=MIXED,
        drop_impossible=True,  # spliced words may be too short for their letters
    )
    tuned = train(
        preset("an4-tuned"),
        corpus,
        folder / TUNED,
        cache,
        start=mixed.folder / GROWN,
        label=TUNED,
        keep_iterations=True,
    )
    return train(
        preset("an4-thinned"),
        corpus,
        folder / THINNED,
        cache,
        start=iteration_file(tuned.folder, 2),
        label=THINNED,
        keep_iterations=True,
    )
