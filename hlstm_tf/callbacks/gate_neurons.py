"""Hidden neurons of H-LSTM gates: what lost its inputs or its outputs goes, function unchanged."""

from collections.abc import Hashable, Iterator, Mapping

import numpy as np
from keras import ops

from hlstm_tf.layers import HLSTMCell
from hlstm_tf.layers.masking import MaskedKernel
from hlstm_tf.sparsity import Neuron, cascade, prune_neurons

Masks = Mapping[MaskedKernel, np.ndarray]


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
    for cell, kernels in _cells(masks):
        if not _can_fold(cell):
            continue
        axes = _axes(kernels)
        swept |= _joined(kernels, [cascade(gate, axes) for gate in _by_gate(kernels, masks)])
    return swept


def prune_gate_neurons(
    masks: Masks, scores: Masks, structure: Neuron, ratio: float | None, sparsity: float | None
) -> dict[MaskedKernel, np.ndarray]:
    """Removes the weakest hidden neurons of H-LSTM gates; each gate keeps equally many.

    Args:
        masks: Masks of kernels, in their own shapes; those of other layers are passed over.
        scores: Scores of the same kernels, as matrices `(gates, inputs, outputs)`.
        structure: What widths are rounded to.
        ratio: The part of each hidden layer's living neurons to remove, or
        sparsity: the part of all its neurons that is to be gone.

    Returns:
        The new masks of the H-LSTM cells' kernels, in their own shapes.

    Raises:
        ValueError: No H-LSTM cell with hidden layers is among them.
    """
    edits: dict[MaskedKernel, np.ndarray] = {}
    for _, kernels in _cells(masks):
        axes = _axes(kernels)
        gates = _by_gate(kernels, masks)
        scored = [[scores[kernel][gate] for kernel in kernels] for gate in range(len(gates))]
        for axis in range(1, len(kernels) - 1):
            alive = [_alive(gate, axes, axis) for gate in gates]
            if sparsity is None:
                assert ratio is not None
                width = structure.narrowed(max(int(each.sum()) for each in alive), ratio)
            else:
                width = structure.narrowed(alive[0].size, sparsity)
            gates = [
                prune_neurons(gate, score, axes, axis, width)
                for gate, score in zip(gates, scored, strict=True)
            ]
        edits |= _joined(kernels, gates)
    if not edits:
        raise ValueError(
            "structure='neuron' prunes hidden neurons of H-LSTM gates, and the model has no masked "
            "HLSTM with hidden layers; choose 'connection', 'row', 'column' or a block."
        )
    return edits


def fold_constants(masks: Masks, swept: Masks) -> None:
    """Adds what neurons without inputs put out, their bias' constant, to the next layer's bias.

    Call it between the pruning and the sweep, while outgoing weights are still there. So the sweep
    does not change the function. The neurons' own biases stay as they are; nothing reads them.

    Args:
        masks: The masks in force.
        swept: What `cascade_gates` made of them.
    """
    for cell, kernels in _cells({kernel: masks[kernel] for kernel in swept}):
        if cell.bias is None:
            continue
        hears = _hears(kernels[0], swept) | _hears(kernels[1], swept)
        bias = cell.bias
        for kernel in kernels[2:]:
            outgoing = kernel.to_matrices(masks[kernel]).any(axis=2)
            next_bias = getattr(cell, kernel.name.replace("kernel", "bias"))
            if (outgoing & ~hears).any():
                constant = ops.convert_to_numpy(cell.hidden_activation(ops.convert_to_tensor(bias)))
                weights = kernel.to_matrices(kernel.variable).astype(np.float64)
                values = np.where(hears, 0.0, constant)
                shift = np.einsum("gj,gjo->go", values, weights)
                next_bias.assign(ops.convert_to_numpy(next_bias) + shift.astype(np.float32))
            hears = _hears(kernel, swept)
            bias = next_bias


def _hears(kernel: MaskedKernel, masks: Masks) -> np.ndarray:
    """Which neurons, `(gates, outputs)`, have a connection from this kernel."""
    return np.asarray(kernel.to_matrices(masks[kernel]).any(axis=1))


def _axes(kernels: list[MaskedKernel]) -> list[tuple[Hashable, Hashable]]:
    """The axes of a gate's matrices: the input and the state feed hidden layer 1, and so on."""
    return [("inputs", 1), ("state", 1)] + [(k, k + 1) for k in range(1, len(kernels) - 1)]


def _by_gate(kernels: list[MaskedKernel], masks: Masks) -> list[list[np.ndarray]]:
    stacked = [kernel.to_matrices(masks[kernel]) for kernel in kernels]
    return [[matrices[gate] for matrices in stacked] for gate in range(kernels[0].gates)]


def _joined(
    kernels: list[MaskedKernel], gates: list[list[np.ndarray]]
) -> dict[MaskedKernel, np.ndarray]:
    return {
        kernel: kernel.from_matrices(np.stack([gate[place] for gate in gates]))
        for place, kernel in enumerate(kernels)
    }


def _alive(
    gate: list[np.ndarray], axes: list[tuple[Hashable, Hashable]], axis: Hashable
) -> np.ndarray:
    sides = [mask.any(axis=0) for mask, pair in zip(gate, axes, strict=True) if pair[1] == axis]
    sides += [mask.any(axis=1) for mask, pair in zip(gate, axes, strict=True) if pair[0] == axis]
    return np.asarray(np.logical_or.reduce(sides))


def _cells(masks: Masks) -> Iterator[tuple[HLSTMCell, list[MaskedKernel]]]:
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
    if cell.bias is not None:
        return True
    return float(cell.hidden_activation(ops.zeros(()))) == 0.0
