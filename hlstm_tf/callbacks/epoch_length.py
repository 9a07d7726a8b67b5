"""How many batches the user's data has, and data cut to as many as an epoch has."""

import math
from typing import Any

import keras
import tensorflow as tf


def batches_in(data: Any) -> float | None:
    """Returns how many batches `data` gives: a number, `math.inf` without an end, or `None`.

    `None` means that nobody can tell before the pass: of a `tf.data.Dataset` made from a generator,
    or filtered; and of arrays, which end in any case.

    Args:
        data: A `tf.data.Dataset`, a `keras.utils.PyDataset`, or arrays.

    Example:

    >>> data = tf.data.Dataset.range(3)
    >>> batches_in(data), batches_in(data.repeat()), batches_in(data.filter(lambda x: x > 1))
    (3, inf, None)
    """
    if isinstance(data, tf.data.Dataset):
        count = int(data.cardinality())
        if count == tf.data.INFINITE_CARDINALITY:
            return math.inf
        return None if count == tf.data.UNKNOWN_CARDINALITY else count
    if isinstance(data, keras.utils.PyDataset):
        return math.inf if data.num_batches is None else data.num_batches
    return None


def one_epoch(data: Any, name: str, steps: int | None = None) -> Any:
    """Returns data a pass of which ends: `data`, or as many of its batches as an epoch has.

    Data with an end is returned as it is, whatever `steps`. Of data whose length nobody can tell
    a pass takes `steps` batches at most; where `steps` is `None`, it goes on to the end.

    Args:
        data: A `tf.data.Dataset`, a `keras.utils.PyDataset`, or arrays.
        name: What to call it in an error.
        steps: How many batches an epoch has, as `fit` knows it; `None` where it does not.

    Raises:
        ValueError: `data` has no end, and `steps` is `None`.

    Example:

    >>> int(one_epoch(tf.data.Dataset.range(3).repeat(), "data", steps=5).cardinality())
    5
    """
    count = batches_in(data)
    if steps is None:
        if count == math.inf:
            raise ValueError(
                f"{name} has no end, so a pass over it would never finish. Give fit "
                f"steps_per_epoch, or give {_finite_form(data)}."
            )
        return data
    if isinstance(data, tf.data.Dataset) and (count is None or count == math.inf):
        return data.take(steps)
    return _FirstBatches(data, steps) if count == math.inf else data


def steps_per_epoch(callback: keras.callbacks.Callback) -> int | None:
    """Returns how many batches an epoch of the running `fit` has; `None` where it does not know."""
    return (callback.params or {}).get("steps")


def _finite_form(data: Any) -> str:
    if isinstance(data, tf.data.Dataset):
        return "a dataset that ends, such as dataset.take(100)"
    return "a PyDataset whose num_batches is a number"


class _FirstBatches(keras.utils.PyDataset):
    """The first batches of a `PyDataset` without an end."""

    def __init__(self, data: keras.utils.PyDataset, count: int) -> None:
        super().__init__()
        self._data, self._count = data, count

    @property
    def num_batches(self) -> int:
        return self._count

    def __getitem__(self, index: int) -> Any:
        return self._data[index]
