"""Operators of matrices with few weights: products of thin matrices, Kronecker products, sums."""

from collections.abc import Sequence
from itertools import accumulate
from typing import Any, NamedTuple

from keras import ops

from hlstm_tf.layers.operators import (
    Multiply,
    Operator,
    multiply_in,
    split_columns,
    weight_gradient,
    weights_of,
    with_all_weights,
)


class Factors(NamedTuple):
    """Products of two thin matrices side by side, one for each part of the outputs.

    With one part, a matrix of low rank. With a part a gate, each gate has a projection of its own;
    all projections are one product.

    Attributes:
        left: For each part `(inputs, rank)`.
        right: For each part `(rank, outputs)`.

    Example:

    >>> import numpy as np
    >>> from hlstm_tf.layers.structured_operators import Factors
    >>> operator = Factors((np.array([[1.0], [2.0]]),), (np.array([[3.0, 0.0, 1.0]]),))
    >>> operator.shape
    (2, 3)
    >>> operator.apply(np.array([[1.0, 1.0]])).numpy().tolist()
    [[9.0, 0.0, 3.0]]
    """

    left: tuple[Any, ...]
    right: tuple[Any, ...]

    @property
    def shape(self) -> tuple[int, int]:
        return self.left[0].shape[0], sum(part.shape[1] for part in self.right)

    @property
    def weights(self) -> list[Any]:
        return [*self.left, *self.right]

    def with_weights(self, weights: Sequence[Any]) -> "Factors":
        parts = len(self.left)
        return Factors(tuple(weights[:parts]), tuple(weights[parts:]))

    def apply(self, values: Any, multiply: Multiply = ops.matmul) -> Any:
        pairs = zip(self._projected(values, multiply), self.right, strict=True)
        return _side_by_side([multiply(value, part) for value, part in pairs])

    def transposed(self) -> "Operator":
        return TransposedFactors(
            tuple(map(ops.transpose, self.right)), tuple(map(ops.transpose, self.left))
        )

    def columns(self, widths: Sequence[int]) -> list[Operator]:
        ends = list(accumulate(widths))
        return [self._between(end - width, end) for width, end in zip(widths, ends, strict=True)]

    def weight_gradients(self, values: Any, deltas: Any, dtype: str | None) -> list[Any]:
        multiply = multiply_in(dtype)
        parts = split_columns(deltas, [part.shape[1] for part in self.right])
        through = [
            multiply(delta, ops.transpose(part))
            for delta, part in zip(parts, self.right, strict=True)
        ]
        of_left = weight_gradient(values, _side_by_side(through), dtype)
        of_right = [
            weight_gradient(inner, delta, dtype)
            for inner, delta in zip(self._projected(values, multiply), parts, strict=True)
        ]
        return [*split_columns(of_left, self._ranks), *of_right]

    def projected(self, values: Any) -> Any:
        """What the right matrices are applied to: `(..., sum of the ranks)`."""
        return ops.matmul(values, _side_by_side(self.left))

    @property
    def _ranks(self) -> list[int]:
        return [part.shape[1] for part in self.left]

    def _projected(self, values: Any, multiply: Multiply) -> list[Any]:
        return split_columns(multiply(values, _side_by_side(self.left)), self._ranks)

    def _between(self, start: int, stop: int) -> "Factors":
        left, right, first = [], [], 0
        for before, part in zip(self.left, self.right, strict=True):
            last = first + part.shape[1]
            here = slice(max(start, first) - first, min(stop, last) - first)
            if here.start < here.stop:
                left.append(before)
                whole = here.stop - here.start == part.shape[1]
                right.append(part if whole else part[:, here])
            first = last
        return Factors(tuple(left), tuple(right))


def joined_factors(operators: Sequence[Any]) -> Factors:
    """Products of thin matrices that read the same inputs, side by side as one operator."""
    left = [part for operator in operators for part in operator.left]
    return Factors(tuple(left), tuple(part for operator in operators for part in operator.right))


class TransposedFactors(NamedTuple):
    """The transpose of `Factors`: a sum of products, each of a part of the inputs.

    Attributes:
        left: For each part `(inputs of the part, rank)`.
        right: For each part `(rank, outputs)`.
    """

    left: tuple[Any, ...]
    right: tuple[Any, ...]

    @property
    def shape(self) -> tuple[int, int]:
        return sum(part.shape[0] for part in self.left), self.right[0].shape[1]

    @property
    def weights(self) -> list[Any]:
        return [*self.left, *self.right]

    def with_weights(self, weights: Sequence[Any]) -> "TransposedFactors":
        parts = len(self.left)
        return TransposedFactors(tuple(weights[:parts]), tuple(weights[parts:]))

    def apply(self, values: Any, multiply: Multiply = ops.matmul) -> Any:
        parts = zip(self._parts(values), self.left, strict=True)
        inner = _side_by_side([multiply(value, part) for value, part in parts])
        return multiply(inner, ops.concatenate(self.right, axis=0))

    def transposed(self) -> Operator:
        return Factors(tuple(map(ops.transpose, self.right)), tuple(map(ops.transpose, self.left)))

    def columns(self, widths: Sequence[int]) -> list[Operator]:
        by_part = [split_columns(part, widths) for part in self.right]
        return [TransposedFactors(self.left, tuple(right)) for right in zip(*by_part, strict=True)]

    def weight_gradients(self, values: Any, deltas: Any, dtype: str | None) -> list[Any]:
        multiply = multiply_in(dtype)
        parts = self._parts(values)
        of_left = [
            weight_gradient(value, multiply(deltas, ops.transpose(right)), dtype)
            for value, right in zip(parts, self.right, strict=True)
        ]
        of_right = [
            weight_gradient(multiply(value, left), deltas, dtype)
            for value, left in zip(parts, self.left, strict=True)
        ]
        return [*of_left, *of_right]

    def _parts(self, values: Any) -> list[Any]:
        return split_columns(values, [part.shape[0] for part in self.left])


class KroneckerFactors(NamedTuple):
    """The Kronecker product of two matrices, applied as two small products.

    Entry `(i * m + j, k * n + l)` is `left[i, k] * right[j, l]`, where `right` is `(m, n)`.

    Attributes:
        left: `(p, q)`.
        right: `(m, n)`.

    Example:

    >>> import numpy as np
    >>> from hlstm_tf.layers.structured_operators import KroneckerFactors
    >>> a, b = np.array([[1.0, 2.0]]), np.array([[3.0], [4.0]])
    >>> operator = KroneckerFactors(a, b)
    >>> operator.apply(np.eye(2)).numpy().tolist() == np.kron(a, b).tolist()
    True
    """

    left: Any
    right: Any

    @property
    def shape(self) -> tuple[int, int]:
        (p, q), (m, n) = self.left.shape, self.right.shape
        return p * m, q * n

    @property
    def weights(self) -> list[Any]:
        return [self.left, self.right]

    def with_weights(self, weights: Sequence[Any]) -> "KroneckerFactors":
        return KroneckerFactors(*weights)

    def apply(self, values: Any, multiply: Multiply = ops.matmul) -> Any:
        inner = self._inner(values, multiply)
        outer = multiply(inner, self.left)
        (_, q), (_, n) = self.left.shape, self.right.shape
        together = ops.transpose(ops.reshape(outer, (-1, n, q)), (0, 2, 1))
        return ops.reshape(together, (*ops.shape(values)[:-1], q * n))

    def transposed(self) -> Operator:
        return KroneckerFactors(ops.transpose(self.left), ops.transpose(self.right))

    def columns(self, widths: Sequence[int]) -> list[Operator]:
        n = self.right.shape[1]
        parts = split_columns(self.left, [width // n for width in widths])
        return [KroneckerFactors(part, self.right) for part in parts]

    def weight_gradients(self, values: Any, deltas: Any, dtype: str | None) -> list[Any]:
        multiply = multiply_in(dtype)
        (p, q), (m, n) = self.left.shape, self.right.shape
        of_outer = ops.transpose(ops.reshape(deltas, (-1, q, n)), (0, 2, 1))
        of_outer = ops.reshape(of_outer, (-1, q))
        of_inner = multiply(of_outer, ops.transpose(self.left))
        of_inner = ops.transpose(ops.reshape(of_inner, (-1, n, p)), (0, 2, 1))
        return [
            weight_gradient(self._inner(values, multiply), of_outer, dtype),
            weight_gradient(ops.reshape(values, (-1, m)), ops.reshape(of_inner, (-1, n)), dtype),
        ]

    def _inner(self, values: Any, multiply: Multiply) -> Any:
        """`values` times the right factor, as rows of what the left one is applied to."""
        (p, _), (m, n) = self.left.shape, self.right.shape
        product = multiply(ops.reshape(values, (-1, m)), self.right)
        return ops.reshape(ops.transpose(ops.reshape(product, (-1, p, n)), (0, 2, 1)), (-1, p))


class Sum(NamedTuple):
    """The sum of matrices of one shape.

    Attributes:
        terms: Their operators.

    Example:

    >>> import numpy as np
    >>> from hlstm_tf.layers.operators import Dense
    >>> from hlstm_tf.layers.structured_operators import Sum
    >>> Sum((Dense(np.eye(2)), Dense(np.eye(2)))).apply(np.array([[1.0, 3.0]])).numpy().tolist()
    [[2.0, 6.0]]
    """

    terms: tuple[Any, ...]

    @property
    def shape(self) -> tuple[int, int]:
        return self.terms[0].shape

    @property
    def weights(self) -> list[Any]:
        return weights_of(self.terms)

    def with_weights(self, weights: Sequence[Any]) -> "Sum":
        return Sum(tuple(with_all_weights(self.terms, weights)[0]))

    def apply(self, values: Any, multiply: Multiply = ops.matmul) -> Any:
        first, *others = [term.apply(values, multiply) for term in self.terms]
        for other in others:
            first = first + other
        return first

    def transposed(self) -> Operator:
        return Sum(tuple(term.transposed() for term in self.terms))

    def columns(self, widths: Sequence[int]) -> list[Operator]:
        by_term = [term.columns(widths) for term in self.terms]
        return [Sum(tuple(terms)) for terms in zip(*by_term, strict=True)]

    def weight_gradients(self, values: Any, deltas: Any, dtype: str | None) -> list[Any]:
        return [
            gradient
            for term in self.terms
            for gradient in term.weight_gradients(values, deltas, dtype)
        ]


def _side_by_side(parts: Sequence[Any]) -> Any:
    return parts[0] if len(parts) == 1 else ops.concatenate(parts, axis=-1)
