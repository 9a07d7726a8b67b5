"""A training from a recipe and a corpus to a folder with the model and the run's record.

The folder holds `model.keras` (the best epoch; of a grow-and-prune run the last complete iteration,
masks included), for such a run `compact.keras` (the same function as plain layers without dead
neurons) and `grown.keras` (the best epoch before the first pruning), `record.json`, and `state/`
while the run is not finished.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras

import hlstm_tf as hl
from apps.common.backup import Backup
from apps.common.epoch_log import EpochLog
from apps.common.errors import InputError
from apps.common.learning_rate import FiniteLoss, LearningRate
from apps.common.progress import say
from apps.common.run import COMPACT, ENDLESS, MODEL, STATE, Trained, carry_out, save_model
from apps.common.run_record import BestModel, RunRecord
from apps.speech.evaluate import WordErrorRate, error_rates
from apps.speech.material import Material, prepare, scoring_data, training_data
from apps.speech.model import ModelConfig, SpeechRecognizer, build
from apps.speech.recipe import GrowAndPruneRecipe, Recipe
from apps.speech.recognition import Recognition
from apps.speech.recognizer import load_keras
from apps.speech.start import started
from apps.speech.utterance import Corpus

GROWN = "grown.keras"
FIGURES: dict[str, Callable[[float], str]] = {
    "loss": "loss {:.2f}".format,
    "val_wer": lambda share: f"WER {100 * share:.1f} %",
}
"""What the progress lines tell of an epoch."""


def build_from(recipe: Recipe) -> SpeechRecognizer:
    """Build the network of a recipe; its seed architecture where it grows and prunes."""
    config = ModelConfig(
        front_end=recipe.front_end.config(),
        alphabet=recipe.characters,
        bands=recipe.front_end.width,
        channels=recipe.channels,
        kernels=recipe.kernels,
        strides=recipe.strides,
        cell=recipe.cell,
        layers=recipe.layers,
        units=recipe.units,
        hidden_units=recipe.hidden_units,
        hidden_dropout=recipe.hidden_dropout,
        dropout=recipe.dropout,
        bidirectional=recipe.bidirectional,
        seed=recipe.seed,
    )
    model = build(config)
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
        label: First word of the progress lines.
        drop_impossible: Leave out training utterances too short for their transcripts.
    """

    recipe: Recipe
    corpus: Corpus
    folder: Path
    cache: str | os.PathLike[str] | None = None
    extra: Corpus | None = None
    start: str | os.PathLike[str] | None = None
    label: str = "train"
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
        return model if self.start is None else started(model, self.start)

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
        best = BestModel(self.folder / (GROWN if gp else MODEL), record, "val_wer", gp)
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
        recipe, folder = self.recipe, self.folder
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
        plan = recipe.grow_and_prune
        state = folder / STATE
        gp = _grow_and_prune(plan, recipe, data, state) if plan else None
        record = RunRecord(folder, facts, gp, ["soxr", "tensorflow-io"])
        rates = WordErrorRate(scoring_data(valid), recipe.alphabet)
        scoring = self.scoring(rates, record, gp)
        lines = EpochLog(self.label, FIGURES, recipe.expected_epochs, grow_and_prune=gp)
        rate = _learning_rate(recipe, gp)
        if gp is not None:
            callbacks = [rate, *scoring, gp, record, lines]
        else:
            follow, backup = data.follow(), Backup(state)
            callbacks = [follow, rate, FiniteLoss(), *scoring, record, lines, backup]
        epochs = ENDLESS if gp else recipe.epochs
        model.fit(data, epochs=epochs, shuffle=False, verbose=0, callbacks=callbacks)
        if plan and not plan.prunes:
            # The best epoch, where pruning would have gone on from.
            model = load_keras(folder / GROWN)
        _write_models(model, folder, gp)
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


def digest(name: str, path: str | os.PathLike[str] | None) -> dict[str, str]:
    """Return what a record says of a model file that a training begins with or learns from.

    Raises:
        InputError: There is no such file.

    Example:

    >>> digest("start", None)
    {}
    """
    if path is None:
        return {}
    if not Path(path).is_file():
        raise InputError(f"{name}: {path}: no such file; expected a .keras model")
    return {name: hashlib.sha256(Path(path).read_bytes()).hexdigest()}


def _grow_and_prune(
    plan: GrowAndPruneRecipe, recipe: Recipe, data: hl.EpochData, state: Path
) -> Any:
    return hl.GrowAndPrune(
        data,
        growth=plan.growth(),
        pruning=plan.pruning(),
        monitor="val_wer",
        threshold=plan.threshold,
        tolerance=plan.tolerance,
        train_epochs=recipe.epochs - plan.growth_epochs,
        directory=state,
        seed=recipe.seed,
        verbose=0,
    )


def _learning_rate(recipe: Recipe, gp: Any) -> LearningRate:
    plan = recipe.grow_and_prune
    return LearningRate(
        recipe.learning_rate,
        recipe.epochs,
        recipe.warmup_epochs,
        retraining=plan.retrain_rate if plan else 0.0,
        retrain_epochs=plan.retrain_epochs if plan else 1,
        grow_and_prune=gp,
    )


def _write_models(model: keras.Model, folder: Path, gp: Any) -> None:
    """Write the final files, without the optimizer's share (two thirds of the bytes)."""
    if gp is None:
        save_model(load_keras(folder / MODEL), folder / MODEL)
        return
    save_model(model, folder / MODEL)
    masked = load_keras(folder / MODEL)
    save_model(masked, folder / MODEL)
    for path in sorted(set(folder.glob("*.keras")) - {folder / MODEL, folder / COMPACT}):
        save_model(load_keras(path), path)
    save_model(hl.shrink(hl.strip(masked)), folder / COMPACT)


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
