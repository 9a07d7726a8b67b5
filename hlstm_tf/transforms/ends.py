"""Producers and consumers: the two ends of the layers that neuron groups connect."""

from typing import Any

import keras
import numpy as np

from hlstm_tf.layers import PartialAreaConv2D
from hlstm_tf.transforms.editing import Edited, WeightStore, is_elementwise, zero
from hlstm_tf.transforms.groups import Consumer, ManyConsumers, Producer
from hlstm_tf.transforms.kernel_ends import (
    DEPTHWISE,
    SEPARABLE,
    TRANSPOSED,
    AreaConsumer,
    AreaProducer,
    KernelConsumer,
    KernelProducer,
    MatrixConsumer,
    MatrixProducer,
    SeparableConsumer,
    SeparableProducer,
    is_convolution,
    opened_area,
)
from hlstm_tf.transforms.recurrent import cell_consumer, state_producer_of
from hlstm_tf.transforms.twins import is_plain, keras_class

_DENSE = (keras.layers.Dense,)
_CONVOLUTIONS = (keras.layers.Conv1D, keras.layers.Conv2D, keras.layers.Conv3D)


def producer_of(layer: keras.Layer, store: WeightStore) -> Producer | None:
    """Returns the end of a layer whose neurons can be taken out; `None` where there is none."""
    layer = unwrapped(layer)
    if keras_class(layer) is keras.layers.Embedding and is_plain(layer):
        return EmbeddingProducer(store.open(layer, "embeddings"))
    if isinstance(layer, (keras.layers.RNN, keras.layers.Bidirectional)):
        return state_producer_of(layer, store) if _is_known(layer) else None
    if not (is_convolution(layer, (*SEPARABLE, *TRANSPOSED)) or _is_matrix_layer(layer)):
        return None
    if not is_elementwise(layer.activation):
        return None
    if is_convolution(layer, SEPARABLE):
        return SeparableProducer(layer, store)
    if is_convolution(layer, TRANSPOSED):
        edited = store.open(layer, "kernel", "bias")
        return KernelProducer(edited, "filters", layer.activation, axis=-2)
    if isinstance(layer, PartialAreaConv2D):
        return AreaProducer(opened_area(layer, store), "filters", layer.activation)
    argument = "units" if isinstance(layer, _DENSE) else "filters"
    return MatrixProducer(store.open(layer, "kernel", "bias"), argument, layer.activation)


def consumer_of(layer: keras.Layer, store: WeightStore) -> Consumer | None:
    """Returns the end of a layer that reads neurons row by row; `None` where there is none."""
    layer = unwrapped(layer)
    if isinstance(layer, PartialAreaConv2D):
        return AreaConsumer(opened_area(layer, store))
    if is_convolution(layer, SEPARABLE):
        return SeparableConsumer(layer, store)
    if is_convolution(layer, TRANSPOSED):
        # What a constant becomes depends on how many windows reach a position.
        return KernelConsumer(store.open(layer, "kernel", "bias"), axis=-1, varies=True)
    if _is_matrix_layer(layer):
        return MatrixConsumer(store.open(layer, "kernel", "bias"))
    if isinstance(layer, keras.layers.Bidirectional):
        ends = [consumer_of(side, store) for side in (layer.forward_layer, layer.backward_layer)]
        known = [end for end in ends if end is not None]
        return ManyConsumers(known) if len(known) == 2 else None
    if not isinstance(layer, keras.layers.RNN) or not _is_known(layer):
        return None
    store.touched.add(id(layer))
    cell = layer.cell
    if type(cell) is keras.layers.StackedRNNCells:
        cell = cell.cells[0]  # the others read the one before them
    return cell_consumer(cell, store)


def why_no_producer(layer: keras.Layer) -> str:
    """Why a layer has no neurons that can be taken out or added, where `producer_of` finds none."""
    layer = unwrapped(layer)
    if getattr(layer, "groups", 1) > 1:
        return f"it is a convolution in groups={layer.groups}, which have to stay equally wide"
    if isinstance(layer, DEPTHWISE):
        return "it is a depthwise convolution, whose channels are those of the layer before it"
    if getattr(layer, "data_format", "channels_last") == "channels_first":
        return "it has data_format='channels_first'"
    if not is_elementwise(getattr(layer, "activation", None) or keras.activations.linear):
        return f"its activation {keras.activations.serialize(layer.activation)!r} mixes its neurons"
    return f"it is a {type(layer).__name__}"


def unwrapped(layer: keras.Layer) -> keras.Layer:
    """The layer that a `TimeDistributed` applies; any other layer itself."""
    return layer.layer if type(layer) is keras.layers.TimeDistributed else layer


def _is_known(layer: keras.Layer) -> bool:
    return type(layer).__module__.split(".")[0] in ("keras", "hlstm_tf")


def _is_matrix_layer(layer: Any) -> bool:
    if type(layer) is PartialAreaConv2D:
        return True
    if keras_class(layer) in _DENSE:
        return is_plain(layer)
    return is_convolution(layer, _CONVOLUTIONS) and layer.groups == 1


class EmbeddingProducer(Producer):
    """The columns of an embedding's table; a column is constant if all its entries are equal."""

    def __init__(self, edited: Edited) -> None:
        self._edited = edited

    @property
    def layer(self) -> keras.Layer:
        return self._edited.layer

    @property
    def width(self) -> int:
        return self._edited.arrays["embeddings"].shape[1]

    def constants(self) -> np.ndarray:
        table = self._edited.arrays["embeddings"]
        return np.where((table == table[0]).all(axis=0), table[0], np.nan)

    def incoming(self) -> np.ndarray:
        return np.asarray(self._edited.arrays["embeddings"].sum(axis=0))

    def zero(self, dead: np.ndarray) -> bool:
        return zero(self._edited.arrays["embeddings"], (..., dead))

    def keep(self, indices: np.ndarray) -> None:
        self._edited.select("embeddings", 1, indices)
        self._edited.arguments["output_dim"] = len(indices)
