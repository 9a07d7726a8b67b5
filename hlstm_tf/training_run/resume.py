"""The state of a run: all it must know to go on as if it had never stopped."""

import os
import random
import weakref
from collections.abc import Mapping
from typing import Any, Self

import keras
import numpy as np

from hlstm_tf.sparsity import held_optimizers
from hlstm_tf.training_run.run_directory import RunDirectory, as_dtype
from hlstm_tf.training_run.snapshot import OptimizerPart, Snapshot, layout


class RunState:
    """The state of a run in its directory, checked against the run that wants it.

    Args:
        directory: Where it is; `None` for a run that keeps no state.
        model: The compiled model, its optimizer built.
        choices: What JSON can hold; a run with other choices is another run.
    """

    def __init__(
        self, directory: str | os.PathLike | None, model: keras.Model, choices: dict[str, Any]
    ) -> None:
        self.files = None if directory is None else RunDirectory(directory)
        self._layout = layout(model)
        optimizers = ", ".join(type(each).__name__ for each in held_optimizers(model))
        self._choices = {**choices, "optimizer": optimizers}

    def load(self) -> tuple[dict[str, Any], dict[str, Snapshot]] | None:
        """Returns what was last saved, or `None`; clears away what a kill left half-written.

        Raises:
            ValueError: The directory holds the state of another run.
            OSError: A file is damaged.
        """
        if self.files is None:
            return None
        saved = self.files.load()
        if saved is None:
            self.files.clear_leftovers(keep=())
            return None
        facts, snapshots = saved
        self._check(facts)
        self.files.clear_leftovers(keep=[s.name for s in snapshots.values()])
        typed: dict[str, Snapshot] = {}
        for role, snapshot in snapshots.items():
            same = next((s for s in typed.values() if s.name == snapshot.name), None)
            typed[role] = same or _described(snapshot, facts["snapshots"][snapshot.name])
        return facts, typed

    def save(
        self,
        epoch: int,
        progress: dict[str, Any],
        history: list[dict[str, Any]],
        snapshots: Mapping[str, Snapshot],
    ) -> None:
        """Saves the state after `epoch` epochs; `OSError` where that fails."""
        assert self.files is not None
        facts = {
            "choices": self._choices,
            "layout": self._layout,
            "epoch": epoch,
            "progress": progress,
            "random": random_state(),
            "history": history,
            "snapshots": {s.name: _description(s) for s in snapshots.values()},
        }
        self.files.save(facts, snapshots)

    def _check(self, facts: dict[str, Any]) -> None:
        assert self.files is not None
        saved, given = facts["choices"], self._choices
        differing = _differences(saved, given)
        if facts["layout"] != self._layout:
            differing.append(
                f"the model's and optimizer's variables ({len(facts['layout'])} arrays there, "
                f"{len(self._layout)} here, or other shapes)"
            )
        if differing:
            raise ValueError(
                f"directory: {self.files.path} holds the state of another run, which differs in "
                + "; ".join(differing)
                + ". Give another directory, or delete this one to begin anew."
            )


class DirectoryUse:
    """Which of a callback and its deep copies keeps its run in a directory.

    Copies of it are itself, so that all copies of a callback know.
    """

    def __init__(self) -> None:
        self._user: weakref.ref[keras.callbacks.Callback] | None = None

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return self

    def claim(self, callback: keras.callbacks.Callback, directory: str | os.PathLike) -> None:
        """Takes the directory for a callback; raises `ValueError` where a copy of it has it."""
        if self._user is not None and self._user() is not callback:
            raise ValueError(
                f"directory: another copy of this callback keeps its run in {os.fspath(directory)} "
                "already. A tuner copies the callbacks for each trial: make the callback where the "
                "trial is fitted (HyperModel.fit in KerasTuner), with a directory for each trial, "
                f"such as {os.path.join(os.fspath(directory), 'trial-0')}."
            )
        self._user = weakref.ref(callback)


def _description(snapshot: Snapshot) -> dict[str, Any]:
    """What JSON has to tell of a snapshot beside its arrays."""
    return {
        "dtypes": [str(array.dtype) for array in snapshot.arrays],
        "optimizers": [[part.size, part.trains] for part in snapshot.optimizers],
    }


def _described(snapshot: Snapshot, description: dict[str, Any]) -> Snapshot:
    """Undoes what arrays go through on their way to a file and back."""
    pairs = zip(snapshot.arrays, description["dtypes"], strict=True)
    parts = [
        OptimizerPart(size, None if trains is None else tuple(trains))
        for size, trains in description["optimizers"]
    ]
    arrays = tuple(as_dtype(array, dtype) for array, dtype in pairs)
    return Snapshot(snapshot.name, arrays, tuple(parts))


def random_state() -> dict[str, Any]:
    """Returns the state of Python's and NumPy's global generators, as JSON holds it.

    A data pipeline in Python may draw from them. Keras's seed generators are variables and go with
    the model's.
    """
    version, internal, gauss = random.getstate()
    name, keys, position, has_gauss, cached = np.random.get_state(legacy=True)  # noqa: NPY002
    return {
        "python": [version, list(internal), gauss],
        "numpy": [name, [int(key) for key in keys], int(position), int(has_gauss), float(cached)],
    }


def restore_random_state(state: dict[str, Any]) -> None:
    """Puts back what `random_state` returned."""
    version, internal, gauss = state["python"]
    random.setstate((version, tuple(internal), gauss))
    name, keys, *rest = state["numpy"]
    np.random.set_state((name, np.array(keys, dtype=np.uint32), *rest))  # noqa: NPY002


def _differences(saved: Any, given: Any, name: str = "") -> list[str]:
    if isinstance(saved, dict) and isinstance(given, dict):
        keys = [*saved, *(key for key in given if key not in saved)]
        found = []
        for key in keys:
            inner = f"{name}.{key}" if name else str(key)
            found += _differences(saved.get(key), given.get(key), inner)
        return found
    return [] if saved == given else [f"{name} ({saved!r} there, {given!r} here)"]
