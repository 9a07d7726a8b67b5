"""Pruning of whole neurons: with all that feeds them and all that reads them, across layers."""

import functools
from collections.abc import Callable, Mapping, Sequence

import keras
import numpy as np

from hlstm_tf.layers.masking import MaskedKernel, masked_kernels
from hlstm_tf.sparsity import Neuron, NeuronStructure, Structure
from hlstm_tf.transforms.editing import WeightStore, in_place_of
from hlstm_tf.transforms.groups import NeuronGroup
from hlstm_tf.transforms.model_graph import hidden_layers, layer_groups

Arrays = Mapping[MaskedKernel, np.ndarray]
GateWidths = Callable[[Sequence[np.ndarray], Sequence[np.ndarray]], list[int]]


def prune_neurons(
    model: keras.Model,
    masks: Arrays,
    scores: Arrays,
    structure: NeuronStructure,
    ratio: float | None,
    sparsity: float | None,
    own: bool = False,
) -> dict[MaskedKernel, np.ndarray]:
    """Removes the weakest neurons, or units of recurrent states, of every layer that can lose them.

    A neuron counts by the sum of the scores of its existing connections, before it and after it, or
    by its own.
    Where a layer writes or reads neurons through a kernel without a mask, they stay. Where `ratio`
    rounds to nothing in every layer, each loses one multiple as long as its minimum allows.

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
    rounds = functools.partial(structure.left, ratio=ratio, sparsity=sparsity)
    by_gate = functools.partial(_widths_left, structure, ratio, sparsity)
    pruned = _without_weakest(model, masks, scores, structure, rounds, by_gate, own)
    if ratio and all((pruned[kernel] == (mask != 0)).all() for kernel, mask in masks.items()):
        return _without_weakest(
            model,
            masks,
            scores,
            structure,
            lambda alive, size: structure.one_multiple_less(alive),
            functools.partial(_one_multiple_less, structure),
            own,
        )
    return pruned


def _without_weakest(
    model: keras.Model,
    masks: Arrays,
    scores: Arrays,
    structure: NeuronStructure,
    left: Callable[[int, int], int],
    widths: GateWidths,
    own: bool,
) -> dict[MaskedKernel, np.ndarray]:
    """Returns the masks without the weakest neurons.

    Args:
        model, masks, scores, structure, own: As in `prune_neurons`.
        left: How many stay in a layer, as in `_prune_layers`.
        widths: How many stay in the gates of a layer, as in `_prune_gates`.
    """
    # Removing neurons zeroes the arrays that a store was given in place, and so gives the masks.
    exists = {kernel: mask.astype(np.float64) for kernel, mask in masks.items()}
    counts, found = WeightStore(in_place_of(exists)), False

    def strengths() -> WeightStore:
        worth = _own_scores(scores) if own else _existing(exists, scores)
        return WeightStore(in_place_of(worth))

    if not isinstance(structure, Neuron) or structure.of != "gates":
        found = _prune_layers(model, counts, strengths(), structure.name == "unit", left, own)
    if isinstance(structure, Neuron) and structure.of != "layers":
        found |= _prune_gates(model, counts, strengths(), widths, own)
    if not found:
        raise _no_neurons(model, structure)
    return {kernel: array != 0 for kernel, array in exists.items()}


def has_neurons(model: keras.Model, structure: NeuronStructure) -> bool:
    """Whether a model has neurons, or units, that such a pruning could ever remove."""
    masks = {kernel: np.ones(kernel.shape) for kernel in masked_kernels(model)}
    store = WeightStore(in_place_of(masks))
    if isinstance(structure, Neuron) and structure.of != "layers":
        cells = hidden_layers(model, store)
        gates = any(not is_fixed(group) for cell in cells for each in cell.groups for group in each)
        if gates or structure.of == "gates":
            return gates
    groups = layer_groups(model, store)
    states = structure.name == "unit"
    return any(group.producer.is_state == states and not is_fixed(group) for group in groups)


def check_neurons(model: keras.Model, structure: Structure) -> None:
    """Raises a `ValueError` where a structure of whole neurons finds none in a model."""
    if isinstance(structure, NeuronStructure) and not has_neurons(model, structure):
        raise _no_neurons(model, structure)


def _no_neurons(model: keras.Model, structure: NeuronStructure) -> ValueError:
    return ValueError(
        f"structure='{structure}' found nothing to prune in model {model.name!r}: it needs "
        f"{_WANTED[structure.name]}, read by layers with masks only. Choose 'connection', "
        "'row', 'column' or a block."
    )


def is_fixed(group: NeuronGroup) -> bool:
    """Whether a kernel without a mask writes or reads the neurons."""
    return bool(np.isnan(group.strength()).any())


_WANTED = {
    "neuron": "a masked HLSTM with hidden layers, or masked dense layers or convolutions",
    "unit": "a masked recurrent layer that does not return its state",
}


def _prune_layers(
    model: keras.Model,
    counts: WeightStore,
    strengths: WeightStore,
    states: bool,
    left: Callable[[int, int], int],
    own: bool,
) -> bool:
    """Removes neurons between layers; tells whether there were any that could go.

    Args:
        model: The model.
        counts: Opens the masks.
        strengths: Opens what connections count.
        states: Whether units of recurrent states go, rather than all others.
        left: How many stay of so many living ones, of so many places.
        own: As in `prune_neurons`.
    """
    found = False
    for group, scored in zip(
        layer_groups(model, counts), layer_groups(model, strengths), strict=True
    ):
        connections = group.strength()
        if group.producer.is_state != states or is_fixed(group):
            continue
        found = True
        group.remove(_weakest(group, _strength(scored, own), connections > 0, left))
    return found


def _prune_gates(
    model: keras.Model,
    counts: WeightStore,
    strengths: WeightStore,
    widths: GateWidths,
    own: bool,
) -> bool:
    """Removes hidden neurons of gates; tells whether there were any that could go.

    Args:
        model, counts, strengths, own: As in `_prune_layers`.
        widths: How many stay in each gate of a layer, of the neurons' strengths and of which live.
    """
    found = False
    for cell, scored in zip(
        hidden_layers(model, counts), hidden_layers(model, strengths), strict=True
    ):
        for gates, their_scores in zip(cell.groups, scored.groups, strict=True):
            if any(map(is_fixed, gates)):
                continue
            found = True
            alive = [group.strength() > 0 for group in gates]
            strength = [_strength(group, own) for group in their_scores]
            left = widths(strength, alive)
            for both in zip(gates, their_scores, strength, alive, left, strict=True):
                group, score, *neurons, width = both
                gone = _all_but(width, *neurons)
                group.remove(gone)
                score.remove(gone)  # the next layer's neurons count by what is left
    return found


def _widths_left(
    structure: NeuronStructure,
    ratio: float | None,
    sparsity: float | None,
    strengths: Sequence[np.ndarray],
    alive: Sequence[np.ndarray],
) -> list[int]:
    """How many neurons each gate of a hidden layer keeps.

    Args:
        structure: What widths are rounded to, and whether the gates keep equally many.
        ratio: The part of the living neurons to remove, or
        sparsity: the part of all neurons that is to be gone.
        strengths: Of each gate's neurons.
        alive: Which of them are.
    """
    if _keeps_gates_equal(structure):
        left = [structure.left(int(each.sum()), each.size, ratio, sparsity) for each in alive]
        return [max(left)] * len(left)
    if sparsity is None:
        assert ratio is not None
        sizes, part = [int(each.sum()) for each in alive], ratio
    else:
        sizes, part = [each.size for each in alive], sparsity
    stay = round(sum(sizes) * (1 - part))
    ranked = [np.where(lives, each, -np.inf) for lives, each in zip(alive, strengths, strict=True)]
    gate_of = np.repeat(np.arange(len(sizes)), [each.size for each in ranked])
    strongest = np.argsort(-np.concatenate(ranked), kind="stable")[:stay]
    wanted = np.bincount(gate_of[strongest], minlength=len(sizes))
    return [structure.rounded(int(w), size) for w, size in zip(wanted, sizes, strict=True)]


def _one_multiple_less(
    structure: NeuronStructure, strengths: Sequence[np.ndarray], alive: Sequence[np.ndarray]
) -> list[int]:
    """How many neurons each gate of a hidden layer keeps where it loses one multiple."""
    left = [structure.one_multiple_less(int(each.sum())) for each in alive]
    return [max(left)] * len(left) if _keeps_gates_equal(structure) else left


def _keeps_gates_equal(structure: NeuronStructure) -> bool:
    return not isinstance(structure, Neuron) or structure.equal


def _strength(scored: NeuronGroup, own: bool) -> np.ndarray:
    return scored.producer.incoming() if own else scored.strength()


def _existing(masks: Arrays, scores: Arrays) -> dict[MaskedKernel, np.ndarray]:
    return {k: np.where(masks[k] != 0, k.from_matrices(scores[k]), 0.0) for k in masks}


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
    edges = np.cumsum(group.producer.parts)[:-1]
    parts = np.split(alive, edges)
    width = max(left(int(part.sum()), part.size) for part in parts)
    pairs = zip(np.split(strength, edges), parts, strict=True)
    return np.concatenate([_all_but(width, values, part) for values, part in pairs])


def _all_but(width: int, strength: np.ndarray, alive: np.ndarray) -> np.ndarray:
    """Flags all neurons but the `width` strongest that live; of equals the first stay."""
    # The dead come last, whatever their score.
    order = np.argsort(np.where(alive, -strength, np.inf), kind="stable")
    gone = np.zeros(alive.size, dtype=bool)
    gone[order[width:]] = True
    return gone
