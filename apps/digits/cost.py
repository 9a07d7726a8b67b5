"""The cost of a network: the parameters that are left of it, and FLOPs an image."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import keras
import numpy as np

import hlstm_tf as hl


@dataclass(frozen=True)
class Cost:
    """The size of a network.

    Attributes:
        weights: Connections: weights that are not zero.
        biases: Biases that are not zero. Those of neurons that are physically gone are gone.
        flops: For an image, 2 (a multiplication and an addition) for each connection at each place
            where its kernel is applied: 1 of a dense layer, each position of its output of a
            convolution. Biases, pooling and activations are not counted.
        bytes: Of all that is left as dense float32.
    """

    weights: int
    biases: int
    flops: int
    bytes: int

    @property
    def parameters(self) -> int:
        """Weights and biases."""
        return self.weights + self.biases

    def as_dict(self) -> dict[str, int]:
        """Return plain values."""
        return {**dataclasses.asdict(self), "parameters": self.parameters}


def cost_of(model: keras.Model) -> Cost:
    """Count a network's parameters and FLOPs, without the neurons that do nothing.

    Example:

    >>> from apps.digits.model import lenet_300_100, lenet_5
    >>> cost_of(lenet_300_100()).weights, cost_of(lenet_5()).flops
    (266200, 4586000)
    """
    compact = hl.shrink(hl.strip(model)) if hl.masked_kernels(model) else hl.shrink(model)
    counts = hl.summary(compact, print_fn=None)
    biases = sum(
        int(np.count_nonzero(weight))
        for layer in compact.layers
        for weight in layer.get_weights()
        if weight.ndim == 1
    )
    return Cost(counts.connections, biases, counts.flops, counts.bytes)
