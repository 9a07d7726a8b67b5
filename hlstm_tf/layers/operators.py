"""The matrices that a recurrence multiplies with, as operators, and how products are made.

A recurrence, its hand-written backward pass and the exports know of such a matrix only how it is
applied, how its transpose is applied, and what the gradients of its weights are. So a matrix that
is never written down, e.g. a product of two thin ones, takes the place of a dense one.

Products may round their operands to bfloat16. TensorFlow has no CPU kernel that takes bfloat16 and
gives float32. Its bfloat16 product adds up in float32 and rounds the result, which is fast on
processors with bfloat16 instructions (AVX512_BF16, AMX) and slower than float32 on others. So these
others multiply, in float32 and at its speed, operands that are rounded to bfloat16: what is gained
there is nothing but the same numbers.
"""

import functools
import math
from collections.abc import Callable, Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import tensorflow as tf
from keras import ops

MATMUL_DTYPES = (None, "float32", "bfloat16")
_CPU_FLAGS = {"avx512_bf16", "amx_bf16"}


def as_matmul_dtype(dtype: Any) -> str | None:
    """Returns `dtype` as a constructor's argument; a `ValueError` where there is no such product.

    Example:

    >>> from hlstm_tf.layers.operators import as_matmul_dtype
    >>> as_matmul_dtype("bfloat16")
    'bfloat16'
    """
    if dtype not in MATMUL_DTYPES:
        raise ValueError(
            "matmul_dtype must be 'bfloat16', 'float32' or None for the compute dtype; "
            f"got {dtype!r}."
        )
    return dtype


@functools.cache
def multiplies_bfloat16() -> bool:
    """Whether this machine multiplies bfloat16 faster than float32, by its instructions."""
    if tf.config.list_physical_devices("GPU"):
        return True
    cpus = Path("/proc/cpuinfo")
    return cpus.exists() and not _CPU_FLAGS.isdisjoint(cpus.read_text().split())


def operand(values: tf.Tensor, dtype: str | None) -> tf.Tensor:
    """A float32 tensor as `matmul` takes it; weights once a call, outside any loop."""
    if dtype != "bfloat16":
        return values
    rounded = tf.cast(values, tf.bfloat16)
    return rounded if multiplies_bfloat16() else tf.cast(rounded, tf.float32)


def matmul(values: tf.Tensor, kernel: tf.Tensor, transpose_a: bool = False) -> tf.Tensor:
    """The product of two operands of one call of `operand` each, as float32."""
    return tf.cast(tf.matmul(values, kernel, transpose_a=transpose_a), tf.float32)


def multiply_in(dtype: str | None) -> Callable[[tf.Tensor, tf.Tensor], tf.Tensor]:
    """The product of float32 values and an operand of this dtype, as float32."""
    return lambda values, kernel: matmul(operand(values, dtype), kernel)


def weight_gradient(values: tf.Tensor, deltas: tf.Tensor, dtype: str | None) -> tf.Tensor:
    """A kernel's gradient: one product of what it took and the gradients of what it gave.

    Args:
        values: `(rows, inputs)`.
        deltas: `(rows, outputs)`.
        dtype: Dtype of the operands.
    """
    return matmul(operand(values, dtype), operand(deltas, dtype), transpose_a=True)


Multiply = Callable[[Any, Any], Any]
"""Takes values `(..., n)` and a weight `(n, m)`; returns their product `(..., m)`."""


class Operator(Protocol):
    """A matrix `(inputs, outputs)`, applied from the right as `values @ matrix`.

    An implementation is a named tuple of tensors, so that it goes through `tf.function` and
    `tf.nest`. Its weights are masked and cast already.
    """

    @property
    def shape(self) -> tuple[int, int]:
        """`(inputs, outputs)`."""

    @property
    def weights(self) -> list[Any]:
        """The tensors that have a gradient."""

    def with_weights(self, weights: Sequence[Any]) -> "Operator":
        """The same operator with other weights, in the order of `weights`."""

    def apply(self, values: Any, multiply: Multiply = ops.matmul) -> Any:
        """`values @ matrix`: `(..., inputs)` to `(..., outputs)`.

        Args:
            values: The values.
            multiply: How one product of values and a weight is made.
        """

    def transposed(self) -> "Operator":
        """The operator of the transposed matrix, for a backward pass."""

    def columns(self, widths: Sequence[int]) -> "list[Operator]":
        """The operators of outputs that lie side by side, of these widths."""

    def weight_gradients(self, values: Any, deltas: Any, dtype: str | None) -> list[Any]:
        """The gradients of the weights, summed over all rows.

        Args:
            values: What the operator was applied to, `(rows, inputs)`.
            deltas: The gradients of what it gave, `(rows, outputs)`.
            dtype: Dtype of the operands of matrix products; `None` for float32.
        """


class Dense(NamedTuple):
    """A matrix that is written down, masked or not.

    Attributes:
        kernel: `(inputs, outputs)`.

    Example:

    >>> import numpy as np
    >>> from hlstm_tf.layers.operators import Dense
    >>> operator = Dense(np.array([[1.0, 0.0, 2.0], [0.0, 1.0, 0.0]]))
    >>> operator.apply(np.array([[1.0, 3.0]])).numpy().tolist()
    [[1.0, 3.0, 2.0]]
    >>> [each.shape for each in operator.columns([2, 1])]
    [(2, 2), (2, 1)]
    """

    kernel: Any

    @property
    def shape(self) -> tuple[int, int]:
        inputs, outputs = self.kernel.shape
        return inputs, outputs

    @property
    def weights(self) -> list[Any]:
        return [self.kernel]

    def with_weights(self, weights: Sequence[Any]) -> "Dense":
        [kernel] = weights
        return Dense(kernel)

    def apply(self, values: Any, multiply: Multiply = ops.matmul) -> Any:
        return multiply(values, self.kernel)

    def transposed(self) -> "Dense":
        return Dense(ops.transpose(self.kernel))

    def columns(self, widths: Sequence[int]) -> "list[Operator]":
        return [Dense(part) for part in split_columns(self.kernel, widths)]

    def weight_gradients(self, values: Any, deltas: Any, dtype: str | None) -> list[Any]:
        return [weight_gradient(values, deltas, dtype)]


def split_columns(values: Any, widths: Sequence[int]) -> list[Any]:
    """The parts, of these widths, of what lies side by side in the last axis."""
    if len(set(widths)) == 1:
        return list(ops.split(values, len(widths), axis=-1))
    # XNNPACK takes slices, but no split into unequal parts: that would cut a graph in two.
    ends = accumulate(widths)
    return [values[..., end - width : end] for width, end in zip(widths, ends, strict=True)]


def weights_of(operators: Sequence[Operator]) -> list[Any]:
    """The weights of operators, flat and in their order."""
    return [weight for operator in operators for weight in operator.weights]


def size_of(operators: Sequence[Operator]) -> int:
    """How many numbers the weights of operators have."""
    return sum(math.prod(weight.shape) for weight in weights_of(operators))


def as_operands(operators: Sequence[Operator], dtype: str | None) -> list[Operator]:
    """Operators whose weights are operands of matrix products; see `operand`."""
    made, _ = with_all_weights(operators, [operand(each, dtype) for each in weights_of(operators)])
    return made


def with_all_weights(
    operators: Sequence[Operator], weights: Sequence[Any]
) -> tuple[list[Operator], list[Any]]:
    """Operators with other weights, flat and in their order, and the weights that are left."""
    made, at = [], 0
    for operator in operators:
        count = len(operator.weights)
        made.append(operator.with_weights(weights[at : at + count]))
        at += count
    return made, list(weights[at:])
