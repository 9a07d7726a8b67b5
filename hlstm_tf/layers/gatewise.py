"""Initializers, regularizers and constraints of kernels with a gate axis, applied gate by gate.

Keras's take a weight's shape for a Dense or convolution kernel's: fans, ranks and axes would come
out wrong on `(inputs, 4, H)` and `(4, inputs, H)`. So each gate's matrix is handed over on its own.
"""

import zlib
from collections.abc import Callable
from typing import Any

import keras
from keras import ops


def gate_initializer(initializer: Any, gate_axis: int, stream: str) -> Callable[..., Any]:
    """Returns an initializer of a kernel with a gate axis that draws gate by gate.

    Each gate has its own fan-in and fan-out, and its own random numbers: Keras's initializers give
    the same values whenever they are called, so each gate gets one with a seed of its own.

    Args:
        initializer: A Keras initializer or a callable `(shape, dtype) -> tensor`.
        gate_axis: The gate axis of the weight: 0 for `(gates, inputs, outputs)` and biases, 1 for
            `(inputs, gates, outputs)`.
        stream: The weight's name, so that kernels with one seed among them differ.
    """

    def initialize(shape: Any, dtype: Any = None) -> Any:
        one_gate = tuple(size for position, size in enumerate(shape) if position != gate_axis)
        gates = [
            one_gate_initializer(initializer, gate, stream)(one_gate, dtype=dtype)
            for gate in range(shape[gate_axis])
        ]
        return ops.stack(gates, axis=gate_axis)

    return initialize


def one_gate_initializer(initializer: Any, gate: int, stream: str) -> Any:
    """Returns the initializer of one gate's own matrix or vector.

    Args:
        initializer: A Keras initializer or a callable `(shape, dtype) -> tensor`.
        gate: The gate's number; each has random numbers of its own.
        stream: As in `gate_initializer`.
    """
    if not isinstance(initializer, keras.initializers.Initializer):
        return initializer
    config = initializer.get_config()
    if "seed" not in config or not (config["seed"] is None or isinstance(config["seed"], int)):
        # Constant, or with a SeedGenerator, which gives new numbers at each call anyway.
        return initializer
    # Without a seed of the user's, the one that the initializer drew when it was made.
    seed = config["seed"] if config["seed"] is not None else getattr(initializer, "seed", None)
    if not isinstance(seed, int):
        return initializer
    derived = zlib.crc32(f"{seed}/{stream}/{gate}".encode()) & 0x7FFFFFFF
    return type(initializer).from_config({**config, "seed": derived})


def gate_regularizer(regularizer: Any, gate_axis: int) -> Any:
    """Returns a regularizer that adds up `regularizer` over the gates' matrices; `None` stays."""
    if regularizer is None:
        return None

    def regularize(weight: Any) -> Any:
        return sum(regularizer(gate) for gate in ops.unstack(weight, axis=gate_axis))

    return regularize


def gate_constraint(constraint: Any, gate_axis: int) -> Any:
    """Returns a constraint that holds each gate's matrix to `constraint`; `None` stays."""
    if constraint is None:
        return None

    def constrain(weight: Any) -> Any:
        gates = ops.unstack(weight, axis=gate_axis)
        return ops.stack([constraint(gate) for gate in gates], axis=gate_axis)

    return constrain
