"""Which layers no pruning of whole neurons can narrow further, and why."""

from collections.abc import Iterator, Sequence

import keras
import numpy as np

from hlstm_tf.layers.masking import layers_within, masked_kernels
from hlstm_tf.pruning.whole_neurons import is_fixed
from hlstm_tf.sparsity import Neuron, Whole
from hlstm_tf.transforms.discovery import hidden_layers, layer_groups
from hlstm_tf.transforms.editing import Workshop, in_place_of
from hlstm_tf.transforms.groups import NeuronGroup


def widths_that_stay(model: keras.Model, structures: Sequence[Whole]) -> list[str]:
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
    masks = {kernel: np.array(kernel.mask, "float64") for kernel in masked_kernels(model)}
    store = Workshop(in_place_of(masks))
    said = (each for structure in structures for each in _that_stay(model, store, structure))
    return list(dict.fromkeys(said))


def _that_stay(model: keras.Model, store: Workshop, structure: Whole) -> Iterator[str]:
    if not isinstance(structure, Neuron) or structure.of != "gates":
        names = _names_of_cells(model)
        states = structure.name == "unit"
        for group in layer_groups(model, store):
            if group.writer.is_state == states:
                layer = group.writer.layer
                name = names.get(id(layer), layer.name)
                yield from _why(f"{structure.name}s of '{name}'", structure, [group])
    if isinstance(structure, Neuron) and structure.of != "layers":
        for cell in hidden_layers(model, store):
            for gates in cell.groups:
                yield from _why(f"hidden neurons of '{cell.name}'", structure, gates)


def _why(what: str, structure: Whole, groups: Sequence[NeuronGroup]) -> Iterator[str]:
    """Yields a line where a layer, or all the gates of one, can lose no neuron."""
    if any(map(is_fixed, groups)):
        yield f"{what} stay (a kernel without a mask makes or reads them)"
        return
    edges = [np.cumsum(group.writer.parts)[:-1] for group in groups]
    parts = [
        part
        for group, edge in zip(groups, edges, strict=True)
        for part in np.split(group.strength() > 0, edge)
    ]
    widths = [int(part.sum()) for part in parts]
    if all(structure.one_multiple_less(width) == width for width in widths):
        yield f"{what} stay at {max(widths)} (minimum {structure.minimum})"


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
