"""Prepares a model for export: masks applied and gone, nothing that an export
cannot hold."""

import logging
from functools import partial
from typing import Any

import keras

from hlstm_tf.export.recurrences import recurrent_layers
from hlstm_tf.export.time_distributed import ReshapedTimeDistributed
from hlstm_tf.keras_internals import all_layers
from hlstm_tf.layers import MaskedLayer, masked_kernels
from hlstm_tf.transforms import strip
from hlstm_tf.transforms.kept_states import keeps_state
from hlstm_tf.transforms.rewriting import Entry, copy_state, rebuild
from hlstm_tf.transforms.twins import plain_entry

HALF_DTYPES = ("float16", "bfloat16")

_log = logging.getLogger("hlstm_tf.export")


def plain_model(model: keras.Model, *, unroll: bool = False) -> keras.Model:
    """The same function as plain layers that keep nothing between calls, for any batch size.

    Masked layers become plain, `stateful` ones stateless, and `TimeDistributed` runs its layer on
    all steps at once. The model itself where nothing in it is of that kind.

    Args:
        model: The model.
        unroll: Whether a recurrent layer inside `TimeDistributed` is written out step by step where
            its length is known. A TFLite file has no loop over as many samples as come.

    Raises:
        ValueError: A layer inside `TimeDistributed` is stateful, or the model cannot be rewritten.
    """
    layers = all_layers(model)
    masked = any(isinstance(layer, MaskedLayer) for layer in layers) and masked_kernels(model)
    if masked or any(map(keeps_state, layers)):
        _check_states(model)
        return _exportable(model, unroll)
    if not any(type(layer) is keras.layers.TimeDistributed for layer in layers):
        return model
    try:
        return _exportable(model, unroll)
    except ValueError as error:
        _log.info("TimeDistributed stays Keras's own: %s", error)
        return model


def _exportable(model: keras.Model, unroll: bool) -> keras.Model:
    new = rebuild(model, partial(_exportable_entry, unroll=unroll))
    copy_state(model, new)
    return new


def _exportable_entry(
    layer: keras.Layer, entry: Entry, around: tuple[keras.Layer, ...], unroll: bool
) -> Entry:
    entry = plain_entry(layer, entry)
    if isinstance(layer, keras.layers.InputLayer):
        return _with(entry, batch_shape=(None, *entry["config"]["batch_shape"][1:]))
    if isinstance(layer, keras.layers.RNN):
        inside = unroll and any(isinstance(each, keras.layers.TimeDistributed) for each in around)
        return _with(
            entry, stateful=False, unroll=layer.unroll or (inside and _known_length(layer))
        )
    if type(layer) is keras.layers.TimeDistributed:
        twin = ReshapedTimeDistributed
        return {
            **entry,
            "module": twin.__module__,
            "class_name": twin.__name__,
            "registered_name": keras.saving.get_registered_name(twin),
        }
    return entry


def _with(entry: Entry, **arguments: Any) -> Entry:
    return {**entry, "config": {**entry["config"], **arguments}}


def _known_length(layer: keras.layers.RNN) -> bool:
    shape = (layer.get_build_config() or {}).get("input_shape")
    return shape is not None and shape[1] is not None


def _check_states(model: keras.Model) -> None:
    reachable = {id(layer) for layer, _ in recurrent_layers(model)}
    for layer in all_layers(model):
        if keeps_state(layer) and id(layer) not in reachable:
            raise ValueError(
                f"layer {layer.name!r} is stateful=True inside another layer, from where its "
                "states cannot be taken in and given out. Build that layer with stateful=False."
            )


def full_precision(model: keras.Model) -> keras.Model:
    """The model with every layer computing in float32, which engines for phones expect.

    Args:
        model: A model that is no longer trained; layers that compute in half precision over float32
            weights (`mixed_bfloat16`, `mixed_float16`) are copied.

    Raises:
        ValueError: A layer has its weights themselves in half precision, or computes in float64.
    """
    for layer in all_layers(model):
        if layer.compute_dtype == "float64" and not isinstance(
            layer, (keras.Model, keras.layers.InputLayer)
        ):
            raise ValueError(
                f"layer {layer.name!r} computes in float64, and a TFLite file computes in float32. "
                "Build the model with the policy 'float32' and give it the same weights."
            )
    halves = [layer for layer in all_layers(model) if layer.compute_dtype in HALF_DTYPES]
    if not halves:
        return model
    for layer in halves:
        if layer.variable_dtype in HALF_DTYPES and layer.weights:
            raise ValueError(
                f"layer {layer.name!r} has its weights in {layer.variable_dtype}; a TFLite file "
                "needs float32 weights. Build the model with the policy 'mixed_bfloat16' or "
                "'float32'."
            )
    copy = strip(model)
    for layer in all_layers(copy):
        if layer.compute_dtype in HALF_DTYPES:
            layer.dtype_policy = "float32"
    return copy
