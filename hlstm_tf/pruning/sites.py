"""Sites into which neurons can be born: their interface, and those in gates."""

import abc
from collections.abc import Callable, Iterable, Iterator, Mapping, MutableMapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from hlstm_tf.layers import masked_kernels
from hlstm_tf.layers.cells import HIDDEN, CellForm
from hlstm_tf.layers.kernels import GateKernels
from hlstm_tf.layers.masking import MaskedKernel
from hlstm_tf.layers.observers import zero_bridge
from hlstm_tf.sparsity import Birth, Optimizers, reset_entries, scaled
from hlstm_tf.transforms.editing import WeightStore, in_place_of
from hlstm_tf.transforms.model_graph import HiddenLayers, hidden_layers

Opened = Callable[[MaskedKernel], tuple[np.ndarray, np.ndarray]]
"""Gives the working copies of a kernel's mask and weights, which are put in place together."""


@dataclass
class Passed:
    """What a forward pass leaves to take bridging gradients by.

    Attributes:
        tapped: By `id` of a layer its inputs and its output before the activation.
        bridges: By `id` of a cell its bridges past hidden layers, by hidden layer and gate.
    """

    tapped: dict[int, tuple[Any, Any]] = field(default_factory=dict)
    bridges: dict[int, dict[tuple[int, int], Any]] = field(default_factory=dict)


class Site(abc.ABC):
    """A layer of neurons with room for more: dense, a convolution, or a hidden layer of a gate.

    Attributes:
        name: Name of the layer; of a gate, of the layer that its cell is in.
        width: How many neurons it has room for.
        dormant: Indices of those without any connection.
        is_bridge: Whether the bridging gradient is defined for it.
    """

    name: str
    width: int
    dormant: np.ndarray
    is_bridge: bool

    @abc.abstractmethod
    def connect(
        self,
        births: Sequence[Birth],
        strength: float,
        opened: Opened,
        optimizer: Optimizers = None,
    ) -> None:
        """Gives the first dormant neurons their connections, in the working copies.

        Args:
            births: Their connections, which have no scale yet.
            strength: Mean magnitude of the new weights, in units of the layer's own.
            opened: The working copies.
            optimizer: What trains the neurons' biases, which begin at 0.
        """

    @abc.abstractmethod
    def close(self, rooms: Mapping[MaskedKernel, np.ndarray]) -> None:
        """Makes the places at the dormant neurons' ends `False` in masks of the kernels."""

    @abc.abstractmethod
    def open_bridge(self, bridges: MutableMapping[int, dict[tuple[int, int], Any]]) -> None:
        """Adds what a forward pass needs for the bridging gradient; see `Passed.bridges`."""

    @abc.abstractmethod
    def bridge_ends(self, passed: Passed) -> list[Any]:
        """The tensors by which the loss's gradient is the bridging gradient's."""

    @abc.abstractmethod
    def bridging_gradient(self, passed: Passed, gradients: list[Any], scale: Any) -> list[Any]:
        """The bridging gradient `(inputs, outputs)` and the inputs' mean `(inputs,)`.

        Args:
            passed: What the forward pass left.
            gradients: Of the loss times `scale`, by `bridge_ends`.
            scale: The loss's scale.
        """


def mean_weight(weights: Iterable[np.ndarray]) -> float:
    """The mean magnitude of the weights that are not zero; 0 where there is none."""
    sizes = np.concatenate([np.abs(weight).ravel() for weight in weights])
    return float(sizes[sizes > 0].mean(dtype=np.float64)) if sizes.any() else 0.0


def value_of(kernel: MaskedKernel) -> np.ndarray:
    """The weights of a kernel."""
    return np.asarray(keras.ops.convert_to_numpy(kernel.variable))


Place = tuple[MaskedKernel, int]
"""A kernel, and which of its matrices is meant."""


@dataclass(frozen=True)
class GateSite(Site):
    """One hidden layer of one gate of a cell.

    Attributes:
        form: The form of the cell.
        layer: Which hidden layer, from 0.
        gate: Which gate, in the form's order.
        producers: The matrices that lead to it: two to the first hidden layer, one to the others.
        consumer: The matrix that reads it.
        mute: Of what it reads, in the order of the producers' rows, which are dormant neurons.
    """

    name: str
    form: CellForm
    layer: int
    gate: int
    producers: tuple[Place, ...]
    consumer: Place
    width: int
    dormant: np.ndarray
    mute: np.ndarray

    is_bridge = True

    @property
    def cell(self) -> keras.Layer:
        """The cell."""
        return self.form.cell

    @property
    def place(self) -> tuple[int, int]:
        """The hidden layer and the gate."""
        return self.layer, self.gate

    @property
    def bridge_shape(self) -> tuple[int, int]:
        """How many values it reads, and how many it is read by."""
        return self.mute.size, self.consumer[0].matrices_shape[2]

    def connect(
        self,
        births: Sequence[Birth],
        strength: float,
        opened: Opened,
        optimizer: Optimizers = None,
    ) -> None:
        edges = np.cumsum([kernel.matrices_shape[1] for kernel, _ in self.producers])
        before, after = _mean_weight(self.producers), _mean_weight([self.consumer])
        chosen = self.dormant[: len(births)]
        for index, birth in zip(chosen, births, strict=True):
            incoming = np.split(scaled(birth.incoming, strength * before), edges[:-1])
            for (kernel, gate), part in zip(self.producers, incoming, strict=True):
                mask, values = (kernel.of_gate(array, gate) for array in opened(kernel))
                values[:, index], mask[:, index] = part, part != 0
            outgoing = scaled(birth.outgoing, strength * after)
            kernel, gate = self.consumer
            mask, values = (kernel.of_gate(array, gate) for array in opened(kernel))
            values[index], mask[index] = outgoing, outgoing != 0
        self._forget_bias(chosen, optimizer)

    def close(self, rooms: Mapping[MaskedKernel, np.ndarray]) -> None:
        for kernel, gate in self.producers:
            kernel.of_gate(rooms[kernel], gate)[:, self.dormant] = False
        kernel, gate = self.consumer
        kernel.of_gate(rooms[kernel], gate)[self.dormant] = False

    def open_bridge(self, bridges: MutableMapping[int, dict[tuple[int, int], Any]]) -> None:
        bridges.setdefault(id(self.cell), {})[self.place] = zero_bridge(*self.bridge_shape)

    def bridge_ends(self, passed: Passed) -> list[Any]:
        return [passed.bridges[id(self.cell)][self.place]]

    def bridging_gradient(self, passed: Passed, gradients: list[Any], scale: Any) -> list[Any]:
        # A dormant neuron that is read puts out a constant, where its activation is not 0 at 0.
        heard = tf.where(self.mute[:, None], 0.0, gradients[0])
        return [heard[:, :-1] / scale, heard[:, -1]]

    def _forget_bias(self, indices: np.ndarray, optimizer: Optimizers) -> None:
        weight = self.form.layers[self.layer].bias
        if weight is None:
            return
        names = self.form.variables(weight)
        bias = getattr(self.cell, names[self.gate if len(names) > 1 else 0])
        chosen = np.zeros(bias.shape, dtype=bool)
        own = chosen if len(names) > 1 else self.form.by_gate(weight, chosen)[self.gate]
        own[..., indices] = True
        reset_entries(bias, chosen, optimizer)


def _mean_weight(places: Sequence[Place]) -> float:
    return mean_weight(kernel.of_gate(value_of(kernel), gate) for kernel, gate in places)


def gate_sites(model: keras.Model) -> list[GateSite]:
    """Finds the hidden layers of gates into which neurons can be born, each gate by itself.

    Args:
        model: A built model with masked kernels.
    """
    kernels = masked_kernels(model)
    masks = {k: keras.ops.convert_to_numpy(k.mask).astype(np.float64) for k in kernels}
    return [
        site
        for cell in hidden_layers(model, WeightStore(in_place_of(masks)))
        if (own := [kernel for kernel in kernels if kernel.layer is cell.cell])
        for gate in range(len(cell.form.gates))
        for site in _sites_of(cell, gate, GateKernels(cell.form, own))
    ]


def _sites_of(cell: HiddenLayers, gate: int, kernels: GateKernels) -> Iterator[GateSite]:
    layers = cell.form.layers
    first = [kernels.place(name, gate) for name, _ in layers[0].kernels]
    mute = np.zeros(sum(kernel.matrices_shape[1] for kernel, _ in first), dtype=bool)
    for number, (layer, groups) in enumerate(zip(layers, cell.groups, strict=False)):
        is_dormant = groups[gate].strength() == 0
        producers = tuple(kernels.place(name, gate) for name, _ in layer.kernels)
        [after] = layers[number + 1].reading(HIDDEN)
        yield GateSite(
            name=cell.name,
            form=cell.form,
            layer=number,
            gate=gate,
            producers=producers,
            consumer=kernels.place(after, gate),
            width=is_dormant.size,
            dormant=np.flatnonzero(is_dormant),
            mute=mute,
        )
        mute = is_dormant
