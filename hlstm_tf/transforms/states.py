"""The state of a recurrent layer as neurons: a unit is its h and its c, in every gate.

A unit is needed if anything outside reads it, or another needed unit does, one step later. Taken
out, it goes from the gates that make it, from the recurrent weights that read it, and from the
layers after.
"""

import abc
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

from hlstm_tf.layers import GATES, HLSTMCell
from hlstm_tf.transforms.editing import Edited, Workshop, apply, is_elementwise
from hlstm_tf.transforms.gates import open_gates
from hlstm_tf.transforms.groups import Writer

_CANDIDATE = {keras.layers.SimpleRNNCell: 0, keras.layers.LSTMCell: 2, keras.layers.GRUCell: 2}
"""The gate that makes a cell's new content, among its gates."""


def state_writer_of(layer: Any, workshop: Workshop) -> Writer | None:
    """Returns the units of a recurrent layer, or of a bidirectional one's two directions.

    `None` where they cannot be taken out: the state is handed over (`return_state`, `stateful`),
    the cell is not one of Keras's or an H-LSTM, an activation mixes units, or the two directions
    are not put side by side.
    """
    if layer.return_state or layer.stateful:
        return None
    if isinstance(layer, keras.layers.Bidirectional):
        if layer.merge_mode != "concat":
            return None
        sides = [
            state_writer_of(side, workshop) for side in (layer.forward_layer, layer.backward_layer)
        ]
        known = [side for side in sides if side is not None]
        workshop.touched.add(id(layer))
        return BothDirections(known) if len(known) == 2 else None
    cell = layer.cell
    if not isinstance(cell, tuple(_CANDIDATE)) or not _treats_units_alike(cell):
        return None
    workshop.touched.add(id(layer))
    if isinstance(cell, HLSTMCell) and cell.hidden_units:
        return GateNetworkState(open_gates(cell, workshop))
    return FusedState(workshop.open_whole(cell))


def _treats_units_alike(cell: Any) -> bool:
    names = ("activation", "recurrent_activation", "hidden_activation")
    return all(is_elementwise(getattr(cell, name)) for name in names if hasattr(cell, name))


class State(Writer):
    """What the cells have in common."""

    is_state = True

    def __init__(self, edited: Edited) -> None:
        self._edited = edited
        self._arrays = edited.arrays

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

    def _is_zero(self) -> np.ndarray:
        """Units whose new content is always zero: with a state that starts at zero they stay so."""
        activation = self._edited.layer.activation
        if apply(activation, np.zeros(1))[0] != 0:
            return np.zeros(self.width, dtype=bool)
        return ~self._has_content()

    @abc.abstractmethod
    def reads(self) -> np.ndarray:
        """Whether unit j is made from unit i of the step before; `(units, units)`, [i, j]."""

    @abc.abstractmethod
    def _has_content(self) -> np.ndarray:
        """Whether anything, a bias included, makes a unit's new content; `(units,)`."""


class FusedState(State):
    """A cell whose kernels hold the gates side by side: Keras's three."""

    @property
    def width(self) -> int:
        return self._arrays["recurrent_kernel"].shape[0]

    def reads(self) -> np.ndarray:
        return np.asarray((self._by_gate("recurrent_kernel") != 0).any(axis=1))

    def incoming(self) -> np.ndarray:
        recurrent = self._by_gate("recurrent_kernel")
        return np.asarray(
            self._by_gate("kernel").sum(axis=(0, 1))
            + recurrent.sum(axis=(0, 1))
            + recurrent.sum(axis=(1, 2))
        )

    def silence(self, dead: np.ndarray) -> bool:
        places = [self._by_gate(name)[..., dead] for name in self._names()]
        places.append(self._arrays["recurrent_kernel"][dead])
        changed = any(bool(np.any(place != 0)) for place in places)
        for name in self._names():
            self._by_gate(name)[..., dead] = 0
        self._arrays["recurrent_kernel"][dead] = 0
        return changed

    def keep(self, indices: np.ndarray) -> None:
        self._edited.select("recurrent_kernel", 0, indices)
        for name in self._names():
            array = self._arrays[name]
            gates = self._split(array)[..., indices]
            self._arrays[name] = gates.reshape(*array.shape[:-1], -1)
        self._edited.arguments["units"] = len(indices)

    def _has_content(self) -> np.ndarray:
        cell = self._edited.layer
        gate = next(gate for kind, gate in _CANDIDATE.items() if isinstance(cell, kind))
        content = [self._by_gate(name)[..., gate, :] != 0 for name in self._names()]
        return np.logical_or.reduce([c.reshape(-1, self.width).any(axis=0) for c in content])

    def _names(self) -> list[str]:
        return [name for name in ("kernel", "recurrent_kernel", "bias") if name in self._arrays]

    def _by_gate(self, name: str) -> np.ndarray:
        return self._split(self._arrays[name])

    def _split(self, array: np.ndarray) -> np.ndarray:
        """A view `(..., gates, units)` of an array."""
        width = self._edited.arguments.get("units", self._edited.layer.units)
        return array.reshape(*array.shape[:-1], -1, width)


class GateNetworkState(State):
    """An H-LSTM cell: its units are the outputs of the gates' last layer."""

    @property
    def width(self) -> int:
        return self._of("recurrent_kernel")[0].shape[0]

    def reads(self) -> np.ndarray:
        path = [kernel != 0 for kernel in self._of("recurrent_kernel")]
        for name, _ in self._edited.layer.later_layers:
            path = [
                before @ (kernel != 0) for before, kernel in zip(path, self._of(name), strict=True)
            ]
        return np.logical_or.reduce(path)

    def incoming(self) -> np.ndarray:
        made = [kernel.sum(axis=0) for kernel in self._of("output_kernel")]
        read = [kernel.sum(axis=1) for kernel in self._of("recurrent_kernel")]
        return np.sum([*made, *read], axis=0)

    def silence(self, dead: np.ndarray) -> bool:
        places: list[tuple[np.ndarray, Any]] = [
            (array, dead) for array in self._of("recurrent_kernel")
        ]
        places += [(array, (..., dead)) for array in self._outputs()]
        changed = any(bool(np.any(array[place] != 0)) for array, place in places)
        for array, place in places:
            array[place] = 0
        return changed

    def keep(self, indices: np.ndarray) -> None:
        for gate in GATES:
            self._edited.select(f"recurrent_kernel_{gate}", 0, indices)
            self._edited.select(f"output_kernel_{gate}", -1, indices)
            self._edited.select(f"output_bias_{gate}", -1, indices)
        self._edited.arguments["units"] = len(indices)

    def _has_content(self) -> np.ndarray:
        gate = GATES[_CANDIDATE[keras.layers.LSTMCell]]
        content = [array != 0 for array in self._outputs((gate,))]
        return np.logical_or.reduce([c.reshape(-1, self.width).any(axis=0) for c in content])

    def _outputs(self, gates: Sequence[str] = GATES) -> list[np.ndarray]:
        return [*self._of("output_kernel", gates), *self._of("output_bias", gates)]

    def _of(self, name: str, gates: Sequence[str] = GATES) -> list[np.ndarray]:
        keys = [f"{name}_{gate}" for gate in gates]
        return [self._arrays[key] for key in keys if key in self._arrays]


class BothDirections(Writer):
    """The units of two directions side by side; both keep equally many, as Keras wants it."""

    is_state = True

    def __init__(self, sides: list[Writer]) -> None:
        self._sides = sides

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

    def silence(self, dead: np.ndarray) -> bool:
        halves = zip(self._sides, self._split(dead), strict=True)
        changed = [side.silence(half) for side, half in halves]
        return any(changed)

    def keep(self, indices: np.ndarray) -> None:
        first = self._sides[0].width
        here = indices < first
        self._sides[0].keep(indices[here])
        self._sides[1].keep(indices[~here] - first)

    def _split(self, flags: np.ndarray) -> list[np.ndarray]:
        return np.split(flags, [self._sides[0].width])
