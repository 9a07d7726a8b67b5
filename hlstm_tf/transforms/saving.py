"""Models whose `.keras` file could not be loaded say so when it is written."""

import itertools
import warnings
from typing import Any

import keras

from hlstm_tf.keras_internals import inner_layers

Described = list[tuple[keras.Layer, type, Any]]
"""Layers without layers inside, each with its class and its configuration without names."""


def describe_layers(model: keras.Model) -> Described:
    """Returns what a model is made of; containers and the layers of its inputs are left out."""
    layers = {id(layer): layer for layer in inner_layers(model)}.values()
    return [
        (layer, type(layer), _configuration(layer))
        for layer in layers
        if not isinstance(layer, keras.layers.InputLayer) and not inner_layers(layer)
    ]


def warn_at_save(model: keras.Model, made: Described) -> None:
    """Makes a model warn when it is saved as a whole, where its class does not make its layers.

    A file `.keras` of a subclassed model holds what its `get_config` returns, and its constructor
    makes the layers that the weights are loaded into: others than `model` has, and it fails.

    Args:
        model: A model whose attributes have been replaced.
        made: What `describe_layers` said of it before, as its constructor had made it.
    """
    pairs = itertools.zip_longest(made, describe_layers(model))
    odd = next(((given or own)[0] for own, given in pairs if not _takes(own, given)), None)
    if odd is None:
        return
    get_config, cls = model.get_config, type(model).__name__
    message = (
        f"the constructor of {cls} does not make the layers that model '{model.name}' has, such as "
        f"the {type(odd).__name__} '{odd.name}', so a .keras file of it cannot be loaded. Save "
        "model.save_weights('NAME.weights.h5') and load that into a model that is made in the same "
        "way (by hl.sparsify, say); or save hl.strip(model), which has no masks; or make masked "
        f"layers, such as hl.MaskedDense, in the constructor of {cls}."
    )

    def warning_config() -> dict[str, Any]:
        warnings.warn(message, stacklevel=2)
        return get_config()

    # Past Keras's attribute tracking. Keras asks for the configuration when it saves or clones.
    model.__dict__["get_config"] = warning_config


def _takes(own: tuple | None, given: tuple | None) -> bool:
    """Whether a layer that the constructor made takes the weights of the one that is there."""
    if own is None or given is None:
        return False
    # A masked twin, which is a subclass, loads what its Keras layer saved.
    return issubclass(own[1], given[1]) and own[2] == given[2]


def _configuration(layer: keras.Layer) -> Any:
    try:
        return _without_names(layer.get_config())
    except Exception:
        return None


def _without_names(value: Any) -> Any:
    if isinstance(value, dict):
        # A layer that was built tells what it found out: the shapes of layers inside, its axis.
        own = (item for item in value.items() if item[0] not in ("name", "build_config", "axis"))
        return {key: _without_names(item) for key, item in own}
    if isinstance(value, (list, tuple)):
        return [_without_names(item) for item in value]
    return value
