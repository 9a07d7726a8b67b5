"""The gates of an H-LSTM as networks on the previous output: weights, forward pass, cell form."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf
from keras import ops

from hlstm_tf.layers.activations import Activation, is_elementwise
from hlstm_tf.layers.cells import HIDDEN, GateLayer, LSTMForm, Step, compact_kernels
from hlstm_tf.layers.gates import as_hidden_units, gate_axis, widths_config
from hlstm_tf.layers.operators import (
    Dense,
    Multiply,
    Operator,
    as_operands,
    multiply_in,
    size_of,
    split_columns,
    weights_of,
    with_all_weights,
)
from hlstm_tf.layers.structured_operators import joined_factors

Gates = list[Any]
"""A tensor for each gate, in the order of the gates."""

Observer = Callable[[int, Gates, Gates], Gates]
"""Takes a hidden layer's number, what its neurons put out and the values of the layer after it,
before their activation; returns those values."""


class GateNetworks(NamedTuple):
    """The gates' weights as one call uses them, masked and cast; the input's kernel apart.

    A gate's hidden layers may be as wide as they like; `sum(Hk)` is over the gates of a layer.

    Attributes:
        recurrent: `(units, sum(H1))`: the gates side by side.
        kernels: For each layer after the first the gates' `(fan_in, fan_out)`, one after the other;
            the last layer gives the gates before their activation, all `units` wide.
        biases: For each of them the gates' `(fan_out,)`; empty where the cell has no biases.
        dropped: For each hidden layer a dropout mask `(batch, sum(Hk))`; empty without dropout.
    """

    recurrent: Operator
    kernels: tuple[tuple[Operator, ...], ...] = ()
    biases: tuple[tuple[Any, ...], ...] = ()
    dropped: tuple[Any, ...] = ()

    @property
    def gate_widths(self) -> tuple[tuple[int, ...], ...]:
        """Each gate's width in all layers: hidden layers, then the gates themselves."""
        units, _ = self.recurrent.shape
        hidden = (tuple(gate.shape[0] for gate in kernel) for kernel in self.kernels)
        return *hidden, (units,) * 4

    @property
    def widths(self) -> tuple[int, ...]:
        """Widths of all layers, the four gates together."""
        return tuple(map(sum, self.gate_widths))

    @property
    def operators(self) -> list[Operator]:
        """All matrices, flat."""
        return [self.recurrent, *_chained(self.kernels)]

    @property
    def size(self) -> int:
        """How many weights the matrices have."""
        return size_of(self.operators)

    @property
    def weights(self) -> list[tf.Tensor]:
        """All that has a gradient, flat."""
        return [*weights_of(self.operators), *_chained(self.biases)]

    def with_weights(self, weights: Sequence[tf.Tensor]) -> "GateNetworks":
        """The same networks with other `weights`."""
        (recurrent, *kernels), biases = with_all_weights(self.operators, weights)
        return GateNetworks(recurrent, _by_four(kernels), _by_four(biases), self.dropped)

    def operands(self, dtype: str | None) -> "GateNetworks":
        """The same networks with their matrices as operands of matrix products."""
        recurrent, *kernels = as_operands(self.operators, dtype)
        return self._replace(recurrent=recurrent, kernels=_by_four(kernels))


class Activations(NamedTuple):
    """The elementwise functions of a cell: of the hidden layers, the gates and the state."""

    hidden_activation: Activation
    recurrent_activation: Activation
    activation: Activation


def gate_layers(
    first: Any,
    networks: GateNetworks,
    activation: Activation,
    *,
    multiply: Multiply = ops.matmul,
    observe: Observer | None = None,
) -> list[Gates]:
    """Each layer's values after the first, before their activation; the last are the gates.

    Args:
        first: The first layer's values before their activation, `(..., sum(H1))`, the gates side
            by side.
        networks: The gates' weights.
        activation: What a hidden neuron puts out.
        multiply: How one product of a layer's values and a weight is made.
        observe: Told of each hidden layer; what it returns takes the place of the layer after it.

    Returns:
        For each layer a tensor `(..., fan_out)` a gate; without kernels, the parts of `first`.
    """
    widths = networks.gate_widths
    values = [] if networks.kernels else split_columns(first, widths[0])
    layers = [] if networks.kernels else [values]
    for layer, kernels in enumerate(networks.kernels):
        if layer:
            active = [activation(value) for value in values]
        elif is_elementwise(activation):  # one operation in place of four
            active = split_columns(activation(first), widths[0])
        else:
            active = [activation(value) for value in split_columns(first, widths[0])]
        if networks.dropped:
            masks = split_columns(networks.dropped[layer], widths[layer])
            active = [value * mask for value, mask in zip(active, masks, strict=True)]
        values = [
            kernel.apply(value, multiply) for value, kernel in zip(active, kernels, strict=True)
        ]
        if networks.biases:
            pairs = zip(values, networks.biases[layer], strict=True)
            values = [value + bias for value, bias in pairs]
        if observe is not None:
            values = observe(layer, active, values)
        layers.append(values)
    return layers


def pre_activations(
    projected: tf.Tensor,
    h: tf.Tensor,
    networks: GateNetworks,
    activations: Activations,
    dtype: str | None,
) -> tuple[list[tf.Tensor], Gates]:
    """All layers' values before their activation, for a backward pass, and the gates.

    Args:
        projected: The input's share of the first layer, `(rows, sum(H1))`.
        h: The output before, `(rows, units)`.
        networks: Operands of products of `dtype`.
        activations: Elementwise functions.
        dtype: Dtype of the operands of matrix products.

    Returns:
        Tensors that lie side by side as the layers' gates do, of the layers' widths together; and
        the last layer's gates.
    """
    multiply = multiply_in(dtype)
    first = projected + networks.recurrent.apply(h, multiply)
    layers = gate_layers(first, networks, activations.hidden_activation, multiply=multiply)
    return [first, *(_chained(layers) if networks.kernels else ())], layers[-1]


def gate_products(values: tf.Tensor, kernels: Sequence[Operator], dtype: str | None) -> tf.Tensor:
    """Each gate's share of `values`, side by side, times its matrix."""
    # Four products beat one batched product on CPUs, and need no transposition.
    gates = split_columns(values, [kernel.shape[0] for kernel in kernels])
    pairs = zip(gates, kernels, strict=True)
    return tf.concat([kernel.apply(gate, multiply_in(dtype)) for gate, kernel in pairs], axis=1)


def _chained(layers: Sequence[Sequence[Any]]) -> list[Any]:
    return [each for layer in layers for each in layer]


def _by_four(flat: Sequence[Any]) -> tuple[tuple[Any, ...], ...]:
    return tuple(tuple(flat[at : at + 4]) for at in range(0, len(flat), 4))


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
        compact = self._compact(kernel)
        if not compact:
            return Dense(self.side_by_side(kernel))
        operators = [each.operator() for each in compact]
        return operators[0] if len(operators) == 1 else joined_factors(operators)

    def gate_operators(self, kernel: str) -> tuple[Operator, ...]:
        """The matrix of each gate, `(fan_in, fan_out)`, of a kernel after the first layer."""
        compact = self._compact(kernel)
        if not compact:
            return tuple(map(Dense, self.of_gates(kernel)))
        return tuple(operator for each in compact for operator in each.operators())

    def _compact(self, kernel: str) -> list[Any]:
        compact = compact_kernels(self.cell)
        return [compact[name] for name in self.variables(kernel) if name in compact]

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
