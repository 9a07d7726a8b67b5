"""The one function through which masks change."""

from collections.abc import Mapping
from typing import Any

import keras
import numpy as np
from keras import ops

from hlstm_tf.layers.kernels import MaskedKernel, set_and_note

from .slots import Optimizers, reset_slots


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
