"""Finds the neurons of a model: every group of them that can be taken out, with its readers."""

from collections import Counter

import keras

from hlstm_tf.layers import HLSTMCell
from hlstm_tf.transforms.containers import graph_of
from hlstm_tf.transforms.editing import Workshop, is_elementwise
from hlstm_tf.transforms.ends import MatrixReader, MatrixWriter
from hlstm_tf.transforms.gates import GateCompactor
from hlstm_tf.transforms.groups import NeuronGroup
from hlstm_tf.transforms.rewriting import Entry, rewrite, write_entry


def layer_groups(model: keras.Model, workshop: Workshop) -> list[NeuronGroup]:
    """Returns the groups between the layers of a model: units, filters, columns, states.

    Args:
        model: A built model, masked or plain.
        workshop: Where its weights, or other arrays of their shapes, are worked on.
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
    return [group for graph in graphs for group in graph.groups(workshop, shared)]


def feed_forward_ends(group: NeuronGroup) -> tuple[keras.Layer, list[keras.Layer]] | None:
    """Returns the layer that makes the neurons of a group and those that read them.

    `None` where any of them is no dense layer or convolution.
    """
    readers = [branch.reader for branch in group.branches]
    if not isinstance(group.writer, MatrixWriter):
        return None
    found = [reader.layer for reader in readers if isinstance(reader, MatrixReader)]
    return (group.writer.layer, found) if len(found) == len(readers) else None


def gate_compactors(model: keras.Model, workshop: Workshop) -> list[GateCompactor]:
    """Returns the hidden layers of all H-LSTM gates of a model, by cell."""
    cells = {id(layer): layer for layer in model._flatten_layers() if _has_hidden_layers(layer)}
    return [GateCompactor(cell, workshop) for cell in cells.values()]


def gate_cell_names(model: keras.Model) -> dict[int, str]:
    """Returns the H-LSTM cells whose gates can have dormant neurons: their `id`s, and names.

    They have hidden layers, whose activation treats each neuron by itself. A cell goes by the name
    of its layer, `HLSTM` or `RNN`; by its own where a layer has several cells.
    """
    names: dict[int, str] = {}
    for layer in model._flatten_layers():
        if _has_hidden_layers(layer) and is_elementwise(layer.hidden_activation):
            names.setdefault(id(layer), layer.name)
    for layer in model._flatten_layers():
        if isinstance(layer, keras.layers.RNN) and id(layer.cell) in names:
            names[id(layer.cell)] = layer.name
    return names


def _has_hidden_layers(layer: keras.Layer) -> bool:
    return isinstance(layer, HLSTMCell) and bool(layer.hidden_units)
