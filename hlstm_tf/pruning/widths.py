"""Finds the layers that no pruning of neurons can narrow further, and says why."""

from collections.abc import Iterator, Sequence

import keras
import numpy as np

from hlstm_tf.layers.masking import layers_within, masked_kernels
from hlstm_tf.pruning.neuron_pruning import is_fixed
from hlstm_tf.sparsity import Neuron, NeuronStructure, Structure
from hlstm_tf.transforms.editing import WeightStore, in_place_of
from hlstm_tf.transforms.groups import NeuronGroup
from hlstm_tf.transforms.model_graph import hidden_layers, layer_groups

_NAMED = 3  # layers that a line names


def widths_that_stay(model: keras.Model, structures: Sequence[NeuronStructure]) -> list[str]:
    """Says of each layer that structures of neurons cannot narrow at which width it stays, and why.

    Args:
        model: A model with masked kernels.
        structures: What pruning takes.

    >>> import hlstm_tf as hl
    >>> first = hl.MaskedDense(8, name="a")
    >>> model = keras.Sequential([keras.Input((4,)), first, hl.MaskedDense(2)])
    >>> widths_that_stay(model, [hl.Neuron()]), widths_that_stay(model, [hl.Neuron(minimum=4)])
    (["neurons of 'a' stay at 8 (minimum 8)"], [])
    """
    store = _store(model)
    said = (each for structure in structures for each in _that_stay(model, store, structure))
    return list(dict.fromkeys(said))


def widths_missed(model: keras.Model, structure: NeuronStructure, sparsity: float) -> list[str]:
    """Says of each layer that is wider than a sparsity of neurons asks for how wide it is, and why.

    What rounding to a multiple explains is not said, unless a layer has lost no neuron by it.

    Args:
        model: A model with masked kernels, pruned to the sparsity.
        structure: What was removed.
        sparsity: The part of the neurons that was to go.

    >>> import hlstm_tf as hl
    >>> first = hl.MaskedDense(8, name="a")
    >>> model = keras.Sequential([keras.Input((4,)), first, hl.MaskedDense(2)])
    >>> widths_missed(model, hl.Neuron(), 0.5)
    ["neurons of 'a' stay at 8 of 8, asked for are 4 (minimum 8, multiples of 2)"]
    """
    missed = []
    for what, groups in _layers(model, _store(model), structure):
        if any(map(is_fixed, groups)):
            missed.append(_fixed(what))
            continue
        runs = _living(groups)
        width = max(int(run.sum()) for run in runs)
        size = max(run.size for run in runs)
        wanted, multiple = size * (1 - sparsity), structure.multiple_of(size)
        untouched = width == size and wanted <= size - 0.5
        if untouched or width - wanted > multiple / 2:
            missed.append(
                f"{what} stay at {width} of {size}, asked for are {wanted:.3g} "
                f"(minimum {structure.minimum}, multiples of {multiple})"
            )
    return missed


def sparsity_missed(model: keras.Model, structure: Structure, asked: float, reached: float) -> str:
    """Says what of a sparsity asked for is not there after a pruning; empty where it is.

    Args:
        model: A model with masked kernels, pruned to the sparsity.
        structure: What was removed.
        asked: The sparsity to reach.
        reached: The sparsity of connections that it led to.
    """
    if not asked:
        return ""
    if isinstance(structure, NeuronStructure):
        missed = widths_missed(model, structure, asked)
        rest = [f"{len(missed) - _NAMED} layers more"] if len(missed) > _NAMED else []
        return "; ".join([*missed[:_NAMED], *rest])
    if reached >= 0.9 * asked:
        return ""
    return (
        f"{reached:.1%} is there, which is as near as it comes by whole groups of connections: "
        "they are large for these matrices"
    )


def _that_stay(model: keras.Model, store: WeightStore, structure: NeuronStructure) -> Iterator[str]:
    for what, groups in _layers(model, store, structure):
        if any(map(is_fixed, groups)):
            yield _fixed(what)
            continue
        widths = [int(run.sum()) for run in _living(groups)]
        if all(structure.one_multiple_less(width) == width for width in widths):
            yield f"{what} stay at {max(widths)} (minimum {structure.minimum})"


def _store(model: keras.Model) -> WeightStore:
    masks = {kernel: np.array(kernel.mask, "float64") for kernel in masked_kernels(model)}
    return WeightStore(in_place_of(masks))


def _layers(
    model: keras.Model, store: WeightStore, structure: NeuronStructure
) -> Iterator[tuple[str, Sequence[NeuronGroup]]]:
    """Yields the name of what a structure removes from each layer, and its groups of neurons."""
    if not isinstance(structure, Neuron) or structure.of != "gates":
        names = _names_of_cells(model)
        states = structure.name == "unit"
        for group in layer_groups(model, store):
            if group.producer.is_state == states:
                layer = group.producer.layer
                yield f"{structure.name}s of '{names.get(id(layer), layer.name)}'", [group]
    if isinstance(structure, Neuron) and structure.of != "layers":
        for cell in hidden_layers(model, store):
            for gates in cell.groups:
                yield f"hidden neurons of '{cell.name}'", gates


def _fixed(what: str) -> str:
    return f"{what} stay (a kernel without a mask makes or reads them)"


def _living(groups: Sequence[NeuronGroup]) -> list[np.ndarray]:
    """Which neurons of each part that has a width of its own are alive."""
    return [
        part
        for group in groups
        for part in np.split(group.strength() > 0, np.cumsum(group.producer.parts)[:-1])
    ]


def _names_of_cells(model: keras.Model) -> dict[int, str]:
    """The name of the layer that a cell is in, by the cell's id."""
    names: dict[int, str] = {}
    for layer in layers_within(model):
        if isinstance(layer, keras.layers.RNN):
            names.setdefault(id(layer.cell), layer.name)
        if isinstance(layer, keras.layers.Bidirectional):
            for side in (layer.forward_layer, layer.backward_layer):
                names[id(side.cell)] = layer.name
    return names
