"""Sites between layers: dense layers and convolutions into which neurons can be born."""

from collections.abc import Mapping, MutableMapping, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from hlstm_tf.keras_internals import all_layers
from hlstm_tf.layers import PartialAreaConv2D
from hlstm_tf.layers.masking import MaskedKernel, masked_kernels
from hlstm_tf.pruning.sites import Opened, Passed, Site, gate_sites, mean_weight, value_of
from hlstm_tf.sparsity import Birth, Optimizers, reset_entries, scaled
from hlstm_tf.transforms.editing import WeightStore, in_place_of
from hlstm_tf.transforms.groups import NeuronGroup
from hlstm_tf.transforms.model_graph import feed_forward_ends, layer_groups
from hlstm_tf.transforms.pass_through import Normalization


@dataclass(frozen=True)
class LayerSite(Site):
    """A dense layer or convolution whose neurons can be born, and all that reads them.

    Attributes:
        producer: Its kernel.
        consumers: The kernels of the layers that read its neurons.
        between: Batch normalizations on the way to the consumers.
        is_bridge: Whether a consumer's row is the neuron itself, at the producer's own positions,
            so that the bridging gradient is defined: dense layers all.
    """

    name: str
    producer: MaskedKernel
    consumers: tuple[MaskedKernel, ...]
    width: int
    dormant: np.ndarray
    between: tuple[keras.layers.BatchNormalization, ...]
    is_bridge: bool

    def connect(
        self,
        births: Sequence[Birth],
        strength: float,
        opened: Opened,
        optimizer: Optimizers = None,
    ) -> None:
        before, after = (
            mean_weight([value_of(self.producer)]),
            mean_weight(map(value_of, self.consumers)),
        )
        edges = np.cumsum([consumer.shape[-1] for consumer in self.consumers])[:-1]
        chosen = self.dormant[: len(births)]
        for index, birth in zip(chosen, births, strict=True):
            mask, values = opened(self.producer)
            values[:, index] = scaled(birth.incoming, strength * before)
            mask[:, index] = birth.incoming != 0
            outgoing = scaled(birth.outgoing, strength * after)
            for consumer, part in zip(self.consumers, np.split(outgoing, edges), strict=True):
                mask, values = opened(consumer)
                values[index] = part
                mask[index] = part != 0
        self.prepare(chosen, optimizer)

    def close(self, rooms: Mapping[MaskedKernel, np.ndarray]) -> None:
        dormant = np.isin(np.arange(self.width), self.dormant)
        rooms[self.producer][..., dormant] = False
        for consumer in self.consumers:
            rooms[consumer][..., np.tile(dormant, consumer.shape[-2] // self.width), :] = False

    def open_bridge(self, bridges: MutableMapping[int, dict[tuple[int, int], Any]]) -> None:
        pass  # the layers at its two ends are tapped

    def bridge_ends(self, passed: Passed) -> list[Any]:
        return [passed.tapped[id(kernel.layer)][1] for kernel in self.consumers]

    def bridging_gradient(self, passed: Passed, gradients: list[Any], scale: Any) -> list[Any]:
        inputs = _flat(passed.tapped[id(self.producer.layer)][0])
        later = tf.concat([_flat(gradient) / scale for gradient in gradients], axis=1)
        return [tf.matmul(inputs, later, transpose_a=True), tf.reduce_mean(inputs, axis=0)]

    def prepare(self, indices: np.ndarray, optimizer: Optimizers = None) -> None:
        """Lets neurons begin anew: bias at 0, normalization's statistics at 0 and 1, areas whole.

        A neuron that died may have left a bias and areas that were narrowed, and one that never
        lived has a variance of nearly 0.
        """
        layer = self.producer.layer
        chosen = np.isin(np.arange(self.width), indices)
        if layer.use_bias:
            reset_entries(layer.bias, chosen, optimizer)
        for norm in self.between:
            places = np.tile(chosen, norm.moving_mean.shape[0] // self.width)
            reset_entries(norm.moving_mean, places)
            reset_entries(norm.moving_variance, places, value=1.0)
        if isinstance(layer, PartialAreaConv2D):
            reset_entries(layer.area, np.broadcast_to(chosen, layer.area.shape), value=True)
        for consumer in self.consumers:
            if isinstance(consumer.layer, PartialAreaConv2D):
                area = consumer.layer.area
                reset_entries(area, np.broadcast_to(chosen[:, None], area.shape), value=True)


def sites_of(model: keras.Model) -> list[Site]:
    """Finds all sites of a model with masked kernels.

    Gates come last: the numbers of the others, which seed their draws, do not depend on them.
    """
    return [*layer_sites(model), *gate_sites(model)]


def layer_sites(model: keras.Model) -> list[LayerSite]:
    """Finds where neurons can be born: units and filters that masked layers make and read.

    Args:
        model: A built model with masked kernels.
    """
    every = masked_kernels(model)
    kernels = {id(kernel.layer): kernel for kernel in every}
    masks = {k: keras.ops.convert_to_numpy(k.mask).astype(np.float64) for k in every}
    wrapped = {
        id(layer.layer)
        for layer in all_layers(model)
        if type(layer) is keras.layers.TimeDistributed
    }
    sites = []
    for group in layer_groups(model, WeightStore(in_place_of(masks))):
        site = _site(group, kernels, wrapped)
        if site is not None:
            sites.append(site)
    return sites


def living_rooms(model: keras.Model) -> dict[MaskedKernel, np.ndarray]:
    """Returns, for each kernel, the places that no dormant neuron of the sites is at an end of.

    Hidden neurons of gates are among them. Where no neuron of a layer lives, all its places are
    returned.
    """
    rooms = {k: np.ones(k.shape, dtype=bool) for k in masked_kernels(model)}
    for site in sites_of(model):
        if site.dormant.size < site.width:
            site.close(rooms)
    return rooms


def density(kernel: MaskedKernel) -> float:
    """Returns how many of the places between living inputs and outputs have a connection."""
    inputs, outputs = living_ends(kernel)
    places = int(np.prod(kernel.shape[:-2])) * int(inputs.sum()) * int(outputs.sum())
    existing = int(keras.ops.convert_to_numpy(kernel.mask).sum())
    return existing / places if places else 1.0


def living_ends(kernel: MaskedKernel) -> tuple[np.ndarray, np.ndarray]:
    """Returns which input channels and which outputs of a kernel have any connection in it."""
    exists = np.asarray(keras.ops.convert_to_numpy(kernel.mask))
    inputs = np.asarray(exists.any(axis=(*range(exists.ndim - 2), -1)))
    return inputs, np.asarray(exists.any(axis=tuple(range(exists.ndim - 1))))


def _site(
    group: NeuronGroup, kernels: dict[int, MaskedKernel], wrapped: set[int]
) -> LayerSite | None:
    connections, ends = group.strength(), feed_forward_ends(group)
    if ends is None or np.isnan(connections).any():
        return None
    producer, consumers = kernels[id(ends[0])], tuple(kernels[id(layer)] for layer in ends[1])
    pass_throughs = [
        pass_through for branch in group.branches for pass_through in branch.pass_throughs
    ]
    norms = {id(p.layer): p.layer for p in pass_throughs if isinstance(p, Normalization)}
    is_bridge = (
        all(isinstance(kernel.layer, keras.layers.Dense) for kernel in (producer, *consumers))
        and not wrapped & {id(kernel.layer) for kernel in (producer, *consumers)}
        and all(_same_positions(producer, consumer, bool(pass_throughs)) for consumer in consumers)
    )
    width, dormant = group.producer.width, np.flatnonzero(connections == 0)
    return LayerSite(
        producer.layer.name, producer, consumers, width, dormant, tuple(norms.values()), is_bridge
    )


def _same_positions(producer: MaskedKernel, consumer: MaskedKernel, passed: bool) -> bool:
    before, after = (_positions(kernel) for kernel in (producer, consumer))
    if producer.shape[-1] != consumer.shape[-2] or before is None or before != after:
        return False
    # A pooling over an axis of any length leaves one of any length.
    return not passed or None not in before


def _positions(kernel: MaskedKernel) -> list[int | None] | None:
    shape = (kernel.layer.get_build_config() or {}).get("input_shape")
    return None if shape is None else list(shape[1:-1])


def _flat(values: Any) -> Any:
    return tf.reshape(tf.cast(values, tf.float32), [-1, values.shape[-1]])
