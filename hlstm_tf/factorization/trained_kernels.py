"""The trained kernels of a model that can have a form of few weights, and what they multiply."""

import functools
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from hlstm_tf import layers
from hlstm_tf.factorization.nearest import relative_error, root_of_moment
from hlstm_tf.keras_internals import all_layers
from hlstm_tf.layers.cells import form_of
from hlstm_tf.layers.masking import MaskedKernel, masked_kernels, unique_path
from hlstm_tf.layers.matrix_forms import KernelShape, MatrixForm, side_by_side
from hlstm_tf.layers.observers import noting_inputs, sum_of_products
from hlstm_tf.scoring.data import check_data, input_totals
from hlstm_tf.transforms.editing import weight
from hlstm_tf.transforms.rewriting import paired_layers
from hlstm_tf.transforms.sparsification import sparsify
from hlstm_tf.transforms.twins import is_plain, keras_class

_OWNERS = (
    keras.layers.Dense,
    keras.layers.SimpleRNNCell,
    keras.layers.LSTMCell,
    keras.layers.GRUCell,
    layers.HLSTMCell,
)
"""The classes that hold kernels; a recurrent layer's are its cell's."""


Moments = Mapping[tuple[int, str], np.ndarray]
"""Second moments of inputs `(gates or 1, n, n)`, by the `id` of a layer and a kernel's name."""


@dataclass
class TrainedKernel:
    """A trained kernel, and the factors found for it.

    Attributes:
        layer: The layer that holds it; of a recurrent layer, its cell.
        path: Its name in the table.
        weight: The name that its form goes by.
        names: The variables that hold it: one, or one a gate.
        shapes: The shape of each of them.
        matrices: The values of each, `(gates, inputs, outputs)`.
        roots: The roots of the moments of its inputs, for each variable; `None` without data.
        form: The form chosen; `None` where it stays dense.
        factors: For each variable its factors.
        error: The relative error of what it gives.
    """

    layer: keras.layers.Layer
    path: str
    weight: str
    names: tuple[str, ...]
    shapes: list[KernelShape]
    matrices: list[np.ndarray]
    roots: list[list[np.ndarray] | None]
    form: MatrixForm | None = None
    factors: list[list[np.ndarray]] = field(default_factory=list)
    error: float = 0.0

    @property
    def dense_parameters(self) -> int:
        return sum(shape.parameters for shape in self.shapes)

    @property
    def parameters(self) -> int:
        if self.form is None:
            return self.dense_parameters
        return sum(self.form.parameters(shape) for shape in self.shapes)

    def take(self, form: MatrixForm | None) -> None:
        """Finds the factors of a form, if it has fewer weights than the dense kernel."""
        self.form = form
        if form is None or self.parameters >= self.dense_parameters:
            self.form = None
            return
        for shape, matrices, roots in zip(self.shapes, self.matrices, self.roots, strict=True):
            self.factors.append(form.nearest(shape, matrices, roots))
        found = [form.dense(s, f) for s, f in zip(self.shapes, self.factors, strict=True)]
        errors = map(relative_error, self.matrices, found, self.roots)
        self.error = float(np.sqrt(np.mean(np.square(list(errors)))))

    def dense_arrays(self) -> dict[str, np.ndarray]:
        """What the factors stand for, by the names and in the shapes of the dense variables."""
        assert self.form is not None
        found = zip(self.names, self.shapes, self.factors, strict=True)
        return {
            name: as_variable(self.layer, name, self.form.dense(shape, factors))
            for name, shape, factors in found
        }

    def arrays(self) -> dict[str, np.ndarray]:
        """The factors by attribute name."""
        assert self.form is not None
        return {
            f"{name}_{factor.name}": value
            for name, shape, values in zip(self.names, self.shapes, self.factors, strict=True)
            for factor, value in zip(self.form.factors(shape), values, strict=True)
        }


def trained_kernels(model: keras.Model, moments: Moments) -> Iterator[TrainedKernel]:
    """Yields the kernels of a model that can have a form.

    Two with the same path get a number appended, as masked kernels do.

    Raises:
        ValueError: A weight is not finite.
    """
    recurrent = [layer for layer in all_layers(model) if isinstance(layer, keras.layers.RNN)]
    names = {id(layer.cell): layer.name for layer in recurrent}
    seen: set[int] = set()
    taken: set[str] = set()
    for layer in all_layers(model):
        if id(layer) in seen or not _can_be_compact(layer):
            continue
        seen.add(id(layer))
        form = form_of(layer)
        for kernel in form.kernels if form is not None else ("kernel",):
            variables = form.variables(kernel) if form is not None else (kernel,)
            path = unique_path(f"{names.get(id(layer), layer.name)}/{kernel}", taken)
            yield _trained_kernel(layer, path, kernel, variables, moments)


def _can_be_compact(layer: keras.layers.Layer) -> bool:
    if keras_class(layer) not in _OWNERS or not is_plain(layer) or not layer.built:
        return False
    if isinstance(layer, layers.HLSTMCell):
        return bool(layer.hidden_units) and not layer.kernel_form
    return not getattr(layer, "recurrent_dropout", 0)


def _trained_kernel(
    layer: keras.layers.Layer,
    path: str,
    kernel: str,
    variables: Sequence[str],
    moments: Moments,
) -> TrainedKernel:
    values = [np.asarray(weight(layer, name)) for name in variables]
    if not all(np.isfinite(value).all() for value in values):
        raise ValueError(
            f"{path} has weights that are NaN or infinite, so there are no factors near to it; "
            "train the model again, or load a checkpoint of before."
        )
    shaped = [_matrices(layer, name, value) for name, value in zip(variables, values, strict=True)]
    found = [moments.get((id(layer), name)) for name in variables]
    return TrainedKernel(
        layer,
        path,
        kernel,
        tuple(variables),
        [shape for shape, _ in shaped],
        [matrices for _, matrices in shaped],
        [None if each is None else [root_of_moment(m) for m in each] for each in found],
    )


def _matrices(
    layer: keras.layers.Layer, name: str, value: np.ndarray
) -> tuple[KernelShape, np.ndarray]:
    """The shape of a variable's matrices, and its values as `(gates, inputs, outputs)`."""
    if isinstance(layer, layers.HLSTMCell):
        return layer.kernel_shape(name, value.shape), layer.to_matrices(name, value)
    form = form_of(layer)
    gates = 1 if form is None else len(form.gates)
    shape = KernelShape(value.shape[0], value.shape[1] // gates, gates)
    return shape, np.stack(np.split(value, gates, axis=-1))


def as_variable(layer: keras.layers.Layer, name: str, matrices: np.ndarray) -> np.ndarray:
    """The values of a variable, of its matrices `(gates, inputs, outputs)`."""
    if isinstance(layer, layers.HLSTMCell):
        return layer.from_matrices(name, matrices)
    return side_by_side(matrices)


def input_moments(model: keras.Model, data: Any, batch_size: int) -> Moments:
    """The second moments of what each kernel of a model multiplies.

    Args:
        model: A built model.
        data, batch_size: As `factorize` takes them.

    Returns:
        Nothing of kernels whose inputs cannot be seen: cells inside `keras.layers.RNN` run in a
        loop of Keras's, and a layer that the model does not call has none.

    Raises:
        ValueError: The data give fewer rows than a kernel has inputs.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of layers that stay without masks
        masked = sparsify(model)
    twins = {id(new): old for old, new in paired_layers(model, masked)}
    kernels = [k for k in masked_kernels(masked) if _can_be_compact(twins[id(k.layer)])]
    forward = functools.partial(_products, masked, kernels)
    sums = input_totals(masked, forward, data, batch_size, 1.0, "factorize")
    found = {}
    for number, (products, count) in sums.items():
        kernel = kernels[number]
        rows, inputs = round(float(count)), kernel.matrices_shape[1]
        if rows < inputs:
            raise ValueError(
                f"{kernel.path} has {inputs} inputs, and the data give {rows} rows of them, so "
                "their covariance is singular; give more data, or none."
            )
        moment = np.asarray(products) / rows
        if not np.isfinite(moment).all():
            raise ValueError(
                f"the data give {kernel.path} inputs that are NaN or too large; leave such rows "
                "out of the data."
            )
        found[id(twins[id(kernel.layer)]), kernel.name] = moment
    return found


def with_targets(data: Any) -> Any:
    """Inputs as a training set; nothing looks at the targets."""
    if isinstance(data, (tuple, tf.data.Dataset, keras.utils.PyDataset)):
        return check_data(data, "data")
    leaves = keras.tree.flatten(data)
    if not leaves or not all(hasattr(leaf, "shape") for leaf in leaves):
        raise TypeError(
            "data must be arrays of inputs, a tf.data.Dataset or a keras.utils.PyDataset; got "
            f"{type(data).__name__}."
        )
    return data, np.zeros(len(leaves[0]))


def _products(
    model: keras.Model, kernels: list[MaskedKernel], x: Any
) -> dict[int, tuple[tf.Tensor, tf.Tensor]]:
    """Of one batch, by the number of a kernel: sums of its inputs' products, and of how many."""
    numbers = {kernel: number for number, kernel in enumerate(kernels)}
    found: dict[int, tuple[tf.Tensor, tf.Tensor]] = {}

    def note(kernel: MaskedKernel, products: tf.Tensor, count: tf.Tensor) -> None:
        if kernel in numbers and len(products.shape) == 3:  # one of ids is a vector of counts
            before = found.get(numbers[kernel], (0.0, 0.0))  # a layer that is called twice
            found[numbers[kernel]] = (before[0] + products, before[1] + count)

    with noting_inputs(note, sum_of_products):
        model(x, training=False)
    return found
