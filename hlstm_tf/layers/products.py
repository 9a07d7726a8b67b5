"""Matrix products on operands of fewer bits, for processors that multiply those faster.

TensorFlow has no CPU kernel that takes bfloat16 and gives float32. Its bfloat16 product adds up in
float32 and rounds the result, which is fast on processors with bfloat16 instructions (AVX512_BF16,
AMX) and slower than float32 on others. So these others multiply, in float32 and at float32's
speed, operands that are rounded to bfloat16: what is gained there is nothing but the same numbers.
"""

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import tensorflow as tf

MATMUL_DTYPES = (None, "float32", "bfloat16")
_CPU_FLAGS = {"avx512_bf16", "amx_bf16"}


def as_matmul_dtype(dtype: Any) -> str | None:
    """Returns `dtype` as a constructor's argument; a `ValueError` where there is no such product.

    Example:

    >>> from hlstm_tf.layers.products import as_matmul_dtype
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
