"""Leaky ReLU with the slope of the grow-and-prune papers."""

from typing import Any

import keras
from keras import ops

from hlstm_tf.layers.elementwise import declare_elementwise


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
