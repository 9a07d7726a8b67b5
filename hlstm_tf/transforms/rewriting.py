"""Makes a new model of the same kind in which chosen layers are others.

A Keras model is its configuration: `rebuild` writes it down, lets a function change the entry of
each layer, and makes a model from the result. That carries Sequential, functional and subclassed
models, wrappers, cells and nested models alike, and keeps names, sharing and dtype policies.
`copy_state` then carries over the weights.
"""

import itertools
import re
import tempfile
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import keras
import numpy as np

from hlstm_tf.keras_check import check_keras
from hlstm_tf.keras_internals import (
    all_layers,
    child_layers,
    forget_layer,
    inner_layers,
    seed_generators,
)
from hlstm_tf.layers import MaskedLayer
from hlstm_tf.transforms.saving import describe_layers, warn_at_save

Entry = dict[str, Any]
Change = Callable[[keras.Layer, Entry, tuple[keras.Layer, ...]], Entry]
"""Takes a layer, its entry in the configuration and the layers around it, outermost first;
returns the entry to use instead."""


def check_model(model: Any, name: str = "model") -> None:
    """Refuses what is no built Keras model.

    Raises:
        TypeError: It is no `keras.Model`.
        ValueError: It has no weights yet.
    """
    check_keras(model, keras.Model, f"`{name}`")
    if not model.built:
        raise ValueError(
            f"`{name}` '{model.name}' is not built, so its layers have no weights yet; give it a "
            "keras.Input, call it once on a batch, or call its build(input_shape)"
        )


def rebuild(model: keras.Model, change: Change) -> keras.Model:
    """Makes the model anew, each layer from the entry that `change` returns for it.

    The new model has fresh weights and is not compiled. `change` sees inner layers before the
    layers around them, every layer once for each place where it is written down.

    Raises:
        ValueError: The model cannot be made from its configuration.
    """
    entry = rewrite(write_entry(model), model, change)
    for key in ("compile_config", "build_config"):
        entry.pop(key, None)
    opaque = _is_opaque(model, entry)  # asked first: reading an entry may empty it
    new = read_entry(entry, model)
    if opaque:
        made = describe_layers(new)
        _replace_attributes(model, new, change)
        warn_at_save(new, made)
    if not new.built:
        _build_like(model, new)
    return new


def write_entry(layer: keras.Layer) -> Entry:
    """Returns the entry of a layer or model: its class, its configuration and what built it."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Keras warns of every lambda; it is read at once
            return keras.saving.serialize_keras_object(layer)
    except Exception as error:
        raise _cannot(layer, f"its get_config() failed: {_first_line(error)}") from error


def read_entry(entry: Entry, like: keras.Layer) -> keras.Layer:
    """Makes a layer or model from an entry; classes in `like` need not be registered."""
    known = {type(layer).__name__: type(layer) for layer in all_layers(like)}
    custom = {name: cls for name, cls in known.items() if not _is_of_keras(cls)}
    try:
        # The lambdas in it come from the model in memory, not from a file.
        return keras.saving.deserialize_keras_object(entry, custom_objects=custom, safe_mode=False)
    except Exception as error:
        raise _cannot(
            like, f"its configuration does not make it again: {_first_line(error)}"
        ) from error


def rewrite(
    entry: Entry, layer: keras.Layer, change: Change, around: tuple[keras.Layer, ...] = ()
) -> Entry:
    """Returns the entry of `layer` with `change` applied to it and to all layers inside."""
    inside = _Children(layer)
    config = {
        key: _rewrite_value(value, inside, change, (*around, layer))
        for key, value in entry["config"].items()
    }
    return change(layer, {**entry, "config": config}, around)


def _rewrite_value(
    value: Any, inside: "_Children", change: Change, around: tuple[keras.Layer, ...]
) -> Any:
    if isinstance(value, (list, tuple)):
        return type(value)(_rewrite_value(item, inside, change, around) for item in value)
    if not isinstance(value, dict):
        return value
    if isinstance(value.get("config"), dict) and "class_name" in value:
        child = inside.take(value["config"].get("name"))
        if child is not None:
            return rewrite(value, child, change, around)
    return {key: _rewrite_value(item, inside, change, around) for key, item in value.items()}


class _Children:
    """Finds the layers inside a layer by the names that its configuration gives them.

    Two children may have one name (the cells of `StackedRNNCells`): they are taken in order.
    """

    def __init__(self, layer: keras.Layer) -> None:
        self._by_name: dict[str, list[keras.Layer]] = {}
        for child in child_layers(layer):
            self._by_name.setdefault(child.name, []).append(child)

    def take(self, name: Any) -> keras.Layer | None:
        found = self._by_name.get(name, []) if isinstance(name, str) else []
        return found.pop(0) if len(found) > 1 else (found[0] if found else None)


def _is_of_keras(cls: type) -> bool:
    return cls.__module__.split(".")[0] == "keras"


def _is_opaque(layer: keras.Layer, entry: Entry) -> bool:
    """Whether a layer's configuration does not name the layers inside it."""
    own = type(layer).__module__.split(".")[0]
    names = {child.name for child in child_layers(layer)}
    return (
        own not in ("keras", "hlstm_tf") and bool(names) and not _mentions(entry["config"], names)
    )


def _mentions(value: Any, names: set[str]) -> bool:
    if isinstance(value, dict):
        inner = value.get("config")
        if isinstance(inner, dict) and inner.get("name") in names:
            return True
        return any(_mentions(item, names) for item in value.values())
    return isinstance(value, (list, tuple)) and any(_mentions(item, names) for item in value)


# Models that make their layers in their own constructor: the attributes are replaced.


def _replace_attributes(old: keras.Layer, new: keras.Layer, change: Change) -> None:
    """Puts rewritten layers into the attributes of a model that has made its own."""
    names = [name for name, value in vars(old).items() if _holds_layers(name, value)]
    if new.built and any(layer.weights for layer in inner_layers(new)):
        raise _cannot(
            old,
            "its constructor builds the layers and its get_config() does not name them; make it "
            "a functional model, or subclass keras.Model without a constructor of its own",
        )
    values = {
        name: _twin_value(getattr(old, name), getattr(new, name), change, (old,)) for name in names
    }
    # All anew and in order, so that the order of the weights stays that of the old model.
    for name in names:
        for layer in keras.tree.flatten(getattr(new, name)):
            forget_layer(new, layer)
    for name, value in values.items():
        setattr(new, name, value)


def _holds_layers(name: str, value: Any) -> bool:
    if name.startswith("_self_") or name in ("_layers", "_metrics", "_tracker"):
        return False  # the books that TensorFlow and Keras keep of the attributes
    if isinstance(value, dict):
        return any(_holds_layers("", item) for item in value.values())
    if isinstance(value, (list, tuple)):
        return any(_holds_layers("", item) for item in value)
    return isinstance(value, keras.Layer)


def _twin_value(old: Any, new: Any, change: Change, around: tuple[keras.Layer, ...]) -> Any:
    if isinstance(old, dict):
        return {key: _twin_value(item, new[key], change, around) for key, item in old.items()}
    if isinstance(old, (list, tuple)):
        items = [_twin_value(a, b, change, around) for a, b in zip(old, new, strict=True)]
        return items if isinstance(old, list) else tuple(items)
    if not isinstance(old, keras.Layer):
        return new
    entry = rewrite(write_entry(old), old, change, around)
    entry.pop("build_config", None)
    if _is_opaque(old, entry):
        _replace_attributes(old, new, change)
        return new
    return read_entry(entry, old)


def _build_like(old: keras.Model, new: keras.Model) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        new.build_from_config(old.get_build_config())
    new.built = True  # as Keras does when it loads a model
    if any(layer.built and not twin.built for layer, twin in paired_layers(old, new)):
        raise _cannot(
            old,
            "it cannot be built from the shapes of its inputs; give it a build_from_config(config)",
        )


# State.


def paired_layers(old: keras.Model, new: keras.Model) -> Iterator[tuple[keras.Layer, keras.Layer]]:
    """Yields each layer of a model with its counterpart in the model made from it.

    Raises:
        ValueError: They do not correspond, as with a layer that two nested models share.
    """
    before, after = all_layers(old), all_layers(new)
    before, after = _without_repeats(before), _without_repeats(after)
    stems, found = ([_stem(layer) for layer in layers[1:]] for layers in (before, after))
    if stems != found:
        # The first that has no counterpart, or the first of those there are too many of.
        pairs = itertools.zip_longest(before[1:], after[1:])
        odd = next(a or b for a, b in pairs if a is None or b is None or _stem(a) != _stem(b))
        raise _cannot(
            old,
            f"made again it has other layers ({len(before)} before, {len(after)} after; the first "
            f"without a counterpart is '{odd.name}'); a layer that two nested models share, or one "
            "that get_config() leaves out, does that",
        )
    yield from zip(before, after, strict=True)


def _stem(layer: keras.Layer) -> str:
    """A layer's name without the number that Keras gives to those that the user does not name.

    A layer that makes others inside and names none of them makes them again with other numbers.
    """
    return re.sub(r"_\d+$", "", layer.name)


def copy_state(
    old: keras.Model,
    new: keras.Model,
    edited: dict[int, dict[str, np.ndarray]] | None = None,
) -> None:
    """Gives the new model the old one's weights, masks, random state and trainable flags.

    Args:
        old: A model.
        new: The model made from it by `rebuild`.
        edited: By `id` of an old layer, the arrays to give to its counterpart instead of the old
            layer's weights, by attribute name.
    """
    edited = edited or {}
    for source, target in paired_layers(old, new):
        if target.trainable != source.trainable:
            target.trainable = source.trainable
        if id(source) in edited:
            for name, array in edited[id(source)].items():
                getattr(target, name).assign(array)
        else:
            _copy_own_variables(source, target)
        for a, b in zip(seed_generators(source), seed_generators(target), strict=True):
            b.state.assign(a.state)
        if hasattr(source, "save_assets"):
            with tempfile.TemporaryDirectory() as folder:
                source.save_assets(folder)
                target.load_assets(folder)


def _copy_own_variables(source: keras.Layer, target: keras.Layer) -> None:
    store: dict[str, Any] = {}
    source.save_own_variables(store)
    lost = _mask_names(source) - _mask_names(target)
    store = {key: value for key, value in store.items() if key not in lost}
    if store:
        target.load_own_variables(store)


def _mask_names(layer: keras.Layer) -> set[str]:
    return layer.mask_names() if isinstance(layer, MaskedLayer) else set()


def _without_repeats(layers: Sequence[keras.Layer]) -> list[keras.Layer]:
    return list({id(layer): layer for layer in layers}.values())


def _cannot(layer: keras.Layer, why: str) -> ValueError:
    return ValueError(f"`model` '{layer.name}' ({type(layer).__name__}) cannot be rewritten: {why}")


def _first_line(error: Exception) -> str:
    lines = [line for line in str(error).split("\n") if line.strip()]
    text = lines[0].strip() if lines else "no message"
    return f"{type(error).__name__}: {text[:300]}"
