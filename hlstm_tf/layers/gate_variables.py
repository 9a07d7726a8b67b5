"""The weights of H-LSTM gates as variables: one for the four gates, or one a gate.

Where the gates are equally wide, a weight of the four gate networks is one variable with a gate
axis. Where any hidden layer of the cell has gates of different widths, every weight is a variable a
gate, a plain matrix or vector called `NAME_input`, `NAME_forget`, `NAME_cell` and `NAME_output`.
"""

from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import TYPE_CHECKING, Any, NamedTuple

import keras
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
    for layer, (inputs, outputs) in zip(cell.form.layers[1:], pairwise(widths), strict=True):
        [(kernel, _)] = layer.kernels
        bias = kernel.replace("kernel", "bias")
        forget_one = cell.unit_forget_bias and kernel == "output_kernel"
        yield GateWeight(kernel, inputs, outputs, *of_kernels)
        yield GateWeight(bias, None, outputs, *of_biases, forget_one)


def gate_axis(name: str) -> int:
    """Which axis of a weight that the four gates share has the gates.

    Beside the outputs in the kernels of the first layer, whose gates have the same inputs; in front
    in all others.
    """
    return 1 if name in ("kernel", "recurrent_kernel") else 0


def add_gate_weight(cell: "HLSTMCell", weight: GateWeight) -> None:
    """Makes the variables of a weight, as attributes of the cell."""
    names = cell.form.variables(weight.name)
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
