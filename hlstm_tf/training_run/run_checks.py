"""Checks of the `fit` that `GrowAndPrune` runs in, and the logs it returns to it."""

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np

from hlstm_tf.pruning.neuron_growth import NeuronGrowthRule, require_sites
from hlstm_tf.pruning.neuron_pruning import check_neurons
from hlstm_tf.scoring.data import check_data, one_epoch
from hlstm_tf.sparsity import NEED_DATA
from hlstm_tf.training_run.phases import Plan
from hlstm_tf.training_run.plan import Growth, Pruning
from hlstm_tf.training_run.running_fit import fit_draws_order


def check_scoring_data(data: Any, growth: Growth | None, pruning: Pruning | None) -> None:
    """Checks that there is a training set where a score needs one.

    Raises:
        TypeError: It is missing, or of no use.
    """
    if data is not None or _needs(growth, pruning):
        check_data(data, "train")


def scoring_data(
    data: Any, growth: Growth | None, pruning: Pruning | None, steps: int | None
) -> Any:
    """Returns the training set, or an epoch of it where a pass over it would not end.

    Args:
        data: The training set.
        growth: How the run grows.
        pruning: How it prunes.
        steps: How many batches an epoch of `fit` has; `None` where it does not know.

    Raises:
        ValueError: It has no end, and `steps` is `None`.
    """
    needs = _needs(growth, pruning)
    if growth is not None and growth.during == "epoch" and not _needs(None, pruning):
        needs -= {"gradient"}  # the training steps collect it
    return one_epoch(data, "train", steps) if needs else data


def _needs(growth: Growth | None, pruning: Pruning | None) -> set[str]:
    """What is measured on the training set."""
    rules = [*([growth.rule()] if growth else []), *(pruning.rules() if pruning else [])]
    needs = {need for rule in rules for need in rule.score.needs} & NEED_DATA
    if growth is not None and growth.neurons is not None:
        needs.add("bridges")
    if pruning is not None and pruning.recover:
        needs.add("gradient")
    return needs


def check_fit(model: keras.Model, plan: Plan, epochs: int) -> None:
    """Checks that `fit` and the model's optimizer leave room for the plan; builds the optimizer.

    Raises:
        ValueError: The model has no optimizer, or no layer into which the neurons that are wanted
            can grow; `epochs` are too few to prune even once; the plan sets the learning rate of an
            optimizer that follows a schedule; the pruning's budget cannot be measured; or its
            structure finds nothing in the model.
    """
    if model.optimizer is None:
        raise ValueError(
            f"model '{model.name}' is compiled without an optimizer; GrowAndPrune needs one."
        )
    if plan.growth is not None and isinstance(plan.growth.neurons, NeuronGrowthRule):
        require_sites(model, plan.growth.neurons)
    growing = plan.growth.epochs if plan.growth else 0
    needed = growing + plan.shortest_training + (1 if plan.pruning else 0)
    if epochs < needed:
        retraining = " and 1 of retraining" if plan.pruning else ""
        raise ValueError(
            f"epochs={epochs} of fit are too few: {growing} of growth, {plan.shortest_training} of "
            f"training{retraining} make {needed} at least. Give fit more epochs (they are an upper "
            "limit), or plan fewer."
        )
    sets_rate = plan.pruning is not None and plan.pruning.learning_rate is not None
    if sets_rate and isinstance(_config(model.optimizer).get("learning_rate"), dict):
        raise ValueError(
            "pruning.learning_rate is given, but the optimizer's learning rate follows a schedule "
            "and cannot be set; compile with a number, or leave pruning.learning_rate out."
        )
    if plan.pruning is not None and plan.pruning.structure is not None:
        for rule in plan.pruning.rules():
            check_neurons(model, rule.structure)
    if plan.pruning is not None and plan.pruning.budget is not None:
        # What cannot be measured is to say so now, not after hours of training.
        plan.pruning.budget.measure(model)
    if not model.optimizer.built:
        model.optimizer.build(model.trainable_variables)


def warn_of_order(model: keras.Model) -> None:
    """Warns where `fit` draws the order of its data, so that a restart draws another."""
    if not fit_draws_order(model):
        return
    warnings.warn(
        "directory: fit shuffles arrays and a PyDataset in an order that is another after a "
        "restart, so a resumed run goes on, but not bit for bit. For that give fit shuffle=False, "
        "or an EpochData, whose order is a function of the epoch.",
        stacklevel=2,
    )


def scalars(logs: Mapping[str, Any] | None) -> dict[str, float]:
    """Returns the logs that are numbers, as Python's own.

    >>> scalars({"loss": np.float32(0.5), "confusion": np.eye(2)})
    {'loss': 0.5}
    """
    return {name: float(value) for name, value in (logs or {}).items() if np.ndim(value) == 0}


def monitored(monitor: str, logs: Mapping[str, float], epoch: int) -> float:
    """Returns the monitor's value.

    Raises:
        ValueError: It is not among the logs; names those that are.
    """
    if monitor in logs:
        return logs[monitor]
    hint = ""
    if monitor.startswith("val_") and not any(name.startswith("val_") for name in logs):
        hint = " Give fit validation_data, with validation_freq=1."
    raise ValueError(
        f"monitor='{monitor}' is not among the logs of epoch {epoch}; there are: "
        f"{', '.join(sorted(logs))}.{hint}"
    )


def restore_logs(model: keras.Model, records: Sequence[Mapping[str, Any]]) -> None:
    """Gives `model.history` the epochs before a restart, which Keras's own cannot know.

    Args:
        model: A model in `fit`.
        records: Records of epochs, with their `epoch` and `logs`.
    """
    history = getattr(model, "history", None)
    if history is None:
        return
    known = set(history.epoch)
    before = [record for record in records if record["epoch"] not in known]
    if not before or (known and before[-1]["epoch"] > min(known)):
        return
    history.epoch[:0] = [record["epoch"] for record in before]
    for name in before[0]["logs"]:
        values = [record["logs"].get(name) for record in before]
        history.history[name] = values + history.history.get(name, [])


def _config(optimizer: keras.optimizers.Optimizer) -> dict[str, Any]:
    inner = getattr(optimizer, "inner_optimizer", None)
    return (inner or optimizer).get_config()
