"""The whole state of a model in training, as arrays: taken, put back, bit for bit."""

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice, zip_longest

import keras
import numpy as np

from hlstm_tf.keras_internals import trained_variables
from hlstm_tf.layers.kernels import set_and_note
from hlstm_tf.layers.masking import MaskedKernel
from hlstm_tf.sparsity import held_optimizers, reset_slots


@dataclass(frozen=True)
class OptimizerPart:
    """Which of a snapshot's arrays are those of one optimizer.

    Attributes:
        size: How many arrays it has.
        trains: Which of `model_variables` it trains, by number, -1 for one that the model does not
            hold; `None` where it was not built yet. A model's own `train_step` builds its
            optimizers with the first step.
    """

    size: int
    trains: tuple[int, ...] | None


@dataclass(frozen=True, eq=False)
class Snapshot:
    """Every variable of a model and of the optimizers it holds at one moment.

    Attributes:
        name: Tells it from every other snapshot of a run.
        arrays: The values, in the order of `state_variables`.
        optimizers: What belongs to each optimizer that the model holds, in their order.
    """

    name: str
    arrays: tuple[np.ndarray, ...]
    optimizers: tuple[OptimizerPart, ...] = ()


def model_variables(model: keras.Model) -> list[keras.Variable]:
    """Returns what training changes in the model itself, each once, in a fixed order.

    Weights, masks, batch normalization's statistics, seed generators. Metrics are not among them;
    they start afresh with each epoch.
    """
    metrics = {id(variable) for variable in model.metrics_variables}
    variables = [v for v in model.variables if id(v) not in metrics]
    return list({id(variable): variable for variable in variables}.values())


def state_variables(model: keras.Model) -> list[keras.Variable]:
    """Returns all that training changes, in a fixed order.

    `model_variables`, and those of every optimizer that the model holds: step count, learning rate,
    slots, averages, loss scale.
    """
    variables = model_variables(model)
    for optimizer in held_optimizers(model):
        variables += optimizer.variables
    return variables


def take(model: keras.Model, name: str) -> Snapshot:
    """Copies the state of a model and its optimizers."""
    numbers = {id(variable): number for number, variable in enumerate(model_variables(model))}
    parts = []
    for optimizer in held_optimizers(model):
        trained = trained_variables(optimizer) if optimizer.built else None
        trains = None if trained is None else tuple(numbers.get(id(v), -1) for v in trained)
        parts.append(OptimizerPart(len(optimizer.variables), trains))
    return Snapshot(name, _values(state_variables(model)), tuple(parts))


def put(model: keras.Model, snapshot: Snapshot) -> None:
    """Puts a state back: weights, masks and optimizers together.

    An optimizer that was built since then starts anew; one that is not built yet is built for the
    variables that it trained then.

    Raises:
        ValueError: The model holds fewer optimizers than it did, or one of them trained variables
            that are not the model's.
    """
    variables, held = model_variables(model), held_optimizers(model)
    if len(held) < len(snapshot.optimizers):
        raise ValueError(
            f"model '{model.name}' holds {len(held)} optimizers, but the state to go on from has "
            f"{len(snapshot.optimizers)}; make all of them before training."
        )
    arrays = iter(snapshot.arrays)
    _assign(variables, list(islice(arrays, len(variables))))
    with model.distribute_strategy.scope():
        for optimizer, part in zip_longest(held, snapshot.optimizers):
            part = part or OptimizerPart(0, None)
            _put_optimizer(optimizer, list(islice(arrays, part.size)), part.trains, variables)


def same_weights(model: keras.Model, snapshot: Snapshot) -> bool:
    """Whether the model's weights are those of a snapshot, whatever its optimizer holds."""
    weights = {id(weight) for weight in model.weights}
    return all(
        np.array_equal(keras.ops.convert_to_numpy(variable), value)
        # The arrays of the optimizers follow those of the model.
        for variable, value in zip(model_variables(model), snapshot.arrays, strict=False)
        if id(variable) in weights
    )


def is_structure(variable: keras.Variable) -> bool:
    """Whether a variable says what exists: a mask, or the area of a partial-area convolution."""
    return str(variable.dtype) == "bool"


def checksum(kernels: Sequence[MaskedKernel]) -> int:
    """Returns a number of 32 bits by which the masks of the same kernels are told apart."""
    total = 0
    for kernel in kernels:
        total = zlib.crc32(np.packbits(np.array(kernel.mask, dtype=bool)).tobytes(), total)
    return total


def layout(model: keras.Model) -> list[list]:
    """Returns shape and dtype of each state variable, to tell whose state a file holds.

    Only the optimizer of `compile` is among them: the others may not be built yet. Names are left
    out: Keras numbers them by what else was built in the process.
    """
    variables = model_variables(model)
    if model.optimizer is not None:
        variables += model.optimizer.variables
    return [[list(v.shape), str(v.dtype)] for v in variables]


def _put_optimizer(
    optimizer: keras.optimizers.Optimizer,
    arrays: list[np.ndarray],
    trains: tuple[int, ...] | None,
    variables: Sequence[keras.Variable],
) -> None:
    if trains is not None and not optimizer.built:
        if -1 in trains:
            raise ValueError(
                f"optimizer '{optimizer.name}' trained variables that the model does not hold, so "
                "its state cannot be put back; make what it trains an attribute of the model."
            )
        optimizer.build([variables[number] for number in trains])
    if trains is None and optimizer.built:
        arrays = _just_built(optimizer, arrays)
    _assign(optimizer.variables, arrays)


def _just_built(
    optimizer: keras.optimizers.Optimizer, unbuilt: Sequence[np.ndarray]
) -> list[np.ndarray]:
    """What an optimizer with these values holds when it is built on the weights as they are."""
    try:
        twin = type(optimizer).from_config(optimizer.get_config())
    except (TypeError, ValueError, NotImplementedError):
        return _cleared(optimizer)  # a class or schedule that its config does not make again
    if unbuilt:
        _assign(twin.variables, unbuilt)
    twin.build(trained_variables(optimizer))
    return list(_values(twin.variables))


def _cleared(optimizer: keras.optimizers.Optimizer) -> list[np.ndarray]:
    """Gives step count and slots of an optimizer their initial value; returns all it holds."""
    optimizer.iterations.assign(0)
    for variable in trained_variables(optimizer):
        weights = np.array(keras.ops.convert_to_numpy(variable))
        reset_slots(optimizer, variable, np.ones(weights.shape, bool), weights)
    return list(_values(optimizer.variables))


def _assign(variables: Sequence[keras.Variable], arrays: Sequence[np.ndarray]) -> None:
    for variable, value in zip(variables, arrays, strict=True):
        if is_structure(variable):
            set_and_note(variable, value)
        else:
            variable.assign(value)


def _values(variables: Sequence[keras.Variable]) -> tuple[np.ndarray, ...]:
    return tuple(np.array(keras.ops.convert_to_numpy(v), copy=True) for v in variables)
