"""The inside of recurrent cells as neuron groups: hidden neurons of gates, units of the state.

All is read from the cell's form: each gate's hidden layer is a group of its own, written by the
gate's kernels before it and read by the gate's kernel after it; a unit of the state is made by all
gates and read by the recurrent kernels. So a cell's weights are worked on gate by gate, whether its
gates share variables or not.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import keras
import numpy as np

from hlstm_tf.keras_internals import own_trainable_variables
from hlstm_tf.layers.cells import (
    HIDDEN,
    INPUTS,
    STATE,
    CellForm,
    GateLayer,
    compact_kernels,
    form_of,
)
from hlstm_tf.transforms.editing import Edited, Values, WeightStore, apply, is_elementwise, zero
from hlstm_tf.transforms.groups import (
    Branch,
    Consumer,
    ManyConsumers,
    NeuronGroup,
    Producer,
    merged,
)


class OpenCell(Edited):
    """A cell's weights while they are being worked on, each as `NAME_GATE`, an array a gate.

    Args:
        form: The form of the cell.
        values: What is worked on.
    """

    def __init__(self, form: CellForm, values: Values) -> None:
        super().__init__(form.cell, {})
        self.form = form
        for weight in form.weights:
            names = form.variables(weight)
            found = [values(form.cell, name) for name in names]
            arrays = [array for array in found if array is not None]
            if not arrays:
                continue
            parts = arrays if len(names) > 1 else form.by_gate(weight, arrays[0])
            self.arrays |= dict(zip(form.keys(weight), parts, strict=True))

    def of(self, weight: str | None) -> list[np.ndarray]:
        """The gates' parts of a weight; empty where the cell does not have it."""
        keys = self.form.keys(weight) if weight else []
        return [self.arrays[key] for key in keys if key in self.arrays]

    def outputs(self, layer: GateLayer) -> list[list[np.ndarray]]:
        """The gates' parts of all that makes a layer's neurons, the bias last where it has one."""
        return [parts for name in layer.weights if (parts := self.of(name))]

    @property
    def units(self) -> int:
        """Width of the state."""
        [name] = self.form.layers[0].reading(STATE)
        return len(self.of(name)[0])

    def result(self) -> dict[str, np.ndarray]:
        parts = {weight: self.of(weight) for weight in self.form.weights if self.of(weight)}
        return self.form.arrays(parts)

    def new_arguments(self) -> dict[str, Any]:
        hidden = [
            [len(part) for name in layer.reading(HIDDEN) for part in self.of(name)]
            for layer in self.form.layers[1:]
        ]
        return self.form.sizes(self.units, hidden)


def open_cell(cell: keras.Layer, store: WeightStore) -> OpenCell | None:
    """Returns the working copy of a cell; `None` for a cell without a form.

    A cell with compact kernels, whose factors mix its units, has none, and a cell with trainable
    weights that its form does not name has none either.
    """
    form = form_of(cell)
    if form is None or compact_kernels(cell):
        return None
    known = {name for weight in form.weights for name in form.variables(weight)}
    if any(variable.name not in known for variable in own_trainable_variables(cell)):
        return None
    return store.open_as(cell, lambda values: OpenCell(form, values))


def gate_groups(cell: keras.Layer, store: WeightStore) -> list[list[NeuronGroup]]:
    """Returns the hidden layers of a cell's gates, each a group a gate.

    Empty for a cell without a form or without hidden layers, and where an activation mixes neurons.
    """
    opened = open_cell(cell, store)
    if opened is None:
        return []
    layers = opened.form.layers
    if not all(is_elementwise(layer.activation) for layer in layers[:-1] if layer.activation):
        return []
    return [
        [_gate_group(opened, layer, after, gate) for gate in range(len(opened.form.gates))]
        for layer, after in pairwise(layers)
    ]


def _gate_group(opened: OpenCell, layer: GateLayer, after: GateLayer, gate: int) -> NeuronGroup:
    [kernel] = after.reading(HIDDEN)
    consumer = GateConsumer(opened, kernel, after.bias, gate)
    return NeuronGroup(GateProducer(opened, layer, gate), (Branch((), consumer, opened.form.cell),))


def cell_consumer(cell: keras.Layer, store: WeightStore) -> Consumer | None:
    """Returns the end of a cell that reads the layer before it; `None` where it has no form."""
    opened = open_cell(cell, store)
    if opened is None:
        return None
    first = opened.form.layers[0]
    [kernel] = first.reading(INPUTS)
    gates = range(len(opened.form.gates))
    return ManyConsumers([GateConsumer(opened, kernel, first.bias, gate) for gate in gates])


def state_producer_of(layer: Any, store: WeightStore) -> Producer | None:
    """Returns the units of a recurrent layer, or of a bidirectional one's two directions.

    `None` where they cannot be taken out: the state is handed over (`return_state`),
    the cell has no form, an activation mixes units, or the two directions are not put side by side.
    """
    if layer.return_state:
        return None
    if isinstance(layer, keras.layers.Bidirectional):
        if layer.merge_mode != "concat":
            return None
        sides = [
            state_producer_of(side, store) for side in (layer.forward_layer, layer.backward_layer)
        ]
        known = [side for side in sides if side is not None]
        store.touched.add(id(layer))
        return BothDirections(known) if len(known) == 2 else None
    opened = open_cell(layer.cell, store)
    if opened is None or not _treats_units_alike(opened.form):
        return None
    store.touched.add(id(layer))
    return StateProducer(opened)


def _treats_units_alike(form: CellForm) -> bool:
    return all(is_elementwise(getattr(form.cell, name)) for name in form.activations)


class GateProducer(Producer):
    """One hidden layer of one gate, from the side of what feeds it."""

    def __init__(self, opened: OpenCell, layer: GateLayer, gate: int) -> None:
        self._opened, self._activation = opened, layer.activation
        name = opened.form.gates[gate]
        self._kernels = [f"{kernel}_{name}" for kernel, _ in layer.kernels]
        self._bias = f"{layer.bias}_{name}"

    @property
    def layer(self) -> keras.Layer:
        return self._opened.layer

    @property
    def width(self) -> int:
        return self._feeding()[0].shape[-1]

    def constants(self) -> np.ndarray:
        depends = np.logical_or.reduce([(kernel != 0).any(axis=0) for kernel in self._feeding()])
        constant = self._opened.arrays.get(self._bias, np.zeros(self.width))
        return self.put_out(np.where(depends, np.nan, constant))

    def put_out(self, values: np.ndarray) -> np.ndarray:
        """What neurons of these values put out; NaN stays NaN."""
        assert self._activation is not None
        return apply(self._activation, values)

    def incoming(self) -> np.ndarray:
        return np.sum([kernel.sum(axis=0) for kernel in self._feeding()], axis=0)

    def zero(self, dead: np.ndarray) -> bool:
        places = [self._opened.arrays[name] for name in self._names()]
        changed = [zero(array, (..., dead)) for array in places]
        return any(changed)

    def keep(self, indices: np.ndarray) -> None:
        for name in self._names():
            self._opened.select(name, -1, indices)

    def _names(self) -> list[str]:
        return [name for name in (*self._kernels, self._bias) if name in self._opened.arrays]

    def _feeding(self) -> list[np.ndarray]:
        return [self._opened.arrays[name] for name in self._kernels]


class GateConsumer:
    """What one gate reads through a kernel: the neurons before it, or the cell's inputs."""

    def __init__(self, opened: OpenCell, kernel: str, bias: str | None, gate: int) -> None:
        name = opened.form.gates[gate]
        self._opened, self._kernel, self._bias = opened, f"{kernel}_{name}", f"{bias}_{name}"

    @property
    def rows(self) -> int:
        return self._array().shape[0]

    def reads(self) -> np.ndarray:
        return (self._array() != 0).any(axis=1)

    def outgoing(self) -> np.ndarray:
        return self._array().sum(axis=1)

    def fold(self, values: np.ndarray) -> bool:
        constant = np.isfinite(values) & self.reads()
        bias = self._opened.arrays.get(self._bias)
        if bias is None:
            constant &= values == 0
        if not constant.any():
            return False
        kernel = self._array()
        if bias is not None:
            # Of a bias with two rows (a GRU's with `reset_after`) the first is the inputs'.
            target = bias if bias.ndim == 1 else bias[0]
            target += values[constant] @ kernel[constant]
        kernel[constant] = 0
        return True

    def keep(self, indices: np.ndarray, width: int) -> None:
        self._opened.select(self._kernel, 0, merged(indices, width, self.rows))

    def _array(self) -> np.ndarray:
        return self._opened.arrays[self._kernel]


class StateProducer(Producer):
    """The units of a cell's state, each its part of all states and of every gate.

    A unit is needed if anything outside reads it, or another needed unit does, one step later.
    Taken out, it goes from the gates that make it, from the recurrent weights that read it, and
    from the layers after.
    """

    is_state = True

    def __init__(self, opened: OpenCell) -> None:
        self._opened, self._form = opened, opened.form
        [self._recurrent] = self._form.layers[0].reading(STATE)

    @property
    def layer(self) -> keras.Layer:
        return self._opened.layer

    @property
    def width(self) -> int:
        return self._opened.units

    def constants(self) -> np.ndarray:
        return np.where(self._is_zero(), 0.0, np.nan)

    def alive(self, read: np.ndarray) -> np.ndarray:
        never_zero = ~self._is_zero()
        alive = read & never_zero
        reads = self.reads()
        while True:
            more = alive | (reads[:, alive].any(axis=1) & never_zero)
            if (more == alive).all():
                return alive
            alive = more

    def reads(self) -> np.ndarray:
        """Whether unit j is made from unit i of the step before; `(units, units)`, [i, j]."""
        path = [kernel != 0 for kernel in self._opened.of(self._recurrent)]
        for layer in self._form.layers[1:]:
            [name] = layer.reading(HIDDEN)
            kernels = self._opened.of(name)
            path = [before @ (kernel != 0) for before, kernel in zip(path, kernels, strict=True)]
        return np.logical_or.reduce(path)

    def incoming(self) -> np.ndarray:
        made = [
            part.sum(axis=0)
            for name, _ in self._form.layers[-1].kernels
            for part in self._opened.of(name)
        ]
        read = [part.sum(axis=1) for part in self._opened.of(self._recurrent)]
        return np.sum([*made, *read], axis=0)

    def zero(self, dead: np.ndarray) -> bool:
        changed = [zero(part, dead) for part in self._opened.of(self._recurrent)]
        for parts in self._opened.outputs(self._form.layers[-1]):
            changed += [zero(part, (..., dead)) for part in parts]
        return any(changed)

    def keep(self, indices: np.ndarray) -> None:
        for key in self._form.keys(self._recurrent):
            self._opened.select(key, 0, indices)
        for weight in self._form.layers[-1].weights:
            for key in self._form.keys(weight):
                self._opened.select(key, -1, indices)

    def _is_zero(self) -> np.ndarray:
        """Units whose new content is always zero: with a state that starts at zero they stay so."""
        if apply(self._opened.layer.activation, np.zeros(1))[0] != 0:
            return np.zeros(self.width, dtype=bool)
        gate = self._form.gates.index(self._form.content)
        made = [parts[gate] != 0 for parts in self._opened.outputs(self._form.layers[-1])]
        has_content = [part.reshape(-1, self.width).any(axis=0) for part in made]
        return ~np.logical_or.reduce(has_content)


class BothDirections(Producer):
    """The units of two directions side by side; both keep equally many, as Keras wants it."""

    is_state = True

    def __init__(self, sides: Sequence[Producer]) -> None:
        self._sides = sides

    @property
    def layer(self) -> keras.Layer:
        return self._sides[0].layer

    @property
    def width(self) -> int:
        return sum(side.width for side in self._sides)

    @property
    def parts(self) -> tuple[int, ...]:
        return tuple(side.width for side in self._sides)

    def constants(self) -> np.ndarray:
        return np.concatenate([side.constants() for side in self._sides])

    def alive(self, read: np.ndarray) -> np.ndarray:
        halves = self._split(read)
        return np.concatenate(
            [side.alive(half) for side, half in zip(self._sides, halves, strict=True)]
        )

    def incoming(self) -> np.ndarray:
        return np.concatenate([side.incoming() for side in self._sides])

    def zero(self, dead: np.ndarray) -> bool:
        halves = zip(self._sides, self._split(dead), strict=True)
        changed = [side.zero(half) for side, half in halves]
        return any(changed)

    def keep(self, indices: np.ndarray) -> None:
        first = self._sides[0].width
        here = indices < first
        self._sides[0].keep(indices[here])
        self._sides[1].keep(indices[~here] - first)

    def _split(self, flags: np.ndarray) -> list[np.ndarray]:
        return np.split(flags, [self._sides[0].width])
