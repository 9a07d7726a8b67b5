"""A run's state on disk: whole at every moment, also where the process is killed.

    directory/
      state.json          which snapshots are in force, and all that is not an array
      snapshot-*.npz      arrays of a state; never changed once written
      history.csv         a line an epoch, for plots

Snapshots are written beside and renamed into place; then `state.json` that names them is renamed
over the old one. That rename is the moment at which an epoch counts. Before it, the old state
is whole; after it, the new one.
"""

import contextlib
import functools
import json
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import IO, Any

import numpy as np

from hlstm_tf.training_run.snapshot import Snapshot

_STATE = "state.json"
_TEMPORARY = ".partial"
_FORMAT = 2


class RunDirectory:
    """Writes and reads the state of one run.

    Args:
        path: The directory; made, with its parents, when something is first written.

    Example:

    >>> import tempfile, numpy as np
    >>> run = RunDirectory(tempfile.mkdtemp())
    >>> run.load() is None
    True
    >>> run.save({"epoch": 1}, {"current": Snapshot("1", (np.ones(2),))})
    >>> facts, snapshots = run.load()
    >>> facts["epoch"], snapshots["current"].arrays[0].tolist()
    (1, [1.0, 1.0])
    """

    def __init__(self, path: str | os.PathLike) -> None:
        self.path = Path(path)

    def load(self) -> tuple[dict[str, Any], dict[str, Snapshot]] | None:
        """Returns the facts and snapshots of the last complete `save`, or `None` if there is none.

        Raises:
            OSError: A file is damaged or missing, or of another version.
        """
        file = self.path / _STATE
        if not file.exists():
            return None
        try:
            state = json.loads(file.read_text(encoding="utf-8"))
            version, facts, names = state["format"], state["facts"], state["snapshots"]
        except (ValueError, KeyError, TypeError) as error:
            raise OSError(f"{file}: not the state of a run ({error}); delete it to begin") from None
        if version != _FORMAT:
            raise OSError(f"{file}: format {version}, but this version reads format {_FORMAT}")
        read = {name: self._read(name) for name in set(names.values())}
        return facts, {role: read[name] for role, name in names.items()}

    def save(self, facts: dict[str, Any], snapshots: Mapping[str, Snapshot]) -> None:
        """Replaces the state, wholly or not at all.

        Args:
            facts: What JSON can hold.
            snapshots: By role. One that is on disk under its name is not written again.

        Raises:
            OSError: The disk is full, or cannot be written; the earlier state is intact.
        """
        self._make()
        for snapshot in {s.name: s for s in snapshots.values()}.values():
            file = self._file(snapshot.name)
            if not file.exists():
                self._write(file, functools.partial(_write_arrays, snapshot))
        names = {role: snapshot.name for role, snapshot in snapshots.items()}
        state = {"format": _FORMAT, "facts": facts, "snapshots": names}
        text = json.dumps(state, indent=1).encode()
        self._write(self.path / _STATE, lambda stream: stream.write(text))
        self._clean(set(names.values()))

    def write_text(self, name: str, text: str) -> None:
        """Writes a file beside the state, whole or not at all; `OSError` as from `save`."""
        self._make()
        self._write(self.path / name, lambda stream: stream.write(text.encode()))

    def clear_leftovers(self, keep: Iterable[str]) -> None:
        """Removes what a killed process left: files half-written, and snapshots but these.

        A snapshot whose epoch did not come to count would else be taken for that of the same name
        which is to come.
        """
        for file in self.path.glob(f"*{_TEMPORARY}"):
            file.unlink(missing_ok=True)
        self._clean(set(keep))

    def _make(self) -> None:
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise type(error)(
                error.errno, f"directory: cannot make it ({error.strerror})", str(self.path)
            ) from None

    def _write(self, file: Path, fill: Callable[[IO[bytes]], Any]) -> None:
        beside = file.with_name(file.name + _TEMPORARY)
        with _clear_error(file, beside):
            with open(beside, "wb") as stream:
                fill(stream)
                stream.flush()
                # Without it a rename may reach the disk before the content does.
                os.fsync(stream.fileno())
            os.replace(beside, file)
            self._sync_directory()

    def _sync_directory(self) -> None:
        descriptor = os.open(self.path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def _read(self, name: str) -> Snapshot:
        file = self._file(name)
        try:
            with np.load(file, allow_pickle=False) as archive:
                # np.savez numbers its arrays: arr_0, arr_1, ...
                arrays = tuple(archive[f"arr_{i}"] for i in range(len(archive.files)))
        except Exception as error:  # whatever a damaged archive or header makes NumPy raise
            raise OSError(f"{file}: cannot read the state saved there ({error})") from None
        return Snapshot(name, arrays)

    def _file(self, name: str) -> Path:
        return self.path / f"snapshot-{name}.npz"

    def _clean(self, names: set[str]) -> None:
        for file in self.path.glob("snapshot-*.npz"):
            match = re.fullmatch(r"snapshot-(.+)\.npz", file.name)
            if match and match[1] not in names:
                file.unlink(missing_ok=True)


@contextlib.contextmanager
def _clear_error(file: Path, beside: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        with contextlib.suppress(OSError):
            beside.unlink(missing_ok=True)
        reason = error.strerror or str(error)
        raise OSError(
            error.errno,
            f"cannot write the run's state ({reason}); what was saved before is intact. "
            "Make room and start the same command again",
            str(file),
        ) from None


def _write_arrays(snapshot: Snapshot, stream: IO[bytes]) -> None:
    np.savez(stream, *map(_plain, snapshot.arrays))


def _plain(array: np.ndarray) -> np.ndarray:
    """Returns an array that a .npz file can hold: bfloat16 goes as the integers of its bits."""
    return array.view(np.uint16) if array.dtype.kind == "V" else array


def as_dtype(array: np.ndarray, dtype: str) -> np.ndarray:
    """Undoes `_plain` for an array that was of `dtype`.

    >>> as_dtype(np.array([16256], np.uint16), "bfloat16").astype(float).tolist()
    [1.0]
    """
    if dtype == "bfloat16" and array.dtype == np.uint16:
        import ml_dtypes  # TensorFlow and Keras rest on it

        return array.view(ml_dtypes.bfloat16)
    return array
