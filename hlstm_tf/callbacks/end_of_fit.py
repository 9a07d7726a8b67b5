"""The end of `fit`: what was grown and pruned is in the model, whoever else restored weights."""

import warnings
from collections.abc import Callable
from typing import Any

import keras

from hlstm_tf.layers.kernels import (
    changed_by_others,
    drop_notes,
    keep_notes,
    noted,
    set_and_note,
)
from hlstm_tf.layers.masking import masked_kernels
from hlstm_tf.sparsity import edit_masks, held_optimizers
from hlstm_tf.training_run.running_fit import calling_list
from hlstm_tf.training_run.snapshot import Snapshot, is_structure, model_variables, put, take


class EndOfFit:
    """Acts at the end of each epoch and of `fit`, and undoes what other callbacks put back.

    `EarlyStopping(restore_best_weights=True)`, and others like it, write the weights of an earlier
    epoch into the model, with the masks of that epoch. Where masks are then others than those that
    the callbacks of this package left, the state that training ended with comes back. Weights of
    another epoch with the same masks stay.

    Args:
        model: The model in training.
        peers: The callbacks of the `fit`; empty where they are not known, as in a loop of the
            user's own.
    """

    def __init__(self, model: keras.Model, peers: list[keras.callbacks.Callback]) -> None:
        self.model = model
        self._restorers = [type(peer).__name__ for peer in peers if _acts_at_end(peer)]
        self._structure = [v for v in model.variables if is_structure(v)]
        self._trained: Snapshot | None = None
        self._promises: list[Callable[[], None]] = []
        keep_notes(self._structure)
        for peer in peers:
            _warn_of_best_file(peer)

    @classmethod
    def of(cls, callback: keras.callbacks.Callback) -> "EndOfFit":
        """Returns the one of the `fit` that is calling `callback.on_train_begin`.

        All callbacks of a `fit` share one. Where no list of callbacks calls, as in a training loop
        of the user's own, `callback` gets one for itself.
        """
        running = calling_list()
        if running is None:
            return cls(callback.model, [])
        known = [peer.end for peer in running.callbacks if isinstance(peer, _Last)]
        if known:
            return known[0]
        end = cls(callback.model, running.callbacks)
        # A new list: the one that was is being walked through.
        running.callbacks = [_First(end, running), *running.callbacks, _Last(end, running)]
        return end

    def promise(self, keep: Callable[[], None]) -> None:
        """Calls `keep` whenever the model is settled: it puts back what it promised."""
        self._promises.append(keep)

    def note_trained(self) -> None:
        """Remembers the state that training ended with, where another callback may change it."""
        if self._restorers:
            self._trained = take(self.model, "trained")

    def settle(self) -> None:
        """Puts into the model what the callbacks of this package promise, where it is not there."""
        for keep in self._promises:
            keep()
        if not changed_by_others(self._structure):
            return
        before = _existing(self._structure)
        what = self._put_back()
        warnings.warn(
            f"{self.others()} put back weights with other masks ({before:,} connections) than "
            f"those that growth and pruning ended with ({_existing(self._structure):,}). {what} To "
            "choose the best epoch among those with the last masks, let EarlyStopping begin after "
            "the last change of masks, with start_from_epoch.",
            stacklevel=2,
        )

    def close(self) -> None:
        """Settles the model for the last time in this `fit`."""
        self.settle()
        drop_notes(self._structure)
        self._trained = None

    def others(self) -> str:
        """Names the callbacks that may have changed the model."""
        return " or ".join(self._restorers) or "another callback"

    def _put_back(self) -> str:
        if self._trained is not None and self._has_last_masks(self._trained):
            put(self.model, self._trained)
            return "The state of the last epoch is in the model again."
        last = changed_by_others(self._structure)
        masks = {id(self._structure[number]): mask for number, mask in last.items()}
        kernels = {k: masks[id(k.mask)] for k in masked_kernels(self.model) if id(k.mask) in masks}
        edit_masks(kernels, held_optimizers(self.model))
        for number, mask in last.items():
            set_and_note(self._structure[number], mask)
        return "The last masks are in force again, on the weights that were put back."

    def _has_last_masks(self, snapshot: Snapshot) -> bool:
        then = dict(zip(map(id, model_variables(self.model)), snapshot.arrays, strict=False))
        return all(
            (then[id(self._structure[number])] == mask).all()
            for number, mask in noted(self._structure).items()
        )


class _First(keras.callbacks.Callback):
    """Stands before every other callback."""

    def __init__(self, end: EndOfFit, running: keras.callbacks.CallbackList) -> None:
        super().__init__()
        self.end, self.running = end, running

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        self.end.note_trained()


class _Last(_First):
    """Stands behind every other callback."""

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        self.end.settle()

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        # A list that is used for another `fit` gets others.
        self.running.callbacks = [
            peer for peer in self.running.callbacks if not isinstance(peer, _First)
        ]
        self.end.close()


def _acts_at_end(peer: keras.callbacks.Callback) -> bool:
    if type(peer).__module__.partition(".")[0] == __package__.partition(".")[0]:
        return False
    own = getattr(peer.on_train_end, "__func__", peer.on_train_end)
    return own is not keras.callbacks.Callback.on_train_end


def _warn_of_best_file(peer: keras.callbacks.Callback) -> None:
    # As ModelCheckpoint and KerasTuner's SaveBestEpoch keep it.
    of_tuner = hasattr(peer, "best_value") and hasattr(peer, "filepath")
    if not (of_tuner or getattr(peer, "save_best_only", False)):
        return
    instead = (
        "After the search build a model with the best hyperparameters and fit it once more."
        if of_tuner
        else "Save the model after fit."
    )
    warnings.warn(
        f"{type(peer).__name__} writes {peer.filepath} at the best epoch, which may be one before "
        "growth and pruning are done; what they lead to is the model at the end of fit. "
        f"{instead}",
        stacklevel=2,
    )


def _existing(variables: list[keras.Variable]) -> int:
    return sum(int(keras.ops.convert_to_numpy(v).sum()) for v in variables)
