"""Elementwise activations and their derivatives."""

from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf

Activation = Callable[[Any], Any]

_ELEMENTWISE: set[Any] = {
    getattr(keras.activations, name)
    for name in (
        "linear relu relu6 leaky_relu elu selu celu gelu silu softplus softsign tanh tanh_shrink "
        "sigmoid hard_sigmoid hard_silu hard_tanh log_sigmoid exponential mish"
    ).split()
    if hasattr(keras.activations, name)
}


def declare_elementwise(activation: Any) -> Any:
    """Lets the hand-written passes take `activation`: each output depends on its own input alone.

    `activation` is a function, or a class whose objects are activations.

    Activations of `keras.activations` that work so are known. A layer with any other activation
    trains through the plain loop, which is slower and assumes nothing. Usable as a decorator.

    Example:

    >>> import keras, hlstm_tf as hl
    >>> @hl.declare_elementwise
    ... def cube(x):
    ...     return x * x * x
    >>> hl.HLSTM(4, hidden_activation=cube).hidden_activation is cube
    True
    """
    _ELEMENTWISE.add(activation)
    return activation


def is_elementwise(activation: Any) -> bool:
    """Whether `activation` is known to act on each element alone."""
    try:
        return activation in _ELEMENTWISE or type(activation) in _ELEMENTWISE
    except TypeError:  # unhashable
        return False


def value_and_slope(activation: Activation, x: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """`activation(x)` and each element's derivative, of an elementwise activation."""
    # The sum's gradient is each element's own derivative because the activation is elementwise.
    with tf.GradientTape() as tape:
        tape.watch(x)
        value = activation(x)
    slope = tape.gradient(value, x)
    return value, tf.zeros_like(x) if slope is None else slope
