"""Models with a `train_step` of their own: the gradients that they train by."""

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from hlstm_tf.keras_internals import trained_variables
from hlstm_tf.layers.masking import MaskedKernel, dense_gradients
from hlstm_tf.sparsity import held_optimizers


def has_own_train_step(model: keras.Model) -> bool:
    """Whether a model trains by a `train_step` that is not Keras's.

    Example:

    >>> has_own_train_step(keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)]))
    False
    """
    return getattr(model.train_step, "__func__", model.train_step) is not keras.Model.train_step


def refuse_own_train_step(model: keras.Model, what: str) -> None:
    """Raises a `ValueError` where `what` needs a loss that only the model's `train_step` knows."""
    if has_own_train_step(model):
        raise ValueError(
            f"{what} by the loss of compute_loss, but model '{model.name}' trains by a train_step "
            "of its own; override compute_loss in place of train_step, or grow connections only."
        )


@tf.autograph.experimental.do_not_convert
def step_gradients(
    model: keras.Model, kernels: Sequence[MaskedKernel], batch: Any
) -> tuple[list[tf.Tensor], tf.Tensor]:
    """Runs a model's `train_step` on a batch and returns the gradients its optimizers were given.

    The optimizers do nothing with them, so that weights and slots stay as they are. What else the
    step changes, such as metrics or what it records of the batches it sees, is changed.

    Args:
        model: A compiled, built model.
        kernels: Its masked kernels.
        batch: What `fit` gives to `train_step`.

    Returns:
        Of each kernel the gradient with respect to its effective weight, dormant places included,
        float32, zeros where no optimizer was given one; and whether the loss was scaled for
        float16.

    Raises:
        ValueError: No optimizer that the model holds was given a gradient of any kernel.
    """
    found: dict[int, Any] = {}
    scaled = False

    def note(optimizer: keras.optimizers.Optimizer, gradients: Any, variables: Any) -> None:
        nonlocal scaled
        scaled = scaled or hasattr(optimizer, "dynamic_scale")
        scale = tf.cast(optimizer.scale_loss(tf.constant(1.0)), tf.float32)
        trained = trained_variables(optimizer) if variables is None else variables
        for gradient, variable in zip(gradients, trained, strict=True):
            if gradient is not None:
                dense = tf.cast(tf.convert_to_tensor(gradient), tf.float32) / scale
                found[id(variable)] = found.get(id(variable), 0.0) + dense

    with dense_gradients(), _handing_to(note, held_optimizers(model)):
        model.train_step(batch)
    if not any(id(kernel.variable) in found for kernel in kernels):
        raise ValueError(
            f"the train_step of model '{model.name}' gave no gradient of a masked kernel to an "
            "optimizer that the model holds, so there is none to score by; use during='epoch', or "
            "keep the optimizer as an attribute of the model."
        )
    gradients = [found.get(id(k.variable), tf.zeros(k.variable.shape)) for k in kernels]
    return gradients, tf.constant(scaled)


def kept_values(model: keras.Model) -> list[tuple[Any, np.ndarray]]:
    """Returns every variable that a model holds, with a copy of its value."""
    held = tf.train.TrackableView(model).descendants()
    variables = [*model.variables, *(each for each in held if isinstance(each, tf.Variable))]
    return [(v, np.array(keras.ops.convert_to_numpy(v))) for v in variables]


@contextlib.contextmanager
def _handing_to(note: Any, optimizers: Sequence[keras.optimizers.Optimizer]) -> Iterator[None]:
    """While entered, optimizers hand their gradients to `note` and apply none."""

    def handed(optimizer: keras.optimizers.Optimizer) -> Any:
        def apply(grads: Any, trainable_variables: Any = None) -> None:
            note(optimizer, grads, trainable_variables)

        return apply

    before = [vars(optimizer).get("apply") for optimizer in optimizers]
    for optimizer in optimizers:
        # Past Keras's attribute tracking.
        vars(optimizer)["apply"] = handed(optimizer)
    try:
        yield
    finally:
        for optimizer, own in zip(optimizers, before, strict=True):
            del vars(optimizer)["apply"]
            if own is not None:
                vars(optimizer)["apply"] = own
