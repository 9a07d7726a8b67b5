"""The base of callbacks that change masks at the end of chosen epochs."""

from collections.abc import Iterable
from typing import Any

from hlstm_tf.callbacks.base import MaskCallback
from hlstm_tf.callbacks.epoch_data import set_epoch
from hlstm_tf.scoring.data import check_data, check_share, one_epoch, steps_per_epoch


class AtEpochEnds(MaskCallback):
    """A callback that changes masks at the end of chosen epochs, by the training data.

    Args:
        data: The training set; see `check_data`.
        epochs: The first so many epochs, or the epochs (an iterable, counted from 0).
        share: Share of the batches that a pass over the data takes.
        batch_size: How arrays are batched.
        verbose: As of `MaskCallback`.
    """

    def __init__(
        self,
        data: Any,
        epochs: int | Iterable[int],
        share: float,
        batch_size: int,
        verbose: int | str | None,
    ) -> None:
        super().__init__(verbose)
        self.data = check_data(data, "data")
        self.epochs = chosen_epochs(epochs)
        self.share = check_share(share)
        self.batch_size = batch_size

    def act(self, epoch: int) -> str:
        """Changes masks, keeps a record of it, and returns what was done in words."""
        raise NotImplementedError

    def finite_data(self) -> Any:
        """The data, or an epoch of it where a pass would not end."""
        return one_epoch(self.data, "data", steps_per_epoch(self))

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        set_epoch(self.data, epoch)

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        super().on_epoch_end(epoch, logs)
        if epoch in self.epochs:
            self.say_done(epoch, self.act(epoch))


def chosen_epochs(epochs: int | Iterable[int]) -> frozenset[int]:
    """Returns the epochs at whose ends something happens.

    >>> sorted(chosen_epochs(3))
    [0, 1, 2]

    Raises:
        ValueError: A number is negative.
    """
    if isinstance(epochs, int):
        epochs = range(epochs) if epochs >= 0 else [epochs]
    if not isinstance(epochs, Iterable) or isinstance(epochs, str):
        raise ValueError(f"epochs must be a number of epochs, or the epochs; got {epochs!r}.")
    chosen = frozenset(epochs)
    if any(epoch < 0 for epoch in chosen):
        raise ValueError(f"epochs must be 0 or more; got {sorted(chosen)}.")
    return chosen
