"""Data whose order is a function of the epoch, so that a resumed run sees what it would have."""

import math
from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf

from hlstm_tf.callbacks.base import CopiedWithoutData
from hlstm_tf.keras_internals import variant_tensor
from hlstm_tf.scoring.data import batches_in
from hlstm_tf.sparsity.checks import check_count


class EpochData(tf.data.Dataset):
    """A `tf.data.Dataset` that is made anew, from the number of the epoch, for each epoch.

    `dataset.shuffle(n)` draws another order each time it is iterated: after a restart the third
    epoch sees the order of the first. Here the pipeline is a function of the epoch, so an epoch's
    batches do not depend on what was iterated before it, or in which process.

    It is a `tf.data.Dataset` like any other: pass it to `model.fit`, or `map`, `prefetch` and
    `take` it. Which epoch it gives is its attribute `epoch`. `GrowAndPrune` and `GradientGrowth`
    set it where they are given the data; without them pass the callback `follow()` to `fit`.

    Keras takes the number of batches from the first epoch it sees, so every epoch must have the
    same number of them: shuffle before batching, or batch by length first and shuffle the batches.
    It has to end: without an end, `fit` would go on with the first epoch's data for ever.
    `steps_per_epoch` would let one epoch run into the next; leave it out. Options of the dataset
    that `make` returns hold for the whole.

    Args:
        make: Takes the epoch, a scalar `int64` tensor, and returns a `tf.data.Dataset`. It is
            traced like the function of `flat_map`. Use the epoch as the seed: of
            `dataset.shuffle(n, seed=epoch)`, and of `tf.random.stateless_*` with
            `seed=(epoch, index)`.
        seed: Another seed gives other orders. `tf.random.set_seed` has no influence.
        epoch: The epoch to begin with.

    Raises:
        TypeError: `make` is not callable, or returns no dataset.
        ValueError: The seed is negative, or the dataset has no end.

    Example:

    >>> import tensorflow as tf, hlstm_tf as hl
    >>> from hlstm_tf.callbacks import EpochData
    >>> data = EpochData(lambda epoch: tf.data.Dataset.range(5).shuffle(5, seed=epoch).batch(5))
    >>> first = [batch.numpy().tolist() for batch in data]
    >>> data.epoch = 1
    >>> first == [batch.numpy().tolist() for batch in data]
    False
    >>> data.epoch = 0
    >>> first == [batch.numpy().tolist() for batch in data]
    True
    """

    def __init__(
        self, make: Callable[[tf.Tensor], tf.data.Dataset], seed: int = 0, epoch: int = 0
    ) -> None:
        if not callable(make):
            raise TypeError(
                "make must be a function of the epoch that returns a tf.data.Dataset; got "
                f"{type(make).__name__}."
            )
        example = make(tf.constant(epoch, tf.int64))
        if not isinstance(example, tf.data.Dataset):
            raise TypeError(
                f"make must return a tf.data.Dataset; it returned {type(example).__name__}."
            )
        if batches_in(example) == math.inf:
            raise ValueError(
                "make must return a dataset that ends, an epoch of it; leave .repeat() out, or "
                "add .take(batches)."
            )
        self._make = make
        self._seed = check_count(seed, "seed", minimum=0)
        self._epoch = [int(epoch)]
        # The generator runs when an iterator gives its first element, which fit asks for after
        # `on_epoch_begin`. A variable would do as well, were it not mirrored under a strategy.
        epochs = tf.data.Dataset.from_generator(
            lambda: iter(tuple(self._epoch)), output_signature=tf.TensorSpec((), tf.int64)
        )
        # Options inside of `flat_map` would be lost.
        dataset = epochs.flat_map(self._make_in_graph).with_options(example.options())
        batches = int(example.cardinality())
        if batches >= 0:
            dataset = dataset.apply(tf.data.experimental.assert_cardinality(batches))
        self._dataset = dataset
        super().__init__(variant_tensor(dataset))

    def _make_in_graph(self, epoch: tf.Tensor) -> tf.data.Dataset:
        # An operation mixes its own seed with the graph's, else the process' global one. (A global
        # seed of 0 would fail besides: TensorFlow then compares the operation's with 0 in Python.)
        tf.compat.v1.set_random_seed(self._seed + 1)
        return self._make(epoch)

    @property
    def epoch(self) -> int:
        """The epoch that the next iterator gives."""
        return self._epoch[0]

    @epoch.setter
    def epoch(self, epoch: int) -> None:
        self._epoch[0] = int(epoch)

    @property
    def element_spec(self) -> Any:
        """The type of an element, as of any dataset."""
        return self._dataset.element_spec

    def _inputs(self) -> list[tf.data.Dataset]:
        return [self._dataset]

    def follow(self) -> keras.callbacks.Callback:
        """Returns a callback that gives each epoch of `fit` its own data."""
        return _FollowEpoch(self)


class _FollowEpoch(CopiedWithoutData):
    def __init__(self, data: EpochData) -> None:
        super().__init__()
        self.data = data

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self.data.epoch = epoch


def set_epoch(data: Any, epoch: int) -> None:
    """Tells `data` which epoch comes, where it is an `EpochData`."""
    if isinstance(data, EpochData):
        data.epoch = epoch
