"""The description of a recurrent cell, and the registry of the cells that have one.

Whatever works on the inside of a recurrent layer reads a `CellForm`: pruning of hidden neurons and
of units of the state, `shrink`, counting, growth of neurons, the step form and the hoisted loops of
exports. A new cell states its form once, and all of them know it.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import keras
import numpy as np
from keras import ops

from hlstm_tf.layers.operators import Dense, Operator

Step = Callable[[Any, list[Any]], tuple[Any, list[Any]]]
"""One step: a frame `(batch, ...)` and the states to the output and the new states."""

INPUTS, STATE, HIDDEN = "inputs", "state", "hidden"
"""What the rows of a kernel stand for: the cell's inputs, the units of its first state, or the
neurons of the gate's layer before."""


@dataclass(frozen=True)
class GateLayer:
    """One layer of the gates of a cell, by the names of its weights.

    Attributes:
        kernels: For each kernel its name and what its rows stand for; `INPUTS` comes first.
        bias: The name of the bias; `None` where there is none.
        activation: What its neurons put out, of the sum of the products and the bias. Of the last
            layer, whose outputs are the gates themselves, `None`.
    """

    kernels: tuple[tuple[str, str], ...]
    bias: str | None
    activation: Callable[[Any], Any] | None = None

    def reading(self, rows: str) -> tuple[str, ...]:
        """The names of the kernels whose rows stand for this.

        >>> GateLayer((("kernel", INPUTS), ("recurrent_kernel", STATE)), "bias").reading(STATE)
        ('recurrent_kernel',)
        """
        return tuple(name for name, stands_for in self.kernels if stands_for == rows)

    @property
    def weights(self) -> tuple[str, ...]:
        """The names of its kernels and, where it has one, its bias."""
        return (*(name for name, _ in self.kernels), *((self.bias,) if self.bias else ()))


class SplitCell(NamedTuple):
    """A cell in two parts: what can be computed for all frames at once, and what cannot.

    Attributes:
        project: `(batch, time, inputs)` to the frames that the step takes, `(batch, time, ...)`.
        prepare: Reads the weights, outside of any loop, and returns the step.
    """

    project: Callable[[Any], Any]
    prepare: Callable[[], Step]

    def step(self, frame: Any, states: list[Any]) -> tuple[Any, list[Any]]:
        """One step by itself."""
        return self.prepare()(frame, states)


class CellForm:
    """The form of a recurrent cell: its gates, its states, where its weights lie, its step.

    A subclass names `gates` and `content`, and gives `project` and `prepare`. What it inherits fits
    a cell as Keras writes one: `kernel (inputs, gates * units)`, `recurrent_kernel (units, gates *
    units)` and `bias (gates * units,)`, the gates side by side; another layout overrides `layers`,
    `variables`, `by_gate`, `joined`, `arrays` and `sizes`.

    Args:
        cell: The cell, built or not.

    Attributes:
        gates: The gates' names, in the order in which the weights hold them.
        content: The gate that makes a unit's new content. Where its weights are all zero and its
            activation is 0 at 0, a unit that starts at zero stays zero.
        states: The names of the states, that of the output first.
        activations: The cell's attributes that hold activations of its units.

    Example:

    A cell with one gate, `h = tanh(x W + h R + b)`:

    >>> import hlstm_tf as hl
    >>> class SimpleForm(hl.CellForm):
    ...     gates = ("candidate",)
    ...     content = "candidate"
    ...     activations = ("activation",)
    ...
    ...     def project(self, sequence):
    ...         return self.operator("kernel").apply(sequence) + self.cell.bias
    ...
    ...     def prepare(self):
    ...         recurrent = self.operator("recurrent_kernel")
    ...
    ...         def step(frame, states):
    ...             h = self.cell.activation(frame + recurrent.apply(states[0]))
    ...             return h, [h]
    ...         return step
    """

    gates: ClassVar[tuple[str, ...]]
    content: ClassVar[str]
    states: ClassVar[tuple[str, ...]] = ("h",)
    activations: ClassVar[tuple[str, ...]] = ("activation", "recurrent_activation")

    def __init__(self, cell: Any) -> None:
        self.cell = cell

    # Where its weights lie.

    @property
    def layers(self) -> tuple[GateLayer, ...]:
        """The layers of the gates, from the inputs to the gates themselves."""
        bias = "bias" if self.cell.use_bias else None
        return (GateLayer((("kernel", INPUTS), ("recurrent_kernel", STATE)), bias),)

    def variables(self, weight: str) -> tuple[str, ...]:
        """The attributes that hold a weight: one for all gates, or one a gate."""
        return (weight,)

    def by_gate(self, weight: str, array: np.ndarray) -> list[np.ndarray]:
        """The gates' parts of an array of the variable that they share, as views of it."""
        units = array.shape[-1] // len(self.gates)
        return [array[..., g * units : (g + 1) * units] for g in range(len(self.gates))]

    def joined(self, weight: str, gates: Sequence[np.ndarray]) -> np.ndarray:
        """The array of the variable that the gates share, of the gates' parts."""
        return np.concatenate(gates, axis=-1)

    def arrays(self, parts: Mapping[str, Sequence[np.ndarray]]) -> dict[str, np.ndarray]:
        """The arrays of a cell's variables by attribute, of each weight's parts, a gate each.

        The parts may have other widths than those of `cell`.
        """
        return {weight: self.joined(weight, gates) for weight, gates in parts.items()}

    def sizes(self, units: int, hidden: Sequence[Sequence[int]]) -> dict[str, Any]:
        """The constructor arguments of a cell of these widths.

        Args:
            units: Width of the state.
            hidden: For each hidden layer the width of each gate.
        """
        return {"units": units}

    # What it computes.

    def operator(self, kernel: str) -> Operator:
        """The matrix `(rows, gates * units)` that a kernel is, the gates side by side.

        The hand-written passes, inference and exports multiply by it; see `operators.Operator`.
        """
        compact = compact_kernels(self.cell).get(kernel)
        if compact is not None:
            return compact.operator()
        return Dense(ops.convert_to_tensor(getattr(self.cell, kernel)))

    def project(self, sequence: Any) -> Any:
        """The inputs' share of all steps: `(batch, time, inputs)` to `(batch, time, ...)`."""
        raise NotImplementedError(f"{type(self).__name__} must define project(sequence).")

    def prepare(self) -> Step:
        """Reads the weights, outside of any loop, and returns the step."""
        raise NotImplementedError(f"{type(self).__name__} must define prepare().")

    # What follows from the above.

    @property
    def split(self) -> SplitCell:
        """The cell in two parts."""
        return SplitCell(self.project, self.prepare)

    @property
    def hidden_layers(self) -> tuple[GateLayer, ...]:
        """The gates' layers but the last."""
        return self.layers[:-1]

    @property
    def weights(self) -> tuple[str, ...]:
        """The weights of the gates, by the names they share, in the order of the layers."""
        return tuple(name for layer in self.layers for name in layer.weights)

    @property
    def kernels(self) -> tuple[str, ...]:
        """The kernels among them."""
        return tuple(name for layer in self.layers for name, _ in layer.kernels)

    def keys(self, weight: str) -> list[str]:
        """The names of the gates' parts of a weight: `NAME_GATE`."""
        return [f"{weight}_{gate}" for gate in self.gates]

    def values_by_gate(self, weight: str) -> list[np.ndarray]:
        """The values of a weight, an array a gate, however its variables hold them."""
        names = self.variables(weight)
        values = [ops.convert_to_numpy(getattr(self.cell, name)) for name in names]
        return values if len(names) == len(self.gates) > 1 else self.by_gate(weight, values[0])

    def assign_by_gate(self, weight: str, gates: Sequence[np.ndarray]) -> None:
        """Gives a weight other values, in the form in which `values_by_gate` returns them."""
        names = self.variables(weight)
        shared = len(names) == 1
        values = [self.joined(weight, gates)] if shared else gates
        for name, value in zip(names, values, strict=True):
            getattr(self.cell, name).assign(value)


def compact_kernels(layer: Any) -> Mapping[str, Any]:
    """The kernels of a layer that factors take the place of, `CompactKernel` by name."""
    return vars(layer).get("_compact_kernels", {})


FormOf = Callable[[Any], CellForm]

_FORMS: dict[type, FormOf] = {}


def register_form(cell_class: type, form: FormOf) -> None:
    """Says which form the cells of a class have; subclasses are not meant.

    Args:
        cell_class: The class.
        form: A `CellForm` subclass, or a function of the cell that returns a `CellForm`.
    """
    _FORMS[cell_class] = form


def has_form(cell_class: type) -> bool:
    """Whether cells of a class have a form."""
    return cell_class in _FORMS


def form_of(cell: Any) -> CellForm | None:
    """The form of a cell; `None` for one whose class is not registered."""
    form = _FORMS.get(type(cell))
    return None if form is None else form(cell)


def split_cell(cell: Any) -> SplitCell:
    """A built cell without masks in two parts; one without a form projects nothing."""
    form = form_of(cell)
    return SplitCell(lambda sequence: sequence, lambda: cell) if form is None else form.split


def affine(values: Any, operator: Operator, bias: Any) -> Any:
    """What the operator makes of `values`, plus the bias where there is one."""
    product = operator.apply(values)
    return product if bias is None else product + bias


class SimpleRNNForm(CellForm):
    """The form of `keras.layers.SimpleRNNCell`."""

    gates = ("candidate",)
    content = "candidate"
    activations = ("activation",)

    def project(self, sequence: Any) -> Any:
        return affine(sequence, self.operator("kernel"), self.cell.bias)

    def prepare(self) -> Step:
        cell, recurrent = self.cell, self.operator("recurrent_kernel")

        def step(frame: Any, states: list[Any]) -> tuple[Any, list[Any]]:
            h = cell.activation(frame + recurrent.apply(states[0]))
            return h, [h]

        return step


class LSTMForm(CellForm):
    """The form of `keras.layers.LSTMCell`."""

    gates = ("input", "forget", "cell", "output")
    content = "cell"
    states = ("h", "c")

    def project(self, sequence: Any) -> Any:
        return affine(sequence, self.operator("kernel"), self.cell.bias)

    def prepare(self) -> Step:
        recurrent = self.operator("recurrent_kernel")

        def step(frame: Any, states: list[Any]) -> tuple[Any, list[Any]]:
            gates = frame + recurrent.apply(states[0])
            return lstm_states(self.cell, ops.split(gates, 4, axis=-1), states[1])

        return step


def lstm_states(cell: Any, gates: Sequence[Any], c: Any) -> tuple[Any, list[Any]]:
    """The output and the states of an LSTM after a step.

    Args:
        cell: A cell with an LSTM's activations.
        gates: Input, forget, cell and output gate, before their activations.
        c: The cell state before.
    """
    i, f, g, o = gates
    c = cell.recurrent_activation(f) * c + cell.recurrent_activation(i) * cell.activation(g)
    h = cell.recurrent_activation(o) * cell.activation(c)
    return h, [h, c]


class GRUForm(CellForm):
    """The form of `keras.layers.GRUCell`; with `reset_after` the bias has two rows."""

    gates = ("update", "reset", "candidate")
    content = "candidate"

    @property
    def biases(self) -> tuple[Any, Any]:
        """Of the inputs' share, and inside the reset gate's product."""
        cell = self.cell
        if not cell.use_bias:
            return None, None
        return (cell.bias[0], cell.bias[1]) if cell.reset_after else (cell.bias, None)

    def project(self, sequence: Any) -> Any:
        return affine(sequence, self.operator("kernel"), self.biases[0])

    def prepare(self) -> Step:
        cell, units, after = self.cell, self.cell.units, self.cell.reset_after
        recurrent = self.operator("recurrent_kernel")
        of_gates, of_state = recurrent.columns([2 * units, units])
        inner_bias = self.biases[1]

        def step(frame: Any, states: list[Any]) -> tuple[Any, list[Any]]:
            h = states[0]
            x_z, x_r, x_h = ops.split(frame, 3, axis=-1)
            if after:
                h_z, h_r, h_h = ops.split(affine(h, recurrent, inner_bias), 3, axis=-1)
                h_h = cell.recurrent_activation(x_r + h_r) * h_h
            else:
                h_z, h_r = ops.split(of_gates.apply(h), 2, axis=-1)
                h_h = of_state.apply(cell.recurrent_activation(x_r + h_r) * h)
            z = cell.recurrent_activation(x_z + h_z)
            h = z * h + (1 - z) * cell.activation(x_h + h_h)
            return h, [h]

        return step


for _class, _form in {
    keras.layers.SimpleRNNCell: SimpleRNNForm,
    keras.layers.LSTMCell: LSTMForm,
    keras.layers.GRUCell: GRUForm,
}.items():
    register_form(_class, _form)
