"""Masks: which connections of a layer exist, and the weights that remain when they are applied.

Every masked layer keeps, for each of its kernels, a boolean variable of the kernel's shape. Three
rules make a dormant connection's weight exactly zero at all times:

* the forward pass multiplies once a call, `where(mask, kernel, 0)`, so neither the output nor the
  gradient knows a dormant weight;
* a constraint zeroes dormant weights after every optimizer step, whatever the optimizer does;
* loading zeroes them too.
"""

import contextlib
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from keras import ops


@dataclass(frozen=True, eq=False)
class MaskedKernel:
    """One kernel of one layer with its mask: the handle of growth, pruning and export.

    A kernel is seen as `gates` matrices of shape `(inputs, outputs)`; every rule that speaks of
    "a matrix" (a percentile, a sparsity) means one of them.

    Attributes:
        layer: The layer that owns the variables; of a recurrent layer, its cell.
        name: The kernel's name in the layer: `"kernel"`, `"recurrent_kernel"`, `"output_kernel"`...
        variable: The weight, exactly 0 where the mask is `False`.
        mask: Boolean non-trainable variable of the same shape; `True` where a connection exists.
        gates: How many matrices the kernel holds: 4 for LSTM and H-LSTM, 3 for GRU, else 1.
        gates_first: Whether the gates are the first axis (`(gates, inputs, outputs)`) rather than
            next to the outputs (`(inputs, gates, outputs)` or `(inputs, gates * outputs)`).
        path: A name that is unique in the model.

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

    def to_matrices(self, array: Any) -> np.ndarray:
        """Returns `array`, of the kernel's shape, as `(gates, inputs, outputs)`.

        The inputs of a convolution are its window times its input channels.

        Args:
            array: A NumPy array, tensor or variable of the kernel's shape.

        Raises:
            ValueError: The shape is not the kernel's.
        """
        values = ops.convert_to_numpy(array) if not isinstance(array, np.ndarray) else array
        self._check_shape(values.shape)
        if self.gates_first:
            return values
        return values.reshape(-1, self.gates, values.size // self._inputs() // self.gates).swapaxes(
            0, 1
        )

    def from_matrices(self, matrices: np.ndarray) -> np.ndarray:
        """Returns `matrices`, `(gates, inputs, outputs)`, in the kernel's own shape."""
        if self.gates_first:
            return matrices.reshape(self.variable.shape)
        return np.ascontiguousarray(matrices.swapaxes(0, 1)).reshape(self.variable.shape)

    def _inputs(self) -> int:
        # The gates sit beside the outputs, fused with them or not; all axes before are inputs.
        shape = self.variable.shape
        outputs_end = -2 if self.gates > 1 and len(shape) == 3 else -1
        return int(np.prod(shape[:outputs_end]))

    def _check_shape(self, shape: tuple[int, ...]) -> None:
        if tuple(shape) != tuple(self.variable.shape):
            raise ValueError(
                f"{self.path}: an array of shape {tuple(shape)} was given for a kernel of shape "
                f"{tuple(self.variable.shape)}; give one value for each connection."
            )

    def __repr__(self) -> str:
        return f"<MaskedKernel {self.path} {tuple(self.variable.shape)} gates={self.gates}>"


@keras.saving.register_keras_serializable(package="hlstm_tf")
class DormantStayZero(keras.constraints.Constraint):
    """Zeroes dormant weights after an optimizer step, and after the user's own constraint.

    No gradient reaches a dormant weight, but some optimizers move weights without one: Muon mixes
    the entries of a matrix, others add noise. The constraint holds them at zero as well.

    Args:
        mask: Boolean variable, `True` where a connection exists.
        inner: The user's constraint on the kernel, applied first; `None` for none.
    """

    def __init__(self, mask: keras.Variable, inner: Callable[[Any], Any] | None = None) -> None:
        self.mask = mask
        self.inner = inner

    def __call__(self, w: Any) -> Any:
        value = ops.convert_to_tensor(w) if self.inner is None else self.inner(w)
        return _where_connected(self.mask, value)


class _Scope(threading.local):
    """What the running thread knows: effective kernels by layer, and whether gradients are dense.

    Thread-local because `tf.distribute` traces one replica a thread.
    """

    def __init__(self) -> None:
        self.kernels: dict[int, dict[str, Any]] = {}
        self.dense = False


_scope = _Scope()


@contextlib.contextmanager
def dense_gradients() -> Iterator[None]:
    """Makes the gradient reach dormant connections too, for scoring which of them to grow.

    Inside, masked layers use the bare kernel. Its values are the effective ones, since dormant
    weights are exactly zero, so outputs do not change; but the gradient with respect to the
    variable becomes the gradient with respect to the effective weight, dormant places included
    (arXiv 1805.11797, section 3.2: growth is by |dL/dw| of dormant connections).

    Enter it inside the body of a `tf.function`, since it acts while a function is traced.

    Example:

    >>> import tensorflow as tf, hlstm_tf as hl
    >>> layer = hl.MaskedDense(1, use_bias=False)
    >>> layer.build((None, 2))
    >>> layer.kernel.assign([[2.0], [0.0]]); layer.kernel_mask.assign([[True], [False]])
    >>> with hl.dense_gradients(), tf.GradientTape() as tape:
    ...     loss = tf.reduce_sum(layer(tf.constant([[1.0, 3.0]])))
    >>> tape.gradient(loss, layer.kernel).numpy().tolist()
    [[1.0], [3.0]]
    """
    before = _scope.dense
    _scope.dense = True
    try:
        yield
    finally:
        _scope.dense = before


class EffectiveKernel:
    """Descriptor of the attribute that holds a kernel: the variable, or its effective tensor.

    Keras layers read `self.kernel` in `call`. While `MaskedLayer.effective_kernels` is entered, the
    attribute gives `where(mask, kernel, 0)`, computed once; outside it gives the variable. So a
    masked twin runs its Keras layer's own code, and a recurrent layer multiplies once a call
    instead of once a step.
    """

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    def __get__(self, layer: Any, owner: type | None = None) -> Any:
        if layer is None:
            return self
        effective = _scope.kernels.get(id(layer), {}).get(self._name.lstrip("_"))
        if effective is not None:
            return effective
        try:
            return layer.__dict__[self._name]
        except KeyError:
            raise AttributeError(
                f"{type(layer).__name__} has no `{self._name}` before it is built"
            ) from None

    def __set__(self, layer: Any, value: Any) -> None:
        layer.__dict__[self._name] = value

    def __delete__(self, layer: Any) -> None:
        del layer.__dict__[self._name]


class MaskedLayer:
    """Mixin of layers with masks: creates them, applies them, saves and loads them.

    A subclass calls `_add_masks` at the end of `build` and runs its forward pass inside
    `effective_kernels()`.
    """

    _masked: dict[str, MaskedKernel]

    def _add_masks(self, names: tuple[str, ...], gates: int = 1, gates_first: bool = False) -> None:
        """Adds an all-`True` mask variable `NAME_mask` for each kernel attribute named."""
        masked = dict(self.__dict__.get("_masked", {}))
        for name in names:
            variable = self._kernel_variable(name)
            mask = self.add_weight(  # type: ignore[attr-defined]
                name=f"{name}_mask",
                shape=variable.shape,
                dtype="bool",
                initializer="ones",
                trainable=False,
            )
            setattr(self, f"{name}_mask", mask)
            variable.constraint = DormantStayZero(mask, variable.constraint)
            masked[name] = MaskedKernel(
                self,
                name,
                variable,
                mask,
                gates,
                gates_first,
                variable.path,
            )
        # Not through Keras's attribute tracking, which would wrap the dictionary.
        self.__dict__["_masked"] = masked

    def _kernel_variable(self, name: str) -> keras.Variable:
        # Dense, Conv and Embedding keep the variable as `_kernel` behind a property.
        private = self.__dict__.get(f"_{name}")
        return private if private is not None else self.__dict__[name]

    def own_masked_kernels(self) -> list[MaskedKernel]:
        """The kernels of this layer itself, in the order they were made; empty before `build`."""
        return list(self.__dict__.get("_masked", {}).values())

    @contextlib.contextmanager
    def effective_kernels(self) -> Iterator[None]:
        """While entered, this layer's kernel attributes give the masked, cast tensors."""
        outermost = id(self) not in _scope.kernels
        if outermost and not _scope.dense:
            _scope.kernels[id(self)] = {
                handle.name: _where_connected(handle.mask, ops.convert_to_tensor(handle.variable))
                for handle in self.own_masked_kernels()
            }
        try:
            yield
        finally:
            if outermost:
                _scope.kernels.pop(id(self), None)

    def effective(self, name: str) -> Any:
        """The kernel called `name` as the forward pass uses it, in the compute dtype."""
        cached = _scope.kernels.get(id(self), {}).get(name)
        if cached is not None:
            return cached
        value = ops.convert_to_tensor(self._kernel_variable(name))
        handle = self.__dict__.get("_masked", {}).get(name)
        return value if handle is None or _scope.dense else _where_connected(handle.mask, value)

    def save_own_variables(self, store: Any) -> None:
        """Saves Keras's entries as the unmasked layer does, and each mask under its own name."""
        masks = {id(handle.mask) for handle in self.own_masked_kernels()}
        for key, value in self._plain_store().items():
            if id(value) not in masks:
                store[key] = value
        for handle in self.own_masked_kernels():
            store[f"{handle.name}_mask"] = handle.mask

    def load_own_variables(self, store: Any) -> None:
        """Loads weights and masks; a file of the unmasked layer loads under the masks in force."""
        handles = self.own_masked_kernels()
        masks = {id(handle.mask): f"{handle.name}_mask" for handle in handles}
        keys = set(store.keys())
        plain = {key: store[key] for key in keys if key not in masks.values()}
        # Keras's loaders count a layer's variables, masks included, so each mask goes along:
        # under its number where Keras saves it, else under its name, which Keras's loader skips.
        numbered = {id(value): key for key, value in self._plain_store().items()}
        for handle in handles:
            key = numbered.get(id(handle.mask), masks[id(handle.mask)])
            plain[key] = ops.convert_to_numpy(handle.mask)
        super().load_own_variables(plain)  # type: ignore[misc]
        for handle in handles:
            if f"{handle.name}_mask" in keys:
                mask = np.asarray(store[f"{handle.name}_mask"])
                handle._check_shape(mask.shape)
                handle.mask.assign(mask.astype(bool))
            handle.variable.assign(_where_connected(handle.mask, handle.variable.value))

    def _plain_store(self) -> dict[str, Any]:
        store: dict[str, Any] = {}
        super().save_own_variables(store)  # type: ignore[misc]
        return store


def masked_kernels(model: keras.Layer) -> list[MaskedKernel]:
    """Finds every masked kernel of a model or layer, however nested, each once.

    Cells inside `RNN`, `Bidirectional` and `StackedRNNCells`, layers inside `TimeDistributed`,
    nested models and shared layers are all found.

    Args:
        model: A built model or layer.

    Returns:
        The handles, in the order of the layers; two with the same path get a number appended.

    Raises:
        TypeError: `model` is not a Keras layer or model.

    Example:

    >>> import keras, hlstm_tf as hl
    >>> model = keras.Sequential([keras.Input((None, 4)), hl.HLSTM(3, hidden_units=2)])
    >>> [handle.name for handle in hl.masked_kernels(model)]
    ['kernel', 'recurrent_kernel', 'output_kernel']
    """
    if not isinstance(model, keras.Layer):
        raise TypeError(f"model must be a Keras layer or model; got {type(model).__name__}.")
    found: list[MaskedKernel] = []
    seen: set[int] = set()
    taken: dict[str, int] = {}
    for layer in model._flatten_layers(include_self=True, recursive=True):
        if not isinstance(layer, MaskedLayer) or id(layer) in seen:
            continue
        seen.add(id(layer))
        found.extend(_with_unique_path(handle, taken) for handle in layer.own_masked_kernels())
    return found


def _with_unique_path(handle: MaskedKernel, taken: dict[str, int]) -> MaskedKernel:
    count = taken[handle.path] = taken.get(handle.path, 0) + 1
    if count == 1:
        return handle
    fields = {name: getattr(handle, name) for name in handle.__dataclass_fields__}
    return MaskedKernel(**{**fields, "path": f"{handle.path}_{count}"})


def _where_connected(mask: keras.Variable, value: Any) -> Any:
    return ops.where(mask, value, ops.zeros((), dtype=value.dtype))
