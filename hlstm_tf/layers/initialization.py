"""Initial weights of gate kernels: each gate drawn on its own, with its own fan-in and fan-out."""

from collections.abc import Callable
from typing import Any

import keras
from keras import ops


def gate_initializer(initializer: Any, gate_axis: int) -> Callable[..., Any]:
    """Returns an initializer of a kernel with a gate axis that draws gate by gate.

    Keras's initializers take a three-dimensional shape for a convolution's and would scale the
    weights by the wrong fans; and called twice, a seeded one gives the same values twice. So each
    gate gets the initializer anew, with a seed of its own where there is one.

    Args:
        initializer: A Keras initializer or a callable `(shape, dtype) -> tensor`.
        gate_axis: The gate axis of the kernel: 0 for `(gates, inputs, outputs)`, 1 for
            `(inputs, gates, outputs)`.
    """

    def initialize(shape: Any, dtype: Any = None) -> Any:
        matrix = tuple(size for position, size in enumerate(shape) if position != gate_axis)
        gates = [
            _for_gate(initializer, gate)(matrix, dtype=dtype) for gate in range(shape[gate_axis])
        ]
        return ops.stack(gates, axis=gate_axis)

    return initialize


def _for_gate(initializer: Any, gate: int) -> Any:
    if not isinstance(initializer, keras.initializers.Initializer):
        return initializer
    config = initializer.get_config()
    if config.get("seed") is not None and isinstance(config["seed"], int):
        config = {**config, "seed": config["seed"] + gate}
    return type(initializer).from_config(config)
