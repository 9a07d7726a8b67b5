"""Where hidden neurons of H-LSTM gates can be born, and what their birth changes."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import keras
import numpy as np

from hlstm_tf.layers import GATES, HLSTMCell, MaskedKernel, masked_kernels
from hlstm_tf.layers.gate_variables import hidden_bias_name, variable_names
from hlstm_tf.sparsity import Birth, Optimizers, reset_entries, scaled
from hlstm_tf.transforms.discovery import gate_cell_names

from .gate_neurons import Gate, by_gate, cells

Opened = Callable[[MaskedKernel], tuple[np.ndarray, np.ndarray]]
"""Gives the working copies of a kernel's mask and weights, which are put in place together."""


@dataclass(frozen=True)
class GateSite:
    """One hidden layer of one gate of an H-LSTM cell.

    Attributes:
        name: Name of the layer that the cell is in; of the cell where that has several.
        cell: The cell.
        layer: Which hidden layer, from 0.
        gate: Which gate, in the order of `GATES`.
        writers: The kernels that lead to it: two to the first hidden layer, one to the others.
        reader: The kernel that reads it.
        width: How many neurons it has room for.
        dormant: Indices of those without any connection.
        mute: Of what it reads, in the order of the writers' rows, which are dormant neurons.
    """

    name: str
    cell: HLSTMCell
    layer: int
    gate: int
    writers: tuple[MaskedKernel, ...]
    reader: MaskedKernel
    width: int
    dormant: np.ndarray
    mute: np.ndarray

    is_bridge = True

    @property
    def place(self) -> tuple[int, int]:
        """The hidden layer and the gate."""
        return self.layer, self.gate

    @property
    def bridge_shape(self) -> tuple[int, int]:
        """How many values it reads, and how many it is read by."""
        return self.mute.size, self.reader.matrices_shape[2]

    def connect(
        self,
        births: Sequence[Birth],
        strength: float,
        opened: Opened,
        optimizer: Optimizers = None,
    ) -> None:
        """Gives the first dormant neurons their connections, in the working copies.

        Args:
            births: Their connections, which have no scale yet.
            strength: Mean magnitude of the new weights, in units of the gate's own.
            opened: The working copies.
            optimizer: What trains the neurons' biases, which begin at 0.
        """
        edges = np.cumsum([kernel.matrices_shape[1] for kernel in self.writers])
        before, after = self._mean_weight(self.writers), self._mean_weight([self.reader])
        chosen = self.dormant[: len(births)]
        for index, birth in zip(chosen, births, strict=True):
            incoming = np.split(scaled(birth.incoming, strength * before), edges[:-1])
            for kernel, part in zip(self.writers, incoming, strict=True):
                mask, values = (self._of(kernel, array) for array in opened(kernel))
                values[:, index], mask[:, index] = part, part != 0
            outgoing = scaled(birth.outgoing, strength * after)
            mask, values = (self._of(self.reader, array) for array in opened(self.reader))
            values[index], mask[index] = outgoing, outgoing != 0
        self._forget_bias(chosen, optimizer)

    def close(self, rooms: Mapping[MaskedKernel, np.ndarray]) -> None:
        """Makes the places at the dormant neurons' ends `False` in masks of the kernels."""
        for kernel in self.writers:
            self._of(kernel, rooms[kernel])[:, self.dormant] = False
        self._of(self.reader, rooms[self.reader])[self.dormant] = False

    def _forget_bias(self, indices: np.ndarray, optimizer: Optimizers) -> None:
        if not self.cell.use_bias:
            return
        names = variable_names(self.cell, hidden_bias_name(self.layer))
        is_common = len(names) == 1
        bias = getattr(self.cell, names[0 if is_common else self.gate])
        chosen = np.zeros(bias.shape, dtype=bool)
        chosen[(self.gate, indices) if is_common else indices] = True
        reset_entries(bias, chosen, optimizer)

    def _of(self, kernel: MaskedKernel, array: np.ndarray) -> np.ndarray:
        """The gate's own matrix of an array of a kernel's shape, as a view."""
        if kernel.gates == 1:
            return array
        return np.moveaxis(array, 0 if kernel.gates_first else 1, 0)[self.gate]

    def _mean_weight(self, kernels: Sequence[MaskedKernel]) -> float:
        weights = [self._of(k, keras.ops.convert_to_numpy(k.variable)) for k in kernels]
        sizes = np.concatenate([np.abs(weight).ravel() for weight in weights])
        return float(sizes[sizes > 0].mean(dtype=np.float64)) if sizes.any() else 0.0


def gate_sites(model: keras.Model) -> list[GateSite]:
    """Finds the hidden layers of gates into which neurons can be born, each gate by itself.

    Args:
        model: A built model with masked kernels.
    """
    masks = {kernel: keras.ops.convert_to_numpy(kernel.mask) for kernel in masked_kernels(model)}
    names = gate_cell_names(model)
    return [
        site
        for cell, kernels in cells(masks)
        if id(cell) in names
        for site in _sites_of(names[id(cell)], cell, kernels)
    ]


def _sites_of(name: str, cell: HLSTMCell, kernels: list[MaskedKernel]) -> Iterator[GateSite]:
    masks = by_gate([kernel.to_matrices(kernel.mask) for kernel in kernels])
    each = 1 if cell.has_equal_gates else len(GATES)
    for gate, matrices in enumerate(masks):
        own = [kernels[place] for place in range(gate % each, len(kernels), each)]
        mute = np.zeros(sum(len(matrix) for matrix in matrices[:2]), dtype=bool)
        for layer in range(len(cell.hidden_units)):
            into = slice(0, 2) if layer == 0 else slice(layer + 1, layer + 2)
            is_dormant = _dormant(matrices[into], matrices[layer + 2])
            writers, reader = tuple(own[into]), own[layer + 2]
            dormant = np.flatnonzero(is_dormant)
            yield GateSite(name, cell, layer, gate, writers, reader, is_dormant.size, dormant, mute)
            mute = is_dormant


def _dormant(before: Gate, after: np.ndarray) -> np.ndarray:
    hears = np.logical_or.reduce([matrix.any(axis=0) for matrix in before])
    return np.asarray(~hears & ~after.any(axis=1))
