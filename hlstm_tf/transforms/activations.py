"""The activation of the hidden layers of gates, set in a whole model."""

from collections.abc import Iterable
from typing import Any

import keras

from hlstm_tf.keras_check import check_keras
from hlstm_tf.keras_internals import all_layers
from hlstm_tf.layers.activations import LeakyReLU


def get_activation(activation: Any) -> Any:
    """Returns an activation by name, as Keras does, but "leaky_relu" with the slope of 0.01."""
    if activation == "leaky_relu":
        return LeakyReLU()
    return keras.activations.get(activation)


def set_hidden_activation(
    model: keras.Model,
    activation: Any,
    only: Any = None,
    layers: Iterable[keras.Layer] = (),
) -> int:
    """Sets the activation of the gates' hidden layers of every H-LSTM layer or cell of a model.

    Weights, masks and the optimizer stay as they are. The model's compiled functions are traced
    again, also in the middle of `fit`: what is traced has the old activation frozen in it.

    Args:
        model: Any model, built and compiled or not.
        activation: A name or function; "leaky_relu" has the slope 0.01.
        only: Set it only where the activation is this one now; everywhere by default.
        layers: Other layers whose `activation` is set too, such as Dense layers with ReLU.

    Returns:
        How many cells and layers were set.

    Raises:
        ValueError: The activation is unknown, or one of `layers` has none.

    Example:

    >>> import keras, hlstm_tf as hl
    >>> from hlstm_tf.callbacks import set_hidden_activation
    >>> model = keras.Sequential([keras.Input((None, 4)), hl.HLSTM(3)])
    >>> set_hidden_activation(model, "leaky_relu")
    1
    >>> model.layers[0].hidden_activation
    LeakyReLU(0.01)
    """
    check_keras(model, keras.Model, "model")
    new = get_activation(activation)
    old = None if only is None else get_activation(only)
    places = [(cell, "hidden_activation") for cell in _cells(model)]
    for layer in layers:
        if not hasattr(layer, "activation"):
            raise ValueError(f"layers: '{layer.name}' has no activation to set.")
        places.append((layer, "activation"))
    changed = [
        (owner, name)
        for owner, name in places
        if (old is None or getattr(owner, name) == old) and getattr(owner, name) != new
    ]
    for owner, name in changed:
        setattr(owner, name, new)
    if changed:
        trace_again(model)
    return len(changed)


def trace_again(model: keras.Model) -> None:
    """Makes `fit`, `evaluate` and `predict` trace the model anew, `fit` from its next step on."""
    model.test_function = None
    model.predict_function = None
    # A running `fit` reads `train_function` before each step and expects it to be there.
    if model.train_function is not None:
        model.make_train_function(force=True)


def _cells(model: keras.Model) -> list[keras.Layer]:
    """The owners of a `hidden_activation`: cells, not the layers that pass theirs on."""
    found = []
    for layer in all_layers(model):
        cell = getattr(layer, "cell", None)
        if hasattr(layer, "hidden_activation") and not hasattr(cell, "hidden_activation"):
            found.append(layer)
    return list({id(layer): layer for layer in found}.values())
