"""The graph of a Sequential or functional model, and its groups of neurons."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import keras

from hlstm_tf.keras_internals import child_layers
from hlstm_tf.layers.cells import CellForm, form_of
from hlstm_tf.layers.masking import layers_within
from hlstm_tf.transforms.editing import WeightStore
from hlstm_tf.transforms.ends import consumer_of, producer_of, why_no_producer
from hlstm_tf.transforms.groups import Branch, NeuronGroup, PassThrough
from hlstm_tf.transforms.kernel_ends import ChannelFilter, MatrixConsumer, MatrixProducer
from hlstm_tf.transforms.pass_through import described, pass_through_of, why_not_through
from hlstm_tf.transforms.recurrent import gate_groups
from hlstm_tf.transforms.rewriting import Entry, rewrite, write_entry


@dataclass(frozen=True)
class Use:
    """A tensor going into a layer.

    Attributes:
        layer: The name of the layer it goes into.
        is_data: Whether it is the layer's first argument, rather than a mask or a state.
    """

    layer: str
    is_data: bool


@dataclass
class Graph:
    """Which layer's output goes where, inside one model.

    Attributes:
        layers: The layers by name, in order.
        uses: For each layer its output's uses.
        fixed: Layers whose output must stay as wide as it is, with the reason.
        often: Layers that are called several times.
        driven: Recurrent layers that are given their first states.
    """

    layers: dict[str, keras.Layer]
    uses: dict[str, list[Use]] = field(default_factory=dict)
    fixed: dict[str, str] = field(default_factory=dict)
    often: set[str] = field(default_factory=set)
    driven: set[str] = field(default_factory=set)

    def groups(
        self, store: WeightStore, shared: set[int]
    ) -> Iterator[tuple[keras.Layer, NeuronGroup | str]]:
        """Yields each layer with its neuron group, or with the reason why it has none.

        Args:
            store: Where weights and arguments are worked on.
            shared: `id`s of layers that occur in other places too, which are left alone.
        """
        for name, layer in self.layers.items():
            if id(layer) in shared:
                self.fixed[name] = "it is used in several places"
        for name, layer in self.layers.items():
            yield layer, self._group(name, layer, store)

    def _group(self, name: str, layer: keras.Layer, store: WeightStore) -> NeuronGroup | str:
        if name in self.fixed:
            return self.fixed[name]
        if name in self.driven:
            return "it is given its first states"
        producer = producer_of(layer, store)
        if producer is None:
            return why_no_producer(layer)
        branches = self._branches(name, producer.width, (), store)
        if isinstance(branches, str):
            return branches
        group = NeuronGroup(producer, tuple(branches))
        return group if group.is_sound() else "what reads its neurons splits them up"

    def _branches(
        self, name: str, width: int, passed: tuple[PassThrough, ...], store: WeightStore
    ) -> list[Branch] | str:
        """Follows a layer's output to all its consumers; the reason where it goes elsewhere."""
        if name in self.fixed:
            behind = f"it goes through {described(self.layers[name])}, and " if passed else ""
            return behind + self.fixed[name]
        if not self.uses.get(name):
            return "nothing reads its output"
        found: list[Branch] = []
        for use in self.uses[name]:
            layer = self.layers.get(use.layer)
            if layer is None:
                return "a layer that is not known reads its output"
            if not use.is_data:
                return self._why_coupled(name, layer)
            if use.layer in self.often:
                return f"{described(layer)}, which its output goes into, is called several times"
            consumer = consumer_of(layer, store)
            if consumer is not None:
                found.append(Branch(passed, consumer, layer))
                continue
            pass_through = pass_through_of(layer, width, store)
            if pass_through is None:
                return why_not_through(layer)
            further = self._branches(use.layer, width, (*passed, pass_through), store)
            if isinstance(further, str):
                return further
            found.extend(further)
        return found

    def _why_coupled(self, name: str, layer: keras.Layer) -> str:
        """Why an output cannot change that is one of several inputs of a layer."""
        others = [
            f"'{other}'"
            for other, uses in self.uses.items()
            if other != name and any(use.layer == layer.name for use in uses)
        ]
        if isinstance(layer, (keras.layers.RNN, keras.layers.Bidirectional)) or not others:
            return f"{described(layer)} takes its output as a state, a mask or another argument"
        return f"{described(layer)} couples its neurons with those of {', '.join(others)}"


_IS_OUTPUT = "its output is one of the model's"


def graph_of(model: keras.Layer, entry: Entry) -> Graph | None:
    """Reads the graph of a model from its entry; `None` where it is no container."""
    entries = entry["config"].get("layers")
    if not isinstance(model, keras.Model) or not isinstance(entries, list):
        return None
    children = {child.name: child for child in child_layers(model)}
    names = [item["config"].get("name") for item in entries if isinstance(item.get("config"), dict)]
    graph = Graph({name: children[name] for name in names if name in children})
    if isinstance(model, keras.Sequential):
        return _chain(graph, names)
    return _functional(graph, entry["config"], entries)


def _chain(graph: Graph, names: list[str]) -> Graph:
    for name, after in pairwise(names):
        graph.uses[name] = [Use(after, True)]
    graph.fixed.update(dict.fromkeys(names[-1:], _IS_OUTPUT))
    return graph


def _functional(graph: Graph, config: dict[str, Any], entries: list[Entry]) -> Graph:
    for entry in entries:
        name, nodes = entry.get("name"), entry.get("inbound_nodes") or []
        if name is None:
            continue
        if len(nodes) > 1:
            graph.often.add(name)
            graph.fixed[name] = "it is called several times"
        for node in nodes:
            arguments = node.get("args", [])
            data = _history(arguments[0]) if arguments else None
            if _takes_states(graph.layers.get(name), arguments, node.get("kwargs", {})):
                graph.driven.add(name)
            for source in _histories([arguments[1:], node.get("kwargs", {})]):
                graph.uses.setdefault(source[0], []).append(Use(name, False))
            if data is not None:
                graph.uses.setdefault(data[0], []).append(Use(name, True))
            elif arguments:
                for source in _histories(arguments[0]):
                    graph.uses.setdefault(source[0], []).append(Use(name, False))
    graph.fixed.update(dict.fromkeys(_output_names(config.get("output_layers")), _IS_OUTPUT))
    return graph


def _takes_states(
    layer: keras.Layer | None, arguments: list[Any], keywords: dict[str, Any]
) -> bool:
    if not isinstance(layer, (keras.layers.RNN, keras.layers.Bidirectional)):
        return False
    # A list in place of the data holds the states behind it.
    given = [arguments[1:2], keywords.get("initial_state"), arguments[:1]]
    return len(list(_histories(given))) > 1


def _history(value: Any) -> tuple[str, int, int] | None:
    if isinstance(value, dict) and value.get("class_name") == "__keras_tensor__":
        return tuple(value["config"]["keras_history"])
    return None


def _histories(value: Any) -> Iterator[tuple[str, int, int]]:
    found = _history(value)
    if found is not None:
        yield found
    elif isinstance(value, dict):
        for item in value.values():
            yield from _histories(item)
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from _histories(item)


def _output_names(value: Any) -> Iterator[str]:
    """Names in a structure of `[name, node, tensor]` triples, however it is nested."""
    if isinstance(value, dict):
        for item in value.values():
            yield from _output_names(item)
    elif isinstance(value, (list, tuple)):
        if len(value) == 3 and isinstance(value[0], str):
            yield value[0]
        else:
            for item in value:
                yield from _output_names(item)


def layer_groups(model: keras.Model, store: WeightStore) -> list[NeuronGroup]:
    """Returns the groups between the layers of a model: units, filters, columns, states.

    Args:
        model: A built model, masked or plain.
        store: Where its weights, or other arrays of their shapes, are worked on.
    """
    return [group for _, group in groups_or_reasons(model, store) if isinstance(group, NeuronGroup)]


def groups_or_reasons(
    model: keras.Model, store: WeightStore
) -> list[tuple[keras.Layer, NeuronGroup | str]]:
    """Returns each layer of a model with its neuron group, or with the reason why it has none."""
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
    return [each for graph in graphs for each in graph.groups(store, shared)]


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
