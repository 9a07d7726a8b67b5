"""What optimizers keep for each weight, and which optimizers a model holds."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from types import ModuleType
from typing import Any, TypeAlias

import keras
import numpy as np

from hlstm_tf.layers.masking import layers_within

Optimizers: TypeAlias = keras.optimizers.Optimizer | Sequence[keras.optimizers.Optimizer] | None
"""One optimizer, several, or none."""


def held_optimizers(model: keras.Model) -> list[keras.optimizers.Optimizer]:
    """Returns every optimizer that a model holds, each once, that of `compile` first.

    A model with its own `train_step`, such as a GAN, may hold several. They are looked for in the
    attributes of the model, of its layers and of the models in it, in containers there, and in the
    attributes of other objects there.

    Args:
        model: A model, compiled or not.

    Example:

    >>> import keras
    >>> model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    >>> model.compile("sgd", "mse")
    >>> model.more = {"critic": keras.optimizers.Adam()}
    >>> [optimizer.name for optimizer in held_optimizers(model)]
    ['sgd', 'adam']
    """
    found = [getattr(model, "optimizer", None)]
    seen: set[int] = set()
    for layer in layers_within(model):
        found += _optimizers_in(vars(layer).values(), seen)
    return list({id(each): each for each in found if each is not None}.values())


def optimizer_slots(
    optimizer: keras.optimizers.Optimizer, variable: keras.Variable
) -> Iterator[tuple[keras.optimizers.Optimizer, str, keras.Variable]]:
    """Yields what the optimizer keeps for each entry of `variable`.

    Keras gives no public list of slots; every optimizer keeps each kind in an attribute, a list or
    dictionary with one entry a trainable variable, in the order it was built with. State that is
    shared by several entries of a variable (Adafactor's row and column sums) belongs to no place
    and is not yielded.

    Args:
        optimizer: A Keras optimizer; those inside a `LossScaleOptimizer`, `MultiOptimizer` or
            other wrapper are looked into.
        variable: A variable the optimizer trains; nothing is yielded for another.

    Yields:
        The optimizer that owns the slot, the attribute it is found under, and the slot, of the
        variable's shape.
    """
    for inner in _inner_optimizers(optimizer):
        yield from optimizer_slots(inner, variable)
    trained = list(getattr(optimizer, "_trainable_variables", ()))
    index = next((i for i, known in enumerate(trained) if known is variable), None)
    if index is None or not optimizer.built:
        return
    for name, slots in vars(optimizer).items():
        if isinstance(slots, Mapping):
            slots = list(slots.values())
        if not isinstance(slots, (list, tuple)) or len(slots) != len(trained):
            continue
        slot = slots[index]
        is_slot = isinstance(slot, keras.Variable) and slot is not variable
        if is_slot and tuple(slot.shape) == tuple(variable.shape):
            yield optimizer, name, slot


def reset_slots(
    optimizer: Optimizers, variable: keras.Variable, places: np.ndarray, weights: np.ndarray
) -> None:
    """Gives slots their initial value at some places of a variable.

    Args:
        optimizer: What trains the variable.
        variable: The variable.
        places: Boolean, of its shape.
        weights: The variable's value, to which slots that follow it return.
    """
    optimizers: Any = [] if optimizer is None else optimizer
    if isinstance(optimizers, keras.optimizers.Optimizer):
        optimizers = [optimizers]
    for each in optimizers:
        for owner, name, slot in optimizer_slots(each, variable):
            slot.assign(np.where(places, _fresh_slot(owner, name, weights), _numpy(slot)))


def _inner_optimizers(optimizer: keras.optimizers.Optimizer) -> list[keras.optimizers.Optimizer]:
    return _optimizers_in(vars(optimizer).values(), {id(optimizer)})


def _optimizers_in(
    values: Iterable[Any], seen: set[int], inside_object: bool = False
) -> list[keras.optimizers.Optimizer]:
    """The optimizers among values, in containers there, and in objects there."""
    found = []
    for value in values:
        if id(value) in seen or value is None or isinstance(value, (str, bytes, int, float)):
            continue
        seen.add(id(value))
        if isinstance(value, keras.optimizers.Optimizer):
            found.append(value)
        elif isinstance(value, Mapping):
            found += _optimizers_in(list(value.values()), seen, inside_object)
        elif isinstance(value, (list, tuple, set, frozenset)):
            found += _optimizers_in(list(value), seen, inside_object)
        elif not inside_object and _may_hold(value):
            found += _optimizers_in(list(vars(value).values()), seen, inside_object=True)
    return found


def _may_hold(value: Any) -> bool:
    """Whether to look into the attributes of an object; layers are looked into in any case."""
    leaves = (keras.Layer, keras.Variable, ModuleType, type)
    return hasattr(value, "__dict__") and not isinstance(value, leaves)


def _fresh_slot(
    optimizer: keras.optimizers.Optimizer, name: str, weights: np.ndarray
) -> np.ndarray | float:
    """What the slot holds when an optimizer is built on variables with these weights."""
    if name == "_model_variables_moving_average":
        return weights
    if name == "_momentums" and isinstance(optimizer, keras.optimizers.ScheduleFreeAdamW):
        return weights  # not a momentum, but the point that the gradient steps move
    if name == "_accumulators":
        # Adagrad and FTRL start their sum of squared gradients above zero.
        return float(getattr(optimizer, "initial_accumulator_value", 0.0))
    return 0.0


def _numpy(variable: keras.Variable) -> np.ndarray:
    return np.asarray(keras.ops.convert_to_numpy(variable))
