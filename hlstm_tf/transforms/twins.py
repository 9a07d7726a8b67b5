"""The masked twin of each Keras layer, on the entries of a model's configuration."""

from typing import Any

import keras

from hlstm_tf import layers
from hlstm_tf.layers.recurrent_layer import TRAINING_ARGUMENTS
from hlstm_tf.layers.twins import registered_cells
from hlstm_tf.transforms.rewriting import Entry

_TWINS: tuple[type[keras.Layer], ...] = (
    layers.MaskedConv1D,
    layers.MaskedConv3D,
    layers.MaskedConv1DTranspose,
    layers.MaskedConv2DTranspose,
    layers.MaskedConv3DTranspose,
    layers.MaskedDepthwiseConv1D,
    layers.MaskedDepthwiseConv2D,
    layers.MaskedSeparableConv1D,
    layers.MaskedSeparableConv2D,
    layers.MaskedReversibleEmbedding,
    layers.MaskedConv2D,
    layers.MaskedDense,
    layers.MaskedEmbedding,
    layers.MaskedGRU,
    layers.MaskedGRUCell,
    layers.MaskedLSTM,
    layers.MaskedLSTMCell,
    layers.MaskedSimpleRNN,
    layers.MaskedSimpleRNNCell,
)
_BY_KERAS_NAME = {cls.__name__.removeprefix("Masked"): cls for cls in _TWINS}
_KERAS_CLASS = {cls: getattr(keras.layers, name) for name, cls in _BY_KERAS_NAME.items()}
_BY_TWIN_NAME = {keras.saving.get_registered_name(cls): cls for cls in _TWINS}
_WITH_OR_WITHOUT = frozenset(
    keras.saving.get_registered_name(cls)
    for cls in (
        layers.HLSTM,
        layers.HLSTMCell,
        layers.PartialAreaConv2D,
        layers.CompactDense,
        layers.CompactGRU,
        layers.CompactGRUCell,
        layers.CompactLSTM,
        layers.CompactLSTMCell,
        layers.CompactSimpleRNN,
        layers.CompactSimpleRNNCell,
        layers.FastGRNN,
        layers.FastGRNNCell,
    )
)
"""Layers that say by their argument `masked` which form they are."""

SUPPORTED = (
    *sorted(_BY_KERAS_NAME),
    *sorted(name.removeprefix("hlstm_tf>") for name in _WITH_OR_WITHOUT),
)
"""Names of the layers that have a masked form."""


def masked_entry(layer: keras.Layer, entry: Entry) -> Entry | None:
    """Returns the entry of a layer's masked twin; `None` for a layer that has none.

    Only exactly the Keras class has a twin: a subclass may compute anything. A quantized or
    LoRA-adapted layer has other variables and no twin either.
    """
    registered = entry.get("registered_name")
    if registered in _BY_TWIN_NAME or type(layer) in registered_cells().values():
        return entry
    if registered in _WITH_OR_WITHOUT:
        return {**entry, "config": {**entry["config"], "masked": True}}
    twin = registered_cells().get(type(layer))
    if twin is None and entry["module"] == "keras.layers" and is_plain(layer):
        twin = _BY_KERAS_NAME.get(entry["class_name"])
    return None if twin is None else _of_class(entry, twin)


def plain_entry(layer: keras.Layer, entry: Entry) -> Entry:
    """Returns the entry of the layer that `layer` is the masked form of, or the entry itself."""
    registered = entry.get("registered_name")
    if isinstance(layer, layers.PartialAreaConv2D) and uses_all(layer):
        return _of_keras(entry, "Conv2D")
    if registered in _WITH_OR_WITHOUT:
        return {**entry, "config": {**entry["config"], "masked": False}}
    for cell, masked in registered_cells().items():
        if type(layer) is masked:
            return _of_class(entry, cell)
    twin = _BY_TWIN_NAME.get(registered)
    return entry if twin is None else _of_keras(entry, twin.__name__.removeprefix("Masked"))


def _of_class(entry: Entry, cls: type[keras.Layer]) -> Entry:
    return {
        **entry,
        "module": cls.__module__,
        "class_name": cls.__name__,
        "registered_name": keras.saving.get_registered_name(cls),
    }


def _of_keras(entry: Entry, name: str) -> Entry:
    ours = (*TRAINING_ARGUMENTS, "masked")
    config = {key: value for key, value in entry["config"].items() if key not in ours}
    keras_own = {"module": "keras.layers", "class_name": name, "registered_name": None}
    return {**entry, **keras_own, "config": config}


def uses_all(layer: layers.PartialAreaConv2D) -> bool:
    """Whether all areas of a partial-area convolution are in use, as in a plain one."""
    return bool(keras.ops.convert_to_numpy(layer.area).all())


def keras_class(layer: keras.Layer) -> type[keras.Layer]:
    """Returns the class of a layer, of a masked twin its Keras layer's.

    >>> keras_class(layers.MaskedDense(3)).__name__
    'Dense'
    """
    return _KERAS_CLASS.get(type(layer), type(layer))


def is_plain(layer: Any) -> bool:
    """Whether a layer has the variables of its class: neither quantized nor LoRA-adapted."""
    quantized = getattr(layer, "quantization_mode", None) is not None
    return not quantized and not getattr(layer, "lora_enabled", False)
