"""Variables that a call of a model changes: comparing two models must leave no trace in them."""

import contextlib
from collections.abc import Iterator
from typing import Any

import keras

from hlstm_tf.keras_internals import all_layers


@contextlib.contextmanager
def restored(*models: keras.Model) -> Iterator[None]:
    """Begins with the states of stateful layers at zero; puts all back that calls changed.

    Two models that compute the same then give the same, whatever either was called with before:
    the states of a `stateful=True` layer are zero at the start. At the end those states, random
    states and other non-trainable variables are as they were found.

    Example:

    >>> import keras, numpy as np
    >>> from hlstm_tf.transforms.kept_states import restored
    >>> model = keras.Sequential([
    ...     keras.Input(batch_shape=(1, 3, 2)), keras.layers.GRU(2, stateful=True)])
    >>> with restored(model):
    ...     _ = model(np.ones((1, 3, 2), "float32"))
    >>> float(np.abs(model.layers[0].states[0]).sum())
    0.0
    """
    states = [state for model in models for state in kept_states(model)]
    others = [variable for model in models for variable in model.non_trainable_variables]
    found = [(each, keras.ops.convert_to_numpy(each)) for each in (*states, *others)]
    try:
        reset(states)
        yield
    finally:
        for variable, value in found:
            variable.assign(value)


def kept_states(model: keras.Layer) -> list[Any]:
    """The variables in which stateful recurrent layers keep their states, each once."""
    layers = {id(layer): layer for layer in all_layers(model) if keeps_state(layer)}
    return [state for layer in layers.values() for state in keras.tree.flatten(layer.states)]


def keeps_state(layer: keras.Layer) -> bool:
    """Whether a layer is recurrent and begins a call with the states that the last one ended in."""
    return isinstance(layer, keras.layers.RNN) and bool(layer.stateful)


def reset(states: list[Any]) -> None:
    """Sets states to zero; `RNN.reset_state` cannot where cells are stacked."""
    for state in states:
        state.assign(keras.ops.zeros_like(state))
