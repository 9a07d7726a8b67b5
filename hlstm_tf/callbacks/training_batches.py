"""The batches of a training set, in whatever form the user keeps it."""

import math
from collections.abc import Iterator
from typing import Any

import keras
import tensorflow as tf


def check_data(data: Any, name: str) -> Any:
    """Returns `data` where it can be iterated again and again, or raises.

    Args:
        data: A `tf.data.Dataset`, a `keras.utils.PyDataset`, or arrays `(x, y)` or
            `(x, y, sample_weight)`.
        name: What to call it in an error.

    Raises:
        TypeError: It is none of these; a generator, say, which gives its batches only once.
    """
    if isinstance(data, (tf.data.Dataset, keras.utils.PyDataset)):
        return data
    if isinstance(data, tuple) and len(data) in (2, 3):
        return data
    raise TypeError(
        f"{name} must be the training set as a tf.data.Dataset, a keras.utils.PyDataset or a "
        f"tuple of arrays (x, y) or (x, y, sample_weight); got {type(data).__name__}."
    )


def check_share(share: float) -> float:
    """Returns `share` where it is above 0 and at most 1, or raises `ValueError`."""
    if not 0 < share <= 1:
        raise ValueError(f"share must be above 0 and at most 1; got {share!r}")
    return float(share)


def training_batches(data: Any, batch_size: int = 32, share: float = 1.0) -> Iterator[Any]:
    """Yields batches of `data`, each once, as `fit` would take it.

    Args:
        data: See `check_data`.
        batch_size: How arrays are batched; the others say it themselves.
        share: Share of the batches to yield: every third for a third.

    Example:

    >>> [int(batch) for batch in training_batches(tf.data.Dataset.range(9), share=1 / 3)]
    [0, 3, 6]
    """
    share = check_share(share)
    for number, batch in enumerate(_all_batches(data, batch_size)):
        if math.ceil((number + 1) * share) > math.ceil(number * share):
            yield batch


def _all_batches(data: Any, batch_size: int) -> Iterator[Any]:
    if isinstance(data, tf.data.Dataset):
        yield from data
    elif isinstance(data, keras.utils.PyDataset):
        for index in range(len(data)):
            yield keras.tree.map_structure(_as_tensor, data[index])
    else:
        arrays = keras.tree.map_structure(tf.convert_to_tensor, tuple(data))
        yield from tf.data.Dataset.from_tensor_slices(arrays).batch(batch_size)


def examples_in(batch: Any) -> int:
    """The number of examples in a batch: the first dimension of its first array."""
    for array in keras.tree.flatten(batch):
        if array is not None:
            return int(array.shape[0])
    raise ValueError("a batch of the training data holds no array.")


def _as_tensor(array: Any) -> Any:
    return None if array is None else tf.convert_to_tensor(array)
