"""A training from a recipe and a corpus to a folder with the model and the run's record.

The folder holds `model.keras` (the best epoch; of a grow-and-prune run the last complete iteration,
masks included), for such a run `compact.keras` (the same function as plain layers without dead
neurons) and `grown.keras` (the best epoch before the first pruning), `record.json`, and `state/`
while the run is not finished.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras

import hlstm_tf as hl
from apps.common.callbacks import BestModel, EpochLog, RunRecord
from apps.common.errors import InputError
from apps.common.learning_rate import LearningRate
from apps.common.progress import say
from apps.common.run import (
    COMPACT,
    MODEL,
    STATE,
    Trained,
    carry_out,
    digest,
    fit,
    started,
    write_models,
)
from apps.speech.batches import Material, prepare, scoring_data, training_data
from apps.speech.evaluate import WordErrorRate, error_rates
from apps.speech.model import ModelConfig, Recognition, SpeechRecognizer, build
from apps.speech.recipe import MONITOR, Recipe
from apps.speech.recognizer import load_keras
from apps.speech.utterance import Corpus

GROWN = "grown.keras"
FIGURES: dict[str, Callable[[float], str]] = {
    "loss": "loss {:.2f}".format,
    "val_wer": lambda share: f"WER {100 * share:.1f} %",
}
"""What the progress lines tell of an epoch."""


def build_from(recipe: Recipe) -> SpeechRecognizer:
    """Build the network of a recipe; its seed architecture where it grows and prunes."""
    names = {field.name for field in dataclasses.fields(ModelConfig)}
    shared = {name: value for name, value in vars(recipe).items() if name in names}
    front_end = recipe.front_end
    shared |= {"front_end": front_end.config(), "bands": front_end.width}
    model = build(ModelConfig(alphabet=recipe.characters, **shared))
    if recipe.grow_and_prune:
        sparsity = recipe.grow_and_prune.seed_sparsity
        model = hl.sparsify(model, sparsity, recipe.seed, seed_architecture="random")
    return model


@dataclass(frozen=True)
class Training:
    """A training, part by part; another application changes parts of it in a subclass.

    Attributes:
        recipe: What to do.
        corpus: With a training and a validation split.
        folder: Of the run: new, empty, or that of the same recipe.
        cache: Folder of the features' cache.
        extra: A corpus whose training split is mixed in, such as a synthesised one.
        start: `.keras` file of a recogniser of the recipe's architecture, to go on with instead of
            a seed architecture; it keeps its masks. `compact.keras` has narrower gates than its
            recipe (`hidden_units`), and its zeros become masks.
        drop_impossible: Leave out training utterances too short for their transcripts.
    """

    recipe: Recipe
    corpus: Corpus
    folder: Path
    cache: str | os.PathLike[str] | None = None
    extra: Corpus | None = None
    start: str | os.PathLike[str] | None = None
    drop_impossible: bool = False

    def run(self) -> Trained:
        """Train; go on with an interrupted training; return at once from a finished one.

        Raises:
            InputError: The folder holds another run or another process trains there, or a corpus
                cannot be used.
            FloatingPointError: The loss became NaN or infinite; the state of the epoch before is
                kept.
        """
        folder, facts = self.folder, self.facts()
        result = carry_out(
            folder, facts, self.recipe.seed, lambda: self._fit(facts), self._as_today
        )
        return Trained(folder, product(folder, self.recipe), result)

    def facts(self) -> dict[str, Any]:
        """Return what the record says of the training from its beginning."""
        facts: dict[str, Any] = {
            "recipe": self.recipe.to_json(),
            "corpus": self.corpus.summary(),
        }
        if self.extra is not None:
            facts["extra"] = self.extra.summary()
        return facts | digest("start", self.start)

    def recordings(self) -> Material:
        """Return what there is to learn from in the corpus, long utterances too."""
        recipe = self.recipe
        return prepare(
            self.corpus, "train", recipe.front_end, recipe.alphabet, self.cache,
            speeds=recipe.speeds, rooms=recipe.rooms,
        )  # fmt: skip

    def model(self) -> SpeechRecognizer:
        """Return the network to train, not compiled."""
        model = build_from(self.recipe)
        return model if self.start is None else started(model, load_keras(self.start), self.start)

    def optimizer(self, **more: Any) -> keras.optimizers.Optimizer:
        """Return the optimizer.

        Args:
            **more: More arguments of AdamW.
        """
        recipe = self.recipe
        return keras.optimizers.AdamW(
            recipe.learning_rate,
            weight_decay=recipe.weight_decay,
            global_clipnorm=recipe.clipnorm,
            **more,
        )

    def scoring(
        self, rates: WordErrorRate, record: RunRecord, gp: Any
    ) -> list[keras.callbacks.Callback]:
        """Return the callbacks that score the model of an epoch and keep the best.

        Args:
            rates: Puts the error rates into the logs.
            record: Of the run.
            gp: Its `GrowAndPrune` callback; None for a plain training.
        """
        best = BestModel(self.folder / (GROWN if gp else MODEL), record, MONITOR[0], gp)
        return [rates, best]

    def material(self) -> Material:
        """Return all that the training learns from."""
        recipe, material = self.recipe, self.recordings()
        if self.extra is not None:
            more = prepare(self.extra, "train", recipe.front_end, recipe.alphabet, self.cache)
            material = material.with_more(more)
        if recipe.max_seconds is None:
            return material
        short = material.up_to(int(recipe.max_seconds / recipe.front_end.hop))
        if left_out := len(material.features) - len(short.features):
            say(
                f"left out {left_out} of {len(material.features)} training utterances, longer than"
                f" {recipe.max_seconds:g} s (--max-seconds 0 takes all)"
            )
        return short

    def _fit(self, facts: dict[str, Any]) -> None:
        recipe, folder, plan = self.recipe, self.folder, self.recipe.grow_and_prune
        valid = prepare(self.corpus, "valid", recipe.front_end, recipe.alphabet, self.cache)
        material, model = self.material(), self.model()
        data = training_data(
            material,
            model.time_stride,
            batch_size=recipe.batch_size,
            seed=recipe.seed,
            augment=recipe.augmentation,
            sorted_epochs=recipe.sorted_epochs,
            buckets=recipe.buckets,
            drop_impossible=self.drop_impossible,
            drop_remainder=recipe.drop_remainder,
        )
        # XLA has no CTC kernel; small loops compile alone.
        model.compile(self.optimizer(), jit_compile=False)
        state, seed = folder / STATE, recipe.seed
        gp = plan.callback(data, recipe.epochs, MONITOR[0], state, seed) if plan else None
        record = RunRecord(folder, facts, gp, ["soxr", "tensorflow-io"])
        rates = WordErrorRate(scoring_data(valid), recipe.alphabet)
        rate = LearningRate(
            recipe.learning_rate,
            recipe.epochs,
            recipe.warmup_epochs,
            retraining=plan.retrain_rate if plan else 0.0,
            retrain_epochs=plan.retrain_epochs if plan else 1,
            grow_and_prune=gp,
        )
        lines = EpochLog(folder.name, FIGURES, recipe.expected_epochs, grow_and_prune=gp)
        fit(
            model, data, state, gp, recipe.epochs,
            before=[rate, *self.scoring(rates, record, gp)], after=[record, lines],
        )  # fmt: skip
        if plan and not plan.prunes:
            # The best epoch, where pruning would have gone on from.
            model = load_keras(folder / GROWN)
        write_models(model, folder, gp)
        record.finish(_result(folder, recipe, valid))

    def _as_today(self, recipe: Any) -> dict[str, Any] | None:
        try:
            return type(self.recipe).from_json(recipe).to_json()
        except (KeyError, TypeError, InputError):
            return None


def train(
    recipe: Recipe,
    corpus: Corpus,
    folder: str | os.PathLike[str],
    cache: str | os.PathLike[str] | None = None,
    **options: Any,
) -> Trained:
    """Train; go on with an interrupted training; return at once from a finished one.

    Arguments, result and errors are those of `Training` and `Training.run`.
    """
    return Training(recipe, corpus, Path(folder), cache, **options).run()


def _result(folder: Path, recipe: Recipe, valid: Material) -> dict[str, Any]:
    """What came of a run: the counts of its model, masks included, and its error rates."""
    counts = hl.summary(load_keras(folder / MODEL), print_fn=None).to_dict()
    rates = error_rates(
        Recognition(load_keras(product(folder, recipe))), scoring_data(valid), recipe.alphabet
    )
    return {**{name: counts[name] for name in ("connections", "sparsity")}, **rates.as_dict()}


def product(folder: Path, recipe: Recipe) -> Path:
    """Return the file to use of a training's folder: see `Trained.model`."""
    return folder / (COMPACT if recipe.grow_and_prune else MODEL)
