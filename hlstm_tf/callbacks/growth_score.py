"""The gradient that growth goes by: exact, over the whole training set, weights fixed."""

from functools import partial
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from hlstm_tf.layers.masking import MaskedKernel, dense_gradients, masked_kernels

from .gradient_pass import GradientPass
from .own_steps import has_own_train_step, kept_values, step_gradients


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


def require_masked_kernels(model: keras.Model) -> list[MaskedKernel]:
    """Returns the model's masked kernels, or says how to get some.

    Raises:
        ValueError: There is none.
    """
    kernels = masked_kernels(model)
    if not kernels:
        raise ValueError(
            f"model '{model.name}' has no masked kernel, so nothing can grow or be pruned. Build "
            "it, and give its layers masks: model = hl.sparsify(model)."
        )
    return kernels
