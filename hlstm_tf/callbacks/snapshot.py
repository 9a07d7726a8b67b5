"""The whole state of a model in training, as arrays: taken, put back, bit for bit."""

from dataclasses import dataclass

import keras
import numpy as np


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
    """Puts a state back: weights, masks and optimizer together."""
    for variable, value in zip(state_variables(model), snapshot.arrays, strict=True):
        variable.assign(value)


def layout(model: keras.Model) -> list[list]:
    """Returns shape and dtype of each state variable, to tell whose state a file holds.

    Names are left out: Keras numbers them by what else was built in the process.
    """
    return [[list(v.shape), str(v.dtype)] for v in state_variables(model)]
