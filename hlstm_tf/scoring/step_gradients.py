"""Gradients of the training steps themselves: of a model's own `train_step`, or of an epoch."""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from hlstm_tf.keras_internals import all_layers, trained_variables
from hlstm_tf.layers.kernels import Watch
from hlstm_tf.layers.masking import (
    MaskedKernel,
    dense_gradients,
    masked_kernels,
    require_masked_kernels,
    watch_gradient,
)
from hlstm_tf.layers.recurrent_layer import CellLayer
from hlstm_tf.sparsity import held_optimizers
from hlstm_tf.transforms.activations import trace_again


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


class EpochGradients:
    """Mean gradients of an epoch's training steps with respect to the effective weights.

    A training step computes the gradient of every place of a matrix on its way to that of the
    existing connections; while this collects, it adds it to a sum. No pass over the data is needed
    beside training, but the gradient is not quite that of `DenseGradients`: the weights move from
    step to step, dropout and augmentation act, and every batch counts the same.

    Every backward pass of a step adds to the sum. So there may be one only: where a step has two
    (sharpness-aware minimization, a gradient penalty), what the optimizer is given is not the sum.

    Args:
        model: A compiled, built model with masked kernels.

    Raises:
        ValueError: The model has no masked kernel, or a masked cell in a plain `keras.layers.RNN`,
            whose weights take part in every step of a loop; or it has a `train_step` of its own
            and several optimizers, whose backward passes would be mixed.
    """

    def __init__(self, model: keras.Model) -> None:
        self.model = model
        self.kernels = require_masked_kernels(model)
        _check_loops(model)
        _check_optimizers(model)
        self._steps = 0
        self._passes = BackwardPasses()
        with model.distribute_strategy.scope():
            self._sums = [
                tf.Variable(
                    tf.zeros(kernel.variable.shape),
                    trainable=False,
                    # Each replica adds to its own; read, they are one sum.
                    synchronization=tf.VariableSynchronization.ON_READ,
                    aggregation=tf.VariableAggregation.SUM,
                )
                for kernel in self.kernels
            ]

    def start(self) -> None:
        """Makes training steps collect, from the next one on."""
        for kernel, total in zip(self.kernels, self._sums, strict=True):
            watch_gradient(kernel, self._passes.watch(kernel.path, self._adder(total)))
        trace_again(self.model)

    def stop(self) -> None:
        """Ends it."""
        for kernel in self.kernels:
            watch_gradient(kernel, None)
        trace_again(self.model)

    def begin_epoch(self) -> None:
        """Forgets what was collected."""
        self._steps = 0
        for total in self._sums:
            total.assign(tf.zeros(total.shape))

    def count(self, batch: int) -> None:
        """Takes note of the number of the step just done, from 0 in each epoch.

        Raises:
            ValueError: It had several backward passes.
        """
        self._steps = batch + 1
        several = self._passes.end_step()
        if several:
            raise ValueError(
                "during='epoch' adds up all backward passes of a step, but a step of model "
                f"'{self.model.name}' has several through kernel '{several}'; use during='pass'."
            )

    def mean(self, where: str) -> dict[MaskedKernel, np.ndarray]:
        """The mean gradient of each kernel since `begin_epoch`, float32, of the kernel's shape.

        Args:
            where: What the score is for, to name it in an error.

        Raises:
            ValueError: There was no step.
            FloatingPointError: A gradient was not finite.
        """
        if not self._steps:
            raise ValueError(f"{where}: no training step has been collected to score by.")
        means = [total.numpy() / np.float32(self._steps) for total in self._sums]
        if not all(np.all(np.isfinite(mean)) for mean in means):
            raise FloatingPointError(
                f"{where}: the gradient of a training step was not finite. Lower the learning rate "
                "or clip gradients."
            )
        return dict(zip(self.kernels, means, strict=True))

    def _adder(self, total: tf.Variable) -> Any:
        def add(gradient: tf.Tensor) -> None:
            gradient = tf.cast(gradient, tf.float32)
            scale = getattr(self.model.optimizer, "dynamic_scale", None)
            if scale is not None:
                gradient = gradient / tf.cast(scale.value, tf.float32)
                # float16 overflowed: training skips this step, too.
                gradient = tf.where(tf.math.is_finite(gradient), gradient, 0.0)
            total.assign_add(gradient)

        return add


class BackwardPasses:
    """Finds steps with several backward passes through a kernel.

    One pass goes back through every call of a layer in the step, each once, and after the last of
    them. A second pass goes through the same call again, or through a call that was made after the
    first pass.
    """

    def __init__(self) -> None:
        self._done: set[tuple[str, Any]] = set()
        self._several = ""

    def watch(self, path: str, add: Callable[[tf.Tensor], None]) -> Watch:
        """Returns what `watch_gradient` takes.

        Args:
            path: Names the kernel.
            add: Called with each gradient.
        """

        def forward() -> Callable[[tf.Tensor], None]:
            # Replicas are traced one after the other.
            here = (path, tf.distribute.get_replica_context())
            again = here in self._done

            def backward(gradient: tf.Tensor) -> None:
                nonlocal again
                if again:
                    self._several = path
                again = True
                self._done.add(here)
                add(gradient)

            return backward

        return forward

    def end_step(self) -> str:
        """Ends a step; returns the path of a kernel with several passes, or an empty string."""
        self._done.clear()
        return self._several


def _check_optimizers(model: keras.Model) -> None:
    held = held_optimizers(model)
    if has_own_train_step(model) and len(held) > 1:
        raise ValueError(
            f"during='epoch' adds up all backward passes of a step, but model '{model.name}' has a "
            f"train_step of its own and holds {len(held)} optimizers; use during='pass', which "
            "takes what each of them is given."
        )


def _check_loops(model: keras.Model) -> None:
    for layer in all_layers(model):
        plain = isinstance(layer, keras.layers.RNN) and not isinstance(layer, CellLayer)
        if plain and masked_kernels(layer):
            raise ValueError(
                f"during='epoch' cannot collect from the cell in layer {layer.name!r}: a plain "
                "keras.layers.RNN uses the weights inside its loop. Use HLSTM, MaskedLSTM, "
                "MaskedGRU or MaskedSimpleRNN, or during='pass'."
            )
