"""The weights that a forward pass uses: masked once a call, in the compute dtype."""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import keras
import tensorflow as tf
from keras import ops

from hlstm_tf.layers.scoped import Scoped

Watch = Callable[[], Callable[[Any], Any]]
"""Called in a forward pass; what it returns is called with the gradient in each backward one."""


_kernels = Scoped({})  # effective kernels by `id` of the layer and kernel name
_dense = Scoped(False)  # whether gradients are dense


@contextlib.contextmanager
def dense_gradients() -> Iterator[None]:
    """Makes the gradient reach dormant connections too, for scoring which of them to grow.

    Inside, a masked layer's output stays the same to the last bit, but the gradient with respect
    to a kernel's variable is the gradient with respect to the effective weight, dormant places
    included (arXiv 1805.11797, section 3.2: growth is by |dL/dw| of dormant connections).

    It acts while a layer is called, in the thread that entered it. So enter it inside the body of
    a `tf.function`, since a traced body is not run again, and inside the function that
    `tf.distribute.Strategy.run` gets, since replicas are threads.

    Example:

    >>> import numpy as np, tensorflow as tf, hlstm_tf as hl
    >>> layer = hl.MaskedDense(1, use_bias=False)
    >>> layer.build((None, 2))
    >>> layer.set_weights([np.array([[2.0], [0.0]]), np.array([[True], [False]])])
    >>> with hl.dense_gradients(), tf.GradientTape() as tape:
    ...     loss = tf.reduce_sum(layer(tf.constant([[1.0, 3.0]])))
    >>> tape.gradient(loss, layer.kernel).numpy().tolist()
    [[1.0], [3.0]]
    """
    with _dense.holding(True):
        yield


def gradients_are_dense() -> bool:
    """Whether `dense_gradients` is entered in the running thread."""
    return _dense.value


@contextlib.contextmanager
def kernels_in_force(layer: keras.Layer, kernels: dict[str, Any]) -> Iterator[None]:
    """While entered, `EffectiveKernel` attributes of `layer` give the tensors in `kernels`."""
    with _kernels.holding({**_kernels.value, id(layer): kernels}):
        yield


def in_force(layer: keras.Layer) -> dict[str, Any] | None:
    """The effective kernels of `layer` where a call of it is running in this thread, or `None`."""
    return _kernels.value.get(id(layer))


def apply_mask(mask: keras.Variable, value: Any) -> Any:
    """`value` where `mask` is `True`, exact zeros elsewhere, whatever stands there."""
    # TensorFlow's own operations: Keras's look at every dtype, which a trace of many layers feels.
    tensor = tf.convert_to_tensor(value)
    return tf.where(tf.convert_to_tensor(mask), tensor, tf.zeros((), tensor.dtype))


def effective_weight(mask: keras.Variable, value: Any, watch: Watch | None = None) -> Any:
    """`apply_mask`, with the gradient passing at dormant places too inside `dense_gradients`.

    Args:
        mask: The kernel's mask.
        value: The kernel.
        watch: What it returns is called, in a backward pass, with the gradient of every place,
            dormant ones included.
    """
    if _dense.value:
        # w - w is exactly zero at dormant places, w - 0 exactly w at the others.
        return value - ops.stop_gradient(apply_mask(ops.logical_not(mask), value))
    if watch is None:
        return apply_mask(mask, value)
    exists = ops.convert_to_tensor(mask)
    note = watch()

    @tf.custom_gradient
    def watched(weight: Any) -> tuple[Any, Callable[[Any], Any]]:
        def grad(gradient: Any) -> Any:
            note(gradient)
            return apply_mask(exists, gradient)

        return apply_mask(exists, weight), grad

    return watched(tf.identity(value))  # a tensor also where the step runs eagerly


class EffectiveKernel:
    """Descriptor of the attribute that holds a kernel: the variable, or its effective tensor.

    Keras layers read `self.kernel` in `call`. While `MaskedLayer.effective_kernels` is entered, the
    attribute gives `where(mask, kernel, 0)`, computed once; outside it gives the variable. So a
    masked twin runs its Keras layer's own code, and a recurrent layer applies the mask once a call
    instead of once a step.
    """

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    def __get__(self, layer: Any, owner: type | None = None) -> Any:
        if layer is None:
            return self
        kernels = in_force(layer)
        effective = None if kernels is None else kernels.get(self._name.lstrip("_"))
        if effective is not None:
            return effective
        try:
            return layer.__dict__[self._name]
        except KeyError:
            # A built layer without it is a cell whose gates have different widths.
            why = "; each gate has one of its own" if layer.built else " before it is built"
            raise AttributeError(f"{type(layer).__name__} has no `{self._name}`{why}") from None

    def __set__(self, layer: Any, value: Any) -> None:
        layer.__dict__[self._name] = value

    def __delete__(self, layer: Any) -> None:
        del layer.__dict__[self._name]
