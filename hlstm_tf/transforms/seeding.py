"""The connections a model begins with: drawn at random, or those of the largest weights."""

from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from hlstm_tf.layers import MaskedKernel
from hlstm_tf.sparsity import Distribution, Structure, best_masks, seed_masks
from hlstm_tf.transforms.rewriting import paired_layers

Masks = dict[MaskedKernel, np.ndarray]
Rooms = Mapping[MaskedKernel, np.ndarray]


def random_masks(
    kernels: list[MaskedKernel],
    sparsity: float,
    seed: int,
    structure: Structure,
    distribution: Distribution,
    rooms: Rooms | None = None,
) -> Masks:
    """Draws random masks for kernels, in their own shapes; no neuron is left out.

    Args:
        kernels: The kernels, in an order that the model fixes.
        sparsity: In [0, 1], of the places there are.
        seed: Of the generator from which all masks come, one after another.
        structure: What exists as one.
        distribution: How the sparsity is shared out among the matrices.
        rooms: Where there may be connections: for each kernel some of its inputs by some of its
            outputs, as a mask. All by default.

    Raises:
        ValueError: An argument is malformed.
    """
    places = _places(kernels, rooms)
    shapes = [(rows.size, columns.size) for _, (rows, columns) in places]
    shaped = _kernel_shapes(places)
    drawn = seed_masks(shapes, sparsity, seed, structure, distribution, shaped)
    return _spread(places, drawn)


def magnitude_masks(
    kernels: list[MaskedKernel],
    sparsity: float,
    seed: int,
    structure: Structure,
    distribution: Distribution,
    rooms: Rooms | None = None,
) -> Masks:
    """Chooses the connections of the largest weights; arguments as `random_masks`, no seed used."""
    places = _places(kernels, rooms)
    weights = [m for kernel in kernels for m in np.abs(kernel.to_matrices(kernel.variable))]
    scores = [
        weight if weight.shape == (rows.size, columns.size) else weight[np.ix_(rows, columns)]
        for weight, (_, (rows, columns)) in zip(weights, places, strict=True)
    ]
    chosen = best_masks(scores, sparsity, structure, distribution, _kernel_shapes(places))
    return _spread(places, chosen)


def sign_of_training(model: keras.Model, fresh: keras.Model) -> str:
    """Tells in words why a model cannot be fresh; empty where nothing speaks against it.

    Weights that start at zero or one (biases, and what normalization layers hold) stay there until
    they are trained or loaded. A model that has none, and no optimizer, shows nothing.

    Args:
        model: A built model.
        fresh: The same model or its masked twin, made anew, its weights as initializers left them.
    """
    optimizer = getattr(model, "optimizer", None)
    if optimizer is not None and (steps := int(ops.convert_to_numpy(optimizer.iterations))):
        return f"its optimizer made {steps:,} steps"
    for old, new in paired_layers(model, fresh):
        before, after = _own_variables(old), _own_variables(new)
        for name in before.keys() & after.keys():
            start = np.asarray(after[name])
            if not _is_zeros_and_ones(start):
                continue
            if not np.array_equal(np.asarray(before[name]), start):
                return f"the biases of its layer '{old.name}' are not those of a fresh one"
    return ""


def _own_variables(layer: keras.Layer) -> dict[str, Any]:
    store: dict[str, Any] = {}
    layer.save_own_variables(store)
    return store


def _is_zeros_and_ones(start: np.ndarray) -> bool:
    if start.dtype.kind != "f" or (start.size and start.flat[0] not in (0, 1)):
        return False  # of most kernels, one look is enough
    return bool(((start == 0) | (start == 1)).all())


Place = tuple[MaskedKernel, tuple[np.ndarray, np.ndarray]]
"""One matrix of a kernel: the kernel, and the inputs and outputs between which there is room."""


def _places(kernels: Sequence[MaskedKernel], rooms: Rooms | None) -> list[Place]:
    if rooms is None:
        return [
            (kernel, (np.arange(inputs), np.arange(outputs)))
            for kernel in kernels
            for gates, inputs, outputs in [kernel.matrices_shape]
            for _ in range(gates)
        ]
    return [
        (kernel, (np.flatnonzero(room.any(axis=1)), np.flatnonzero(room.any(axis=0))))
        for kernel in kernels
        for room in kernel.to_matrices(rooms[kernel])
    ]


def _spread(places: Sequence[Place], masks: Sequence[np.ndarray]) -> Masks:
    """The kernels' masks from those of the room in each matrix."""
    matrices: dict[MaskedKernel, list[np.ndarray]] = {}
    for (kernel, (rows, columns)), mask in zip(places, masks, strict=True):
        _, *shape = kernel.matrices_shape
        if mask.shape != tuple(shape):
            matrix = np.zeros(shape, dtype=bool)
            matrix[np.ix_(rows, columns)] = mask
            mask = matrix
        matrices.setdefault(kernel, []).append(mask)
    return {kernel: kernel.from_matrices(np.stack(found)) for kernel, found in matrices.items()}


def _kernel_shapes(places: Sequence[Place]) -> list[tuple[int, ...]]:
    return [_kernel_shape(kernel, (rows.size, columns.size)) for kernel, (rows, columns) in places]


def _kernel_shape(kernel: MaskedKernel, matrix: tuple[int, int]) -> tuple[int, ...]:
    if kernel.gates > 1:
        return matrix
    # ERK counts a convolution's window apart from its channels.
    window = kernel.shape[:-2]
    return (*window, matrix[0] // int(np.prod(window)), matrix[1])
