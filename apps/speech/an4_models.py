"""From AN4's folder to the trainings that the models of `saved_models/an4-*` are from."""

from __future__ import annotations

import os
from pathlib import Path

from apps.speech.corpus import synthesise
from apps.speech.recipe import AN4_EXTRA, preset
from apps.speech.train import GROWN, Trained, train
from apps.speech.utterance import Corpus

EXTRA, ALIGNER, MIXED = "synthesised", "aligner", "mixed"


def train_models(
    corpus: Corpus, folder: str | os.PathLike[str], cache: str | os.PathLike[str] | None = None
) -> Trained:
    """Synthesise what is mixed in, train the aligner by the preset `an4`, then by `an4-mixed`.

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
    extra = synthesise(folder / EXTRA, **AN4_EXTRA)
    aligner = train(preset("an4"), corpus, folder / ALIGNER, cache, label=ALIGNER)
    return train(
        preset("an4-mixed"),
        corpus,
        folder / MIXED,
        cache,
        extra=extra,
        aligner=aligner.folder / GROWN,
        label=MIXED,
        drop_impossible=True,  # spliced words may be too short for their letters
    )
