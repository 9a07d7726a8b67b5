"""Passes of the training set that measure gradients and losses of a model and leave it as it is."""

import abc
import inspect
import math
from functools import partial
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from hlstm_tf.layers.masking import (
    MaskedKernel,
    dense_gradients,
    masked_kernels,
    require_masked_kernels,
)
from hlstm_tf.scoring.data import check_data, check_inputs, examples_in, totals
from hlstm_tf.scoring.step_gradients import has_own_train_step, kept_values, step_gradients


class GradientPass(abc.ABC):
    """Averages, over the training set, numbers that come with the loss of each batch.

    The weights are fixed while the training set passes, and nothing of the model changes: batch
    normalization's statistics, seed generators and metrics are as before.

    Args:
        model: A compiled, built model.
        training: The `training` argument of the forward pass.
    """

    def __init__(self, model: keras.Model, training: bool = False) -> None:
        self.model = model
        self.training = training
        eager = getattr(model, "run_eagerly", False)
        # One function for all passes: a pass in a later epoch is not traced again.
        self._step = self._loss_and_values
        if not eager:
            self._step = tf.function(self._loss_and_values, reduce_retracing=True)

    def averages(
        self, data: Any, batch_size: int, where: str, share: float, decay: float | None = None
    ) -> list[np.ndarray]:
        """Passes the training set once and returns the means, float32.

        Args:
            data: See `check_data`. Batches count by their number of examples.
            batch_size: How arrays are batched.
            where: What the pass is for, to name it in an error.
            share: Share of the batches that count, evenly spread; the others are left out.
            decay: Of a running mean over the batches; `None` for the mean.

        Raises:
            FloatingPointError: The loss of a batch, or its gradient, is not finite.
            ValueError: There is not one batch.
        """
        check_data(data, "data")

        def weighed(batch: Any, number: int) -> tuple[list[Any], float] | None:
            values = self._batch_values(batch, f"{where}, batch {number}")
            if values is None:
                return None
            weight = float(examples_in(batch)) if decay is None else 1 - decay
            return [weight * value for value in values], weight

        before = self._state_values()
        try:
            keep = 1.0 if decay is None else decay
            sums, weight = totals(weighed, data, batch_size, share, where, keep)
        finally:
            _restore(before)
        divisor = np.float32(weight if decay is None else 1.0)
        return [keras.ops.convert_to_numpy(total) / divisor for total in sums]

    @abc.abstractmethod
    def _loss_and_values(
        self, x: Any, y: Any, sample_weight: Any, scale: Any
    ) -> tuple[Any, list[Any], Any]:
        """The loss of a batch, what comes with it, and whether that is finite; run in a graph.

        Gradients are taken of the loss times `scale`, and divided by it.
        """

    def _loss(self, x: Any, y: Any, sample_weight: Any) -> Any:
        y_pred = self.model(x, training=self.training)
        compute_loss = self.model.compute_loss
        # As Keras: an override may be older than the argument.
        knows = "training" in inspect.signature(compute_loss).parameters
        arguments = {"training": self.training} if knows else {}
        return tf.cast(compute_loss(x, y, y_pred, sample_weight, **arguments), tf.float32)

    def _state_values(self) -> list[tuple[Any, np.ndarray]]:
        """What a pass may change of the model, with its values."""
        masks = {id(kernel.mask) for kernel in masked_kernels(self.model)}
        variables = [*self.model.non_trainable_variables, *self.model.metrics_variables]
        return [(v, keras.ops.convert_to_numpy(v).copy()) for v in variables if id(v) not in masks]

    def _batch_values(self, batch: Any, where: str) -> list[Any] | None:
        x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(batch)
        check_inputs(self.model, x, where)
        scale = _loss_scale(self.model.optimizer)
        loss, values, finite = self._step(x, y, sample_weight, tf.constant(scale, tf.float32))
        loss = float(loss)
        if not math.isfinite(loss):
            raise FloatingPointError(
                f"{where}: the loss is {loss}. Lower the learning rate, clip gradients, or look at "
                "that batch."
            )
        if not bool(finite):
            if scale != 1.0:
                return None  # float16 overflowed: training would skip this batch's step, too
            raise FloatingPointError(
                f"{where}: the gradient is not finite though the loss is {loss}; is there a "
                "division by zero or the root of zero in the model?"
            )
        return values


class MeanLoss(GradientPass):
    """The mean loss of a model over the training set."""

    def mean(
        self,
        data: Any,
        batch_size: int = 32,
        where: str = "the loss",
        share: float = 1.0,
    ) -> float:
        """Passes the training set once and returns the mean loss; arguments as of `averages`."""
        return float(self.averages(data, batch_size, where, share)[0])

    def _loss_and_values(
        self, x: Any, y: Any, sample_weight: Any, scale: Any
    ) -> tuple[Any, list[Any], Any]:
        loss = self._loss(x, y, sample_weight)
        return loss, [loss], tf.constant(True)


def _loss_scale(optimizer: Any) -> float:
    """What mixed_float16 training multiplies the loss by, so that small gradients survive."""
    scale = getattr(optimizer, "dynamic_scale", None)
    return 1.0 if scale is None else float(keras.ops.convert_to_numpy(scale))


def _restore(values: list[tuple[Any, np.ndarray]]) -> None:
    for variable, value in values:
        variable.assign(value)


class DenseGradients(GradientPass):
    """Mean gradients of a model's loss with respect to its effective weights.

    The gradient reaches dormant connections too, where the gradient of the masked weight is zero:
    this is dL/dw of arXiv 1805.11797, section 3.2, and what connection growth scores by.

    The weights are fixed while the training set passes, and nothing of the model changes: batch
    normalization's statistics, seed generators and metrics are as before.

    By default the gradient is that of the function which is validated: `training=False`, dropout
    does not act, batch normalization uses its moving statistics. A score that is free of noise is
    worth more than one that imitates a training step. With `training=True` dropout acts and batch
    normalization uses each batch's statistics, for models whose moving statistics lag behind.

    A model with its own `train_step` (distillation, a GAN, a VAE) is scored by the gradients that
    its training steps give to the optimizers it holds, whatever `training` says; the steps run on
    batches as `data` gives them, and the optimizers do nothing. What a step changes in Python
    objects is not undone.

    Args:
        model: A compiled, built model with masked kernels.
        training: The `training` argument of the forward pass.

    Raises:
        ValueError: The model has no masked kernel, or is not compiled with a loss.

    Example:

    >>> import keras, numpy as np, hlstm_tf as hl
    >>> from hlstm_tf.callbacks import DenseGradients
    >>> model = keras.Sequential([keras.Input((2,)), hl.MaskedDense(1, use_bias=False)])
    >>> model.compile(loss="mse")
    >>> [kernel] = hl.masked_kernels(model)
    >>> _ = hl.edit_masks({kernel: np.array([[True], [False]])})
    >>> x = np.eye(2, dtype="float32")
    >>> gradient = DenseGradients(model).mean((x, x @ [[0.0], [1.0]]))
    >>> gradient[kernel][1].tolist()        # dormant, but it would help
    [-1.0]
    """

    def __init__(self, model: keras.Model, training: bool = False) -> None:
        self.kernels = require_masked_kernels(model)
        super().__init__(model, training)
        self._own_step: Any = None
        if has_own_train_step(model):
            own = partial(step_gradients, model, self.kernels)
            self._own_step = own if model.run_eagerly else tf.function(own, reduce_retracing=True)

    def mean(
        self,
        data: Any,
        batch_size: int = 32,
        where: str = "the growth score",
        share: float = 1.0,
    ) -> dict[MaskedKernel, np.ndarray]:
        """Passes the training set once and returns the mean gradient of each kernel.

        Args:
            data: A `tf.data.Dataset`, a `keras.utils.PyDataset`, or arrays `(x, y)` or
                `(x, y, sample_weight)`. Batches count by their number of examples, so a short
                last batch does not weigh as much as a full one.
            batch_size: How arrays are batched.
            where: What the pass is for, to name it in an error.
            share: Share of the batches that count, evenly spread; the others are left out.

        Returns:
            For each kernel its gradient, float32, of the kernel's own shape.

        Raises:
            FloatingPointError: The loss of a batch, or its gradient, is not finite.
            ValueError: There is not one batch.
        """
        return self._pass(data, batch_size, where, share, decay=None)

    def momentum(
        self,
        data: Any,
        batch_size: int = 32,
        where: str = "the growth score",
        decay: float = 0.9,
        share: float = 1.0,
    ) -> dict[MaskedKernel, np.ndarray]:
        """As `mean`, but the running mean m = decay m + (1 - decay) g over the batches.

        The last batches count most, as in an optimizer's first moment (sparse momentum, arXiv
        1907.04840). An optimizer's own slots do not serve: they are zero at dormant connections.
        """
        return self._pass(data, batch_size, where, share, decay=decay)

    def _pass(
        self, data: Any, batch_size: int, where: str, share: float, decay: float | None
    ) -> dict[MaskedKernel, np.ndarray]:
        means = self.averages(data, batch_size, where, share, decay)
        return dict(zip(self.kernels, means, strict=True))

    def _state_values(self) -> list[tuple[Any, np.ndarray]]:
        return super()._state_values() if self._own_step is None else kept_values(self.model)

    def _batch_values(self, batch: Any, where: str) -> list[Any] | None:
        if self._own_step is None:
            return super()._batch_values(batch, where)
        gradients, scaled = self._own_step(batch)
        if all(bool(tf.reduce_all(tf.math.is_finite(each))) for each in gradients):
            return gradients
        if bool(scaled):
            return None  # float16 overflowed: training would skip this batch's step, too
        raise FloatingPointError(
            f"{where}: the gradient of the model's train_step is not finite. Lower the learning "
            "rate, or look at that batch."
        )

    def _loss_and_values(
        self, x: Any, y: Any, sample_weight: Any, scale: Any
    ) -> tuple[Any, list[Any], Any]:
        variables = [kernel.variable.value for kernel in self.kernels]
        with dense_gradients(), tf.GradientTape() as tape:
            tape.watch(variables)
            loss = self._loss(x, y, sample_weight)
            scaled = loss * scale
        gradients = tape.gradient(
            scaled, variables, unconnected_gradients=tf.UnconnectedGradients.ZERO
        )
        dense = [tf.cast(tf.convert_to_tensor(g), tf.float32) / scale for g in gradients]
        finite = tf.reduce_all([tf.reduce_all(tf.math.is_finite(g)) for g in dense])
        return loss, dense, finite
