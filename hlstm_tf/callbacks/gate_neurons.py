"""Hidden neurons of H-LSTM gates: what lost its inputs or its outputs goes, function unchanged."""

from collections.abc import Iterator, Mapping

import numpy as np
from keras import ops

from hlstm_tf.layers import HLSTMCell
from hlstm_tf.layers.masking import MaskedKernel
from hlstm_tf.sparsity import cascade

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
        stacked = [kernel.to_matrices(masks[kernel]) for kernel in kernels]
        depth = len(kernels) - 1
        axes = [("inputs", 1), ("state", 1)] + [(k, k + 1) for k in range(1, depth)]
        gates = [
            cascade([matrices[gate] for matrices in stacked], axes)
            for gate in range(kernels[0].gates)
        ]
        for place, kernel in enumerate(kernels):
            swept[kernel] = kernel.from_matrices(np.stack([gate[place] for gate in gates]))
    return swept


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
