"""The training data as the user keeps it: its batches, its length, and sums over it."""

import math
import warnings
from collections.abc import Callable, Iterator
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


_MANY_BATCHES = 10_000  # more than a pass over nearly every training set has


def check_data(data: Any, name: str) -> Any:
    """Returns `data` where it can be iterated again and again, or raises.

    Args:
        data: A `tf.data.Dataset`, a `keras.utils.PyDataset`, or arrays `(x, y)` or
            `(x, y, sample_weight)`.
        name: What to call it in an error.

    Raises:
        TypeError: It is none of these; a generator, say, which gives its batches only once.
        ValueError: Arrays of different lengths.
    """
    if isinstance(data, (tf.data.Dataset, keras.utils.PyDataset)):
        return data
    if isinstance(data, tuple) and len(data) in (2, 3):
        _check_lengths(data, name)
        return data
    raise TypeError(
        f"{name} must be the training set as a tf.data.Dataset, a keras.utils.PyDataset or a "
        f"tuple of arrays (x, y) or (x, y, sample_weight); got {type(data).__name__}."
    )


def check_inputs(model: keras.Model, x: Any, where: str) -> None:
    """Checks that a batch's inputs have the shapes of the model's, where it says them.

    Args:
        model: Functional and sequential models are checked, others say no shapes.
        x: An array, or a list or dictionary of such.
        where: What the batch is for, to name it in an error.

    Raises:
        ValueError: A shape that the model cannot take.

    Example:

    >>> model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1)])
    >>> check_inputs(model, tf.zeros((8, 2)), "growth")
    Traceback (most recent call last):
    ValueError: growth: got inputs of shape (8, 2) where the model takes (None, 3); give it batches
    of what fit trains on.
    """
    expected = getattr(model, "inputs", None) or []
    given = keras.tree.flatten(x)
    if isinstance(x, dict) and all(each.name in x for each in expected):
        given = [x[each.name] for each in expected]
    if len(given) != len(expected):
        return
    for array, each in zip(given, expected, strict=True):
        # Keras has inputs that may be left out.
        if array is not None and not _fits(tuple(array.shape), tuple(each.shape)):
            raise ValueError(
                f"{where}: got inputs of shape {tuple(array.shape)} where the model takes "
                f"{tuple(each.shape)}; give it batches of what fit trains on."
            )


def _fits(shape: tuple[int | None, ...], expected: tuple[int | None, ...]) -> bool:
    # As Keras does, with or without a last axis of one.
    if len(shape) != len(expected):
        longer, shorter = sorted((shape, expected), key=len, reverse=True)
        if longer[-1] != 1 or len(longer) != len(shorter) + 1:
            return False
    return all(a == b or a is None or b is None for a, b in zip(shape, expected, strict=False))


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

    Warns:
        UserWarning: A dataset that does not tell its length has given 10,000 batches.

    Raises:
        ValueError: The data has no end; see `one_epoch`.

    Example:

    >>> [int(batch) for batch in training_batches(tf.data.Dataset.range(9), share=1 / 3)]
    [0, 3, 6]
    """
    share = check_share(share)
    data = one_epoch(data, "the training data")
    unknown = isinstance(data, tf.data.Dataset) and batches_in(data) is None
    for number, batch in enumerate(_all_batches(data, batch_size)):
        if unknown and number == _MANY_BATCHES:
            warnings.warn(
                f"a pass over the training data has taken {number} batches of a dataset that does "
                "not tell its length. If it has no end, stop here and give steps_per_epoch to fit, "
                "or dataset.take(100).",
                stacklevel=2,
            )
        if math.ceil((number + 1) * share) > math.ceil(number * share):
            yield batch


def _all_batches(data: Any, batch_size: int) -> Iterator[Any]:
    if isinstance(data, tf.data.Dataset):
        yield from data
    elif isinstance(data, keras.utils.PyDataset):
        for index in range(data.num_batches):
            yield keras.tree.map_structure(_as_tensor, data[index])
    else:
        arrays = keras.tree.map_structure(tf.convert_to_tensor, tuple(data))
        # A list of several inputs would be taken for one tensor.
        arrays = keras.tree.lists_to_tuples(arrays)
        yield from tf.data.Dataset.from_tensor_slices(arrays).batch(batch_size)


def totals(
    measure: Callable[[Any, int], Any],
    data: Any,
    batch_size: int,
    share: float,
    where: str,
    keep: float = 1.0,
) -> Any:
    """Adds up what `measure` makes of each batch.

    Args:
        measure: Takes a batch and its number. It returns tensors and numbers in a structure that is
            the same for all batches, or `None` for a batch that does not count.
        data, batch_size, share: See `training_batches`.
        where: What the sums are for, to name it in an error.
        keep: What a sum is multiplied with before each addition; below 1 for a running mean.

    Raises:
        ValueError: There is not one batch that counts.

    Example:

    >>> data = tf.data.Dataset.range(4, output_type=tf.float32)
    >>> [int(total) for total in totals(lambda batch, number: [batch, 1], data, 1, 1.0, "a sum")]
    [6, 4]
    """
    total: Any = None
    for number, batch in enumerate(training_batches(data, batch_size, share)):
        values = measure(batch, number)
        if values is not None and total is not None:
            values = keras.tree.map_structure(lambda t, v: keep * t + v, total, values)
        total = total if values is None else values
    if total is None:
        raise ValueError(f"{where}: the training data gave no batch to score by.")
    return total


def input_totals(
    model: keras.Model,
    forward: Callable[[Any], Any],
    data: Any,
    batch_size: int,
    share: float,
    where: str,
) -> Any:
    """`totals` of what `forward` makes of the inputs of each batch, in a graph traced once."""
    traced = tf.function(forward, reduce_retracing=True)

    def measure(batch: Any, number: int) -> Any:
        x, _, _ = keras.utils.unpack_x_y_sample_weight(batch)
        if model.run_eagerly:
            return forward(x)
        # Called as a whole, a function that each pass makes anew is warned of by TensorFlow.
        return traced.get_concrete_function(x)(x)

    return totals(measure, data, batch_size, share, where)


def examples_in(batch: Any) -> int:
    """The number of examples in a batch: the first dimension of its first array."""
    for array in keras.tree.flatten(batch):
        if array is not None:
            return int(array.shape[0])
    raise ValueError("a batch of the training data holds no array.")


def _check_lengths(arrays: tuple[Any, ...], name: str) -> None:
    shapes: list[Any] = [getattr(array, "shape", ()) for array in keras.tree.flatten(arrays)]
    lengths = sorted({shape[0] for shape in shapes if len(shape)})
    if len(lengths) > 1:
        raise ValueError(
            f"{name}: got arrays of {' and '.join(map(str, lengths))} examples; expected equally "
            "many of each."
        )


def _as_tensor(array: Any) -> Any:
    return None if array is None else tf.convert_to_tensor(array)
