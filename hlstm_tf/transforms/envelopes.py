"""Envelopes: layers with room for more neurons than live in them at first."""

from collections.abc import Mapping, Sequence

import keras
import numpy as np

from hlstm_tf.layers import GATES, HLSTMCell, MaskedKernel
from hlstm_tf.layers.gate_variables import assign_by_gate, hidden_bias_name, values_by_gate
from hlstm_tf.sparsity import reset_entries
from hlstm_tf.sparsity.checks import check_count, check_fraction
from hlstm_tf.transforms.discovery import (
    feed_forward_ends,
    gate_cell_names,
    gate_compactors,
    layer_groups,
)
from hlstm_tf.transforms.editing import Workshop, in_place_of
from hlstm_tf.transforms.groups import NeuronGroup

Neurons = float | Mapping[str, int | float]
"""A share of every layer's width, or a number or share for each layer named; of H-LSTM layers, of
each gate's hidden layers."""


def living_places(
    model: keras.Model, kernels: Sequence[MaskedKernel], neurons: Neurons
) -> dict[MaskedKernel, np.ndarray]:
    """Returns where living neurons may connect, and zeroes the biases of all others.

    Args:
        model: A model with masked kernels.
        kernels: Those whose masks are to be drawn.
        neurons: How many live, of each layer that can grow neurons; the first of it.

    Returns:
        For each kernel a mask of its own shape.

    Raises:
        ValueError: A number is out of its range, or a layer named has no neurons to leave out.
    """
    room = {kernel: np.ones(kernel.shape) for kernel in kernels}
    groups: dict[str, tuple[keras.Layer, NeuronGroup]] = {}
    gates = _gates(model, room)
    for group in layer_groups(model, Workshop(in_place_of(room))):
        ends = feed_forward_ends(group)
        if ends is not None and not np.isnan(group.strength()).any():
            groups[ends[0].name] = ends[0], group
    if not isinstance(neurons, Mapping):
        neurons = dict.fromkeys((*groups, *gates), check_fraction(neurons, "neurons"))
    for name, amount in neurons.items():
        if name not in groups and name not in gates:
            raise ValueError(
                f"`neurons`: layer '{name}' cannot have dormant neurons; it has to be a dense "
                "layer or convolution, masked as all that read it, which have to be such too, or "
                "a masked H-LSTM whose gates have hidden layers "
                f"(such are: {', '.join((*groups, *gates)) or 'none'})"
            )
        for cell, hidden in gates.get(name, ()):
            _silence(cell, [_leave_out(group, amount, name) for group in hidden])
        if name in groups:
            layer, group = groups[name]
            gone = _leave_out(group, amount, name)
            if layer.use_bias:
                reset_entries(layer.bias, gone)
    return {kernel: array != 0 for kernel, array in room.items()}


def _gates(
    model: keras.Model, room: Mapping[MaskedKernel, np.ndarray]
) -> dict[str, list[tuple[HLSTMCell, list[NeuronGroup]]]]:
    """The masked H-LSTM cells by name, with their gates' hidden layers, gate after gate."""
    names = gate_cell_names(model)
    found: dict[str, list[tuple[HLSTMCell, list[NeuronGroup]]]] = {}
    for compactor in gate_compactors(model, Workshop(in_place_of(room))):
        groups, cell = compactor.groups, compactor.cell
        if groups and not any(np.isnan(group.strength()).any() for group in groups):
            found.setdefault(names[id(cell)], []).append((cell, groups))
    return found


def _leave_out(group: NeuronGroup, amount: int | float, name: str) -> np.ndarray:
    """Removes all neurons of a group but the first `amount`; tells which those are."""
    gone = np.arange(group.writer.width) >= _living(amount, group.writer.width, name)
    group.remove(gone)
    return gone


def _silence(cell: HLSTMCell, gone: Sequence[np.ndarray]) -> None:
    """Zeroes the biases of hidden neurons, given for each layer and in it each gate."""
    if not cell.use_bias:
        return
    for layer in range(len(cell.hidden_units)):
        name = hidden_bias_name(layer)
        biases = values_by_gate(cell, name)
        dormant = gone[layer * len(GATES) : (layer + 1) * len(GATES)]
        silent = [np.where(d, 0, bias) for d, bias in zip(dormant, biases, strict=True)]
        assign_by_gate(cell, name, silent)


def _living(amount: int | float, width: int, name: str) -> int:
    """How many of `width` neurons live: at least one."""
    if isinstance(amount, float):
        return max(1, round(check_fraction(amount, f"neurons['{name}']") * width))
    if check_count(amount, f"neurons['{name}']") > width:
        raise ValueError(f"`neurons`: layer '{name}' has {width} neurons, fewer than {amount}")
    return amount
