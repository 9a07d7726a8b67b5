"""Finds the neurons of a model: every group of them that can be taken out, with its consumers."""

from collections import Counter
from dataclasses import dataclass

import keras

from hlstm_tf.layers.cells import CellForm, form_of
from hlstm_tf.layers.masking import layers_within
from hlstm_tf.transforms.containers import graph_of
from hlstm_tf.transforms.convolution_ends import ChannelFilter
from hlstm_tf.transforms.editing import WeightStore
from hlstm_tf.transforms.groups import NeuronGroup
from hlstm_tf.transforms.matrix_ends import MatrixConsumer, MatrixProducer
from hlstm_tf.transforms.recurrent import gate_groups
from hlstm_tf.transforms.rewriting import Entry, rewrite, write_entry


def layer_groups(model: keras.Model, store: WeightStore) -> list[NeuronGroup]:
    """Returns the groups between the layers of a model: units, filters, columns, states.

    Args:
        model: A built model, masked or plain.
        store: Where its weights, or other arrays of their shapes, are worked on.
    """
    graphs = []
    places: Counter[int] = Counter()

    def look(layer: keras.Layer, entry: Entry, around: tuple[keras.Layer, ...]) -> Entry:
        places[id(layer)] += 1
        graph = graph_of(layer, entry)
        if graph is not None:
            graphs.append(graph)
        return entry

    rewrite(write_entry(model), model, look)
    shared = {key for key, count in places.items() if count > 1}
    return [group for graph in graphs for group in graph.groups(store, shared)]


def feed_forward_ends(group: NeuronGroup) -> tuple[keras.Layer, list[keras.Layer]] | None:
    """Returns the layer that makes the neurons of a group and those that read them.

    `None` where any of them is no dense layer or convolution, or a depthwise convolution, which has
    weights of its own for them, lies between.
    """
    pass_throughs = [
        pass_through for branch in group.branches for pass_through in branch.pass_throughs
    ]
    if any(isinstance(pass_through, ChannelFilter) for pass_through in pass_throughs):
        return None
    consumers = [branch.consumer for branch in group.branches]
    if not isinstance(group.producer, MatrixProducer):
        return None
    found = [consumer.layer for consumer in consumers if isinstance(consumer, MatrixConsumer)]
    return (group.producer.layer, found) if len(found) == len(consumers) else None


@dataclass(frozen=True)
class HiddenLayers:
    """The hidden layers of the gates of one cell.

    Attributes:
        name: Name of the layer that the cell is in; of the cell where that layer has several.
        cell: The cell.
        form: Its form.
        groups: For each hidden layer a group a gate.
    """

    name: str
    cell: keras.Layer
    form: CellForm
    groups: list[list[NeuronGroup]]


def hidden_layers(model: keras.Model, store: WeightStore) -> list[HiddenLayers]:
    """Returns the cells of a model whose gates have hidden layers that can lose neurons.

    Args:
        model: A built model, masked or plain.
        store: Where its weights, or other arrays of their shapes, are worked on.
    """
    layers = list(layers_within(model))
    names: dict[int, str] = {}
    for layer in layers:
        if isinstance(layer, keras.layers.RNN):
            names[id(layer.cell)] = layer.name
    found = []
    for cell in layers:
        form = form_of(cell)
        groups = gate_groups(cell, store) if form is not None else []
        if form is not None and groups:
            found.append(HiddenLayers(names.get(id(cell), cell.name), cell, form, groups))
    return found
