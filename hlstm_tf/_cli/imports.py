"""Importing for the command `hlstm`: without noise, and never what merely lies in the folder."""

import contextlib
import importlib
import os
import sys
from collections.abc import Iterator, Sequence
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType

from hlstm_tf._stderr import Held, held_stderr


def quiet_import(module: str) -> ModuleType:
    """Imports `module`, keeping TensorFlow's start-up chatter off the screen.

    TensorFlow's C++ code writes before it reads any setting of its log level.

    Example:

    >>> from hlstm_tf._cli.imports import quiet_import
    >>> quiet_import("hlstm_tf").__name__
    'hlstm_tf'
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # failures come as exceptions
    held = Held()
    try:
        with held_stderr() as held:
            return importlib.import_module(module)
    except ImportError as error:
        raise ImportError(f"cannot import {module}: {error}") from error
    except BaseException:
        os.write(2, held.text)
        raise


class CurrentFolder:
    """Finds modules of the current folder for `import`, but only those that the user named.

    Whatever else lies there, such as a `numpy.py` beside a downloaded model, is never run. Python
    asks this finder last, so that an installed package goes before a file of its name.

    Args:
        modules: Names as `--import` takes them; of `package.module` the package counts.

    Example:

    >>> from hlstm_tf._cli.imports import CurrentFolder
    >>> CurrentFolder(["my_layers"]).find_spec("numpy") is None
    True
    """

    def __init__(self, modules: Sequence[str]) -> None:
        self._folder = os.getcwd()
        self._named = {module.partition(".")[0] for module in modules}

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """What `import` asks every finder: where the module is; `None` where it is not here."""
        if name not in self._named:
            return None
        return PathFinder.find_spec(name, [self._folder], target)

    def holds(self, name: str) -> bool:
        """Whether the folder has a module of this name, whether it was named or not."""
        return PathFinder.find_spec(name, [self._folder]) is not None


@contextlib.contextmanager
def imported(modules: Sequence[str]) -> Iterator[None]:
    """Imports what `--import` names: installed modules, else those of the current folder."""
    if not modules:
        yield
        return
    here = CurrentFolder(modules)
    sys.meta_path.append(here)
    try:
        for module in modules:
            _import_with_hint(module, here)
        yield  # a module may import another one when it is used
    finally:
        sys.meta_path.remove(here)


def _import_with_hint(module: str, here: CurrentFolder) -> None:
    try:
        quiet_import(module)
    except ImportError as error:
        missing = getattr(error.__cause__, "name", None) or ""
        if not missing.isidentifier() or not here.holds(missing):
            raise
        raise ImportError(
            f"{error}; it is in the current folder, of which only named modules are imported: "
            f"add --import {missing}"
        ) from error
