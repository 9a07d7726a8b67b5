"""A training of the study: one of the recogniser, with an aligner, a teacher or averaged weights.

Beside what a training of the recogniser leaves, the folder may hold the model of each pruning
iteration: `iteration-1.keras`, masks included, and so on.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras

from apps.an4_study.distillation import Teacher
from apps.an4_study.iterations import IterationModels
from apps.an4_study.recipe import StudyRecipe
from apps.an4_study.splice import spliced
from apps.common.callbacks import RunRecord
from apps.common.errors import InputError
from apps.common.run import Trained, digest
from apps.speech.batches import Material
from apps.speech.evaluate import WordErrorRate
from apps.speech.model import SpeechRecognizer
from apps.speech.recognizer import load_keras, load_recognizer
from apps.speech.train import Training
from apps.speech.utterance import Corpus


@dataclass(frozen=True)
class StudyTraining(Training):
    """A training of the study; its other values are those of `apps.speech.train.Training`.

    Attributes:
        aligner: Model file of a recogniser that has learnt the corpus, for `recipe.spliced`.
        teacher: `.keras` file of a recogniser to learn from, for `recipe.teacher_share`.
        keep_iterations: Keep the model of each pruning iteration, not only the last.
    """

    recipe: StudyRecipe
    aligner: str | os.PathLike[str] | None = None
    teacher: str | os.PathLike[str] | None = None
    keep_iterations: bool = False

    def facts(self) -> dict[str, Any]:
        """Return what the record says of the training from its beginning.

        Raises:
            InputError: An aligner or a teacher is missing or was given for nothing.
        """
        facts = super().facts()
        facts |= _helper("aligner", self.aligner, "spliced", self.recipe.spliced)
        return facts | _helper("teacher", self.teacher, "teacher_share", self.recipe.teacher_share)

    def recordings(self) -> Material:
        """Return what there is to learn from in the corpus, spliced words after it."""
        material = super().recordings()
        if self.aligner is None:
            return material
        aligner = load_recognizer(self.aligner)
        return material.with_more(spliced(material, aligner, self.recipe.spliced, self.recipe.seed))

    def model(self) -> SpeechRecognizer:
        """Return the network to train, not compiled, with its teacher."""
        model = super().model()
        if self.teacher is not None:
            model.blend = Teacher(load_keras(self.teacher), self.recipe.teacher_share).blend
        return model

    def optimizer(self, **more: Any) -> keras.optimizers.Optimizer:
        """Return the optimizer, which averages the weights where that is wanted."""
        if self.recipe.averaged:
            more |= {"use_ema": True, "ema_momentum": self.recipe.averaged}
        return super().optimizer(**more)

    def scoring(
        self, rates: WordErrorRate, record: RunRecord, gp: Any
    ) -> list[keras.callbacks.Callback]:
        """Return the callbacks that score the model of an epoch and keep what is wanted."""
        callbacks = super().scoring(rates, record, gp)
        if self.recipe.averaged:
            averages = keras.callbacks.SwapEMAWeights(swap_on_epoch=True)
            callbacks = [averages, *callbacks, SwapBack(averages)]
        if gp is not None and self.keep_iterations:
            callbacks.append(IterationModels(self.folder, record, gp))
        return callbacks


class SwapBack(keras.callbacks.Callback):
    """Put the weights themselves back at the end of an epoch that was scored by their averages.

    `keras.callbacks.SwapEMAWeights` does it when the next epoch begins: too late for what saves the
    training's state at the end of this one.

    Args:
        averages: Swaps the averages in; placed before what scores and keeps the model, this after.
    """

    def __init__(self, averages: keras.callbacks.SwapEMAWeights) -> None:
        super().__init__()
        self.averages = averages

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        self.averages.on_epoch_begin(epoch + 1)


def train(
    recipe: StudyRecipe,
    corpus: Corpus,
    folder: str | os.PathLike[str],
    cache: str | os.PathLike[str] | None = None,
    **options: Any,
) -> Trained:
    """Train; go on with an interrupted training; return at once from a finished one.

    Arguments, result and errors are those of `StudyTraining` and `StudyTraining.run`.
    """
    return StudyTraining(recipe, corpus, Path(folder), cache, **options).run()


def _helper(
    name: str, path: str | os.PathLike[str] | None, field: str, wanted: float
) -> dict[str, str]:
    """What the record says of a model that helps in a training: its digest."""
    if wanted and path is None:
        raise InputError(f"{name}: the recipe's {field} is {wanted}; give a model (--{name})")
    if path is not None and not wanted:
        raise InputError(
            f"{name}: got {path} for a recipe that does not use it; give {field}, too, or leave it"
            " out"
        )
    return digest(name, path)
