"""The hidden layers of H-LSTM gates as neuron groups.

Each gate's hidden layer is a group of its own: what writes it are the gate's kernels before it,
what reads it is the gate's kernel after it. The four gates share their variables, so that a hidden
layer is as wide as its widest gate: each gate's living neurons come first, and neurons without any
weight fill up the others.
"""

import numpy as np

from hlstm_tf.layers import HLSTMCell
from hlstm_tf.transforms.editing import Edited, Workshop, apply, is_elementwise
from hlstm_tf.transforms.groups import Branch, NeuronGroup, Writer

_GATES = range(4)


class GateCompactor:
    """The hidden layers of one cell: their groups, and their common widths in the end."""

    def __init__(self, cell: HLSTMCell, workshop: Workshop) -> None:
        self._edited = workshop.open_whole(cell)
        self._layers = range(len(cell.hidden_units))
        self.groups: list[NeuronGroup] = []
        if is_elementwise(cell.hidden_activation):
            self.groups = [self._group(gate, layer) for layer in self._layers for gate in _GATES]

    def _group(self, gate: int, layer: int) -> NeuronGroup:
        reader = HiddenReader(self._edited, gate, layer)
        return NeuronGroup(HiddenWriter(self._edited, gate, layer), (Branch((), reader),))

    def compact(self) -> int:
        """Narrows each hidden layer to its widest gate; tells how many neurons went, of all gates.

        At least one neuron stays in each layer.
        """
        if not self.groups:
            return 0
        widths = []
        removed = 0
        for layer in self._layers:
            living = [self.groups[len(_GATES) * layer + gate].living() for gate in _GATES]
            width = max(1, *(int(alive.sum()) for alive in living))
            removed += sum(alive.size - width for alive in living)
            # A stable sort puts the living first, in their order; the dead have no weights left.
            kept = [np.argsort(~alive, kind="stable")[:width] for alive in living]
            for gate_axis, neuron_axis, name in _axes_of(self._edited, layer):
                array = self._edited.arrays[name]
                self._edited.arrays[name] = _select_by_gate(array, gate_axis, neuron_axis, kept)
            widths.append(width)
        self._edited.arguments["hidden_units"] = widths
        return removed


class HiddenWriter(Writer):
    """One hidden layer of one gate, from the side of what feeds it."""

    def __init__(self, edited: Edited, gate: int, layer: int) -> None:
        self._edited, self._gate, self._layer = edited, gate, layer

    @property
    def width(self) -> int:
        return self._feeding()[0].shape[-1]

    def constants(self) -> np.ndarray:
        depends = np.logical_or.reduce([(kernel != 0).any(axis=0) for kernel in self._feeding()])
        bias = self._bias()
        constant = np.zeros(self.width) if bias is None else bias
        activation = self._edited.layer.hidden_activation
        return apply(activation, np.where(depends, np.nan, constant))

    def incoming(self) -> np.ndarray:
        return np.sum([kernel.sum(axis=0) for kernel in self._feeding()], axis=0)

    def silence(self, dead: np.ndarray) -> bool:
        changed = False
        bias = self._bias()
        for array in (*self._feeding(), *([] if bias is None else [bias])):
            changed |= bool(np.any(array[..., dead] != 0))
            array[..., dead] = 0
        return changed

    def keep(self, indices: np.ndarray) -> None:
        raise NotImplementedError("The gates of a cell are narrowed together: GateCompactor.")

    def _feeding(self) -> list[np.ndarray]:
        arrays = self._edited.arrays
        if self._layer == 0:
            return [arrays[name][:, self._gate] for name in ("kernel", "recurrent_kernel")]
        return [arrays[f"hidden_kernel_{self._layer + 1}"][self._gate]]

    def _bias(self) -> np.ndarray | None:
        name = "bias" if self._layer == 0 else f"hidden_bias_{self._layer + 1}"
        bias = self._edited.arrays.get(name)
        return None if bias is None else bias[self._gate]


class HiddenReader:
    """One hidden layer of one gate, from the side of what reads it."""

    def __init__(self, edited: Edited, gate: int, layer: int) -> None:
        self._edited, self._gate = edited, gate
        self._kernel_name = _kernel_after(edited, layer)

    @property
    def rows(self) -> int:
        return self._kernel().shape[0]

    def reads(self) -> np.ndarray:
        return (self._kernel() != 0).any(axis=1)

    def outgoing(self) -> np.ndarray:
        return self._kernel().sum(axis=1)

    def absorb(self, values: np.ndarray) -> bool:
        constant = np.isfinite(values) & self.reads()
        bias = self._edited.arrays.get(self._kernel_name.replace("kernel", "bias"))
        if bias is None:
            constant &= values == 0
        if not constant.any():
            return False
        kernel = self._kernel()
        if bias is not None:
            bias[self._gate] += values[constant] @ kernel[constant]
        kernel[constant] = 0
        return True

    def keep(self, indices: np.ndarray, width: int) -> None:
        raise NotImplementedError("The gates of a cell are narrowed together: GateCompactor.")

    def _kernel(self) -> np.ndarray:
        return self._edited.arrays[self._kernel_name][self._gate]


def _kernel_after(edited: Edited, layer: int) -> str:
    """The name of the kernel that reads hidden layer `layer`, counted from 0."""
    last = layer + 1 == len(edited.layer.hidden_units)
    return "output_kernel" if last else f"hidden_kernel_{layer + 2}"


def _axes_of(edited: Edited, layer: int) -> list[tuple[int, int, str]]:
    """(gate axis, neuron axis, name) of each weight that has a place for the layer's neurons."""
    if layer == 0:
        writers = [(1, 2, "kernel"), (1, 2, "recurrent_kernel"), (0, 1, "bias")]
    else:
        writers = [(0, 2, f"hidden_kernel_{layer + 1}"), (0, 1, f"hidden_bias_{layer + 1}")]
    places = [*writers, (0, 1, _kernel_after(edited, layer))]
    return [place for place in places if place[2] in edited.arrays]


def _select_by_gate(
    array: np.ndarray, gate_axis: int, neuron_axis: int, kept: list[np.ndarray]
) -> np.ndarray:
    """Keeps other neurons in each gate, as many in all."""
    # Without the gate axis, those after it come one earlier.
    axis = neuron_axis - (gate_axis < neuron_axis)
    gates = [
        np.take(np.take(array, gate, axis=gate_axis), indices, axis=axis)
        for gate, indices in enumerate(kept)
    ]
    return np.stack(gates, axis=gate_axis)
