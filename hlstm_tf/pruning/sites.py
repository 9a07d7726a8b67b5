"""Sites: layers into which neurons can be born, and their common interface."""

import abc
from collections.abc import Callable, Iterable, Mapping, MutableMapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import keras
import numpy as np

from hlstm_tf.layers.masking import MaskedKernel
from hlstm_tf.sparsity import Birth, Optimizers

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
