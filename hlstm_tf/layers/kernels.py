"""The masked kernels of a layer: handles to them, and the weights that a forward pass uses."""

import contextlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras import ops

from hlstm_tf.layers.cells import CellForm
from hlstm_tf.layers.scoped import Scoped

Watch = Callable[[], Callable[[Any], Any]]
"""Called in a forward pass; what it returns is called with the gradient in each backward one."""


_kernels = Scoped({})  # effective kernels by `id` of the layer and kernel name
_dense = Scoped(False)  # whether gradients are dense


@contextlib.contextmanager
def dense_gradients() -> Iterator[None]:
    """Makes the gradient reach dormant connections too, for scoring which of them to grow.

    Inside, a masked layer's output stays the same to the last bit, but the gradient with respect
    to a kernel's variable is the gradient with respect to the effective weight, dormant places
    included (arXiv 1805.11797, section 3.2: growth is by |dL/dw| of dormant connections).

    It acts while a layer is called, in the thread that entered it. So enter it inside the body of
    a `tf.function`, since a traced body is not run again, and inside the function that
    `tf.distribute.Strategy.run` gets, since replicas are threads.

    Example:

    >>> import numpy as np, tensorflow as tf, hlstm_tf as hl
    >>> layer = hl.MaskedDense(1, use_bias=False)
    >>> layer.build((None, 2))
    >>> layer.set_weights([np.array([[2.0], [0.0]]), np.array([[True], [False]])])
    >>> with hl.dense_gradients(), tf.GradientTape() as tape:
    ...     loss = tf.reduce_sum(layer(tf.constant([[1.0, 3.0]])))
    >>> tape.gradient(loss, layer.kernel).numpy().tolist()
    [[1.0], [3.0]]
    """
    with _dense.holding(True):
        yield


def gradients_are_dense() -> bool:
    """Whether `dense_gradients` is entered in the running thread."""
    return _dense.value


@contextlib.contextmanager
def kernels_in_force(layer: keras.Layer, kernels: dict[str, Any]) -> Iterator[None]:
    """While entered, `EffectiveKernel` attributes of `layer` give the tensors in `kernels`."""
    with _kernels.holding({**_kernels.value, id(layer): kernels}):
        yield


def in_force(layer: keras.Layer) -> dict[str, Any] | None:
    """The effective kernels of `layer` where a call of it is running in this thread, or `None`."""
    return _kernels.value.get(id(layer))


def apply_mask(mask: keras.Variable, value: Any) -> Any:
    """`value` where `mask` is `True`, exact zeros elsewhere, whatever stands there."""
    # TensorFlow's own operations: Keras's look at every dtype, which a trace of many layers feels.
    tensor = tf.convert_to_tensor(value)
    return tf.where(tf.convert_to_tensor(mask), tensor, tf.zeros((), tensor.dtype))


def effective_weight(mask: keras.Variable, value: Any, watch: Watch | None = None) -> Any:
    """`apply_mask`, with the gradient passing at dormant places too inside `dense_gradients`.

    Args:
        mask: The kernel's mask.
        value: The kernel.
        watch: What it returns is called, in a backward pass, with the gradient of every place,
            dormant ones included.
    """
    if _dense.value:
        # w - w is exactly zero at dormant places, w - 0 exactly w at the others.
        return value - ops.stop_gradient(apply_mask(ops.logical_not(mask), value))
    if watch is None:
        return apply_mask(mask, value)
    exists = ops.convert_to_tensor(mask)
    note = watch()

    @tf.custom_gradient
    def watched(weight: Any) -> tuple[Any, Callable[[Any], Any]]:
        def grad(gradient: Any) -> Any:
            note(gradient)
            return apply_mask(exists, gradient)

        return apply_mask(exists, weight), grad

    return watched(tf.identity(value))  # a tensor also where the step runs eagerly


class EffectiveKernel:
    """Descriptor of the attribute that holds a kernel: the variable, or its effective tensor.

    Keras layers read `self.kernel` in `call`. While `MaskedLayer.effective_kernels` is entered, the
    attribute gives `where(mask, kernel, 0)`, computed once; outside it gives the variable. So a
    masked twin runs its Keras layer's own code, and a recurrent layer applies the mask once a call
    instead of once a step.
    """

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    def __get__(self, layer: Any, owner: type | None = None) -> Any:
        if layer is None:
            return self
        kernels = in_force(layer)
        effective = None if kernels is None else kernels.get(self._name.lstrip("_"))
        if effective is not None:
            return effective
        try:
            return layer.__dict__[self._name]
        except KeyError:
            # A built layer without it is a cell whose gates have different widths.
            why = "; each gate has one of its own" if layer.built else " before it is built"
            raise AttributeError(f"{type(layer).__name__} has no `{self._name}`{why}") from None

    def __set__(self, layer: Any, value: Any) -> None:
        layer.__dict__[self._name] = value

    def __delete__(self, layer: Any) -> None:
        del layer.__dict__[self._name]


@dataclass(frozen=True, eq=False)
class MaskedKernel:
    """One kernel of one layer with its mask: the handle of growth, pruning and export.

    A kernel is seen as `gates` matrices of shape `(inputs, outputs)`; every rule that speaks of
    "a matrix" (a percentile, a sparsity) means one of them. Two handles are equal when they mean
    the same variable, so that a handle is a key that outlives the list it came in.

    Attributes:
        layer: The layer that owns the variables; of a recurrent layer, its cell.
        name: The kernel's name in the layer: `"kernel"`, `"recurrent_kernel"`, `"output_kernel"`...
        variable: The weight, exactly 0 where the mask is `False`.
        mask: Boolean non-trainable variable of the same shape; `True` where a connection exists.
        gates: How many matrices the kernel holds: 4 for LSTM and H-LSTM, 3 for GRU, else 1.
        gates_first: Whether the gates are the first axis (`(gates, inputs, outputs)`) rather than
            next to the outputs (`(inputs, gates, outputs)` or `(inputs, gates * outputs)`).
        path: A name that is unique in the model.
        output_axes: The axes of a kernel without gates that count outputs, from the end: the last
            one, but of a transposed convolution the one before it, and of a depthwise one both.

    Example:

    >>> import keras, hlstm_tf as hl
    >>> layer = hl.MaskedDense(3)
    >>> layer.build((None, 2))
    >>> [handle] = hl.masked_kernels(layer)
    >>> handle.name, handle.to_matrices(handle.mask).shape
    ('kernel', (1, 2, 3))
    """

    layer: keras.Layer
    name: str
    variable: keras.Variable
    mask: keras.Variable
    gates: int
    gates_first: bool
    path: str
    output_axes: tuple[int, ...] = (-1,)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, MaskedKernel) and self.variable is other.variable

    def __hash__(self) -> int:
        return hash(id(self.variable))

    @property
    def shape(self) -> tuple[int, ...]:
        """The kernel's own shape, which is also its mask's."""
        return tuple(self.variable.shape)

    @property
    def matrices_shape(self) -> tuple[int, int, int]:
        """`(gates, inputs, outputs)`; the inputs of a convolution are window times channels."""
        if self.gates_first:
            gates, inputs, outputs = self.shape
            return gates, inputs, outputs
        axes = self._axes()
        outputs = int(np.prod([self.shape[axis] for axis in axes[self._inputs :]]))
        return self.gates, int(np.prod(self.shape)) // outputs, outputs // self.gates

    @property
    def _inputs(self) -> int:
        """How many axes count inputs."""
        # The gates sit beside the outputs, fused with them or not; all axes before are inputs.
        apart = self.gates > 1 and len(self.shape) == 3
        return len(self.shape) - (2 if apart else len(self.output_axes))

    def _axes(self) -> tuple[int, ...]:
        """The axes that count inputs and then those that count outputs."""
        rank = len(self.shape)
        outputs = [axis % rank for axis in self.output_axes]
        return (*(axis for axis in range(rank) if axis not in outputs), *outputs)

    def to_matrices(self, array: Any) -> np.ndarray:
        """Returns a copy of `array`, of the kernel's shape, as `(gates, inputs, outputs)`.

        Args:
            array: A NumPy array, tensor or variable of the kernel's shape.

        Raises:
            ValueError: The shape is not the kernel's.
        """
        values = array if isinstance(array, np.ndarray) else ops.convert_to_numpy(array)
        self.check_shape(values.shape)
        if self.gates_first:
            return np.array(values)
        gates, inputs, outputs = self.matrices_shape
        rows = values.transpose(self._axes()).reshape(inputs, gates, outputs)
        return np.array(rows.swapaxes(0, 1), order="C")

    def from_matrices(self, matrices: np.ndarray) -> np.ndarray:
        """Returns a copy of `matrices`, `(gates, inputs, outputs)`, in the kernel's own shape.

        Raises:
            ValueError: The shape is not `matrices_shape`.
        """
        if tuple(matrices.shape) != self.matrices_shape:
            raise ValueError(
                f"{self.path}: matrices of shape {tuple(matrices.shape)} were given; expected "
                f"(gates, inputs, outputs) = {self.matrices_shape}."
            )
        if self.gates_first:
            return np.array(matrices)
        axes = self._axes()
        rows = np.array(matrices.swapaxes(0, 1), order="C")
        ordered = rows.reshape([self.shape[axis] for axis in axes])
        return np.array(ordered.transpose(np.argsort(axes)), order="C")

    def of_gate(self, array: np.ndarray, gate: int) -> np.ndarray:
        """One gate's matrix `(inputs, outputs)` of an array of the kernel's shape, as a view of it.

        Args:
            array: A C-contiguous array.
            gate: Which of the kernel's matrices.
        """
        if self.gates_first:
            return array[gate]
        gates, inputs, outputs = self.matrices_shape
        return array.reshape(inputs, gates, outputs)[:, gate]

    def check_shape(self, shape: tuple[int, ...]) -> None:
        """Raises a `ValueError` that names the kernel unless `shape` is the kernel's."""
        if tuple(shape) != self.shape:
            raise ValueError(
                f"{self.path}: an array of shape {tuple(shape)} was given for a kernel of shape "
                f"{self.shape}; give one value for each connection."
            )

    def __repr__(self) -> str:
        return f"<MaskedKernel {self.path} {self.shape} gates={self.gates}>"


_NOTE = "hlstm_tf_set_to"


def set_and_note(variable: keras.Variable, value: np.ndarray) -> None:
    """Sets a boolean variable, a mask or an area, and notes the value where notes are kept."""
    variable.assign(value)
    if _NOTE in vars(variable):
        vars(variable)[_NOTE] = np.array(value, dtype=bool)


def keep_notes(variables: Iterable[keras.Variable]) -> None:
    """Forgets earlier notes of these variables, and notes from now on what they are set to."""
    for variable in variables:
        vars(variable)[_NOTE] = None


def drop_notes(variables: Iterable[keras.Variable]) -> None:
    """Forgets the notes of these variables and keeps no more."""
    for variable in variables:
        vars(variable).pop(_NOTE, None)


def noted(variables: Sequence[keras.Variable]) -> dict[int, np.ndarray]:
    """Returns what variables were last set to, by number; those that were not set are left out."""
    notes = {number: vars(variable).get(_NOTE) for number, variable in enumerate(variables)}
    return {number: note for number, note in notes.items() if note is not None}


def changed_by_others(variables: Sequence[keras.Variable]) -> dict[int, np.ndarray]:
    """Returns what variables were last set to, by number, where they hold something else now.

    >>> mask = keras.Variable([True, True], dtype="bool", trainable=False)
    >>> keep_notes([mask])
    >>> set_and_note(mask, np.array([True, False]))
    >>> _ = mask.assign([True, True])  # as `model.set_weights` does
    >>> changed_by_others([mask])
    {0: array([ True, False])}
    """
    return {
        number: note
        for number, note in noted(variables).items()
        if (note != ops.convert_to_numpy(variables[number])).any()
    }


class GateKernels:
    """The masked kernels of a cell, gate by gate.

    Args:
        form: The cell's form.
        kernels: All its masked kernels.
    """

    def __init__(self, form: CellForm, kernels: Sequence[MaskedKernel]) -> None:
        self._form = form
        self._by_name = {kernel.name: kernel for kernel in kernels}

    def place(self, weight: str, gate: int) -> tuple[MaskedKernel, int]:
        """The kernel that holds a gate's matrix of a weight, and which of its matrices that is."""
        names = self._form.variables(weight)
        shared = len(names) == 1
        return self._by_name[names[0 if shared else gate]], gate if shared else 0
