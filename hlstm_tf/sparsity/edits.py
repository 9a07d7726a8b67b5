"""The one function through which masks change."""

from collections.abc import Iterator, Mapping
from typing import Any

import keras
import numpy as np

from hlstm_tf.layers.masking import MaskedKernel


def edit_masks(
    edits: Mapping[MaskedKernel, np.ndarray],
    optimizer: keras.optimizers.Optimizer | None = None,
    values: Mapping[MaskedKernel, np.ndarray] | None = None,
) -> int:
    """Sets masks, zeroes the weights that became dormant and forgets the optimizer's past there.

    Where a mask changes, in either direction, the optimizer's slots (momenta, second moments,
    moving averages, accumulated gradients) return to their initial value; everything else stays as
    it was. All shapes are checked before the first change.

    Args:
        edits: The new boolean mask of each kernel to change, in the kernel's own shape.
        optimizer: The optimizer that trains the kernels, a `LossScaleOptimizer` around it included.
        values: Weights to give to connections that become active, in the kernel's own shape; they
            start at zero without. Entries at places that do not become active are not used.

    Returns:
        How many connections changed.

    Raises:
        ValueError: A mask has the wrong shape, or values other than 0 and 1.

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
    masks = {kernel: _as_mask(kernel, mask) for kernel, mask in edits.items()}
    return sum(
        _edit(kernel, mask, optimizer, None if values is None else values.get(kernel))
        for kernel, mask in masks.items()
    )


def optimizer_slots(
    optimizer: keras.optimizers.Optimizer, variable: keras.Variable
) -> Iterator[tuple[str, keras.Variable]]:
    """Yields the optimizer's slots of `variable` that have its shape, with their attribute names.

    Keras gives no public list of slots; every optimizer keeps each kind in a list attribute with
    one entry a trainable variable, in the order it was built with.

    Args:
        optimizer: A Keras optimizer; one wrapped in a `LossScaleOptimizer` is looked into.
        variable: A variable the optimizer trains; nothing is yielded for another.
    """
    inner = getattr(optimizer, "inner_optimizer", None)
    if inner is not None:
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
            yield name, slot


def _as_mask(kernel: MaskedKernel, mask: Any) -> np.ndarray:
    array = np.asarray(mask)
    kernel._check_shape(array.shape)
    if array.dtype != bool:
        if not np.isin(array, (0, 1)).all():
            raise ValueError(f"{kernel.path}: a mask holds only True and False, or 1 and 0.")
        array = array.astype(bool)
    return array


def _edit(
    kernel: MaskedKernel,
    mask: np.ndarray,
    optimizer: keras.optimizers.Optimizer | None,
    values: np.ndarray | None,
) -> int:
    before = kernel.mask.numpy()
    changed = before != mask
    if not changed.any():
        return 0
    kernel.mask.assign(mask)
    weights = np.where(mask, kernel.variable.numpy(), 0)
    if values is not None:
        weights = np.where(changed & mask, values, weights)
    kernel.variable.assign(weights)
    if optimizer is not None:
        for name, slot in optimizer_slots(optimizer, kernel.variable):
            start = _initial_slot_value(optimizer, name)
            if name == "_model_variables_moving_average":
                slot.assign(np.where(changed, weights, slot.numpy()))
            else:
                slot.assign(np.where(changed, start, slot.numpy()))
    return int(changed.sum())


def _initial_slot_value(optimizer: keras.optimizers.Optimizer, name: str) -> float:
    # Adagrad and FTRL start their sum of squared gradients above zero.
    inner = getattr(optimizer, "inner_optimizer", None) or optimizer
    if name == "_accumulators":
        return float(getattr(inner, "initial_accumulator_value", 0.0))
    return 0.0
