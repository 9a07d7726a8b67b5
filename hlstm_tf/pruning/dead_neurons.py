"""Hidden neurons of gates that lost their inputs or their outputs go, and the function stays."""

from collections.abc import Iterator, Mapping

import keras
import numpy as np
from keras import ops

from hlstm_tf.layers.cells import CellForm, compact_kernels, form_of
from hlstm_tf.layers.masking import MaskedKernel
from hlstm_tf.transforms.editing import WeightStore, in_place_of
from hlstm_tf.transforms.groups import NeuronGroup
from hlstm_tf.transforms.recurrent import OpenCell, gate_groups, open_cell

Masks = Mapping[MaskedKernel, np.ndarray]


def without_dead_neurons(masks: Masks) -> dict[MaskedKernel, np.ndarray]:
    """Returns the masks less the connections of hidden neurons that are dead at either end.

    A hidden neuron of a gate whose inputs or whose outputs are all gone loses the rest (NeST, arXiv
    1711.02017; arXiv 1805.11797 removes neurons with the last connection).

    Args:
        masks: Masks of kernels, in their own shapes; those of other layers are passed over.

    Returns:
        The masks of the kernels of cells whose gates have hidden layers, in their own shapes.
    """
    swept: dict[MaskedKernel, np.ndarray] = {}
    for form, kernels in cells_with_hidden_layers(masks):
        if not _can_fold(form):
            continue
        exists = {kernel: masks[kernel].astype(np.float64) for kernel in kernels}
        groups = [group for gates in _groups(form.cell, exists) for group in gates]
        changed = True
        while changed:
            changed = False
            for group in groups:
                changed |= group.sweep()
        swept |= {kernel: array != 0 for kernel, array in exists.items()}
    return swept


def fold_constants(masks: Masks, swept: Masks) -> None:
    """Adds what neurons without inputs put out, their bias' constant, to the next layer's bias.

    Call it between the pruning and the sweep, while outgoing weights are still there. So the sweep
    does not change the function. The neurons' own biases stay as they are; nothing reads them.

    Args:
        masks: The masks in force.
        swept: What `without_dead_neurons` made of them.
    """
    for form, kernels in cells_with_hidden_layers(swept):
        if not form.cell.use_bias:
            continue
        before, after = (
            {k: each[k].astype(np.float64) for k in kernels} for each in (masks, swept)
        )
        exist, remain = _groups(form.cell, before), _groups(form.cell, after)
        weights = WeightStore()
        opened = open_cell(form.cell, weights)
        assert isinstance(opened, OpenCell)
        for number, gates in enumerate(gate_groups(form.cell, weights)):
            folded = [
                _fold(group, exist[number][gate], remain[number][gate])
                for gate, group in enumerate(gates)
            ]
            bias = form.layers[number + 1].bias
            if any(folded) and bias:
                form.assign_by_gate(bias, [part.astype(np.float32) for part in opened.of(bias)])


def _fold(weights: NeuronGroup, exists: NeuronGroup, remains: NeuronGroup) -> bool:
    """Folds the neurons that were read and have no inputs left; tells whether there were any."""
    consumer = weights.branches[0].consumer
    mute = exists.branches[0].consumer.reads() & (remains.producer.incoming() == 0)
    if not mute.any():
        return False
    return consumer.fold(np.where(mute, weights.producer.constants(), np.nan))


def cells_with_hidden_layers(
    masks: Mapping[MaskedKernel, object],
) -> Iterator[tuple[CellForm, list[MaskedKernel]]]:
    """Yields each cell whose gates have hidden layers, by its form, with its masked kernels."""
    by_cell: dict[int, list[MaskedKernel]] = {}
    for kernel in masks:
        by_cell.setdefault(id(kernel.layer), []).append(kernel)
    for kernels in by_cell.values():
        form = form_of(kernels[0].layer)
        if form is not None and form.hidden_layers and not compact_kernels(form.cell):
            yield form, kernels


def _groups(cell: keras.Layer, arrays: Masks) -> list[list[NeuronGroup]]:
    return gate_groups(cell, WeightStore(in_place_of(arrays)))


def _can_fold(form: CellForm) -> bool:
    """Whether a neuron without inputs can go: its constant is zero, or there is a bias for it."""
    if form.cell.use_bias:
        return True
    put_out = [layer.activation for layer in form.hidden_layers if layer.activation]
    return all(float(activation(ops.zeros(()))) == 0.0 for activation in put_out)
