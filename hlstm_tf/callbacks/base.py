"""What the callbacks of this package have in common."""

import copy
from typing import Any, Self

import keras
import numpy as np
import tensorflow as tf

from hlstm_tf.callbacks.end_of_fit import EndOfFit
from hlstm_tf.keras_check import check_keras
from hlstm_tf.keras_internals import forget_model


def own_line(callback: keras.callbacks.Callback, text: str) -> str:
    """Returns a text that stands on a line of its own, also where `fit` draws a progress bar."""
    params: dict[str, Any] = callback.params or {}
    return ("\n" if params.get("verbose") else "") + text


# What a copy of a callback has in common with it: data, and what belongs to a model.
_SHARED = (tf.data.Dataset, keras.utils.PyDataset, keras.Layer, np.ndarray, tf.Tensor, tf.Variable)


class CopiedWithoutData(keras.callbacks.Callback):
    """A callback whose deep copy shares the training data.

    `copy.deepcopy` of it, as a tuner makes one for each trial, is a callback with the same choices,
    the same data and layers, and nothing of a `fit` that is going on.
    """

    def set_model(self, model: keras.Model) -> None:
        check_keras(model, keras.Model, f"the model that {type(self).__name__} trains with")
        # What is there before the first `fit` are choices; what comes later belongs to a `fit`.
        self.__dict__.setdefault("_choices", tuple(vars(self)))
        super().set_model(model)

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        twin = type(self).__new__(type(self))
        memo[id(self)] = twin
        names = self.__dict__.get("_choices", tuple(vars(self)))
        for name in names:
            twin.__dict__[name] = _copy(vars(self)[name], memo)
        forget_model(twin)
        twin.params = None
        return twin


class MaskCallback(CopiedWithoutData):
    """A callback that changes masks: they are in the model at the end of `fit`, in any company."""

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        self._end = EndOfFit.of(self)

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        # Before anything is grown or pruned on masks that another callback put back.
        self._end.settle()

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        self._end.settle()


def _copy(value: Any, memo: dict[int, Any]) -> Any:
    for leaf in keras.tree.flatten(value):
        if isinstance(leaf, _SHARED):
            memo[id(leaf)] = leaf
    try:
        return copy.deepcopy(value, memo)
    except TypeError:
        # Something that is not of Keras and cannot be copied, such as an open file.
        return value
