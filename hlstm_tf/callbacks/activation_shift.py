"""Leaky ReLU while growing, ReLU after: activations changed on a model in training."""

from collections.abc import Iterable
from typing import Any

import keras

from hlstm_tf.callbacks.base import CopiedWithoutData
from hlstm_tf.transforms.activations import get_activation, set_hidden_activation


class ActivationShift(CopiedWithoutData):
    """Changes the activation of the gates' hidden layers at the beginning of an epoch.

    H-LSTM grows with leaky ReLU and prunes with ReLU (arXiv 1805.11797, section 3.2): ReLU's exact
    zeros save computation, leaky ReLU's gradient finds what to grow. Start the model with
    `hidden_activation="leaky_relu"` or `LeakyReLU()`, or call `set_hidden_activation`.

    Args:
        to: The activation to change to; "relu" by default.
        epoch: The epoch at whose beginning it changes, counted from 0 as `fit` does. A `fit` that
            starts later changes it at once.
        layers: Other layers whose `activation` changes with it.

    Raises:
        ValueError: The epoch is negative, or the activation unknown.

    Example:

    >>> import keras, numpy as np, hlstm_tf as hl
    >>> from hlstm_tf import ActivationShift, LeakyReLU
    >>> model = keras.Sequential([keras.Input((2, 4)), hl.HLSTM(1, hidden_activation=LeakyReLU())])
    >>> model.compile("sgd", "mse")
    >>> x, y = np.zeros((4, 2, 4)), np.zeros((4, 1))
    >>> _ = model.fit(x, y, epochs=2, verbose=0, callbacks=[ActivationShift(epoch=1)])
    >>> model.layers[0].hidden_activation is keras.activations.relu
    True
    """

    def __init__(
        self, to: Any = "relu", epoch: int = 0, layers: Iterable[keras.Layer] = ()
    ) -> None:
        super().__init__()
        if epoch < 0:
            raise ValueError(f"epoch must be 0 or more; got {epoch}.")
        self.to = get_activation(to)
        self.epoch = epoch
        self.layers = tuple(layers)

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        if epoch >= self.epoch:
            # Nothing is traced again where the activation is the new one already.
            set_hidden_activation(self.model, self.to, layers=self.layers)
