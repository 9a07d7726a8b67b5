"""Keras finds the package's classes in saved models, in whatever order the two are imported.

`keras.models.load_model` looks a class up in Keras's registry, which a class enters when its module
is imported; Keras imports no module of another package for it. So the layers are imported as soon
as Keras is: at once where it is there already, else right after it. Importing them at once in any
case would load TensorFlow for a process that only runs a TFLite file.
"""

import contextlib
import importlib
import sys
from collections.abc import Sequence
from importlib.abc import Loader
from importlib.machinery import ModuleSpec
from types import ModuleType


def load_layers_with_keras() -> None:
    """Imports the layers if Keras has been imported, or else as soon as it is."""
    if "keras" in sys.modules:
        _load_layers()
    elif not any(isinstance(finder, _KerasFinder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _KerasFinder())


def _load_layers() -> None:
    # A Keras that hlstm_tf cannot use serves others: a name that needs it says what is wrong.
    with contextlib.suppress(ImportError):
        importlib.import_module("hlstm_tf.layers")


class _KerasFinder:
    """Finds Keras where the other finders do, to be loaded with the layers after it."""

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """What `import` asks every finder: where the module is; `None` for all but Keras."""
        if name != "keras":
            return None
        others = [f for f in sys.meta_path if f is not self and hasattr(f, "find_spec")]
        found = (finder.find_spec(name, path, target) for finder in others)
        spec = next((spec for spec in found if spec is not None), None)
        if spec is not None and spec.loader is not None:
            spec.loader = _LayersAfter(spec.loader, self)
        return spec


class _LayersAfter(Loader):
    """Loads Keras as its own loader does, then the layers.

    Args:
        loader: Keras's own.
        finder: Has done its work then.
    """

    def __init__(self, loader: Loader, finder: _KerasFinder) -> None:
        self._loader, self._finder = loader, finder

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        """Makes the module, as Keras's own loader does."""
        return self._loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        """Runs Keras, then the layers."""
        module.__loader__ = self._loader
        if module.__spec__ is not None:
            module.__spec__.loader = self._loader
        self._loader.exec_module(module)
        with contextlib.suppress(ValueError):
            sys.meta_path.remove(self._finder)
        if "hlstm_tf.keras_check" not in sys.modules:  # else the package itself imports Keras
            _load_layers()
