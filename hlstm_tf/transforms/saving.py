"""Models whose `.keras` file could not be loaded say so when it is written."""

import itertools
import warnings
from typing import Any

import keras

Description = tuple[str, Any]


def describe_layers(model: keras.Model) -> list[tuple[keras.Layer, Description]]:
    """Returns the layers inside a model, each with its class and configuration without names."""
    layers = model._flatten_layers(include_self=False)
    return [(layer, (type(layer).__name__, _configuration(layer))) for layer in layers]


def warn_at_save(model: keras.Model, made: list[tuple[keras.Layer, Description]]) -> None:
    """Makes a model warn when it is saved as a whole, where its class does not make its layers.

    A file `.keras` of a subclassed model holds what its `get_config` returns, and its constructor
    makes the layers that the weights are loaded into: others than `model` has, and it fails.

    Args:
        model: A model whose attributes have been replaced.
        made: What `describe_layers` said of it before, as its constructor had made it.
    """
    now = describe_layers(model)
    pairs = itertools.zip_longest(made, now)
    odd = next(((b or a)[0] for a, b in pairs if not _same(a, b)), None)
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


def _same(
    first: tuple[keras.Layer, Description] | None, second: tuple[keras.Layer, Description] | None
) -> bool:
    return first is not None and second is not None and first[1] == second[1]


def _configuration(layer: keras.Layer) -> Any:
    try:
        return _without_names(layer.get_config())
    except Exception:
        return None


def _without_names(value: Any) -> Any:
    if isinstance(value, dict):
        # A built wrapper tells the shapes that its layers were built with.
        own = (item for item in value.items() if item[0] not in ("name", "build_config"))
        return {key: _without_names(item) for key, item in own}
    if isinstance(value, (list, tuple)):
        return [_without_names(item) for item in value]
    return value
