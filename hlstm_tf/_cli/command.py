"""Running the command `hlstm`, and importing for it without noise."""

import argparse
import contextlib
import importlib
import importlib.metadata
import os
import platform
import sys
import traceback
from collections.abc import Iterator, Sequence
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from types import ModuleType

from hlstm_tf._cli.options import USAGE_ERROR, parser
from hlstm_tf.quiet import quiet_import


class CurrentFolder:
    """Finds modules of the current folder for `import`, but only those that the user named.

    Whatever else lies there, such as a `numpy.py` beside a downloaded model, is never run. Python
    asks this finder last, so that an installed package goes before a file of its name.

    Args:
        modules: Names as `--import` takes them; of `package.module` the package counts.

    Example:

    >>> from hlstm_tf._cli.command import CurrentFolder
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


_SHOWN_PACKAGES = ("tensorflow", "keras", "ai-edge-litert", "numpy")


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command `hlstm`.

    Args:
        argv: The arguments after the command's name. Default: those of the process.

    Returns:
        The exit status: 0, or 2 after a mistake of the user's, which is said in one line on the
        standard error.

    Example:

    >>> from hlstm_tf._cli.command import main, versions
    >>> main(["summary", "no_such.keras"])
    2
    """
    args = parser().parse_args(argv)
    if args.command == "version":
        print(versions())
        return 0
    try:
        args.model = _existing_file(args.model)
        commands = quiet_import(_module_for(args))
        with imported(args.imports):
            getattr(commands, args.command)(args)
    except (ValueError, TypeError, OSError, ImportError) as error:
        if args.debug:
            traceback.print_exc()
        print(f"hlstm {args.command}: error: {' '.join(str(error).split())}", file=sys.stderr)
        return USAGE_ERROR
    except KeyboardInterrupt:
        print(f"hlstm {args.command}: interrupted", file=sys.stderr)
        return 130
    return 0


def versions() -> str:
    """Returns a line each for hlstm_tf, Python and the packages that decide what a model computes.

    Example:

    >>> from hlstm_tf._cli.command import main, versions
    >>> versions().splitlines()[0].split()[0]
    'hlstm_tf'
    """
    lines = [
        f"hlstm_tf {importlib.metadata.version('hlstm_tf')}",
        f"Python {platform.python_version()}",
    ]
    for package in _SHOWN_PACKAGES:
        try:
            lines.append(f"{package} {importlib.metadata.version(package)}")
        except importlib.metadata.PackageNotFoundError:
            lines.append(f"{package} (not installed)")
    return "\n".join(lines)


def _module_for(args: argparse.Namespace) -> str:
    """The module with the command; one for TFLite files, which need no TensorFlow."""
    if args.command == "summary" and args.model.suffix == ".tflite":
        return "hlstm_tf._cli.tflite_summary"
    return "hlstm_tf._cli.commands"


def _existing_file(path: Path) -> Path:
    """Checks what needs no TensorFlow to check, so that a mistyped name is said at once."""
    if path.is_dir():
        raise IsADirectoryError(f"{path} is a folder; expected a model file")
    if not path.exists():
        raise FileNotFoundError(f"{path} does not exist; expected a model file")
    return path
