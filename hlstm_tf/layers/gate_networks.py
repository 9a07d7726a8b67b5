"""The gates of an LSTM or H-LSTM, side by side, as networks on the previous output."""

from collections.abc import Sequence
from typing import NamedTuple

import tensorflow as tf

from hlstm_tf.layers.elementwise import Activation
from hlstm_tf.layers.passes import split_gates
from hlstm_tf.layers.products import matmul, operand


class GateNetworks(NamedTuple):
    """What the recurrence multiplies with; the four gates lie side by side in the last axis.

    A gate's hidden layers may be as wide as they like; `sum(Hk)` is over the gates of a layer.

    Attributes:
        recurrent: `(units, sum(H1))`.
        kernels: For each layer after the first the four gates' `(fan_in, fan_out)`, one after the
            other; the last layer gives the gates before their activation, all `units` wide.
        biases: For each of them `(sum(fan_out),)`; empty where the cell has no biases.
        dropped: For each hidden layer a dropout mask `(batch, sum(Hk))`; empty without dropout.
    """

    recurrent: tf.Tensor
    kernels: tuple[tuple[tf.Tensor, ...], ...]
    biases: tuple[tf.Tensor, ...]
    dropped: tuple[tf.Tensor, ...]

    @property
    def gate_widths(self) -> tuple[tuple[int, ...], ...]:
        """Each gate's width in all layers: hidden layers, then the gates themselves."""
        units = self.recurrent.shape[0]
        hidden = (tuple(gate.shape[0] for gate in kernel) for kernel in self.kernels)
        return *hidden, (units,) * 4

    @property
    def widths(self) -> tuple[int, ...]:
        """Widths of all layers, the four gates together."""
        return tuple(map(sum, self.gate_widths))

    @property
    def weights(self) -> list[tf.Tensor]:
        """All that has a gradient, flat."""
        return [self.recurrent, *(gate for kernel in self.kernels for gate in kernel), *self.biases]

    def with_weights(self, weights: Sequence[tf.Tensor]) -> "GateNetworks":
        """The same networks with other `weights`."""
        recurrent, *rest = weights
        kernels = tuple(tuple(rest[4 * k : 4 * k + 4]) for k in range(len(self.kernels)))
        return GateNetworks(recurrent, kernels, tuple(rest[4 * len(kernels) :]), self.dropped)

    def operands(self, dtype: str | None) -> "GateNetworks":
        """The same networks with their kernels as operands of matrix products."""
        kernels = tuple(tuple(operand(gate, dtype) for gate in kernel) for kernel in self.kernels)
        return self._replace(recurrent=operand(self.recurrent, dtype), kernels=kernels)


class Activations(NamedTuple):
    """The elementwise functions of a cell: of the hidden layers, the gates and the state."""

    hidden: Activation
    gate: Activation
    state: Activation


def pre_activations(
    projected: tf.Tensor,
    h: tf.Tensor,
    networks: GateNetworks,
    activations: Activations,
    dtype: str | None,
) -> list[tf.Tensor]:
    """Each layer's values before its activation, first to last, all tensors `(rows, n)`.

    The networks are operands of products of `dtype`.
    """
    values = projected + matmul(operand(h, dtype), networks.recurrent)
    found = [values]
    for layer, kernel in enumerate(networks.kernels):
        active = activations.hidden(values)
        if networks.dropped:
            active = active * networks.dropped[layer]
        values = gate_matmul(active, kernel, dtype)
        if networks.biases:
            values = values + networks.biases[layer]
        found.append(values)
    return found


def gate_matmul(values: tf.Tensor, kernels: Sequence[tf.Tensor], dtype: str | None) -> tf.Tensor:
    """Each gate's share of `values`, side by side, times its kernel."""
    # Four products beat one batched product on CPUs, and need no transposition.
    gates = split_gates(operand(values, dtype), [kernel.shape[0] for kernel in kernels])
    products = [matmul(gate, kernel) for gate, kernel in zip(gates, kernels, strict=True)]
    return tf.concat(products, axis=1)
