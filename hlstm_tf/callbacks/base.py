"""The bases of this package's callbacks: copies, masks, history and printed lines."""

import copy
from typing import Any, Self

import keras
import numpy as np
import tensorflow as tf

from hlstm_tf.callbacks.end_of_fit import EndOfFit
from hlstm_tf.keras_check import check_keras
from hlstm_tf.keras_internals import forget_model
from hlstm_tf.layers.masking import masked_kernels
from hlstm_tf.pruning.architecture import count_connections

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
    """A callback that changes masks, keeps a history of it and prints a line for each change.

    Its masks are in the model at the end of `fit`, whatever other callbacks do.

    Args:
        verbose: Whether to print: 1 or 0; "auto" or `None` for as `fit` does, by its own `verbose`.

    Attributes:
        history: A dictionary for each change in the last `fit`.

    Raises:
        ValueError: `verbose` is none of these.
    """

    def __init__(self, verbose: int | str | None = "auto") -> None:
        super().__init__()
        known = isinstance(verbose, int | np.integer | str | None)
        if not known or verbose not in ("auto", None, 0, 1, 2):
            raise ValueError(f'verbose must be 0, 1 or "auto", as fit has it; got {verbose!r}.')
        self.verbose = verbose
        self.history: list[dict[str, Any]] = []

    def keep(self, **facts: Any) -> None:
        """Adds a record to the history: the facts, and the connections that the model now has."""
        connections, places = count_connections(masked_kernels(self.model))
        sparsity = 1 - connections / places if places else 0.0
        self.history.append({**facts, "connections": connections, "sparsity": sparsity})

    def say_done(self, epoch: int, what: str) -> None:
        """Prints what was done by the end of an epoch, with the size in the last record."""
        last = self.history[-1]
        size = f"{last['connections']:,} connections now (sparsity {last['sparsity']:.1%})"
        self.say(f"epoch {epoch}: {what}; {size}", after_batches=True)

    def say(self, text: str, after_batches: bool = False) -> None:
        """Prints a line, unless this callback, or the `fit` that it follows, is silent.

        Args:
            text: The line.
            after_batches: Whether a progress bar of `fit`, if there is one, has not ended its line.
        """
        of_fit = (self.params or {}).get("verbose")
        if self.verbose in ("auto", None):
            # A training loop of the user's own may leave it out; Keras's default is "auto", too.
            verbose = "auto" if of_fit is None else of_fit
        else:
            verbose = self.verbose
        if verbose:
            bar = after_batches and of_fit in ("auto", 1)
            print(("\n" if bar else "") + text, flush=True)

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        self._end = EndOfFit.of(self)
        self.history = []

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
