"""Pruning of areas: products of a convolution are left out where they are small."""

from collections.abc import Iterable
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from hlstm_tf.callbacks.chosen_epochs import AtEpochEnds
from hlstm_tf.keras_internals import all_layers
from hlstm_tf.layers import PartialAreaConv2D
from hlstm_tf.layers.kernels import set_and_note
from hlstm_tf.layers.masking import MaskedKernel, masked_kernels
from hlstm_tf.layers.observers import tapping
from hlstm_tf.scoring.data import input_totals
from hlstm_tf.sparsity import edit_masks, held_optimizers, prune
from hlstm_tf.sparsity.checks import check_fraction


class AreaPruning(AtEpochEnds):
    """Narrows the areas of partial-area convolutions, at the end of chosen epochs.

    For each pair of maps and each position of the output, the mean magnitude of their product over
    the training data says what goes with it. In each layer the smallest share of the positions
    still in use are dropped (NeST, arXiv 1711.02017, partial-area convolution), by the rule by
    which connections are pruned. What is dropped stays dropped. A pair of maps whose area is empty
    loses its connections, through `hl.edit_masks`.

    Only what existing connections compute counts: pairs without a connection keep their areas, for
    the connections that may grow there. The areas are weights of the model, so that they are saved
    and resumed with it (also by `GrowAndPrune`, whose rollbacks take them back, too).

    Args:
        ratio: Which share of the positions in use is dropped each time, in [0, 1].
        data: The training set: a `tf.data.Dataset`, a `keras.utils.PyDataset`, an `EpochData`, or
            arrays `(x, y)` or `(x, y, sample_weight)`; targets are not used. Of data without an end
            a pass takes as many batches as an epoch of `fit` has.
        epochs: Prune at the end of the first so many epochs, or of these epochs (an iterable,
            counted from 0). Default: the first.
        share: Share of the batches that products are averaged over, evenly spread.
        batch_size: How arrays are batched.
        verbose: Whether to print a line for each pruning: 1 or 0, or "auto" (default) for as `fit`
            does, by its own `verbose`.

    Attributes:
        history: A dictionary for each pruning: `epoch`, `removed` and `positions` (in use after it,
            by all pairs of maps that have a connection), `connections` and `sparsity` (of all
            kernels with masks).

    Raises:
        ValueError: An argument is out of its range; at training, the model has no
            `PartialAreaConv2D`, or `data` has no end and `fit` no `steps_per_epoch`.
        TypeError: `data` cannot be iterated again and again.

    Example:

    >>> import keras, numpy as np, hlstm_tf as hl
    >>> layers = [keras.Input((4, 4, 1)), hl.PartialAreaConv2D(2, 3), keras.layers.Flatten()]
    >>> model = keras.Sequential([*layers, keras.layers.Dense(1)])
    >>> model.compile("sgd", "mse")
    >>> x, y = np.random.default_rng(0).normal(size=(8, 4, 4, 1)), np.zeros(8)
    >>> _ = model.fit(x, y, callbacks=[hl.AreaPruning(0.25, (x, y), verbose=0)], verbose=0)
    >>> int(model.layers[0].area.numpy().sum())
    6
    """

    def __init__(
        self,
        ratio: float,
        data: Any,
        epochs: int | Iterable[int] = 1,
        share: float = 1.0,
        batch_size: int = 32,
        verbose: int | str | None = "auto",
    ) -> None:
        super().__init__(data, epochs, share, batch_size, verbose)
        self.ratio = check_fraction(ratio, "ratio")

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        area_layers(self.model)
        super().on_train_begin(logs)
        self._data = self.finite_data()

    def act(self, epoch: int) -> str:
        where = f"pruning of areas after epoch {epoch}"
        removed = prune_areas(
            self.model, self.ratio, self._data, self.batch_size, self.share, where
        )
        positions = sum(int(in_use.sum()) for in_use in areas_in_use(self.model))
        self.keep(epoch=epoch, removed=removed, positions=positions)
        return f"{removed:,} positions dropped, {positions:,} in use now"


def area_layers(model: keras.Model) -> list[PartialAreaConv2D]:
    """Returns the partial-area convolutions of a model.

    Raises:
        ValueError: There is none.
    """
    layers = [layer for layer in all_layers(model) if isinstance(layer, PartialAreaConv2D)]
    unique = list({id(layer): layer for layer in layers}.values())
    if not unique:
        raise ValueError(
            f"model '{model.name}' has no PartialAreaConv2D, so there is no area to prune. Put one "
            "in place of a Conv2D; it takes the same arguments and weights."
        )
    return unique


def areas_in_use(model: keras.Model) -> list[np.ndarray]:
    """Returns the areas of a model's partial-area convolutions, of pairs with a connection only."""
    masks = {id(kernel.layer): kernel.mask for kernel in masked_kernels(model)}
    found = []
    for layer in area_layers(model):
        mask = masks.get(id(layer))
        exists = _numpy(layer.kernel) != 0 if mask is None else _numpy(mask)
        found.append(_numpy(layer.area) & exists.any(axis=(0, 1)))
    return found


def prune_areas(
    model: keras.Model,
    ratio: float,
    data: Any,
    batch_size: int = 32,
    share: float = 1.0,
    where: str = "pruning of areas",
) -> int:
    """Drops the positions of the smallest products in each partial-area convolution.

    Args:
        model: A built model.
        ratio: Share of the positions in use to drop.
        data: See `AreaPruning`.
        batch_size: How arrays are batched.
        share: Share of the batches that count.
        where: What it is for, to name it in an error.

    Returns:
        How many positions were dropped.

    Raises:
        ValueError: The model has no such layer, or there is not one batch.
    """
    sizes = product_sizes(model, data, batch_size, share, where)
    kernels = {id(kernel.layer): kernel for kernel in masked_kernels(model)}
    edits: dict[MaskedKernel, np.ndarray] = {}
    removed = 0
    for layer, in_use, size in zip(area_layers(model), areas_in_use(model), sizes, strict=True):
        area, kernel = _numpy(layer.area), kernels.get(id(layer))
        flat = in_use.reshape(-1, in_use.shape[-1])
        kept = prune(flat, size.reshape(flat.shape), ratio).reshape(area.shape)
        narrowed = area & (kept | ~in_use)
        set_and_note(layer.area, narrowed)
        removed += int(area.sum() - narrowed.sum())
        if kernel is not None:
            edits[kernel] = _numpy(kernel.mask) & narrowed.any(axis=(0, 1))
    edit_masks(edits, optimizer=held_optimizers(model))
    return removed


def product_sizes(
    model: keras.Model, data: Any, batch_size: int, share: float, where: str
) -> list[np.ndarray]:
    """Returns, for each partial-area convolution, the mean magnitude of products over the data.

    Args:
        model, data, batch_size, share, where: As in `prune_areas`.

    Returns:
        Float32 arrays `(height, width, channels, filters)`, as of `area`.
    """
    layers = area_layers(model)

    def forward(x: Any) -> list[tf.Tensor]:
        found: dict[int, list[tf.Tensor]] = {id(layer): [] for layer in layers}

        def tap(layer: keras.Layer, inputs: Any, value: Any, output: Any) -> None:
            if isinstance(layer, PartialAreaConv2D):
                products = tf.abs(tf.cast(layer.products(inputs), tf.float32))
                found[id(layer)].append(tf.reduce_mean(products, axis=0))

        with tapping(tap):
            model(x, training=False)
        # A layer that is called twice is used at a position where either call needs it.
        means = [tf.reduce_sum(tf.stack(found[id(layer)]), axis=0) for layer in layers]
        first = next(each for each in keras.tree.flatten(x) if each is not None)
        examples = tf.cast(tf.shape(first)[0], tf.float32)
        return [*(examples * mean for mean in means), examples]

    *sums, examples = input_totals(model, forward, data, batch_size, share, where)
    return [_numpy(total) / np.float32(examples) for total in sums]


def _numpy(value: Any) -> np.ndarray:
    return np.asarray(keras.ops.convert_to_numpy(value))
