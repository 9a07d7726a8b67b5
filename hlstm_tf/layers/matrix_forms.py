"""What a form of a weight matrix with fewer weights is, and how layers are given one.

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

from hlstm_tf.layers.operators import Operator


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


Roots = Sequence[np.ndarray] | None
"""The roots `(inputs, inputs)` of the second moments of the gates' inputs: one, or one a gate."""


def by_gate(roots: Roots, gates: int) -> list[Any]:
    """The root of each gate's moment; `None` for each where none are given."""
    if roots is None:
        return [None] * gates
    return list(roots) if len(roots) == gates else [roots[0]] * gates


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
    def nearest(
        self, kernel: KernelShape, matrices: np.ndarray, roots: Roots = None
    ) -> list[np.ndarray]:
        """The factors of the matrix of this form that is nearest to a dense one.

        Args:
            kernel: The kernel's shape.
            matrices: `(gates, inputs, outputs)`.
            roots: The inputs that the matrices multiply, for the forms that look at them; by
                default all count alike.

        Raises:
            ValueError: There is no such method for this form.
        """

    def initial(self, kernel: KernelShape, matrices: np.ndarray) -> list[np.ndarray]:
        """Factors to train from: near to freshly drawn matrices, and of their variance."""
        return with_variance_of(self, kernel, self.nearest(kernel, matrices), matrices)

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

    @abc.abstractmethod
    def get_config(self) -> dict[str, Any]:
        """The arguments of the constructor."""

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


class RankForm(MatrixForm):
    """Base of the forms whose size is a rank, or the largest within a fraction of the weights.

    Args:
        rank: The rank.
        parameters: In place of `rank`, the fraction of the dense kernel's weights.
    """

    def __init__(self, rank: int | None = None, parameters: float | None = None) -> None:
        name = type(self).__name__
        if (rank is None) == (parameters is None):
            raise ValueError(
                f"{name} takes either a rank or parameters=FRACTION, as {name}(32) or "
                f"{name}(parameters=0.25); got rank={rank!r} and parameters={parameters!r}."
            )
        if rank is not None and not is_size(rank):
            raise ValueError(f"{name}: rank must be a positive integer; got {rank!r}.")
        self.rank = None if rank is None else int(rank)
        kept = None if parameters is None else as_fraction("parameters", parameters)
        self.parameters_kept = kept

    def get_config(self) -> dict[str, Any]:
        return {"rank": self.rank, "parameters": self.parameters_kept}

    @abc.abstractmethod
    def rank_of(self, kernel: KernelShape) -> int:
        """The rank for a kernel of this shape."""

    def rank_asked(self, kernel: KernelShape, per_rank: int, dense: int) -> int:
        """The rank asked for, of a matrix of `dense` weights whose factors have `per_rank` a rank.

        Raises:
            ValueError: Not even rank 1 is within the fraction.
        """
        if self.parameters_kept is None:
            assert self.rank is not None
            return self.rank
        rank = int(self.parameters_kept * dense / per_rank)
        if rank < 1:
            raise ValueError(
                f"{self!r}: rank 1 of a matrix {kernel} has {per_rank / dense:.1%} of its weights "
                "already. Ask for at least that fraction, or leave the kernel dense."
            )
        return rank


def generator_of(values: np.ndarray) -> np.random.Generator:
    """Random numbers that follow from drawn values, and so from their initializer's seed."""
    return np.random.default_rng(np.abs(values.astype(np.float64)).sum().view(np.uint64))


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


def with_variance_of(
    form: MatrixForm, kernel: KernelShape, factors: list[np.ndarray], matrices: np.ndarray
) -> list[np.ndarray]:
    """Factors scaled so that the two in front make matrices of the variance of these."""
    made = form.dense(kernel, factors)
    scale = np.linalg.norm(matrices) / max(float(np.linalg.norm(made)), 1e-30)
    left, right, *others = factors
    return [left * np.sqrt(scale), right * np.sqrt(scale), *others]


def as_fraction(name: str, value: Any, zero: bool = False) -> float:
    """A fraction from above 0, or from 0 with `zero`, to below 1; else a `ValueError`."""
    good = isinstance(value, Real) and not isinstance(value, bool) and 0.0 <= float(value) < 1.0
    if not good or (float(value) == 0 and not zero):
        least = "0" if zero else "above 0"
        raise ValueError(f"{name} must be a fraction from {least} to below 1; got {value!r}.")
    return float(value)


def is_size(value: Any) -> bool:
    """Whether something is a positive integer."""
    return isinstance(value, Integral) and not isinstance(value, bool) and int(value) > 0
