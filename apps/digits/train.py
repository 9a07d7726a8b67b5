"""A training from a recipe and digits to a folder with the models and the run's record.

The folder holds `dense.keras` (the teacher, where the recipe has one), `model.keras` (masks
included), `compact.keras` (the same function in plain layers without dead neurons), `record.json`,
and `state/` while the run is not finished.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import keras

import hlstm_tf as hl
from apps.common.callbacks import EpochLog, save_model
from apps.common.files import write_json
from apps.common.learning_rate import LearningRate
from apps.common.rate import Rate
from apps.common.record import NAME, read_record, versions
from apps.common.run import COMPACT, MODEL, STATE, Trained, carry_out, fit
from apps.digits.batches import scoring_data, training_data
from apps.digits.cost import cost_of
from apps.digits.evaluate import errors
from apps.digits.mnist import Splits
from apps.digits.model import network
from apps.digits.recipe import Recipe, Stage

DENSE = "dense.keras"
# Growth and pruning score by these: a tenth of the digits tells as much as all of them, and trials
# of feature maps pass over them dozens of times.
SCORED = 5000
# No stage is rolled back: how far a run prunes is the recipe's choice, made on validation digits.
ANY_ERROR = 1.0


def train(recipe: Recipe, splits: Splits, folder: str | os.PathLike[str]) -> Trained:
    """Train; go on with an interrupted training; return at once from a finished one.

    Args:
        recipe: What to do.
        splits: The digits; those of the test split are not looked at.
        folder: Of the run: new, empty, or that of the same recipe.

    Raises:
        InputError: The folder holds another run, or another process trains there.
        FloatingPointError: The loss became NaN or infinite; the state of the epoch before is kept.
    """
    folder = Path(folder)
    sizes = splits.summary()
    splits.split("train")
    facts = {
        "recipe": recipe.to_json(),
        "data": {name: sizes[name] for name in ("train", "valid")},
    }

    def work() -> None:
        if not (folder / NAME).exists():
            write_json(folder / NAME, {**facts, "versions": versions(), "epochs": []})
        teacher = _teacher(recipe, splits, folder) if recipe.teacher_epochs else None
        _finish(_staged(recipe, splits, folder, teacher), splits, folder)

    return Trained(folder, folder / COMPACT, carry_out(folder, facts, recipe.seed, work))


def seed_architecture(recipe: Recipe) -> keras.Model:
    """Return the network that a recipe begins with, masks included."""
    keras.utils.set_random_seed(recipe.seed)
    model = network(recipe.arch, recipe.classes, recipe.widths)
    hidden = [layer.name for layer in model.layers[:-1] if layer.weights]
    neurons = dict.fromkeys(hidden, recipe.seed_neurons) if recipe.seed_neurons < 1 else None
    return hl.sparsify(
        model, recipe.seed_sparsity, recipe.seed, seed_architecture="random", neurons=neurons
    )


def _teacher(recipe: Recipe, splits: Splits, folder: Path) -> keras.Model:
    """The dense network, trained first; read where that is done."""
    path = folder / DENSE
    if not path.exists():
        keras.utils.set_random_seed(recipe.seed)
        model = network(recipe.arch, recipe.classes)
        data = training_data(splits.train, recipe.batch_size, recipe.seed, recipe.augment)
        stage = Stage("dense", train_epochs=recipe.teacher_epochs, rate=2e-3)
        _compile(model, recipe, stage.rate)
        fit(
            model,
            data,
            folder / STATE / "dense",
            epochs=stage.epochs,
            before=[LearningRate(stage.rate, stage.epochs), _log(recipe, stage)],
            validation_data=scoring_data(splits.valid),
        )
        save_model(model, path)
    return keras.models.load_model(path, compile=False)


def _staged(
    recipe: Recipe, splits: Splits, folder: Path, teacher: keras.Model | None
) -> keras.Model:
    data = training_data(
        splits.train,
        recipe.batch_size,
        recipe.seed,
        recipe.augment,
        teacher,
        recipe.teacher_share,
        recipe.temperature,
    )
    model = None
    for number, stage in enumerate(recipe.stages):
        done = folder / STATE / f"{number}-{stage.name}.keras"
        if done.exists():
            model = None  # the last of those that are done is read when it is needed
            continue
        if model is None:
            model = _before(recipe, folder, number)
        _run_stage(recipe, stage, model, data, splits, folder)
        if stage.shrink:
            model = compacted(model)
        save_model(model, done)
        # A later stage goes on from the file, as a resumed run does.
        model = None
    return _before(recipe, folder, len(recipe.stages))


def compacted(model: keras.Model) -> keras.Model:
    """Return the same function and connections with the dead neurons gone, to train on."""
    return hl.sparsify(hl.shrink(hl.strip(model)), seed_architecture="zeros")


def _before(recipe: Recipe, folder: Path, number: int) -> keras.Model:
    """The model that a stage begins with."""
    if number == 0:
        return seed_architecture(recipe)
    path = folder / STATE / f"{number - 1}-{recipe.stages[number - 1].name}.keras"
    return keras.models.load_model(path, compile=False)


def _run_stage(
    recipe: Recipe,
    stage: Stage,
    model: keras.Model,
    data: hl.EpochData,
    splits: Splits,
    folder: Path,
) -> None:
    _compile(model, recipe, stage.rate)
    few = scoring_data(splits.train[:SCORED])
    gp = grow_and_prune(stage, few, folder / STATE / stage.name, recipe.seed)
    rate = LearningRate(
        stage.rate,
        max(1, stage.train_epochs),
        retraining=stage.retrain_rate,
        retrain_epochs=stage.retrain_epochs,
        floor=max(0.01, stage.retrain_floor),
        grow_and_prune=gp,
    )
    fit(
        model,
        data,
        folder / STATE,
        gp,
        before=[rate],
        after=[_log(recipe, stage, gp)],
        validation_data=scoring_data(splits.valid),
    )
    record = read_record(folder)
    earlier = [entry for entry in record["epochs"] if entry["stage"] != stage.name]
    record["epochs"] = earlier + [_entry(stage, state) for state in gp.history]
    write_json(folder / NAME, record)


def grow_and_prune(stage: Stage, data: Any, state: Path | None, seed: int) -> hl.GrowAndPrune:
    """Return the callback that does a stage.

    Args:
        stage: What to do.
        data: Arrays `(x, y)` to score connections and neurons by.
        state: Folder of its state on disk; None for none.
        seed: Of random scores and births.
    """
    growth, pruning = None, None
    if stage.growth_epochs:
        growth = hl.Growth(
            ratio=stage.growth_ratio,
            epochs=stage.growth_epochs,
            score=stage.growth_score,
            distribution=stage.growth_distribution,
            neurons=stage.births or None,
        )
    if stage.iterations:
        pruning = hl.Pruning(
            step=stage.step,
            min_step=stage.step,
            structure=stage.structure,
            score=stage.score,
            distribution=stage.distribution,
            max_iterations=stage.iterations,
            retrain_epochs=stage.retrain_epochs,
            recover=stage.recover or None,
            budget=_budget(stage),
        )
    return hl.GrowAndPrune(
        data,
        growth=growth,
        pruning=pruning,
        monitor="val_error",
        threshold=ANY_ERROR,
        train_epochs=stage.train_epochs - stage.growth_epochs,
        directory=state,
        batch_size=250,
        seed=seed,
        verbose=0,
    )


def _budget(stage: Stage) -> hl.Budget | None:
    """The limits of a stage as one: no cost may exceed its own."""
    limits = {name: getattr(stage, name) for name in ("parameters", "flops")}
    limits = {name: limit for name, limit in limits.items() if limit}

    def share(model: keras.Model) -> float:
        cost = cost_of(model)
        return max(getattr(cost, name) / limit for name, limit in limits.items())

    return hl.Budget(share, 1) if limits else None


def _entry(stage: Stage, state: dict[str, Any]) -> dict[str, Any]:
    names = ("phase", "connections", "connections_after", "events", "seconds")
    error = state["value"]
    return {"stage": stage.name, "val_error": error, **{name: state[name] for name in names}}


@keras.saving.register_keras_serializable(package="digits")
def error(y_true: Any, y_pred: Any) -> Any:
    """Return 1 where the most probable class is not the label's, else 0."""
    return 1.0 - keras.metrics.categorical_accuracy(y_true, y_pred)


def _compile(model: keras.Model, recipe: Recipe, rate: float) -> None:
    model.compile(
        keras.optimizers.AdamW(rate, weight_decay=recipe.weight_decay),
        keras.losses.CategoricalCrossentropy(from_logits=True),
        metrics=[error],
        jit_compile=False,  # XLA compiles for longer than these networks gain by it on a processor
    )


def _finish(model: keras.Model, splits: Splits, folder: Path) -> None:
    save_model(model, folder / MODEL)
    compact = hl.shrink(hl.strip(model))
    save_model(compact, folder / COMPACT)
    record = read_record(folder)
    record["result"] = figures(compact, splits)
    if (folder / DENSE).exists():
        dense = keras.models.load_model(folder / DENSE, compile=False)
        record["dense"] = figures(dense, splits)
    write_json(folder / NAME, record)


def figures(model: keras.Model, splits: Splits) -> dict[str, Any]:
    """Return a network's parameters, FLOPs and validation errors, as a record has them."""
    return {**cost_of(model).as_dict(), "valid": vars(errors(model, splits.valid))}


def _log(recipe: Recipe, stage: Stage, gp: hl.GrowAndPrune | None = None) -> EpochLog:
    """The progress lines of a stage, with the time left of all stages at the pace of this one."""
    names = [*(["dense"] if recipe.teacher_epochs else []), *(s.name for s in recipe.stages)]
    number = names.index(stage.name)
    later = recipe.stages[len(recipe.stages) - len(names) + number + 1 :]
    return EpochLog(
        f"{recipe.arch}: stage {number + 1}/{len(names)}, {stage.name}",
        {"val_error": lambda share: f"validation error {100 * share:.2f} %"},
        lambda iterations: stage.epochs,
        later=sum(each.epochs for each in later),
        every=10,
        grow_and_prune=gp,
    )


def error_rate(result: dict[str, Any], split: str = "valid") -> Rate:
    """Return the error rate in the figures of a record."""
    return Rate(**result[split])
