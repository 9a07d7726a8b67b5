"""A training from a recipe and a corpus to a folder with the model and the run's record.

The folder holds `model.keras` (the best epoch; of a grow-and-prune run the last complete iteration,
masks included), for such a run `compact.keras` (the same function as plain layers without dead
neurons) and `grown.keras` (the best epoch before the first pruning), `record.json`, and `state/`
while the run is not finished. With `keep_iterations` it holds the model of each pruning iteration,
too: `iteration-1.keras`, masks included, and so on.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras

import hlstm_tf as hl
from apps.common.backup import Backup
from apps.common.errors import InputError
from apps.common.files import written_beside
from apps.common.learning_rate import FiniteLoss, LearningRate
from apps.common.progress import say
from apps.common.record import read_record
from apps.common.run_folder import check_run, finished, only_training
from apps.speech.distillation import Teacher
from apps.speech.evaluate import Recognition, error_rates
from apps.speech.iterations import IterationModels, iteration_files
from apps.speech.material import Material, prepare, scoring_data, training_data
from apps.speech.model import ModelConfig, SpeechRecognizer, build
from apps.speech.recipe import GrowAndPruneRecipe, Recipe
from apps.speech.recognizer import load_keras, load_recognizer
from apps.speech.splice import spliced
from apps.speech.start import started
from apps.speech.training import BestModel, EpochLines, RunRecord, SwapBack, WordErrorRate
from apps.speech.utterance import Corpus

MODEL, COMPACT, GROWN, STATE = "model.keras", "compact.keras", "grown.keras", "state"
# An upper limit: a grow-and-prune run ends where its threshold or its iterations say.
ENDLESS = 100_000


@dataclass(frozen=True)
class Trained:
    """What a training left.

    Attributes:
        folder: Of the run.
        model: The file to use: `compact.keras` of a grow-and-prune run, else `model.keras`.
        result: Connections, sparsity, and the validation split's greedy error rates, computed
            with that file.
    """

    folder: Path
    model: Path
    result: dict[str, Any]


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


def train(
    recipe: Recipe,
    corpus: Corpus,
    folder: str | os.PathLike[str],
    cache: str | os.PathLike[str] | None = None,
    *,
    extra: Corpus | None = None,
    aligner: str | os.PathLike[str] | None = None,
    teacher: str | os.PathLike[str] | None = None,
    start: str | os.PathLike[str] | None = None,
    label: str = "train",
    drop_impossible: bool = False,
    keep_iterations: bool = False,
) -> Trained:
    """Train; go on with an interrupted training; return at once from a finished one.

    Args:
        recipe: What to do.
        corpus: With a training and a validation split.
        folder: Of the run: new, empty, or that of the same recipe.
        cache: Folder of the features' cache.
        extra: A corpus whose training split is mixed in, such as a synthesised one.
        aligner: Model file of a recognizer that has learnt the corpus, for `recipe.spliced`.
        teacher: `.keras` file of a recogniser to learn from, for `recipe.teacher_share`.
        start: `.keras` file of a recogniser of the recipe's architecture, to go on with instead of
            a seed architecture; it keeps its masks. `compact.keras` has narrower gates than its
            recipe (`hidden_units`), and its zeros become masks.
        label: First word of the progress lines.
        drop_impossible: Leave out training utterances too short for their transcripts.
        keep_iterations: Keep the model of each pruning iteration, not only the last.

    Raises:
        InputError: The folder holds another run or another process trains there, a corpus cannot
            be used, or an aligner or a teacher is missing or was given for nothing.
        FloatingPointError: The loss became NaN or infinite; the state of the epoch before is kept.
    """
    folder = Path(folder)
    facts: dict[str, Any] = {"recipe": recipe.to_json(), "corpus": corpus.summary()}
    if extra is not None:
        facts["extra"] = extra.summary()
    facts |= _helper("aligner", aligner, "spliced", recipe.spliced)
    facts |= _helper("teacher", teacher, "teacher_share", recipe.teacher_share)
    facts |= _digest("start", start)
    check_run(folder, facts, _as_today)
    if not finished(folder):
        with only_training(folder / STATE):
            keras.utils.set_random_seed(recipe.seed)
            valid = prepare(corpus, "valid", recipe.front_end, recipe.alphabet, cache)
            material = _training_material(recipe, corpus, extra, aligner, cache)
            model = build_from(recipe)
            if start is not None:
                model = started(model, start)
            if teacher is not None:
                model.teacher = Teacher(load_keras(teacher), recipe.teacher_share)
            _fit(
                model, recipe, material, valid, folder, facts, label, drop_impossible,
                keep_iterations,
            )  # fmt: skip
    return Trained(folder, product(folder, recipe), read_record(folder)["result"])


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
    return _digest(name, path)


def _digest(name: str, path: str | os.PathLike[str] | None) -> dict[str, str]:
    if path is None:
        return {}
    if not Path(path).is_file():
        raise InputError(f"{name}: {path}: no such file; expected a .keras model")
    return {name: hashlib.sha256(Path(path).read_bytes()).hexdigest()}


def _training_material(
    recipe: Recipe,
    corpus: Corpus,
    extra: Corpus | None,
    aligner: str | os.PathLike[str] | None,
    cache: str | os.PathLike[str] | None,
) -> Material:
    front_end, alphabet = recipe.front_end, recipe.alphabet
    material = prepare(
        corpus, "train", front_end, alphabet, cache, speeds=recipe.speeds, rooms=recipe.rooms
    )
    if aligner is not None:
        made = spliced(material, load_recognizer(aligner), recipe.spliced, recipe.seed)
        material = material.with_more(made)
    if extra is not None:
        material = material.with_more(prepare(extra, "train", front_end, alphabet, cache))
    if recipe.max_seconds is None:
        return material
    short = material.up_to(int(recipe.max_seconds / front_end.hop))
    if left_out := len(material.features) - len(short.features):
        say(
            f"left out {left_out} of {len(material.features)} training utterances, longer than"
            f" {recipe.max_seconds:g} s (--max-seconds 0 takes all)"
        )
    return short


def _fit(
    model: SpeechRecognizer,
    recipe: Recipe,
    material: Material,
    valid: Material,
    folder: Path,
    facts: dict[str, Any],
    label: str,
    drop_impossible: bool,
    keep_iterations: bool,
) -> None:
    data = training_data(
        material,
        model.time_stride,
        batch_size=recipe.batch_size,
        seed=recipe.seed,
        augment=recipe.augmentation,
        sorted_epochs=recipe.sorted_epochs,
        buckets=recipe.buckets,
        drop_impossible=drop_impossible,
        drop_remainder=recipe.drop_remainder,
    )
    # XLA has no CTC kernel; small loops compile alone.
    model.compile(_optimizer(recipe), jit_compile=False)
    plan = recipe.grow_and_prune
    state = folder / STATE
    gp = _grow_and_prune(plan, recipe, data, state) if plan else None
    record = RunRecord(folder, facts, gp)
    rates = WordErrorRate(scoring_data(valid), recipe.alphabet)
    lines = EpochLines(recipe.expected_epochs, label, gp)
    rate = _learning_rate(recipe, gp)
    if gp is not None:
        best = BestModel(folder / GROWN, record, grow_and_prune=gp)
        kept = [IterationModels(folder, record, gp)] if keep_iterations else []
        callbacks = [rate, rates, best, *kept, gp, record, lines]
    else:
        best = BestModel(folder / MODEL, record)
        follow, backup = data.follow(), Backup(state)
        callbacks = [rates, best, record, lines]
        if recipe.averaged:
            averages = keras.callbacks.SwapEMAWeights(swap_on_epoch=True)
            callbacks = [averages, *callbacks, SwapBack(averages)]
        callbacks = [follow, rate, FiniteLoss(), *callbacks, backup]
    epochs = ENDLESS if gp else recipe.epochs
    model.fit(data, epochs=epochs, shuffle=False, verbose=0, callbacks=callbacks)
    if plan and not plan.prunes:
        model = load_keras(folder / GROWN)  # the best epoch, where pruning would have gone on from
    _write_models(model, folder, gp)
    record.finish(_result(folder, recipe, valid))
    shutil.rmtree(state, ignore_errors=True)


def _optimizer(recipe: Recipe) -> keras.optimizers.Optimizer:
    average = {"use_ema": True, "ema_momentum": recipe.averaged} if recipe.averaged else {}
    return keras.optimizers.AdamW(
        recipe.learning_rate,
        weight_decay=recipe.weight_decay,
        global_clipnorm=recipe.clipnorm,
        **average,
    )


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
        _save(load_keras(folder / MODEL), folder / MODEL)
        return
    _save(model, folder / MODEL)
    masked = load_keras(folder / MODEL)
    _save(masked, folder / MODEL)
    for path in (folder / GROWN, *iteration_files(folder)):
        _save(load_keras(path), path)
    _save(hl.shrink(hl.strip(masked)), folder / COMPACT)


def _save(model: keras.Model, path: Path) -> None:
    with written_beside(path) as temporary:
        model.save(temporary)


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


def _as_today(recipe: Any) -> dict[str, Any] | None:
    try:
        return Recipe.from_json(recipe).to_json()
    except (KeyError, TypeError, InputError):
        return None
