"""The whole state of a model in training, as arrays: taken, put back, bit for bit."""

from dataclasses import dataclass

import keras
import numpy as np

from hlstm_tf.layers.masking import masked_kernels
from hlstm_tf.sparsity import held_optimizers, reset_slots
from hlstm_tf.sparsity.changes import set_and_note


@dataclass(frozen=True, eq=False)
class Snapshot:
    """Every variable of a model and its optimizer at one moment.

    Attributes:
        name: Tells it from every other snapshot of a run.
        arrays: The values, in the order of `state_variables`.
    """

    name: str
    arrays: tuple[np.ndarray, ...]


def state_variables(model: keras.Model) -> list[keras.Variable]:
    """Returns all that training changes, each once, in a fixed order.

    Weights, masks, batch normalization's statistics, seed generators, and the optimizer's
    variables: step count, learning rate, slots, averages, loss scale. Metrics are not among them;
    they start afresh with each epoch.
    """
    metrics = {id(variable) for variable in model.metrics_variables}
    variables = [v for v in model.variables if id(v) not in metrics]
    if model.optimizer is not None:
        variables += model.optimizer.variables
    return list({id(variable): variable for variable in variables}.values())


def take(model: keras.Model, name: str) -> Snapshot:
    """Copies the state of a model and its optimizer."""
    values = [keras.ops.convert_to_numpy(v) for v in state_variables(model)]
    return Snapshot(name, tuple(np.array(value, copy=True) for value in values))


def put(model: keras.Model, snapshot: Snapshot) -> None:
    """Puts a state back: weights, masks and optimizer together.

    Optimizers besides that of `compile`, which a snapshot does not hold, start anew where a mask
    changes.
    """
    kernels = masked_kernels(model)
    before = [np.array(kernel.mask) for kernel in kernels]
    for variable, value in zip(state_variables(model), snapshot.arrays, strict=True):
        if is_structure(variable):
            set_and_note(variable, value)
        else:
            variable.assign(value)
    others = [each for each in held_optimizers(model) if each is not model.optimizer]
    for kernel, mask in zip(kernels, before, strict=True):
        changed, weights = mask != np.array(kernel.mask), np.array(kernel.variable)
        reset_slots(others, kernel.variable, changed, weights)


def same_weights(model: keras.Model, snapshot: Snapshot) -> bool:
    """Whether the model's weights are those of a snapshot, whatever its optimizer holds."""
    weights = {id(weight) for weight in model.weights}
    return all(
        np.array_equal(keras.ops.convert_to_numpy(variable), value)
        for variable, value in zip(state_variables(model), snapshot.arrays, strict=True)
        if id(variable) in weights
    )


def is_structure(variable: keras.Variable) -> bool:
    """Whether a variable says what exists: a mask, or the area of a partial-area convolution."""
    return str(variable.dtype) == "bool"


def layout(model: keras.Model) -> list[list]:
    """Returns shape and dtype of each state variable, to tell whose state a file holds.

    Names are left out: Keras numbers them by what else was built in the process.
    """
    return [[list(v.shape), str(v.dtype)] for v in state_variables(model)]
