"""Elementwise activations with their derivatives, and the Leaky ReLU of the papers."""

from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf
from keras import ops

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


@declare_elementwise
@keras.saving.register_keras_serializable(package="hlstm_tf")
class LeakyReLU:
    """`max(x, slope x)`, with the paper's slope of 0.01 (arXiv 1805.11797, section 3.2).

    With it the neurons of a network that still grows pass a gradient on either side of zero. Keras
    gives the name "leaky_relu" to a slope of 0.2, hence this class.

    Args:
        negative_slope: Slope below zero.

    Example:

    >>> from hlstm_tf.layers import LeakyReLU
    >>> LeakyReLU()([-1.0, 2.0]).numpy().tolist()
    [-0.009999999776482582, 2.0]
    """

    def __init__(self, negative_slope: float = 0.01) -> None:
        self.negative_slope = float(negative_slope)

    def __call__(self, x: Any) -> Any:
        return ops.leaky_relu(ops.convert_to_tensor(x), negative_slope=self.negative_slope)

    def get_config(self) -> dict[str, Any]:
        return {"negative_slope": self.negative_slope}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "LeakyReLU":
        return cls(**config)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, LeakyReLU) and other.negative_slope == self.negative_slope

    def __hash__(self) -> int:
        return hash((LeakyReLU, self.negative_slope))

    def __repr__(self) -> str:
        return f"LeakyReLU({self.negative_slope})"
