"""The weights of H-LSTM gates as variables: one for the four gates, or one a gate.

Where the gates are equally wide, a weight of the four gate networks is one variable with a gate
axis. Where any hidden layer of the cell has gates of different widths, every weight is a variable a
gate, a plain matrix or vector called `NAME_input`, `NAME_forget`, `NAME_cell` and `NAME_output`.
"""

from collections.abc import Callable, Iterator, Sequence
from itertools import chain, pairwise
from typing import TYPE_CHECKING, Any, NamedTuple

import keras
import numpy as np
from keras import ops

from hlstm_tf.layers.gate_widths import GATES, FourWidths, four_widths
from hlstm_tf.layers.gatewise import (
    gate_constraint,
    gate_initializer,
    gate_regularizer,
    one_gate_initializer,
)

if TYPE_CHECKING:
    from hlstm_tf.layers.hlstm_cell import HLSTMCell

_FORGET = GATES.index("forget")


class GateWeight(NamedTuple):
    """A weight that each of the four gate networks has, and what it is made with.

    Attributes:
        name: `"kernel"`, `"bias"`, `"hidden_kernel_2"`...
        inputs: The fan-in of each gate; `None` for a bias.
        outputs: The width of each gate.
        initializer: Of one gate's matrix or vector.
        regularizer: The same.
        constraint: The same.
        forget_one: Whether the forget gate's starts at one whatever the initializer.
    """

    name: str
    inputs: FourWidths | None
    outputs: FourWidths
    initializer: Any
    regularizer: Any
    constraint: Any
    forget_one: bool = False

    def shape(self, gate: int) -> tuple[int, ...]:
        """The shape of one gate's matrix or vector."""
        outputs = self.outputs[gate]
        return (outputs,) if self.inputs is None else (self.inputs[gate], outputs)


def gate_weights_of(cell: "HLSTMCell", input_dim: int) -> Iterator[GateWeight]:
    """Yields what a cell with hidden layers is made of, in the order of its variables."""
    of_kernels = cell.kernel_initializer, cell.kernel_regularizer, cell.kernel_constraint
    of_states = cell.recurrent_initializer, cell.recurrent_regularizer, cell.recurrent_constraint
    of_biases = cell.bias_initializer, cell.bias_regularizer, cell.bias_constraint
    widths = (*cell.gate_widths, four_widths(cell.units))
    yield GateWeight("kernel", four_widths(input_dim), widths[0], *of_kernels)
    yield GateWeight("recurrent_kernel", four_widths(cell.units), widths[0], *of_states)
    yield GateWeight("bias", None, widths[0], *of_biases)
    for (kernel, bias), (inputs, outputs) in zip(cell.later_layers, pairwise(widths), strict=True):
        forget_one = cell.unit_forget_bias and kernel == "output_kernel"
        yield GateWeight(kernel, inputs, outputs, *of_kernels)
        yield GateWeight(bias, None, outputs, *of_biases, forget_one)


def gate_axis(name: str) -> int:
    """Which axis of a weight that the four gates share has the gates.

    Beside the outputs in the kernels of the first layer, whose gates have the same inputs; in front
    in all others.
    """
    return 1 if name in ("kernel", "recurrent_kernel") else 0


def hidden_bias_name(layer: int) -> str:
    """The bias of a hidden layer, counted from 0.

    >>> hidden_bias_name(0), hidden_bias_name(1)
    ('bias', 'hidden_bias_2')
    """
    return "bias" if layer == 0 else f"hidden_bias_{layer + 1}"


def variable_names(cell: "HLSTMCell", name: str) -> tuple[str, ...]:
    """The attributes of a cell that hold a weight of its gates: one, or four in the gates' order.

    >>> import hlstm_tf as hl
    >>> variable_names(hl.HLSTMCell(4, hidden_units=((3, 2, 2, 1),)), "bias")
    ('bias_input', 'bias_forget', 'bias_cell', 'bias_output')
    """
    return (name,) if cell.has_equal_gates else tuple(f"{name}_{gate}" for gate in GATES)


def weight_names(cell: "HLSTMCell") -> tuple[str, ...]:
    """The weights that each gate of a cell with hidden layers has, by the names they share."""
    names = ("kernel", "recurrent_kernel", "bias", *chain.from_iterable(cell.later_layers))
    return tuple(name for name in names if cell.use_bias or "bias" not in name)


def add_gate_weight(cell: "HLSTMCell", weight: GateWeight) -> None:
    """Makes the variables of a weight, as attributes of the cell."""
    names = variable_names(cell, weight.name)
    if weight.inputs is None and not cell.use_bias:
        for name in names:
            setattr(cell, name, None)
    elif cell.has_equal_gates:
        _add_common(cell, weight)
    else:
        for gate, name in enumerate(names):
            setattr(cell, name, _add_own(cell, weight, gate, name))


def _add_common(cell: "HLSTMCell", weight: GateWeight) -> None:
    axis = gate_axis(weight.name)
    shape = list(weight.shape(0))
    shape.insert(axis, len(GATES))
    initializer = gate_initializer(weight.initializer, axis, weight.name)
    variable = cell.add_weight(
        name=weight.name,
        shape=tuple(shape),
        initializer=_forget_gate_at_one(initializer) if weight.forget_one else initializer,
        regularizer=gate_regularizer(weight.regularizer, axis),
        constraint=gate_constraint(weight.constraint, axis),
    )
    setattr(cell, weight.name, variable)


def _add_own(cell: "HLSTMCell", weight: GateWeight, gate: int, name: str) -> keras.Variable:
    one = weight.forget_one and gate == _FORGET
    return cell.add_weight(
        name=name,
        shape=weight.shape(gate),
        initializer="ones" if one else one_gate_initializer(weight.initializer, gate, weight.name),
        regularizer=weight.regularizer,
        constraint=weight.constraint,
    )


def _forget_gate_at_one(initializer: Callable[..., Any]) -> Callable[..., Any]:
    def initialize(shape: Any, dtype: Any = None) -> Any:
        gates = ops.unstack(initializer(shape, dtype=dtype), shape[0])
        gates[_FORGET] = ops.ones(shape[1:], dtype=dtype)
        return ops.stack(gates)

    return initialize


def values_by_gate(cell: "HLSTMCell", name: str) -> list[np.ndarray]:
    """The values of a weight, a matrix or vector a gate, however its variables hold them.

    Example:

    >>> import hlstm_tf as hl
    >>> cell = hl.HLSTMCell(4, hidden_units=((3, 2, 2, 1),))
    >>> cell.build((None, 5))
    >>> [value.shape for value in values_by_gate(cell, "kernel")]
    [(5, 3), (5, 2), (5, 2), (5, 1)]
    """
    values = [ops.convert_to_numpy(getattr(cell, each)) for each in variable_names(cell, name)]
    return list(np.moveaxis(values[0], gate_axis(name), 0)) if cell.has_equal_gates else values


def assign_by_gate(cell: "HLSTMCell", name: str, gates: Sequence[np.ndarray]) -> None:
    """Gives a weight other values, in the form in which `values_by_gate` returns them."""
    values = [in_one_array(name, gates)] if cell.has_equal_gates else gates
    for each, value in zip(variable_names(cell, name), values, strict=True):
        getattr(cell, each).assign(value)


def in_one_array(name: str, gates: Sequence[np.ndarray]) -> np.ndarray:
    """The values of gates of equal widths as the variable that they share has them."""
    return np.stack(gates, axis=gate_axis(name))
