"""How large the inputs of a model's kernels are over the training data."""

from typing import Any

import keras
import numpy as np
import tensorflow as tf

from hlstm_tf.layers.masking import MaskedKernel
from hlstm_tf.layers.observers import noting_inputs

from .growth_score import require_masked_kernels
from .training_batches import check_data, input_totals


def input_sizes(
    model: keras.Model,
    data: Any,
    batch_size: int = 32,
    where: str = "the activation score",
    share: float = 1.0,
) -> dict[MaskedKernel, np.ndarray]:
    """Passes the training set once and returns the root mean square of each kernel's inputs.

    What a connection adds to its neuron is its weight times its input, so |w| times this is how
    much goes with it (Wanda, arXiv 2306.11695, equation 1). In recurrent layers masked steps do not
    count; an embedding's inputs are one-hot, so that frequent rows are large.

    Args:
        model: A built model with masked kernels.
        data: See `DenseGradients.mean`; targets are not used.
        batch_size: How arrays are batched.
        where: What the pass is for, to name it in an error.
        share: Share of the batches that count, evenly spread.

    Returns:
        For each kernel `(gates, inputs)`, float32; a convolution's inputs are window times
        channels.

    Raises:
        ValueError: There is not one batch; or a kernel's inputs cannot be seen, as inside
            `keras.layers.RNN`.

    Example:

    >>> import keras, numpy as np, hlstm_tf as hl
    >>> model = keras.Sequential([keras.Input((2,)), hl.MaskedDense(1)])
    >>> [sizes] = input_sizes(model, (np.array([[3.0, 0.0], [4.0, 1.0]]), np.zeros(2))).values()
    >>> [round(float(size), 3) for size in sizes[0]]
    [3.536, 0.707]
    """
    check_data(data, "data")
    kernels = require_masked_kernels(model)

    def forward(x: Any) -> list[tuple[tf.Tensor, tf.Tensor]]:
        return _squares(model, kernels, x)

    sums = input_totals(model, forward, data, batch_size, share, where)
    return {
        kernel: _root_mean(squares, count, kernel.gates)
        for kernel, (squares, count) in zip(kernels, sums, strict=True)
    }


def _squares(
    model: keras.Model, kernels: list[MaskedKernel], x: Any
) -> list[tuple[tf.Tensor, tf.Tensor]]:
    """Of one batch and each kernel: the sum of its inputs' squares, and over how many."""
    found: dict[MaskedKernel, tuple[tf.Tensor, tf.Tensor]] = {}

    def note(kernel: MaskedKernel, squares: tf.Tensor, count: tf.Tensor) -> None:
        before = found.get(kernel, (0.0, 0.0))  # a layer that is called twice
        found[kernel] = (before[0] + squares, before[1] + count)

    with noting_inputs(note):
        model(x, training=False)
    unseen = [kernel.path for kernel in kernels if kernel not in found]
    if unseen:
        raise ValueError(
            f"a score by activations cannot see the inputs of {unseen[0]}: cells inside "
            "keras.layers.RNN run in a loop of Keras's, and a layer that the model does not call "
            "has none. Use HLSTM, MaskedLSTM and so on as layers, or another score."
        )
    return [found[kernel] for kernel in kernels]


def _root_mean(squares: tf.Tensor, count: tf.Tensor, gates: int) -> np.ndarray:
    mean = keras.ops.convert_to_numpy(squares) / max(float(count), 1.0)
    return np.sqrt(np.broadcast_to(mean, (gates, mean.shape[1])))
