"""The inputs and outputs of feed-forward layers, which they report while a forward pass runs."""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import keras

from hlstm_tf.layers.scoped import Scoped

Tap = Callable[[keras.Layer, Any, Any, Any], None]
"""Takes a layer, its inputs, its output before the activation, and its output."""


_tap = Scoped(None)


@contextlib.contextmanager
def tapping(tap: Tap) -> Iterator[None]:
    """While entered, masked dense layers and convolutions that are called tell `tap` what passes.

    Args:
        tap: Called in the graph of the forward pass, once for each call of a layer, with the very
            tensors of that pass: a gradient by them can be taken.
    """
    with _tap.holding(tap):
        yield


@contextlib.contextmanager
def tapped(layer: Any, inputs: Any) -> Iterator[None]:
    """While entered, a call of `layer` tells the tap in force, if there is one.

    Keras's layers apply their activation last, so that is where the tap sits.
    """
    tap, activation = _tap.value, getattr(layer, "activation", None)
    if tap is None or activation is None:
        yield
        return

    def through(value: Any) -> Any:
        output = activation(value)
        tap(layer, inputs, value, output)
        return output

    # Past Keras's attribute tracking, as the masks' dictionary.
    layer.__dict__["activation"] = through
    try:
        yield
    finally:
        layer.__dict__["activation"] = activation
