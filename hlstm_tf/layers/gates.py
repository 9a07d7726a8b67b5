"""The weights of H-LSTM gates: their widths, their variables, and what these are made with.

Where the gates are equally wide, a weight of the four gate networks is one variable with a gate
axis. Where any hidden layer of the cell has gates of different widths, every weight is a variable a
gate, a plain matrix or vector called `NAME_input`, `NAME_forget`, `NAME_cell` and `NAME_output`.
"""

import zlib
from collections.abc import Callable, Iterator
from itertools import pairwise
from numbers import Integral
from typing import Any, NamedTuple

import keras
from keras import ops

GATES = ("input", "forget", "cell", "output")

FourWidths = tuple[int, int, int, int]
"""The width of each gate, in the order of `GATES`."""

HiddenUnits = tuple[int | FourWidths, ...]
"""For each hidden layer the width of all four gates, or that of each where they differ."""


def as_hidden_units(given: Any, units: int) -> HiddenUnits:
    """Returns the widths that a user gave: an int wherever the four gates are equally wide.

    Args:
        given: An int, `None` for `units`, or for each hidden layer an int or four of them.
        units: Width of the state.

    Raises:
        ValueError: It is none of these, or a width is not positive.

    >>> as_hidden_units((64, (32, 8, 8, 16), [5, 5, 5, 5]), 10)
    (64, (32, 8, 8, 16), 5)
    """
    if given is None:
        return (units,)
    layers = given if isinstance(given, (tuple, list)) else (given,)
    if not all(map(_is_entry, layers)):
        raise ValueError(
            "hidden_units must be a positive integer, a tuple with one of them or four (input, "
            f"forget, cell and output gate) a hidden layer, or () for none; got {given!r}."
        )
    return tuple(_as_entry(layer) for layer in layers)


def as_units(given: Any) -> int:
    """Returns the width of the state; a `ValueError` for what is no positive integer."""
    if not _is_width(given):
        raise ValueError(f"units must be a positive integer; got {given!r}.")
    return int(given)


def as_flag(given: Any, name: str) -> bool:
    """Returns a choice between two; a `ValueError` for what is neither `True` nor `False`."""
    if not isinstance(given, bool):
        raise ValueError(f"{name} must be True or False; got {given!r}.")
    return given


def four_widths(entry: int | FourWidths) -> FourWidths:
    """Returns the width of each gate of a hidden layer, of an entry of `hidden_units`.

    >>> four_widths(5)
    (5, 5, 5, 5)
    """
    return (entry, entry, entry, entry) if isinstance(entry, int) else entry


def widths_config(hidden_units: HiddenUnits) -> list[Any]:
    """Returns `hidden_units` as plain JSON data, for a configuration."""
    return [entry if isinstance(entry, int) else list(entry) for entry in hidden_units]


def _is_entry(entry: Any) -> bool:
    if isinstance(entry, (tuple, list)):
        return len(entry) == len(GATES) and all(map(_is_width, entry))
    return _is_width(entry)


def _is_width(width: Any) -> bool:
    return isinstance(width, Integral) and not isinstance(width, bool) and int(width) > 0


def _as_entry(entry: Any) -> int | FourWidths:
    if not isinstance(entry, (tuple, list)):
        return int(entry)
    i, f, c, o = map(int, entry)
    return i if i == f == c == o else (i, f, c, o)


def gate_initializer(initializer: Any, gate_axis: int, stream: str) -> Callable[..., Any]:
    """Returns an initializer of a kernel with a gate axis that draws gate by gate.

    Each gate has its own fan-in and fan-out, and its own random numbers: Keras's initializers give
    the same values whenever they are called, so each gate gets one with a seed of its own.

    Args:
        initializer: A Keras initializer or a callable `(shape, dtype) -> tensor`.
        gate_axis: The gate axis of the weight: 0 for `(gates, inputs, outputs)` and biases, 1 for
            `(inputs, gates, outputs)`.
        stream: The weight's name, so that kernels with one seed among them differ.
    """

    def initialize(shape: Any, dtype: Any = None) -> Any:
        one_gate = tuple(size for position, size in enumerate(shape) if position != gate_axis)
        gates = [
            one_gate_initializer(initializer, gate, stream)(one_gate, dtype=dtype)
            for gate in range(shape[gate_axis])
        ]
        return ops.stack(gates, axis=gate_axis)

    return initialize


def one_gate_initializer(initializer: Any, gate: int, stream: str) -> Any:
    """Returns the initializer of one gate's own matrix or vector.

    Args:
        initializer: A Keras initializer or a callable `(shape, dtype) -> tensor`.
        gate: The gate's number; each has random numbers of its own.
        stream: As in `gate_initializer`.
    """
    if not isinstance(initializer, keras.initializers.Initializer):
        return initializer
    config = initializer.get_config()
    if "seed" not in config or not (config["seed"] is None or isinstance(config["seed"], int)):
        # Constant, or with a SeedGenerator, which gives new numbers at each call anyway.
        return initializer
    # Without a seed of the user's, the one that the initializer drew when it was made.
    seed = config["seed"] if config["seed"] is not None else getattr(initializer, "seed", None)
    if not isinstance(seed, int):
        return initializer
    derived = zlib.crc32(f"{seed}/{stream}/{gate}".encode()) & 0x7FFFFFFF
    return type(initializer).from_config({**config, "seed": derived})


def gate_regularizer(regularizer: Any, gate_axis: int) -> Any:
    """Returns a regularizer that adds up `regularizer` over the gates' matrices; `None` stays."""
    if regularizer is None:
        return None

    def regularize(weight: Any) -> Any:
        return sum(regularizer(gate) for gate in ops.unstack(weight, axis=gate_axis))

    return regularize


def gate_constraint(constraint: Any, gate_axis: int) -> Any:
    """Returns a constraint that holds each gate's matrix to `constraint`; `None` stays."""
    if constraint is None:
        return None

    def constrain(weight: Any) -> Any:
        gates = ops.unstack(weight, axis=gate_axis)
        return ops.stack([constraint(gate) for gate in gates], axis=gate_axis)

    return constrain


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


def gate_weights_of(cell: Any, input_dim: int) -> Iterator[GateWeight]:
    """Yields the weights of an `HLSTMCell` with hidden layers, in the order of its variables."""
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


def add_gate_weight(cell: Any, weight: GateWeight) -> None:
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


def _add_common(cell: Any, weight: GateWeight) -> None:
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


def _add_own(cell: Any, weight: GateWeight, gate: int, name: str) -> keras.Variable:
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
