"""Envelopes: layers with room for more neurons than live in them at first."""

from collections.abc import Iterable, Mapping, Sequence

import keras
import numpy as np

from hlstm_tf.layers import MaskedKernel
from hlstm_tf.layers.cells import form_of
from hlstm_tf.sparsity import reset_entries
from hlstm_tf.sparsity.checks import check_count, check_fraction
from hlstm_tf.transforms.editing import WeightStore, in_place_of
from hlstm_tf.transforms.ends import unwrapped
from hlstm_tf.transforms.groups import NeuronGroup
from hlstm_tf.transforms.kernel_ends import ChannelFilter, MatrixConsumer, MatrixProducer
from hlstm_tf.transforms.model_graph import (
    HiddenLayers,
    feed_forward_ends,
    groups_or_reasons,
    hidden_layers,
    layer_groups,
)
from hlstm_tf.transforms.pass_through import described

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
    for group in layer_groups(model, WeightStore(in_place_of(room))):
        ends = feed_forward_ends(group)
        if ends is not None and not np.isnan(group.strength()).any():
            groups[ends[0].name] = ends[0], group
    if not isinstance(neurons, Mapping):
        neurons = dict.fromkeys((*groups, *gates), check_fraction(neurons, "neurons"))
    for name, amount in neurons.items():
        if name not in groups and name not in gates:
            reason = why_no_births(model, kernels).get(name, "the model has no such layer")
            raise ValueError(
                f"`neurons`: layer '{name}' cannot have dormant neurons: {reason} "
                f"(such are: {', '.join((*groups, *gates)) or 'none'})"
            )
        for cell in gates.get(name, ()):
            _leave_out_of_gates(cell, amount, name)
        if name in groups:
            layer, group = groups[name]
            gone = _leave_out(group, amount, name)
            if layer.use_bias:
                reset_entries(layer.bias, gone)
    return {kernel: array != 0 for kernel, array in room.items()}


def why_no_births(model: keras.Model, masked: Iterable[MaskedKernel]) -> dict[str, str]:
    """Why no neurons can be born into a layer, by its name; of all layers but those that can grow.

    Args:
        model: A built model.
        masked: Its masked kernels.
    """
    rooms = {kernel: np.ones(kernel.shape) for kernel in masked}
    owners = {id(kernel.layer) for kernel in rooms}
    reasons: dict[str, str] = {}
    for layer, group in groups_or_reasons(model, WeightStore(in_place_of(rooms))):
        reason = group if isinstance(group, str) else _why_not_born(group, owners)
        named = [unwrapped(layer).name]
        if isinstance(layer, (keras.layers.RNN, keras.layers.Bidirectional)):
            reason = _why_gates_do_not_grow(layer, owners)
            named += [f"{way}_{layer.name}" for way in ("forward", "backward")]
        if reason:
            reasons |= dict.fromkeys(named, reason)
    return reasons


def _why_gates_do_not_grow(
    layer: keras.layers.RNN | keras.layers.Bidirectional, owners: set[int]
) -> str:
    """Why neurons cannot be born into the gates of a recurrent layer, where they cannot."""
    side = layer.forward_layer if isinstance(layer, keras.layers.Bidirectional) else layer
    form = form_of(side.cell)
    if form is None or len(form.layers) == 1:
        return "it is recurrent, and no gate of it has hidden layers, into which neurons grow"
    if id(side.cell) not in owners:
        return "it has no mask"
    return "an activation of its gates' hidden layers mixes their neurons"


def _why_not_born(group: NeuronGroup, owners: set[int]) -> str:
    """Why neurons cannot be born into the layer of a group; empty where they can."""
    layer = group.producer.layer
    if not isinstance(group.producer, MatrixProducer):
        return (
            f"it is a {type(layer).__name__}: neurons grow into dense layers and plain convolutions"
        )
    if id(layer) not in owners:
        return "it has no mask"
    for branch in group.branches:
        for each in branch.pass_throughs:
            if isinstance(each, ChannelFilter):
                return f"{described(each.layer)} has weights of its own for each of its neurons"
        if not isinstance(branch.consumer, MatrixConsumer):
            return (
                f"{described(branch.reader)} reads it, and is neither dense nor a plain convolution"
            )
        if id(branch.consumer.layer) not in owners:
            return f"{described(branch.reader)} reads it, which has no mask"
    return ""


def _gates(
    model: keras.Model, room: Mapping[MaskedKernel, np.ndarray]
) -> dict[str, list[HiddenLayers]]:
    """The masked cells by name whose gates have hidden layers."""
    found: dict[str, list[HiddenLayers]] = {}
    for cell in hidden_layers(model, WeightStore(in_place_of(room))):
        groups = [group for gates in cell.groups for group in gates]
        if not any(np.isnan(group.strength()).any() for group in groups):
            found.setdefault(cell.name, []).append(cell)
    return found


def _leave_out_of_gates(cell: HiddenLayers, amount: int | float, name: str) -> None:
    """Removes all hidden neurons but the first `amount` of each layer and gate, with their bias."""
    for layer, groups in zip(cell.form.layers, cell.groups, strict=False):
        gone = [_leave_out(group, amount, name) for group in groups]
        if layer.bias:
            biases = cell.form.values_by_gate(layer.bias)
            silent = [np.where(dead, 0, bias) for dead, bias in zip(gone, biases, strict=True)]
            cell.form.assign_by_gate(layer.bias, silent)


def _leave_out(group: NeuronGroup, amount: int | float, name: str) -> np.ndarray:
    """Removes all neurons of a group but the first `amount`; tells which those are."""
    gone = np.arange(group.producer.width) >= _living(amount, group.producer.width, name)
    group.remove(gone)
    return gone


def _living(amount: int | float, width: int, name: str) -> int:
    """How many of `width` neurons live: at least one."""
    if isinstance(amount, float):
        return max(1, round(check_fraction(amount, f"neurons['{name}']") * width))
    if check_count(amount, f"neurons['{name}']") > width:
        raise ValueError(f"`neurons`: layer '{name}' has {width} neurons, fewer than {amount}")
    return amount
