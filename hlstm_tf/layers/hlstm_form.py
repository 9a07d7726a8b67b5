"""The form of an H-LSTM cell whose gates have hidden layers."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from keras import ops

from hlstm_tf.layers.cells import HIDDEN, GateLayer, LSTMForm, Step
from hlstm_tf.layers.gates import as_hidden_units, gate_axis, widths_config
from hlstm_tf.layers.operators import Dense, Operator


class HLSTMForm(LSTMForm):
    """The form of an `HLSTMCell`, with hidden layers or without.

    Where the gates are equally wide, a weight is one variable with a gate axis. Where any hidden
    layer has gates of different widths, every weight is a variable a gate, `NAME_GATE`.
    """

    activations = ("activation", "recurrent_activation", "hidden_activation")

    @property
    def layers(self) -> tuple[GateLayer, ...]:
        first, *_ = super().layers
        depth = len(self.cell.hidden_units)
        if not depth:
            return (first,)
        activation = self.cell.hidden_activation
        later = [(f"hidden_kernel_{k}", f"hidden_bias_{k}") for k in range(2, depth + 1)]
        return (
            GateLayer(first.kernels, first.bias, activation),
            *(self._after_hidden(kernel, bias, activation) for kernel, bias in later),
            self._after_hidden("output_kernel", "output_bias", None),
        )

    def _after_hidden(self, kernel: str, bias: str, activation: Any) -> GateLayer:
        return GateLayer(((kernel, HIDDEN),), bias if self.cell.use_bias else None, activation)

    def variables(self, weight: str) -> tuple[str, ...]:
        return (weight,) if self.cell.has_equal_gates else tuple(self.keys(weight))

    def by_gate(self, weight: str, array: np.ndarray) -> list[np.ndarray]:
        return list(np.moveaxis(array, gate_axis(weight), 0))

    def joined(self, weight: str, gates: Sequence[np.ndarray]) -> np.ndarray:
        return np.stack(gates, axis=gate_axis(weight))

    def arrays(self, parts: Mapping[str, Sequence[np.ndarray]]) -> dict[str, np.ndarray]:
        if all(len({part.shape for part in gates}) == 1 for gates in parts.values()):
            return super().arrays(parts)
        return {
            key: part
            for weight, gates in parts.items()
            for key, part in zip(self.keys(weight), gates, strict=True)
        }

    def operator(self, kernel: str) -> Operator:
        return Dense(self.side_by_side(kernel))

    def gate_operators(self, kernel: str) -> tuple[Operator, ...]:
        """The matrix of each gate, `(fan_in, fan_out)`, of a kernel after the first layer."""
        return tuple(map(Dense, self.of_gates(kernel)))

    def of_gates(self, weight: str) -> list[Any]:
        """A weight as a forward pass uses it, a tensor a gate."""
        values = self._values(weight)
        return ops.unstack(values[0], 4, axis=gate_axis(weight)) if len(values) == 1 else values

    def side_by_side(self, weight: str) -> Any:
        """A weight of the first layer as a forward pass uses it, `(..., sum of H1)`."""
        values = self._values(weight)
        if len(values) > 1:
            return ops.concatenate(values, axis=-1)
        # The gates of the first layer lie beside its outputs already.
        return ops.reshape(values[0], (*values[0].shape[:-2], -1))

    def _values(self, weight: str) -> list[Any]:
        """What the variables of a weight are to a forward pass: one tensor, or one a gate."""
        names = self.variables(weight)
        if "bias" in weight:
            return [ops.convert_to_tensor(getattr(self.cell, name)) for name in names]
        return [self.cell.effective(name) for name in names]

    def sizes(self, units: int, hidden: Sequence[Sequence[int]]) -> dict[str, Any]:
        widths = widths_config(as_hidden_units([list(layer) for layer in hidden], units))
        return {"units": units, "hidden_units": widths}

    def project(self, sequence: Any) -> Any:
        return self.cell.project(sequence, self.cell.gate_weights())

    def prepare(self) -> Step:
        networks = self.cell.gate_weights().networks

        def step(frame: Any, states: list[Any]) -> tuple[Any, list[Any]]:
            return self.cell.step(frame, states, networks)

        return step
