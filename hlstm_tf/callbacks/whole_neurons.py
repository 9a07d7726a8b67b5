"""Pruning of whole neurons: with all that feeds them and all that reads them, across layers."""

import functools
from collections.abc import Callable, Mapping

import keras
import numpy as np

from hlstm_tf.layers.masking import MaskedKernel, masked_kernels
from hlstm_tf.sparsity import Neuron, Structure, Whole
from hlstm_tf.transforms.discovery import layer_groups
from hlstm_tf.transforms.editing import Workshop, in_place_of
from hlstm_tf.transforms.groups import NeuronGroup

from .gate_neurons import cells, prune_gate_neurons

Arrays = Mapping[MaskedKernel, np.ndarray]


def prune_wholes(
    model: keras.Model,
    masks: Arrays,
    scores: Arrays,
    structure: Whole,
    ratio: float | None,
    sparsity: float | None,
    own: bool = False,
) -> dict[MaskedKernel, np.ndarray]:
    """Removes the weakest neurons, or units of recurrent states, of every layer that can lose them.

    A neuron counts by the sum of the scores of its existing connections, before it and after it, or
    by its own.
    Where a layer writes or reads neurons through a kernel without a mask, they stay.

    Args:
        model: The model that the kernels belong to.
        masks: All its masks, in the kernels' own shapes.
        scores: Scores of the same kernels, as matrices `(gates, inputs, outputs)`.
        structure: What is removed, and what widths are rounded to.
        ratio: The part of each layer's living neurons to remove, or
        sparsity: the part of all its neurons that is to be gone.
        own: Whether scores are the neurons' own, the same for all that leads to one
            (`Score.of_neurons`): a neuron then counts by that alone.

    Returns:
        The masks without them, of all kernels.

    Raises:
        ValueError: The model has no such neurons.
    """
    pruned, found = dict(masks), False
    if not isinstance(structure, Neuron) or structure.of != "gates":
        left = functools.partial(structure.left, ratio=ratio, sparsity=sparsity)
        pruned, found = _prune_layers(model, pruned, scores, structure.name == "unit", left, own)
    if isinstance(structure, Neuron) and structure.of != "layers":
        gates = prune_gate_neurons(pruned, scores, structure, ratio, sparsity, own)
        pruned |= gates
        found |= bool(gates)
    if not found:
        raise _no_wholes(model, structure)
    return pruned


def has_wholes(model: keras.Model, structure: Whole) -> bool:
    """Whether a model has neurons, or units, that such a pruning could ever remove."""
    masks = {kernel: np.ones(kernel.shape) for kernel in masked_kernels(model)}
    gates = isinstance(structure, Neuron) and structure.of != "layers" and any(cells(masks))
    if gates or (isinstance(structure, Neuron) and structure.of == "gates"):
        return gates
    groups = layer_groups(model, Workshop(in_place_of(masks)))
    states = structure.name == "unit"
    return any(group.writer.is_state == states and not _is_fixed(group) for group in groups)


def check_wholes(model: keras.Model, structure: Structure) -> None:
    """Raises a `ValueError` where a structure of whole neurons finds none in a model."""
    if isinstance(structure, Whole) and not has_wholes(model, structure):
        raise _no_wholes(model, structure)


def _no_wholes(model: keras.Model, structure: Whole) -> ValueError:
    return ValueError(
        f"structure='{structure}' found nothing to prune in model {model.name!r}: it needs "
        f"{_WANTED[structure.name]}, read by layers with masks only. Choose 'connection', "
        "'row', 'column' or a block."
    )


def _is_fixed(group: NeuronGroup) -> bool:
    """Whether a kernel without a mask writes or reads the neurons."""
    return bool(np.isnan(group.strength()).any())


_WANTED = {
    "neuron": "a masked HLSTM with hidden layers, or masked dense layers or convolutions",
    "unit": "a masked recurrent layer that does not return its state",
}


def _prune_layers(
    model: keras.Model,
    masks: Arrays,
    scores: Arrays,
    states: bool,
    left: Callable[[int, int], int],
    own: bool,
) -> tuple[dict[MaskedKernel, np.ndarray], bool]:
    """The masks after pruning between layers, and whether there was anything to prune.

    Args:
        model, masks, scores: As in `prune_wholes`.
        states: Whether units of recurrent states go, rather than all others.
        left: How many stay of so many living ones, of so many places.
        own: As in `prune_wholes`.
    """
    worth = _own_scores(scores) if own else _existing(masks, scores)
    # Removing neurons zeroes the arrays that a workshop was given in place, and so gives the masks.
    exists = {kernel: mask.astype(np.float64) for kernel, mask in masks.items()}
    counts, strengths = Workshop(in_place_of(exists)), Workshop(in_place_of(worth))
    found = False
    for group, scored in zip(
        layer_groups(model, counts), layer_groups(model, strengths), strict=True
    ):
        connections = group.strength()
        if group.writer.is_state != states or _is_fixed(group):
            continue
        found = True
        strength = scored.writer.incoming() if own else scored.strength()
        group.remove(_weakest(group, strength, connections > 0, left))
    return {kernel: array != 0 for kernel, array in exists.items()}, found


def _existing(masks: Arrays, scores: Arrays) -> dict[MaskedKernel, np.ndarray]:
    return {k: np.where(masks[k], k.from_matrices(scores[k]), 0.0) for k in masks}


def _own_scores(scores: Arrays) -> dict[MaskedKernel, np.ndarray]:
    """Each neuron's own score at one place of all that lead to it, so that it is their sum.

    Not in recurrent kernels, which are before their neurons and after them.
    """
    once = {}
    for kernel, matrices in scores.items():
        place = np.zeros(matrices.shape)
        if not kernel.name.startswith("recurrent_kernel"):
            place[:, 0] = matrices[:, 0]
        once[kernel] = kernel.from_matrices(place)
    return once


def _weakest(
    group: NeuronGroup,
    strength: np.ndarray,
    alive: np.ndarray,
    left: Callable[[int, int], int],
) -> np.ndarray:
    """Flags the neurons to remove; parts that have to stay equally wide lose down to one width."""
    edges = np.cumsum(group.writer.parts)[:-1]
    parts = np.split(alive, edges)
    width = max(left(int(part.sum()), part.size) for part in parts)
    gone = []
    for values, part in zip(np.split(strength, edges), parts, strict=True):
        # Of equals the first stay; the dead come last, whatever their score.
        order = np.argsort(np.where(part, -values, np.inf), kind="stable")
        flags = np.zeros(part.size, dtype=bool)
        flags[order[width:]] = True
        gone.append(flags)
    return np.concatenate(gone)
