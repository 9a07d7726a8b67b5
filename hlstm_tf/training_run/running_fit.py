"""What Keras does not tell a callback of the `fit` that it is in, found among its callers."""

import inspect
from collections.abc import Iterator
from typing import Any

import keras
import tensorflow as tf


def calling_list() -> keras.callbacks.CallbackList | None:
    """Returns the list of callbacks that is calling; `None` where no list is."""
    for _, values in _callers():
        caller = values.get("self")
        if isinstance(caller, keras.callbacks.CallbackList):
            return caller
    return None


def fit_draws_order(model: keras.Model) -> bool:
    """Whether the running `fit` of a model draws the order of its examples, or of its batches.

    It does of arrays and of a `keras.utils.PyDataset`, unless it is given `shuffle=False`. False
    also where no `fit` of the model is running.
    """
    for name, values in _callers():
        if name == "fit" and values.get("self") is model and "shuffle" in values:
            return bool(values["shuffle"]) and _is_drawn_from(values.get("x"))
    return False


def _is_drawn_from(data: Any) -> bool:
    """Whether data is arrays or a `PyDataset`; a generator has an order of its own."""
    if isinstance(data, keras.utils.PyDataset):
        return True
    if isinstance(data, tf.data.Dataset):
        return False
    return all(hasattr(leaf, "shape") for leaf in keras.tree.flatten(data))


def _callers() -> Iterator[tuple[str, dict[str, Any]]]:
    """Yields the name and the variables of each function that led here, the last one first."""
    frame = inspect.currentframe()
    while frame is not None:
        yield frame.f_code.co_name, frame.f_locals
        frame = frame.f_back
