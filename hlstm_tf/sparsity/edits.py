"""The one function through which masks change, and the optimizer slots that change with them."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from types import ModuleType
from typing import Any, TypeAlias

import keras
import numpy as np
from keras import ops

from hlstm_tf.keras_internals import trained_variables
from hlstm_tf.layers.kernels import MaskedKernel, set_and_note
from hlstm_tf.layers.masking import layers_within

Optimizers: TypeAlias = keras.optimizers.Optimizer | Sequence[keras.optimizers.Optimizer] | None
"""One optimizer, several, or none."""


def held_optimizers(model: keras.Model) -> list[keras.optimizers.Optimizer]:
    """Returns every optimizer that a model holds, each once, that of `compile` first.

    A model with its own `train_step`, such as a GAN, may hold several. They are looked for in the
    attributes of the model, of its layers and of the models in it, in containers there, and in the
    attributes of other objects there.

    Args:
        model: A model, compiled or not.

    Example:

    >>> import keras
    >>> model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    >>> model.compile("sgd", "mse")
    >>> model.more = {"critic": keras.optimizers.Adam()}
    >>> [optimizer.name for optimizer in held_optimizers(model)]
    ['sgd', 'adam']
    """
    found = [getattr(model, "optimizer", None)]
    seen: set[int] = set()
    for layer in layers_within(model):
        found += _optimizers_in(vars(layer).values(), seen)
    return list({id(each): each for each in found if each is not None}.values())


def optimizer_slots(
    optimizer: keras.optimizers.Optimizer, variable: keras.Variable
) -> Iterator[tuple[keras.optimizers.Optimizer, str, keras.Variable]]:
    """Yields what the optimizer keeps for each entry of `variable`.

    Keras gives no public list of slots; every optimizer keeps each kind in an attribute, a list or
    dictionary with one entry a trainable variable, in the order it was built with. State that is
    shared by several entries of a variable (Adafactor's row and column sums) belongs to no place
    and is not yielded.

    Args:
        optimizer: A Keras optimizer; those inside a `LossScaleOptimizer`, `MultiOptimizer` or
            other wrapper are looked into.
        variable: A variable the optimizer trains; nothing is yielded for another.

    Yields:
        The optimizer that owns the slot, the attribute it is found under, and the slot, of the
        variable's shape.
    """
    for inner in _inner_optimizers(optimizer):
        yield from optimizer_slots(inner, variable)
    trained = trained_variables(optimizer)
    index = next((i for i, known in enumerate(trained) if known is variable), None)
    if index is None or not optimizer.built:
        return
    for name, slots in vars(optimizer).items():
        if isinstance(slots, Mapping):
            slots = list(slots.values())
        if not isinstance(slots, (list, tuple)) or len(slots) != len(trained):
            continue
        slot = slots[index]
        is_slot = isinstance(slot, keras.Variable) and slot is not variable
        if is_slot and tuple(slot.shape) == tuple(variable.shape):
            yield optimizer, name, slot


def reset_slots(
    optimizer: Optimizers, variable: keras.Variable, places: np.ndarray, weights: np.ndarray
) -> None:
    """Gives slots their initial value at some places of a variable.

    Args:
        optimizer: What trains the variable.
        variable: The variable.
        places: Boolean, of its shape.
        weights: The variable's value, to which slots that follow it return.
    """
    optimizers: Any = [] if optimizer is None else optimizer
    if isinstance(optimizers, keras.optimizers.Optimizer):
        optimizers = [optimizers]
    for each in optimizers:
        for owner, name, slot in optimizer_slots(each, variable):
            slot.assign(np.where(places, _fresh_slot(owner, name, weights), _numpy(slot)))


def _inner_optimizers(optimizer: keras.optimizers.Optimizer) -> list[keras.optimizers.Optimizer]:
    return _optimizers_in(vars(optimizer).values(), {id(optimizer)})


def _optimizers_in(
    values: Iterable[Any], seen: set[int], inside_object: bool = False
) -> list[keras.optimizers.Optimizer]:
    """The optimizers among values, in containers there, and in objects there."""
    found = []
    for value in values:
        if id(value) in seen or value is None or isinstance(value, (str, bytes, int, float)):
            continue
        seen.add(id(value))
        if isinstance(value, keras.optimizers.Optimizer):
            found.append(value)
        elif isinstance(value, Mapping):
            found += _optimizers_in(list(value.values()), seen, inside_object)
        elif isinstance(value, (list, tuple, set, frozenset)):
            found += _optimizers_in(list(value), seen, inside_object)
        elif not inside_object and _may_hold(value):
            found += _optimizers_in(list(vars(value).values()), seen, inside_object=True)
    return found


def _may_hold(value: Any) -> bool:
    """Whether to look into the attributes of an object; layers are looked into in any case."""
    leaves = (keras.Layer, keras.Variable, ModuleType, type)
    return hasattr(value, "__dict__") and not isinstance(value, leaves)


def _fresh_slot(
    optimizer: keras.optimizers.Optimizer, name: str, weights: np.ndarray
) -> np.ndarray | float:
    """What the slot holds when an optimizer is built on variables with these weights."""
    if name == "_model_variables_moving_average":
        return weights
    if name == "_momentums" and isinstance(optimizer, keras.optimizers.ScheduleFreeAdamW):
        return weights  # not a momentum, but the point that the gradient steps move
    if name == "_accumulators":
        # Adagrad and FTRL start their sum of squared gradients above zero.
        return float(getattr(optimizer, "initial_accumulator_value", 0.0))
    return 0.0


def edit_masks(
    edits: Mapping[MaskedKernel, np.ndarray],
    optimizer: Optimizers = None,
    values: Mapping[MaskedKernel, np.ndarray] | None = None,
) -> int:
    """Sets masks, zeroes the weights that became dormant and forgets the optimizer's past there.

    Where a mask changes, in either direction, the optimizer's slots (momenta, second moments,
    accumulated gradients) return to their initial value, and slots that follow the weight itself
    (moving averages of it) to the weight; everything else stays as it was. All arguments are
    checked before the first change.

    Args:
        edits: The new boolean mask of each kernel to change, in the kernel's own shape.
        optimizer: What trains the kernels: an optimizer, or several, as `held_optimizers(model)`
            finds them; one inside a `LossScaleOptimizer`, `MultiOptimizer` or other wrapper is
            found.
        values: Weights to give to connections that become active, in the kernel's own shape; they
            start at zero without. Entries at places that do not become active are not used.

    Returns:
        How many connections changed.

    Raises:
        ValueError: A mask has the wrong shape, or values other than 0 and 1; `values` have the
            wrong shape, are not finite where they are used, or are for a kernel not in `edits`.

    Example:

    >>> import numpy as np, hlstm_tf as hl
    >>> layer = hl.MaskedDense(1, kernel_initializer="ones")
    >>> layer.build((None, 2))
    >>> [kernel] = hl.masked_kernels(layer)
    >>> hl.edit_masks({kernel: np.array([[True], [False]])})
    1
    >>> layer.kernel.numpy().tolist()
    [[1.0], [0.0]]
    """
    values = values or {}
    for kernel in edits:
        if not isinstance(kernel, MaskedKernel):
            raise ValueError(
                f"edits must have handles of hl.masked_kernels(model) as keys; got {kernel!r}."
            )
    for kernel in values:
        if kernel not in edits:
            raise ValueError(f"{kernel.path}: values were given for a kernel whose mask is not.")
    checked = [
        (kernel, mask, _starting_weights(kernel, mask, values.get(kernel)))
        for kernel, mask in ((kernel, _as_mask(kernel, mask)) for kernel, mask in edits.items())
    ]
    return sum(_edit(kernel, mask, optimizer, start) for kernel, mask, start in checked)


def reset_entries(
    variable: keras.Variable,
    places: np.ndarray,
    optimizer: Optimizers = None,
    value: float = 0.0,
) -> None:
    """Sets entries of a variable that has no mask, and forgets the optimizer's past there.

    A bias, say, of a neuron that begins anew.

    Args:
        variable: The variable.
        places: Boolean, of its shape: which entries.
        optimizer: The optimizer that trains it, or several, if any.
        value: What they become.

    Example:

    >>> import numpy as np, hlstm_tf as hl
    >>> layer = hl.MaskedDense(2, bias_initializer="ones")
    >>> layer.build((None, 2))
    >>> reset_entries(layer.bias, np.array([True, False]))
    >>> layer.bias.numpy().tolist()
    [0.0, 1.0]
    """
    old = _numpy(variable)
    new = np.where(places, np.asarray(value, old.dtype), old)
    variable.assign(new)
    reset_slots(optimizer, variable, places, new)


def _as_mask(kernel: MaskedKernel, mask: Any) -> np.ndarray:
    array = np.asarray(mask)
    kernel.check_shape(array.shape)
    if array.dtype != bool:
        if not np.isin(array, (0, 1)).all():
            raise ValueError(f"{kernel.path}: a mask holds only True and False, or 1 and 0.")
        array = array.astype(bool)
    return array


def _starting_weights(kernel: MaskedKernel, mask: np.ndarray, values: Any) -> np.ndarray | None:
    if values is None:
        return None
    array = np.asarray(values, dtype="float32")
    kernel.check_shape(array.shape)
    if not np.isfinite(array[mask & ~_numpy(kernel.mask)]).all():
        raise ValueError(f"{kernel.path}: values for new connections must be finite numbers.")
    return array


def _edit(
    kernel: MaskedKernel,
    mask: np.ndarray,
    optimizer: Optimizers,
    start: np.ndarray | None,
) -> int:
    before, old = _numpy(kernel.mask), _numpy(kernel.variable)
    changed = before != mask
    weights = np.where(before & mask, old, np.zeros((), old.dtype))
    if start is not None:
        weights = np.where(changed & mask, start.astype(old.dtype), weights)
    set_and_note(kernel.mask, mask)
    if (weights != old).any():
        kernel.variable.assign(weights)
    if changed.any():
        reset_slots(optimizer, kernel.variable, changed, weights)
    return int(changed.sum())


def _numpy(variable: keras.Variable) -> np.ndarray:
    return np.asarray(ops.convert_to_numpy(variable))
