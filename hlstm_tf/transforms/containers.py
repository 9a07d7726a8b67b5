"""The graph of a Sequential or functional model, read from its configuration."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import keras

from hlstm_tf.keras_internals import child_layers
from hlstm_tf.transforms.editing import WeightStore
from hlstm_tf.transforms.ends import consumer_of, producer_of
from hlstm_tf.transforms.groups import Branch, NeuronGroup, PassThrough
from hlstm_tf.transforms.pass_through import pass_through_of
from hlstm_tf.transforms.rewriting import Entry


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
        fixed: Layers whose output must stay as wide as it is.
        often: Layers that are called several times.
        driven: Recurrent layers that are given their first states.
    """

    layers: dict[str, keras.Layer]
    uses: dict[str, list[Use]] = field(default_factory=dict)
    fixed: set[str] = field(default_factory=set)
    often: set[str] = field(default_factory=set)
    driven: set[str] = field(default_factory=set)

    def groups(self, store: WeightStore, shared: set[int]) -> Iterator[NeuronGroup]:
        """Yields the neuron groups of the model.

        Args:
            store: Where weights and arguments are worked on.
            shared: `id`s of layers that occur in other places too, which are left alone.
        """
        self.fixed |= {name for name, layer in self.layers.items() if id(layer) in shared}
        for name, layer in self.layers.items():
            if name in self.fixed or name in self.driven:
                continue
            producer = producer_of(layer, store)
            if producer is None:
                continue
            branches = self._branches(name, producer.width, (), store)
            if branches:
                group = NeuronGroup(producer, tuple(branches))
                if group.is_sound():
                    yield group

    def _branches(
        self, name: str, width: int, passed: tuple[PassThrough, ...], store: WeightStore
    ) -> list[Branch] | None:
        """Follows a layer's output to all its consumers; `None` where it goes anywhere else."""
        if name in self.fixed or not self.uses.get(name):
            return None
        found: list[Branch] = []
        for use in self.uses[name]:
            layer = self.layers.get(use.layer)
            if layer is None or not use.is_data or use.layer in self.often:
                return None
            consumer = consumer_of(layer, store)
            if consumer is not None:
                found.append(Branch(passed, consumer))
                continue
            pass_through = pass_through_of(layer, width, store)
            further = None
            if pass_through is not None:
                further = self._branches(use.layer, width, (*passed, pass_through), store)
            if further is None:
                return None
            found.extend(further)
        return found


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
    graph.fixed.update(names[-1:])
    return graph


def _functional(graph: Graph, config: dict[str, Any], entries: list[Entry]) -> Graph:
    for entry in entries:
        name, nodes = entry.get("name"), entry.get("inbound_nodes") or []
        if name is None:
            continue
        if len(nodes) > 1:
            graph.often.add(name)
            graph.fixed.add(name)
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
    graph.fixed.update(_output_names(config.get("output_layers")))
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
