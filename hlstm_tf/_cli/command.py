"""Running the command `hlstm`."""

import argparse
import importlib.metadata
import platform
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path

from hlstm_tf._cli.imports import imported, quiet_import
from hlstm_tf._cli.options import USAGE_ERROR, parser

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
