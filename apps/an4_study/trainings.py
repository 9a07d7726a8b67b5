"""From AN4's folder to the trainings that the models of `saved_models/an4-*` are from."""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path

from apps.an4_study.iterations import iteration_file
from apps.an4_study.presets import AN4_EXTRA, preset, unpruned
from apps.an4_study.train import train
from apps.common.run import Trained
from apps.speech.corpus import synthesise
from apps.speech.train import GROWN
from apps.speech.utterance import Corpus

EXTRA = "synthesised"
ALIGNER, MIXED, TUNED, THINNED = "aligner", "mixed", "tuned", "thinned"
ACCURATE, COMPACT, POLISHED = "accurate", "compact", "polished"
STREAMING_PRETRAINED, STREAMING_TUNED = "streaming-pretrained", "streaming-tuned"


def synthesise_extra(folder: Path) -> Corpus:
    """Return the speech that is mixed into AN4's recordings, made in a folder's `synthesised`."""
    return synthesise(folder / EXTRA, **AN4_EXTRA)


def train_models(
    corpus: Corpus, folder: str | os.PathLike[str], cache: str | os.PathLike[str] | None = None
) -> Trained:
    """Train AN4's networks, from what the corpus alone is too small for to what it is like.

    The preset `an4`, without its pruning, gives a network that finds the words in the recordings;
    `an4-mixed`, without its pruning, learns from recordings, spliced words and synthesised speech.
    `an4-tuned` goes on from there with the recordings alone, and prunes; `an4-thinned` prunes that
    again. `an4-polished` trains what is left of each, and keeps a running average of the weights.

    Killed and started again, it goes on where it was.

    Args:
        corpus: AN4.
        folder: Gets `synthesised`, and a folder for each training.
        cache: Folder of the features' cache.

    Returns:
        The training of the compact network.

    Raises:
        InputError: A folder holds something else, or the corpus cannot be used.
    """
    folder = Path(folder)
    extra = synthesise_extra(folder)
    aligner = train(unpruned(preset("an4")), corpus, folder / ALIGNER, cache)
    mixed = train(
        unpruned(preset("an4-mixed")),
        corpus,
        folder / MIXED,
        cache,
        extra=extra,
        aligner=aligner.folder / GROWN,
        drop_impossible=True,  # spliced words may be too short for their letters
    )
    go_on = partial(_go_on, corpus, folder, cache)
    tuned = go_on(TUNED, mixed.folder / GROWN)
    pruned = iteration_file(tuned.folder, 2)
    thinned = go_on(THINNED, pruned)
    go_on(ACCURATE, pruned, POLISHED)
    return go_on(COMPACT, iteration_file(thinned.folder, 1), POLISHED)


def train_streaming(
    corpus: Corpus, folder: str | os.PathLike[str], cache: str | os.PathLike[str] | None = None
) -> Trained:
    """Train AN4's network that listens while somebody speaks.

    The preset `an4-streaming-pretrained` learns from recordings, as they are and as made elsewhere,
    and synthesised speech; `an4-streaming-tuned` goes on without the latter, and prunes. Arguments,
    result and errors are those of `train_models`.
    """
    folder = Path(folder)
    pretrained = train(
        preset(f"an4-{STREAMING_PRETRAINED}"),
        corpus,
        folder / STREAMING_PRETRAINED,
        cache,
        extra=synthesise_extra(folder),
    )
    return _go_on(corpus, folder, cache, STREAMING_TUNED, pretrained.folder / GROWN)


def _go_on(
    corpus: Corpus,
    folder: Path,
    cache: str | os.PathLike[str] | None,
    name: str,
    start: Path,
    recipe: str | None = None,
) -> Trained:
    """Train from another training's model, by the preset of the folder's or another name."""
    return train(
        preset(f"an4-{recipe or name}"),
        corpus,
        folder / name,
        cache,
        start=start,
        keep_iterations=True,
    )
