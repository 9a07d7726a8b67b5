"""The one function through which masks change."""

from collections.abc import Iterator, Mapping
from typing import Any

import keras
import numpy as np
from keras import ops

from hlstm_tf.layers.kernels import MaskedKernel


def edit_masks(
    edits: Mapping[MaskedKernel, np.ndarray],
    optimizer: keras.optimizers.Optimizer | None = None,
    values: Mapping[MaskedKernel, np.ndarray] | None = None,
) -> int:
    """Sets masks, zeroes the weights that became dormant and forgets the optimizer's past there.

    Where a mask changes, in either direction, the optimizer's slots (momenta, second moments,
    accumulated gradients) return to their initial value, and slots that follow the weight itself
    (moving averages of it) to the weight; everything else stays as it was. All arguments are
    checked before the first change.

    Args:
        edits: The new boolean mask of each kernel to change, in the kernel's own shape.
        optimizer: The optimizer that trains the kernels; one inside a `LossScaleOptimizer` or
            `MultiOptimizer` is found.
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
    optimizer: keras.optimizers.Optimizer | None = None,
    value: float = 0.0,
) -> None:
    """Sets entries of a variable that has no mask, and forgets the optimizer's past there.

    A bias, say, of a neuron that begins anew.

    Args:
        variable: The variable.
        places: Boolean, of its shape: which entries.
        optimizer: The optimizer that trains it, if any.
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
    if optimizer is not None:
        for owner, name, slot in optimizer_slots(optimizer, variable):
            slot.assign(np.where(places, _fresh_slot(owner, name, new), _numpy(slot)))


def optimizer_slots(
    optimizer: keras.optimizers.Optimizer, variable: keras.Variable
) -> Iterator[tuple[keras.optimizers.Optimizer, str, keras.Variable]]:
    """Yields what the optimizer keeps for each entry of `variable`.

    Keras gives no public list of slots; every optimizer keeps each kind in a list attribute with
    one entry a trainable variable, in the order it was built with. State that is shared by several
    entries of a variable (Adafactor's row and column sums) belongs to no place and is not yielded.

    Args:
        optimizer: A Keras optimizer; those inside a `LossScaleOptimizer` or `MultiOptimizer` are
            looked into.
        variable: A variable the optimizer trains; nothing is yielded for another.

    Yields:
        The optimizer that owns the slot, the attribute it is found under, and the slot, of the
        variable's shape.
    """
    for inner in _inner_optimizers(optimizer):
        yield from optimizer_slots(inner, variable)
    trained = list(getattr(optimizer, "_trainable_variables", ()))
    index = next((i for i, known in enumerate(trained) if known is variable), None)
    if index is None or not optimizer.built:
        return
    for name, slots in vars(optimizer).items():
        if not isinstance(slots, (list, tuple)) or len(slots) != len(trained):
            continue
        slot = slots[index]
        is_slot = isinstance(slot, keras.Variable) and slot is not variable
        if is_slot and tuple(slot.shape) == tuple(variable.shape):
            yield optimizer, name, slot


def _inner_optimizers(optimizer: Any) -> list[keras.optimizers.Optimizer]:
    inner = getattr(optimizer, "inner_optimizer", None)
    return [inner] if inner is not None else list(getattr(optimizer, "optimizers", ()))


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
    optimizer: keras.optimizers.Optimizer | None,
    start: np.ndarray | None,
) -> int:
    before, old = _numpy(kernel.mask), _numpy(kernel.variable)
    changed = before != mask
    weights = np.where(before & mask, old, np.zeros((), old.dtype))
    if start is not None:
        weights = np.where(changed & mask, start.astype(old.dtype), weights)
    if changed.any():
        kernel.mask.assign(mask)
    if (weights != old).any():
        kernel.variable.assign(weights)
    if optimizer is not None and changed.any():
        for owner, name, slot in optimizer_slots(optimizer, kernel.variable):
            fresh = _fresh_slot(owner, name, weights)
            slot.assign(np.where(changed, fresh, _numpy(slot)))
    return int(changed.sum())


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


def _numpy(variable: keras.Variable) -> np.ndarray:
    return np.asarray(ops.convert_to_numpy(variable))
