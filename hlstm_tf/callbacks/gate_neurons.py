"""Hidden neurons of H-LSTM gates: what lost its inputs or its outputs goes, function unchanged."""

from collections.abc import Hashable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from keras import ops

from hlstm_tf.layers import GATES, HLSTMCell
from hlstm_tf.layers.gate_variables import assign_by_gate, values_by_gate
from hlstm_tf.layers.masking import MaskedKernel
from hlstm_tf.sparsity import Neuron, cascade, neuron_strength, prune_neurons

Masks = Mapping[MaskedKernel, np.ndarray]
Gate = list[np.ndarray]
"""A matrix `(inputs, outputs)` for each kernel of one gate, from input to output."""


def cascade_gates(masks: Masks) -> dict[MaskedKernel, np.ndarray]:
    """Returns the masks less the connections of hidden neurons that are dead at either end.

    In each gate of each H-LSTM cell the chain is known: `kernel` and `recurrent_kernel` lead to
    the first hidden layer, each `hidden_kernel_k` from one to the next, `output_kernel` to the
    gate. A hidden neuron whose inputs or whose outputs are all gone loses the rest (NeST, arXiv
    1711.02017; the paper removes neurons with the last connection).

    Args:
        masks: Masks of kernels, in their own shapes; those of other layers are passed over.

    Returns:
        The masks of the H-LSTM cells' kernels, in their own shapes.
    """
    swept: dict[MaskedKernel, np.ndarray] = {}
    for cell, kernels in cells(masks):
        if not _can_fold(cell):
            continue
        gates = _masks_by_gate(kernels, masks)
        swept |= _joined(kernels, [cascade(gate, _axes(gate)) for gate in gates])
    return swept


def prune_gate_neurons(
    masks: Masks,
    scores: Masks,
    structure: Neuron,
    ratio: float | None,
    sparsity: float | None,
    own: bool = False,
) -> dict[MaskedKernel, np.ndarray]:
    """Removes the weakest hidden neurons of H-LSTM gates.

    Args:
        masks: Masks of kernels, in their own shapes; those of other layers are passed over.
        scores: Scores of the same kernels, as matrices `(gates, inputs, outputs)`.
        structure: What widths are rounded to, and whether the four gates keep equally many.
        ratio: The part of each hidden layer's living neurons to remove, or
        sparsity: the part of all its neurons that is to be gone.
        own: Whether scores are the neurons' own, the same for all that leads to one.

    Returns:
        The new masks of the H-LSTM cells' kernels, in their own shapes; empty where there is none.
    """
    edits: dict[MaskedKernel, np.ndarray] = {}
    for cell, kernels in cells(masks):
        gates = _masks_by_gate(kernels, masks)
        scored = by_gate([scores[kernel] for kernel in kernels])
        axes = _axes(gates[0])
        for axis in range(1, len(cell.hidden_units) + 1):
            pairs = list(zip(gates, scored, strict=True))
            worth = [_own_worth(*pair, axes, axis) for pair in pairs] if own else scored
            layer = [
                neuron_strength(gate, score, axes, axis)
                for gate, score in zip(gates, worth, strict=True)
            ]
            widths = _widths_left(layer, structure, ratio, sparsity)
            gates = [
                prune_neurons(gate, score, axes, axis, width)
                for gate, score, width in zip(gates, worth, widths, strict=True)
            ]
        edits |= _joined(kernels, gates)
    return edits


def _own_worth(
    gate: Gate, scores: Gate, axes: Sequence[tuple[Hashable, Hashable]], axis: Hashable
) -> Gate:
    """Scores whose sum over a neuron's connections is its own score."""
    leads = [pair[1] == axis for pair in axes]
    counts = sum(mask.sum(axis=0) for mask, into in zip(gate, leads, strict=True) if into)
    return [
        score / np.maximum(counts, 1) if into else np.zeros(score.shape)
        for score, into in zip(scores, leads, strict=True)
    ]


def _widths_left(
    layer: Sequence[tuple[np.ndarray, np.ndarray]],
    structure: Neuron,
    ratio: float | None,
    sparsity: float | None,
) -> list[int]:
    """How many neurons each gate of a hidden layer keeps.

    Args:
        layer: For each gate its neurons' strength, and which of them are alive.
        structure: As in `prune_gate_neurons`, and so are the two that follow.
        ratio: Of the living.
        sparsity: Of all.
    """
    if structure.equal:
        left = [structure.left(int(a.sum()), a.size, ratio, sparsity) for _, a in layer]
        return [max(left)] * len(layer)
    if sparsity is None:
        assert ratio is not None
        sizes, part = [int(alive.sum()) for _, alive in layer], ratio
    else:
        sizes, part = [alive.size for _, alive in layer], sparsity
    stay = round(sum(sizes) * (1 - part))
    strengths = [np.where(alive, strength, -np.inf) for strength, alive in layer]
    gate_of = np.repeat(np.arange(len(sizes)), [each.size for each in strengths])
    strongest = np.argsort(-np.concatenate(strengths), kind="stable")[:stay]
    wanted = np.bincount(gate_of[strongest], minlength=len(sizes))
    return [structure.rounded(int(w), size) for w, size in zip(wanted, sizes, strict=True)]


def fold_constants(masks: Masks, swept: Masks) -> None:
    """Adds what neurons without inputs put out, their bias' constant, to the next layer's bias.

    Call it between the pruning and the sweep, while outgoing weights are still there. So the sweep
    does not change the function. The neurons' own biases stay as they are; nothing reads them.

    Args:
        masks: The masks in force.
        swept: What `cascade_gates` made of them.
    """
    for cell, kernels in cells({kernel: masks[kernel] for kernel in swept}):
        if not cell.use_bias:
            continue
        before, after = _masks_by_gate(kernels, masks), _masks_by_gate(kernels, swept)
        weights = by_gate([kernel.to_matrices(kernel.variable) for kernel in kernels])
        hears = [_hears(gate[0]) | _hears(gate[1]) for gate in after]
        biases = values_by_gate(cell, "bias")
        for place, (_, name) in enumerate(cell.later_layers, start=2):
            mute = [_speaks(g[place]) & ~hear for g, hear in zip(before, hears, strict=True)]
            following = values_by_gate(cell, name)
            if any(gate.any() for gate in mute):
                constants = _constants(cell, biases, mute)
                following = [
                    bias + (constant @ gate[place].astype(np.float64)).astype(np.float32)
                    for bias, constant, gate in zip(following, constants, weights, strict=True)
                ]
                assign_by_gate(cell, name, following)
            biases, hears = following, [_hears(gate[place]) for gate in after]


def _constants(
    cell: HLSTMCell, biases: list[np.ndarray], mute: list[np.ndarray]
) -> list[np.ndarray]:
    """What each gate's mute neurons put out, which hear nothing; zero for all others."""
    values = [cell.hidden_activation(ops.convert_to_tensor(bias[None]))[0] for bias in biases]
    return [
        np.where(which, ops.convert_to_numpy(value), 0.0)
        for which, value in zip(mute, values, strict=True)
    ]


def _hears(mask: np.ndarray) -> np.ndarray:
    return np.asarray(mask.any(axis=0))


def _speaks(mask: np.ndarray) -> np.ndarray:
    return np.asarray(mask.any(axis=1))


def _axes(gate: Gate) -> list[tuple[Hashable, Hashable]]:
    """The axes of a gate's matrices: the input and the state feed hidden layer 1, and so on."""
    return [("inputs", 1), ("state", 1)] + [(k, k + 1) for k in range(1, len(gate) - 1)]


def _masks_by_gate(kernels: list[MaskedKernel], masks: Masks) -> list[Gate]:
    return by_gate([kernel.to_matrices(masks[kernel]) for kernel in kernels])


def by_gate(stacks: list[np.ndarray]) -> list[Gate]:
    """Sorts what the kernels of a cell have for each gate by gate.

    Args:
        stacks: For each kernel, from input to output, an array whose first axis are its gates, of
            which it holds four or one.
    """
    matrices = [matrix for stack in stacks for matrix in stack]
    return [matrices[gate :: len(GATES)] for gate in range(len(GATES))]


def joined_gates(kernels: list[MaskedKernel], gates: list[Gate]) -> dict[MaskedKernel, np.ndarray]:
    """The inverse of `by_gate`, by kernel."""
    parts = (part for place in zip(*gates, strict=True) for part in place)
    return {kernel: np.stack([next(parts) for _ in range(kernel.gates)]) for kernel in kernels}


def _joined(kernels: list[MaskedKernel], gates: list[Gate]) -> dict[MaskedKernel, np.ndarray]:
    stacked = joined_gates(kernels, gates)
    return {kernel: kernel.from_matrices(matrices) for kernel, matrices in stacked.items()}


def cells(masks: Mapping[MaskedKernel, Any]) -> Iterator[tuple[HLSTMCell, list[MaskedKernel]]]:
    """Yields each H-LSTM cell that has hidden layers, with its kernels from input to output."""
    by_cell: dict[int, list[MaskedKernel]] = {}
    for kernel in masks:
        if isinstance(kernel.layer, HLSTMCell) and kernel.layer.hidden_units:
            by_cell.setdefault(id(kernel.layer), []).append(kernel)
    for kernels in by_cell.values():
        cell = kernels[0].layer
        order = list(cell.kernel_names)
        yield cell, sorted(kernels, key=lambda kernel: order.index(kernel.name))


def _can_fold(cell: HLSTMCell) -> bool:
    """Whether a neuron without inputs can go: its constant is zero, or there is a bias for it."""
    if cell.use_bias:
        return True
    return float(cell.hidden_activation(ops.zeros(()))) == 0.0
