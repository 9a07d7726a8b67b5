"""Kronecker products, optionally with a sparse part added."""

import math
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from hlstm_tf.layers.low_rank import thin_factors
from hlstm_tf.layers.matrix_forms import (
    Factor,
    KernelShape,
    MatrixForm,
    Roots,
    as_fraction,
    is_size,
    side_by_side,
)
from hlstm_tf.layers.operators import Dense, Operator
from hlstm_tf.layers.structured_operators import KroneckerFactors, Sum

_register = keras.saving.register_keras_serializable(package="hlstm_tf")


@_register
class Kronecker(MatrixForm):
    """A matrix as the Kronecker product of two small ones, optionally with a sparse part added.

    `NAME_left (p, gates * q)` and `NAME_right (m, n)` make `(p * m, gates * q * n)`; all gates
    share the right factor. With `doped`, a sparse matrix `NAME_sparse` of the dense shape is added
    to the product (doped Kronecker products, arXiv 2001.08896); it starts at zero, and its mask
    lets the given fraction of its weights exist.

    Args:
        left: `(p, q)`, the shape of the left factor for one gate, whose sizes divide the matrix's.
            Default `None`: by `parameters`, or the divisors nearest to the square root, which give
            about the fewest weights.
        parameters: In place of `left`, the fraction of the dense kernel's weights that both factors
            may have together; their sizes are those with the most weights within it.
        doped: Fraction of the dense weights in the added sparse part; 0 for none. It needs masks:
            `masked=True`, which is the default of a layer with a doped form.

    Raises:
        ValueError: A size is not a positive integer, a fraction is out of its range, or both sizes
            and `parameters` are given; and, when a layer is built, the sizes do not divide the
            matrix's, or none meet the fraction.

    Example:

    >>> import numpy as np, hlstm_tf as hl
    >>> layer = hl.CompactDense(8, kernel_form=hl.Kronecker((3, 2)))
    >>> layer(np.ones((1, 6), "float32")).shape
    TensorShape([1, 8])
    >>> layer.kernel_left.shape, layer.kernel_right.shape
    (TensorShape([3, 2]), TensorShape([2, 4]))
    """

    def __init__(
        self,
        left: Sequence[int] | None = None,
        parameters: float | None = None,
        doped: float = 0.0,
    ) -> None:
        if left is not None and parameters is not None:
            raise ValueError(
                f"Kronecker takes either left=(p, q) or parameters=FRACTION; got left={left!r} and "
                f"parameters={parameters!r}."
            )
        if left is not None:
            if len(tuple(left)) != 2 or not all(map(is_size, left)):
                raise ValueError(f"left must be two positive integers, (p, q); got {left!r}.")
            left = tuple(int(size) for size in left)
        self.left = left
        given = None if parameters is None else as_fraction("parameters", parameters)
        self.parameters_kept = given
        self.doped = as_fraction("doped", doped, zero=True)

    def get_config(self) -> dict[str, Any]:
        return {"left": self.left, "parameters": self.parameters_kept, "doped": self.doped}

    def factors(self, kernel: KernelShape) -> tuple[Factor, ...]:
        p, q = self._left_of(kernel)
        m, n = kernel.inputs // p, kernel.outputs // q
        gates = kernel.gates
        if kernel.apart and gates > 1:
            made = [
                Factor("left", (gates, p, q), gates, gates_first=True, uses=n),
                Factor("right", (gates, m, n), gates, gates_first=True, uses=p),
            ]
        else:
            left = Factor("left", (p, gates * q), gates, uses=n)
            made = [left, Factor("right", (m, n), uses=p)]
        if self.doped:
            made.append(_dense_factor("sparse", kernel, self.doped))
        return tuple(made)

    def operators(self, kernel: KernelShape, factors: Sequence[Any]) -> list[Operator]:
        left, right, *sparse = factors
        if kernel.apart and kernel.gates > 1:
            parts = [ops.unstack(each, kernel.gates, axis=0) for each in factors]
            return [
                _with_sparse(KroneckerFactors(one, other), more)
                for one, other, *more in zip(*parts, strict=True)
            ]
        return [_with_sparse(KroneckerFactors(left, right), sparse)]

    def inputs(self, kernel: KernelShape, factors: Sequence[Any], values: Any) -> dict[str, Any]:
        return {"sparse": values} if self.doped else {}

    def nearest(
        self, kernel: KernelShape, matrices: np.ndarray, roots: Roots = None
    ) -> list[np.ndarray]:
        p, q = self._left_of(kernel)
        if kernel.apart and kernel.gates > 1:
            pairs = [kronecker_factors(matrix, (p, q)) for matrix in matrices]
            made = [np.stack([left for left, _ in pairs]), np.stack([right for _, right in pairs])]
        else:
            made = list(kronecker_factors(side_by_side(matrices), (p, kernel.gates * q)))
        if self.doped:
            shape = _dense_factor("sparse", kernel, self.doped).shape
            made.append(np.zeros(shape, matrices.dtype))
        return made

    def _left_of(self, kernel: KernelShape) -> tuple[int, int]:
        if self.parameters_kept is not None:
            return self._largest_within(kernel, self.parameters_kept)
        if self.left is None:
            return _middle_divisor(kernel.inputs), _middle_divisor(kernel.outputs)
        p, q = self.left
        if kernel.inputs % p or kernel.outputs % q:
            raise ValueError(
                f"{self!r}: a matrix {kernel} has no such factor: {p} must divide {kernel.inputs} "
                f"and {q} must divide {kernel.outputs}. Choose divisors, or other layer sizes."
            )
        return p, q

    def _largest_within(self, kernel: KernelShape, fraction: float) -> tuple[int, int]:
        sizes = [(p, q) for p in _divisors(kernel.inputs) for q in _divisors(kernel.outputs)]
        weights = {size: Kronecker(size).parameters(kernel) for size in sizes}
        within = {s: n for s, n in weights.items() if n <= fraction * kernel.parameters}
        if not within:
            least = min(weights.values()) / kernel.parameters
            raise ValueError(
                f"{self!r}: the factors of a matrix {kernel} have at least {least:.1%} of its "
                "weights. Ask for at least that fraction, or choose layer sizes with more divisors."
            )
        return max(within, key=lambda size: within[size])


def kronecker_factors(matrix: np.ndarray, left: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """The two factors, of equal norms, of the nearest Kronecker product (Van Loan, Pitsianis 1993).

    Args:
        matrix: `(p * m, q * n)`.
        left: `(p, q)`, the shape of the left factor.
    """
    p, q = left
    m, n = matrix.shape[0] // p, matrix.shape[1] // q
    blocks = matrix.reshape(p, m, q, n).transpose(0, 2, 1, 3).reshape(p * q, m * n)
    one, other = thin_factors(blocks, 1)
    return one.reshape(p, q), other.reshape(m, n)


def _dense_factor(name: str, kernel: KernelShape, density: float) -> Factor:
    gates = kernel.gates
    if kernel.apart and gates > 1:
        shape: tuple[int, ...] = (gates, kernel.inputs, kernel.outputs)
        return Factor(name, shape, gates, gates_first=True, density=density)
    return Factor(name, (kernel.inputs, gates * kernel.outputs), gates, density=density)


def _with_sparse(product: Operator, sparse: Sequence[Any]) -> Operator:
    return Sum((product, *map(Dense, sparse))) if sparse else product


def _divisors(size: int) -> list[int]:
    return [divisor for divisor in range(1, size + 1) if size % divisor == 0]


def _middle_divisor(size: int) -> int:
    """The largest divisor that is not above the square root.

    >>> _middle_divisor(48)
    6
    """
    return next(d for d in range(math.isqrt(size), 0, -1) if size % d == 0)
