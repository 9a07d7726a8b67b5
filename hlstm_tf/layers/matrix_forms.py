"""Forms of a weight matrix with fewer weights: low rank, Kronecker, Toeplitz-like.

A form says of a kernel which factors take its place, what they begin with, and which operator they
make. A kernel is `gates` matrices `(inputs, outputs)`, which read the same inputs or each its own.
"""

import abc
import math
from collections.abc import Mapping, Sequence
from numbers import Integral, Real
from typing import Any, ClassVar, NamedTuple

import keras
import numpy as np
from keras import ops

from hlstm_tf.layers.operators import Dense, Operator
from hlstm_tf.layers.structured_operators import Factors, KroneckerFactors, Sum

_register = keras.saving.register_keras_serializable(package="hlstm_tf")


class KernelShape(NamedTuple):
    """The shape of a kernel that a form takes the place of.

    Attributes:
        inputs: Inputs of each gate's matrix.
        outputs: Its outputs.
        gates: How many matrices there are.
        apart: Whether each gate reads inputs of its own; else all read the same.
    """

    inputs: int
    outputs: int
    gates: int = 1
    apart: bool = False

    @property
    def parameters(self) -> int:
        """Weights of the dense kernel."""
        return self.gates * self.inputs * self.outputs

    def __str__(self) -> str:
        gates = f"{self.gates} x " if self.gates > 1 else ""
        return f"{gates}({self.inputs}, {self.outputs})"


class Factor(NamedTuple):
    """A variable that a form makes.

    Attributes:
        name: Its name after the kernel's: `left`, `right`, `sparse`...
        shape: Its shape.
        gates: How many matrices it holds, for its mask.
        gates_first: Whether they are its first axis; else they lie side by side.
        density: The fraction of its connections that exist at first, where it has a mask.
        uses: In how many products each of its weights takes part where the kernel is applied, on
            average.
    """

    name: str
    shape: tuple[int, ...]
    gates: int = 1
    gates_first: bool = False
    density: float = 1.0
    uses: float = 1.0


class MatrixForm(abc.ABC):
    """A form of weight matrices, given as `kernel_form` to the layers that have compact kernels.

    Attributes:
        is_written_down: Whether a forward pass makes the dense matrix of the factors. Then exported
            files hold it, too.
    """

    is_written_down: ClassVar[bool] = False

    @abc.abstractmethod
    def factors(self, kernel: KernelShape) -> tuple[Factor, ...]:
        """The variables that take a kernel's place; a `ValueError` where the form does not fit."""

    @abc.abstractmethod
    def operators(self, kernel: KernelShape, factors: Sequence[Any]) -> Sequence[Operator]:
        """What factors, masked and cast, compute: one operator for all gates that read the same
        inputs, or one a gate where each reads its own."""

    @abc.abstractmethod
    def nearest(self, kernel: KernelShape, matrices: np.ndarray) -> list[np.ndarray]:
        """The factors of the matrix of this form that is nearest to a dense one.

        Args:
            kernel: The kernel's shape.
            matrices: `(gates, inputs, outputs)`.

        Raises:
            ValueError: There is no such method for this form.
        """

    def initial(self, kernel: KernelShape, matrices: np.ndarray) -> list[np.ndarray]:
        """Factors to train from: near to freshly drawn matrices, and of their variance."""
        return _with_variance_of(self, kernel, self.nearest(kernel, matrices), matrices)

    def inputs(self, kernel: KernelShape, factors: Sequence[Any], values: Any) -> dict[str, Any]:
        """What factors multiply when the kernel is applied to values, by their names.

        Args:
            kernel: The kernel's shape.
            factors: As `operators` takes them.
            values: `(..., inputs)`; a list of one a gate where each reads its own.

        Returns:
            A tensor `(..., rows of the factor)`, or a list of one a gate. Factors that do not
            multiply rows of numbers are left out.
        """
        return {}

    def parameters(self, kernel: KernelShape) -> int:
        """Weights that exist at first."""
        return sum(
            round(factor.density * math.prod(factor.shape)) for factor in self.factors(kernel)
        )

    def dense(self, kernel: KernelShape, factors: Sequence[np.ndarray]) -> np.ndarray:
        """The matrices `(gates, inputs, outputs)` that factors stand for."""
        unit = np.eye(kernel.inputs, dtype=np.float32)
        operators = self.operators(kernel, [ops.convert_to_tensor(each) for each in factors])
        made = np.concatenate([ops.convert_to_numpy(each.apply(unit)) for each in operators], -1)
        return np.moveaxis(made.reshape(kernel.inputs, kernel.gates, kernel.outputs), 1, 0)

    def get_config(self) -> dict[str, Any]:
        """The arguments of the constructor."""
        return dict(vars(self))

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "MatrixForm":
        """The form of a configuration."""
        return cls(**config)

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and vars(other) == vars(self)

    def __hash__(self) -> int:
        return hash((type(self), tuple(sorted(vars(self).items()))))

    def __repr__(self) -> str:
        given = ", ".join(f"{k}={v!r}" for k, v in self.get_config().items() if v)
        return f"{type(self).__name__}({given})"


@_register
class LowRank(MatrixForm):
    """A matrix as the product of two thin ones, `(inputs, rank)` and `(rank, outputs)`.

    Of a kernel with gates each gate has a product of its own. The variables are `NAME_left` and
    `NAME_right`.

    Args:
        rank: The rank of each gate's matrix.
        parameters: In place of `rank`, the fraction of the dense kernel's weights that both factors
            may have together; the rank is the largest within it.

    Raises:
        ValueError: Not exactly one of the two is given, or it is out of its range; and, when a
            layer is built, the rank is above the matrix's, or no rank meets the fraction.

    Example:

    >>> import numpy as np, hlstm_tf as hl
    >>> layer = hl.CompactDense(8, kernel_form=hl.LowRank(2))
    >>> layer(np.ones((1, 6), "float32")).shape
    TensorShape([1, 8])
    >>> layer.kernel_left.shape, layer.kernel_right.shape
    (TensorShape([6, 2]), TensorShape([2, 8]))
    """

    def __init__(self, rank: int | None = None, parameters: float | None = None) -> None:
        self.rank, self.parameters_kept = _as_rank(type(self).__name__, rank, parameters)

    def get_config(self) -> dict[str, Any]:
        return {"rank": self.rank, "parameters": self.parameters_kept}

    def factors(self, kernel: KernelShape) -> tuple[Factor, ...]:
        rank, gates = self.rank_of(kernel), kernel.gates
        if gates == 1:
            shapes = (kernel.inputs, rank), (rank, kernel.outputs)
            return Factor("left", shapes[0]), Factor("right", shapes[1])
        right = Factor("right", (gates, rank, kernel.outputs), gates, gates_first=True)
        if kernel.apart:
            return Factor("left", (gates, kernel.inputs, rank), gates, gates_first=True), right
        return Factor("left", (kernel.inputs, gates * rank), gates), right

    def rank_of(self, kernel: KernelShape) -> int:
        """The rank for a kernel of this shape."""
        of_one = kernel.inputs + kernel.outputs
        return _rank_within(self, kernel, of_one, kernel.inputs * kernel.outputs)

    def operators(self, kernel: KernelShape, factors: Sequence[Any]) -> list[Factors]:
        left, right = factors
        if kernel.gates == 1:
            return [Factors((left,), (right,))]
        rights = ops.unstack(right, kernel.gates, axis=0)
        if not kernel.apart:
            return [Factors(tuple(ops.split(left, kernel.gates, axis=-1)), tuple(rights))]
        lefts = ops.unstack(left, kernel.gates, axis=0)
        return [Factors((one,), (other,)) for one, other in zip(lefts, rights, strict=True)]

    def inputs(self, kernel: KernelShape, factors: Sequence[Any], values: Any) -> dict[str, Any]:
        operators = self.operators(kernel, factors)
        if kernel.apart and kernel.gates > 1:
            pairs = zip(operators, values, strict=True)
            return {"left": values, "right": [each.projected(value) for each, value in pairs]}
        projected = operators[0].projected(values)
        apart = projected if kernel.gates == 1 else ops.split(projected, kernel.gates, axis=-1)
        return {"left": values, "right": apart}

    def nearest(self, kernel: KernelShape, matrices: np.ndarray) -> list[np.ndarray]:
        rank = self.rank_of(kernel)
        pairs = [thin_factors(matrix, rank) for matrix in matrices]
        lefts, rights = [left for left, _ in pairs], [right for _, right in pairs]
        if kernel.gates == 1:
            return [lefts[0], rights[0]]
        left = np.stack(lefts) if kernel.apart else np.concatenate(lefts, axis=-1)
        return [left, np.stack(rights)]


@_register
class SharedLowRank(MatrixForm):
    """A matrix of low rank whose projection all gates share (arXiv 1604.02594, section 3.1).

    The gates side by side, `(inputs, gates * outputs)`, are one product of `NAME_left (inputs,
    rank)` and `NAME_right (rank, gates * outputs)`. Gates that read inputs of their own, as those
    of the hidden layers of an H-LSTM, cannot share a projection: each has one of its own, of the
    same rank.

    Args:
        rank: The rank of all gates together.
        parameters: In place of `rank`, the fraction of the dense kernel's weights that both factors
            may have together; the rank is the largest within it.

    Raises:
        ValueError: As for `LowRank`.

    Example:

    >>> import numpy as np, hlstm_tf as hl
    >>> layer = hl.CompactLSTM(8, kernel_form=hl.SharedLowRank(2))
    >>> layer(np.ones((1, 5, 6), "float32")).shape
    TensorShape([1, 8])
    >>> layer.cell.kernel_left.shape, layer.cell.kernel_right.shape
    (TensorShape([6, 2]), TensorShape([2, 32]))
    """

    def __init__(self, rank: int | None = None, parameters: float | None = None) -> None:
        self.rank, self.parameters_kept = _as_rank(type(self).__name__, rank, parameters)

    def get_config(self) -> dict[str, Any]:
        return {"rank": self.rank, "parameters": self.parameters_kept}

    def factors(self, kernel: KernelShape) -> tuple[Factor, ...]:
        if kernel.apart:
            return self._of_each_gate().factors(kernel)
        rank = self.rank_of(kernel)
        right = Factor("right", (rank, kernel.gates * kernel.outputs), kernel.gates)
        return Factor("left", (kernel.inputs, rank)), right

    def rank_of(self, kernel: KernelShape) -> int:
        """The rank for a kernel of this shape."""
        if kernel.apart:
            return self._of_each_gate().rank_of(kernel)
        outputs = kernel.gates * kernel.outputs
        return _rank_within(self, kernel, kernel.inputs + outputs, kernel.inputs * outputs)

    def operators(self, kernel: KernelShape, factors: Sequence[Any]) -> list[Factors]:
        if kernel.apart:
            return self._of_each_gate().operators(kernel, factors)
        left, right = factors
        return [Factors((left,), (right,))]

    def inputs(self, kernel: KernelShape, factors: Sequence[Any], values: Any) -> dict[str, Any]:
        if kernel.apart:
            return self._of_each_gate().inputs(kernel, factors, values)
        [operator] = self.operators(kernel, factors)
        return {"left": values, "right": operator.projected(values)}

    def nearest(self, kernel: KernelShape, matrices: np.ndarray) -> list[np.ndarray]:
        if kernel.apart:
            return self._of_each_gate().nearest(kernel, matrices)
        return list(thin_factors(side_by_side(matrices), self.rank_of(kernel)))

    def _of_each_gate(self) -> LowRank:
        return LowRank(self.rank, self.parameters_kept)


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
            if len(tuple(left)) != 2 or not all(map(_is_size, left)):
                raise ValueError(f"left must be two positive integers, (p, q); got {left!r}.")
            left = tuple(int(size) for size in left)
        self.left = left
        given = None if parameters is None else _as_fraction("parameters", parameters)
        self.parameters_kept = given
        self.doped = _as_fraction("doped", doped, zero=True)

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

    def nearest(self, kernel: KernelShape, matrices: np.ndarray) -> list[np.ndarray]:
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


@_register
class ToeplitzLike(MatrixForm):
    """A Toeplitz-like matrix: one of low displacement rank (arXiv 1604.02594, section 3.2).

    Each gate's matrix is the sum of `rank` products of a circulant and a skew-circulant matrix,
    `Z_1(g_i) Z_-1(h_i)`, whose first columns are `NAME_left` and `NAME_right`, both `(gates, rank,
    n)` with n the larger side of the matrix; of a matrix that is not square the upper left part is
    used. Rank 2 holds every Toeplitz matrix and its inverse.

    Weights are saved, not time: the matrix is written down once a call, outside the loop over time,
    and exported files hold it dense. Nothing finds the nearest such matrix to a trained one, so
    `factorize` does not take this form.

    Args:
        rank: The displacement rank.
        parameters: In place of `rank`, the fraction of the dense kernel's weights that the columns
            may have together; the rank is the largest within it.

    Raises:
        ValueError: Not exactly one of the two is given, or it is out of its range; and, when a
            layer is built, no rank meets the fraction, or the columns have at least as many weights
            as the dense matrix.

    Example:

    >>> import numpy as np, hlstm_tf as hl
    >>> layer = hl.CompactLSTM(8, kernel_form={"recurrent_kernel": hl.ToeplitzLike(2)})
    >>> layer(np.ones((1, 5, 6), "float32")).shape
    TensorShape([1, 8])
    >>> layer.cell.recurrent_kernel_left.shape
    TensorShape([4, 2, 8])
    """

    is_written_down = True

    def __init__(self, rank: int | None = None, parameters: float | None = None) -> None:
        self.rank, self.parameters_kept = _as_rank(type(self).__name__, rank, parameters)

    def get_config(self) -> dict[str, Any]:
        return {"rank": self.rank, "parameters": self.parameters_kept}

    def rank_of(self, kernel: KernelShape) -> int:
        """The displacement rank for a kernel of this shape."""
        per_rank, dense = 2 * max(kernel.inputs, kernel.outputs), kernel.inputs * kernel.outputs
        rank = self.rank or int((self.parameters_kept or 0.0) * dense / per_rank)
        if rank < 1:
            raise ValueError(
                f"{self!r}: rank 1 of a matrix {kernel} has {per_rank / dense:.1%} of its weights "
                "already. Ask for at least that fraction, or leave the kernel dense."
            )
        if rank * per_rank >= dense:
            raise ValueError(
                f"{self!r}: {rank * per_rank} weights a gate are as many as a matrix {kernel} has "
                "itself. Choose a lower rank, or leave the kernel dense."
            )
        return rank

    def factors(self, kernel: KernelShape) -> tuple[Factor, ...]:
        n, rank = max(kernel.inputs, kernel.outputs), self.rank_of(kernel)
        shape = (kernel.gates, rank, n)
        uses = kernel.inputs * kernel.outputs / (2 * rank * n)  # those of the dense matrix
        return tuple(
            Factor(name, shape, kernel.gates, gates_first=True, uses=uses)
            for name in ("left", "right")
        )

    def operators(self, kernel: KernelShape, factors: Sequence[Any]) -> list[Operator]:
        left, right = factors
        n = max(kernel.inputs, kernel.outputs)
        behind = (np.arange(n)[:, None] - np.arange(n)) % n  # the entry of a column at (i, j)
        sign = np.where(np.arange(n)[:, None] < np.arange(n), -1.0, 1.0)
        circulant = ops.take(left, behind, axis=-1)
        skew = ops.take(right, behind, axis=-1) * ops.cast(sign, right.dtype)
        whole = ops.sum(ops.matmul(circulant, skew), axis=1)
        gates = [
            Dense(gate[: kernel.inputs, : kernel.outputs])
            for gate in ops.unstack(whole, kernel.gates, axis=0)
        ]
        if kernel.apart or kernel.gates == 1:
            return list(gates)
        return [Dense(ops.concatenate([gate.kernel for gate in gates], axis=-1))]

    def nearest(self, kernel: KernelShape, matrices: np.ndarray) -> list[np.ndarray]:
        raise ValueError(
            "ToeplitzLike has no method that finds the nearest such matrix to a given one; train "
            "it from the start, or take LowRank, SharedLowRank or Kronecker."
        )

    def initial(self, kernel: KernelShape, matrices: np.ndarray) -> list[np.ndarray]:
        rng = generator_of(matrices)
        drawn = [rng.standard_normal(factor.shape) for factor in self.factors(kernel)]
        return _with_variance_of(self, kernel, drawn, matrices)


def generator_of(values: np.ndarray) -> np.random.Generator:
    """Random numbers that follow from drawn values, and so from their initializer's seed."""
    return np.random.default_rng(np.abs(values.astype(np.float64)).sum().view(np.uint64))


def thin_factors(matrix: np.ndarray, rank: int) -> tuple[np.ndarray, np.ndarray]:
    """The two factors, of equal norms, of the nearest matrix of this rank (Eckart-Young).

    >>> left, right = thin_factors(np.array([[2.0, 0.0], [0.0, 0.5]]), 1)
    >>> np.round(left @ right, 6).tolist()
    [[2.0, 0.0], [0.0, 0.0]]
    """
    u, s, vt = np.linalg.svd(matrix, full_matrices=False)
    root = np.sqrt(s[:rank])
    return u[:, :rank] * root, root[:, None] * vt[:rank]


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


def side_by_side(matrices: np.ndarray) -> np.ndarray:
    """`(gates, inputs, outputs)` as `(inputs, gates * outputs)`."""
    return np.concatenate(list(matrices), axis=-1)


def as_kernel_forms(given: Any, kernels: Sequence[str]) -> dict[str, MatrixForm]:
    """The form of each kernel that has one, of the argument `kernel_form`.

    Args:
        given: A form for all kernels, a form or `None` for each kernel by its name, or either as a
            configuration holds it.
        kernels: The names of the layer's kernels.

    Raises:
        ValueError: A name is none of the kernels', or a value is no form.
    """
    if isinstance(given, Mapping) and "class_name" in given:
        given = keras.saving.deserialize_keras_object(given)
    by_name = given if isinstance(given, Mapping) else dict.fromkeys(kernels, given)
    unknown = sorted(set(by_name) - set(kernels))
    if unknown:
        raise ValueError(
            f"kernel_form names {unknown}; the kernels of this layer are {list(kernels)}."
        )
    forms = {
        name: keras.saving.deserialize_keras_object(form) if isinstance(form, Mapping) else form
        for name, form in by_name.items()
        if form is not None
    }
    for form in forms.values():
        if not isinstance(form, MatrixForm):
            raise ValueError(
                "kernel_form must be a form such as hl.LowRank(32), or a dictionary of forms by "
                f"kernel, {{'recurrent_kernel': hl.LowRank(32)}}; got {form!r}."
            )
    return forms


def forms_config(forms: Mapping[str, MatrixForm]) -> dict[str, Any]:
    """Forms by kernel as plain JSON data, for a configuration."""
    return {name: keras.saving.serialize_keras_object(form) for name, form in forms.items()}


def _with_variance_of(
    form: MatrixForm, kernel: KernelShape, factors: list[np.ndarray], matrices: np.ndarray
) -> list[np.ndarray]:
    """Factors scaled so that the two in front make matrices of the variance of these."""
    made = form.dense(kernel, factors)
    scale = np.linalg.norm(matrices) / max(float(np.linalg.norm(made)), 1e-30)
    left, right, *others = factors
    return [left * np.sqrt(scale), right * np.sqrt(scale), *others]


def _dense_factor(name: str, kernel: KernelShape, density: float) -> Factor:
    gates = kernel.gates
    if kernel.apart and gates > 1:
        shape: tuple[int, ...] = (gates, kernel.inputs, kernel.outputs)
        return Factor(name, shape, gates, gates_first=True, density=density)
    return Factor(name, (kernel.inputs, gates * kernel.outputs), gates, density=density)


def _with_sparse(product: Operator, sparse: Sequence[Any]) -> Operator:
    return Sum((product, *map(Dense, sparse))) if sparse else product


def _rank_within(form: Any, kernel: KernelShape, per_rank: int, dense: int) -> int:
    """The rank a form asks for, of a matrix whose factors have `per_rank` weights a rank."""
    outputs = kernel.outputs if kernel.apart or isinstance(form, LowRank) else None
    full = min(kernel.inputs, outputs or kernel.gates * kernel.outputs)
    rank = form.rank
    if rank is None:
        rank = int(form.parameters_kept * dense / per_rank)
        if rank < 1:
            raise ValueError(
                f"{form!r}: rank 1 of a matrix {kernel} has {per_rank / dense:.1%} of its weights "
                f"already. Ask for at least that fraction, or leave the kernel dense."
            )
        rank = min(rank, full)
    if rank > full:
        raise ValueError(
            f"{form!r}: a matrix {kernel} has no rank above {full}. Choose a lower rank, or leave "
            "the kernel dense."
        )
    return rank


def _as_rank(name: str, rank: Any, parameters: Any) -> tuple[int | None, float | None]:
    if (rank is None) == (parameters is None):
        raise ValueError(
            f"{name} takes either a rank or parameters=FRACTION, as {name}(32) or "
            f"{name}(parameters=0.25); got rank={rank!r} and parameters={parameters!r}."
        )
    if parameters is not None:
        return None, _as_fraction("parameters", parameters)
    if not _is_size(rank):
        raise ValueError(f"{name}: rank must be a positive integer; got {rank!r}.")
    return int(rank), None


def _as_fraction(name: str, value: Any, zero: bool = False) -> float:
    good = isinstance(value, Real) and not isinstance(value, bool) and 0.0 <= float(value) < 1.0
    if not good or (float(value) == 0 and not zero):
        least = "0" if zero else "above 0"
        raise ValueError(f"{name} must be a fraction from {least} to below 1; got {value!r}.")
    return float(value)


def _is_size(value: Any) -> bool:
    return isinstance(value, Integral) and not isinstance(value, bool) and int(value) > 0


def _divisors(size: int) -> list[int]:
    return [divisor for divisor in range(1, size + 1) if size % divisor == 0]


def _middle_divisor(size: int) -> int:
    """The largest divisor that is not above the square root.

    >>> _middle_divisor(48)
    6
    """
    return next(d for d in range(math.isqrt(size), 0, -1) if size % d == 0)
