"""A dense training's state on disk, so that it can be killed and started again.

`GrowAndPrune` does this for its runs. `keras.callbacks.BackupAndRestore` would do for the weights
and the optimizer, but leaves out the state of dropout's random generators: a resumed run would not
end as the uninterrupted one.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np

from apps.common.errors import InputError
from apps.common.files import written_beside

NAME = "state.npz"


class Backup(keras.callbacks.Callback):
    """Save everything a training is after each epoch, and go on from it.

    Place it last: what it saves is then the end of an epoch that all other callbacks have seen.

    Args:
        folder: For the state, written beside and renamed.

    Raises:
        InputError: The state is damaged.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.path = Path(folder) / NAME

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        if not self.path.exists():
            return
        try:
            with np.load(self.path) as saved:
                epoch = int(saved["epoch"])
                values = [saved[f"v{k}"] for k in range(len(saved.files) - 1)]
            for variable, value in zip(self._variables(), values, strict=True):
                variable.assign(value)
        except Exception as error:  # whatever a damaged archive or header makes NumPy raise
            raise InputError(
                f"{self.path}: the training's state is damaged; delete it to begin again"
            ) from error
        # As keras.callbacks.BackupAndRestore does; `fit` reads it after this.
        self.model._initial_epoch = epoch

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        self.model._initial_epoch = None

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        arrays: dict[str, Any] = {
            f"v{k}": np.asarray(value) for k, value in enumerate(self._variables())
        }
        with written_beside(self.path) as temporary:
            np.savez(temporary, epoch=epoch + 1, **arrays)

    def _variables(self) -> list[keras.Variable]:
        """Weights, the state of random generators, and the optimizer's slots."""
        optimizer = self.model.optimizer
        if not optimizer.built:
            optimizer.build(self.model.trainable_variables)
        return [*self.model.variables, *optimizer.variables]
