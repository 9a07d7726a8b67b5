"""The hidden layers of H-LSTM gates as neuron groups.

Each gate's hidden layer is a group of its own: what writes it are the gate's kernels before it,
what reads it is the gate's kernel after it. So a cell's weights are worked on gate by gate, whether
its gates share variables or not, and each gate becomes as wide as its own living neurons.
"""

import numpy as np

from hlstm_tf.layers import HLSTMCell
from hlstm_tf.layers.gate_variables import gate_axis, in_one_array, variable_names, weight_names
from hlstm_tf.layers.gate_widths import GATES, as_hidden_units, widths_config
from hlstm_tf.transforms.editing import Edited, Workshop, apply, is_elementwise
from hlstm_tf.transforms.groups import Branch, NeuronGroup, Writer


def open_gates(cell: HLSTMCell, workshop: Workshop) -> Edited:
    """Returns the working copy of a cell with hidden layers: each weight as `NAME_GATE`, four."""
    edited = workshop.open(cell)
    if not edited.arrays:
        for name in weight_names(cell):
            arrays = [workshop.value(cell, each) for each in variable_names(cell, name)]
            if cell.has_equal_gates and arrays[0] is not None:
                arrays = list(np.moveaxis(arrays[0], gate_axis(name), 0))
            for gate, array in zip(GATES, arrays, strict=False):
                if array is not None:
                    edited.arrays[f"{name}_{gate}"] = array
    return edited


class GateCompactor:
    """The hidden layers of one cell: their groups, and their widths in the end."""

    def __init__(self, cell: HLSTMCell, workshop: Workshop) -> None:
        self.cell = cell
        self._edited = open_gates(cell, workshop)
        self._layers = range(len(cell.hidden_units))
        self.groups: list[NeuronGroup] = []
        if is_elementwise(cell.hidden_activation):
            self.groups = [self._group(gate, layer) for layer in self._layers for gate in GATES]

    def _group(self, gate: str, layer: int) -> NeuronGroup:
        reader = HiddenReader(self._edited, gate, layer)
        return NeuronGroup(HiddenWriter(self._edited, gate, layer), (Branch((), reader),))

    def compact(self) -> int:
        """Narrows each gate to its living neurons, but never to none; tells how many went."""
        removed = sum(group.compact() for group in self.groups)
        cell, arrays = self._edited.layer, self._edited.arrays
        widths = [
            [len(arrays[f"{_kernel_after(self._edited, layer)}_{gate}"]) for gate in GATES]
            for layer in self._layers
        ]
        hidden_units = as_hidden_units(widths, cell.units)
        self._edited.arguments["hidden_units"] = widths_config(hidden_units)
        if all(isinstance(entry, int) for entry in hidden_units):  # the gates share their variables
            for name in weight_names(cell):
                gates = [arrays.pop(f"{name}_{gate}") for gate in GATES]
                arrays[name] = in_one_array(name, gates)
        return removed


class HiddenWriter(Writer):
    """One hidden layer of one gate, from the side of what feeds it."""

    def __init__(self, edited: Edited, gate: str, layer: int) -> None:
        self._edited = edited
        first = layer == 0
        kernels = ("kernel", "recurrent_kernel") if first else (f"hidden_kernel_{layer + 1}",)
        self._kernels = tuple(f"{kernel}_{gate}" for kernel in kernels)
        self._bias = f"bias_{gate}" if first else f"hidden_bias_{layer + 1}_{gate}"

    @property
    def width(self) -> int:
        return self._feeding()[0].shape[-1]

    def constants(self) -> np.ndarray:
        depends = np.logical_or.reduce([(kernel != 0).any(axis=0) for kernel in self._feeding()])
        constant = self._edited.arrays.get(self._bias, np.zeros(self.width))
        activation = self._edited.layer.hidden_activation
        return apply(activation, np.where(depends, np.nan, constant))

    def incoming(self) -> np.ndarray:
        return np.sum([kernel.sum(axis=0) for kernel in self._feeding()], axis=0)

    def silence(self, dead: np.ndarray) -> bool:
        changed = False
        for name in (*self._kernels, self._bias):
            array = self._edited.arrays.get(name)
            if array is not None:
                changed |= bool(np.any(array[..., dead] != 0))
                array[..., dead] = 0
        return changed

    def keep(self, indices: np.ndarray) -> None:
        for name in (*self._kernels, self._bias):
            self._edited.select(name, -1, indices)

    def _feeding(self) -> list[np.ndarray]:
        return [self._edited.arrays[name] for name in self._kernels]


class HiddenReader:
    """One hidden layer of one gate, from the side of what reads it."""

    def __init__(self, edited: Edited, gate: str, layer: int) -> None:
        self._edited = edited
        kernel = _kernel_after(edited, layer)
        self._kernel_name = f"{kernel}_{gate}"
        self._bias_name = f"{kernel.replace('kernel', 'bias')}_{gate}"

    @property
    def rows(self) -> int:
        return self._kernel().shape[0]

    def reads(self) -> np.ndarray:
        return (self._kernel() != 0).any(axis=1)

    def outgoing(self) -> np.ndarray:
        return self._kernel().sum(axis=1)

    def absorb(self, values: np.ndarray) -> bool:
        constant = np.isfinite(values) & self.reads()
        bias = self._edited.arrays.get(self._bias_name)
        if bias is None:
            constant &= values == 0
        if not constant.any():
            return False
        kernel = self._kernel()
        if bias is not None:
            bias += values[constant] @ kernel[constant]
        kernel[constant] = 0
        return True

    def keep(self, indices: np.ndarray, width: int) -> None:
        self._edited.select(self._kernel_name, 0, indices)

    def _kernel(self) -> np.ndarray:
        return self._edited.arrays[self._kernel_name]


def _kernel_after(edited: Edited, layer: int) -> str:
    """The name of the kernel that reads hidden layer `layer`, counted from 0."""
    last = layer + 1 == len(edited.layer.hidden_units)
    return "output_kernel" if last else f"hidden_kernel_{layer + 2}"
