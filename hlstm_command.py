"""The command line of `hlstm`, read before anything heavy is loaded.

`import hlstm_tf` brings in TensorFlow, which takes seconds, because Keras finds the classes of a
saved model only once they are imported. This module stands beside the package so that `--help`,
`--version` and a mistyped option answer at once; what the commands do is in `hlstm_tf.cli`.
"""

import argparse
import contextlib
import importlib
import importlib.metadata
import os
import platform
import sys
import tempfile
import traceback
from collections.abc import Iterator, Sequence
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from types import ModuleType
from typing import NoReturn

QUANTIZATIONS = ("none", "float16", "dynamic", "int8", "sparse", "sparse_float32", "best")
SCORES = ("magnitude", "activation", "output")
_SHOWN_PACKAGES = ("tensorflow", "keras", "ai-edge-litert", "numpy")
_USAGE_ERROR = 2


class _OneLineParser(argparse.ArgumentParser):
    """Says what is wrong in one line; argparse would print the usage above it."""

    def error(self, message: str) -> NoReturn:
        self.exit(_USAGE_ERROR, f"{self.prog}: error: {message} (see {self.prog} --help)\n")


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command `hlstm`.

    Args:
        argv: The arguments after the command's name. Default: those of the process.

    Returns:
        The exit status: 0, or 2 after a mistake of the user's, which is said in one line on the
        standard error.

    Example:

    >>> import hlstm_command
    >>> hlstm_command.main(["summary", "no_such.keras"])
    2
    """
    args = _parser().parse_args(argv)
    if args.command == "version":
        print(versions())
        return 0
    try:
        args.model = _existing_file(args.model)
        cli = quiet_import("hlstm_tf.cli")
        with _imported(args.imports):
            getattr(cli, args.command)(args)
    except (ValueError, TypeError, OSError, ImportError) as error:
        if args.debug:
            traceback.print_exc()
        print(f"hlstm {args.command}: error: {' '.join(str(error).split())}", file=sys.stderr)
        return _USAGE_ERROR
    except KeyboardInterrupt:
        print(f"hlstm {args.command}: interrupted", file=sys.stderr)
        return 130
    return 0


def versions() -> str:
    """Returns a line each for hlstm_tf, Python and the packages that decide what a model computes.

    Example:

    >>> import hlstm_command
    >>> hlstm_command.versions().splitlines()[0].split()[0]
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


def _parser() -> argparse.ArgumentParser:
    parser = _OneLineParser(
        prog="hlstm",
        description="Look into, prune, shrink and export Keras models trained with hlstm_tf.",
        epilog="`hlstm COMMAND --help` says more about a command.",
    )
    parser.add_argument(
        "--version",
        action="version",
        version=f"hlstm_tf {importlib.metadata.version('hlstm_tf')}",
    )
    commands = parser.add_subparsers(
        dest="command", metavar="COMMAND", required=True, parser_class=_OneLineParser
    )
    common = _common_options()
    _add_summary(commands, common)
    _add_prune(commands, common)
    _add_shrink(commands, common)
    _add_export(commands, common)
    commands.add_parser(
        "version", help="print the versions of hlstm_tf and of what it computes with"
    )
    return parser


def _common_options() -> _OneLineParser:
    common = _OneLineParser(add_help=False)
    common.add_argument("model", metavar="MODEL.keras", type=Path, help="a model file of Keras 3")
    common.add_argument(
        "--import",
        dest="imports",
        metavar="MODULE",
        action="append",
        default=[],
        help="import this Python module first: the one that registers the model's own layers. An "
        "installed one, or one of the current folder, of which nothing else is imported: name each "
        "module that it needs from there, too (may be given several times)",
    )
    common.add_argument("--debug", action="store_true", help="show the traceback of an error")
    return common


def _add_summary(
    commands: "argparse._SubParsersAction[_OneLineParser]", common: _OneLineParser
) -> None:
    summary = commands.add_parser(
        "summary",
        parents=[common],
        help="connections, sparsity, FLOPs and bytes: per gate, layer and model",
        description="Print a table of connections, sparsity, FLOPs a step and bytes (raw and "
        "gzipped): per gate, layer and model.",
    )
    summary.add_argument("--json", action="store_true", help="print the same figures as JSON")


def _add_prune(
    commands: "argparse._SubParsersAction[_OneLineParser]", common: _OneLineParser
) -> None:
    prune = commands.add_parser(
        "prune",
        parents=[common],
        help="remove the least connections, neurons or blocks, to a sparsity",
        description="Write a model of which the least connections are gone, their weights zero and "
        "masked, so that training on keeps them so. Nothing is trained here: the more is removed, "
        "the more the model errs until it is trained on (hl.MagnitudePruning and hl.GrowAndPrune "
        "prune while it trains).",
        epilog="What each structure buys: whole units and neurons make every file smaller and "
        "faster, once `hlstm shrink` has removed them; blocks do in `hlstm export "
        "--quantization sparse` (1x16) and sparse_float32 (1x4); single connections make a file "
        "smaller when it is gzipped, and nothing faster. Example: hlstm prune model.keras "
        "pruned.keras --sparsity 0.5 --structure unit",
    )
    prune.add_argument("output", metavar="OUTPUT.keras", type=Path, help="the file to write")
    prune.add_argument(
        "--sparsity",
        metavar="S",
        type=float,
        required=True,
        help="the part that is gone then, between 0 and 1: of the connections of each weight "
        "matrix, or for unit and neuron of each layer's units and neurons",
    )
    prune.add_argument(
        "--structure",
        default="connection",
        help="what is removed as one: connection (the default), neuron (whole neurons of dense "
        "layers, filters of convolutions, hidden neurons of H-LSTM gates), unit (units of "
        "recurrent states), row, column, a block of an output's inputs such as 1x16, or a pattern "
        "such as 2:4",
    )
    prune.add_argument(
        "--score",
        choices=SCORES,
        help="what tells the least: magnitude (of the weights; the default), activation (magnitude "
        "times the size of what comes in, for connections and blocks), output (what a neuron puts "
        "out, for neurons); the last two need --data",
    )
    prune.add_argument(
        "--data",
        metavar="FILE",
        type=Path,
        help="typical inputs for the score, samples first: an array (.npy) or, for a model of "
        "several inputs, one array each by name (.npz). Default score with it: output for neuron "
        "and unit, else activation",
    )


def _add_shrink(
    commands: "argparse._SubParsersAction[_OneLineParser]", common: _OneLineParser
) -> None:
    shrink = commands.add_parser(
        "shrink",
        parents=[common],
        help="drop the masks and physically remove dead neurons",
        description="Write a model of plain layers that computes the same function: masks are "
        "dropped (their zeros stay in the weights) and neurons with no connection left are "
        "removed.",
    )
    shrink.add_argument("output", metavar="OUTPUT.keras", type=Path, help="the file to write")


def _add_export(
    commands: "argparse._SubParsersAction[_OneLineParser]", common: _OneLineParser
) -> None:
    export = commands.add_parser(
        "export",
        parents=[common],
        help="write a SavedModel, a TFLite file, or both",
        description="Export a model for serving (SavedModel) or for devices (TFLite). The TFLite "
        "file is loaded again and compared with the model before it is called done.",
    )
    export.add_argument(
        "--saved-model",
        metavar="DIR",
        type=Path,
        help="write a SavedModel into this folder; TensorFlow Serving wants NAME/VERSION",
    )
    export.add_argument(
        "--lengths",
        metavar="N",
        type=int,
        nargs="+",
        help="give the SavedModel a signature serve_N for sequences of exactly N frames, each",
    )
    export.add_argument(
        "--overwrite", action="store_true", help="replace a SavedModel folder that is there already"
    )
    export.add_argument("--tflite", metavar="FILE", type=Path, help="write a TFLite file")
    export.add_argument(
        "--quantization",
        choices=QUANTIZATIONS,
        default="none",
        help="of the TFLite file: none (float32), float16 weights, dynamic (int8 weights), int8 "
        "(weights and activations; needs --representative), sparse (dynamic, with matrices pruned "
        "in 1x16 blocks stored and multiplied block by block; slower than dynamic where a layer "
        "has few inputs), sparse_float32 (the same in float32 with 1x4 blocks), best (makes all, "
        "measures each and keeps the best --for this machine). Default: none",
    )
    export.add_argument(
        "--for",
        dest="for_",
        choices=("latency", "size"),
        help="what --quantization best is to be best for: latency (one sample, one thread; the "
        "default), or size in bytes",
    )
    export.add_argument(
        "--form",
        choices=("sequence", "step"),
        help="of the TFLite file: sequence (one call for a whole input; the default), or step: the "
        "program that uses the file runs the loop over time, as hlstm_tf.StepRunner does. Which is "
        "faster depends on the model, its length and the machine: measure both "
        "(benchmarks/small_models.py does)",
    )
    export.add_argument(
        "--representative",
        metavar="FILE",
        type=Path,
        help="inputs that calibrate int8 (best tries int8 where they are given), samples first: an "
        "array (.npy) or, for a model of several inputs, one array each by name (.npz)",
    )
    export.add_argument(
        "--verify-with",
        metavar="FILE",
        type=Path,
        help="inputs on which the TFLite file is compared with the model, in the same form. "
        "Default: random inputs",
    )
    export.add_argument(
        "--shrink", action="store_true", help="remove dead neurons first, as `hlstm shrink` does"
    )


def _existing_file(path: Path) -> Path:
    """Checks what needs no TensorFlow to check, so that a mistyped name is said at once."""
    if path.is_dir():
        raise IsADirectoryError(f"{path} is a folder; expected a .keras file")
    if not path.exists():
        raise FileNotFoundError(f"{path} does not exist; expected a .keras file")
    return path


def quiet_import(module: str) -> ModuleType:
    """Imports `module`, keeping TensorFlow's start-up chatter off the screen.

    Example:

    >>> import hlstm_command
    >>> hlstm_command.quiet_import("hlstm_tf").__name__
    'hlstm_tf'
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # failures come as exceptions
    try:
        with _quiet_stderr():
            return importlib.import_module(module)
    except ImportError as error:
        raise ImportError(f"cannot import {module}: {error}") from error


class CurrentFolder:
    """Finds modules of the current folder for `import`, but only those that the user named.

    Whatever else lies there, such as a `numpy.py` beside a downloaded model, is never run. Python
    asks this finder last, so that an installed package goes before a file of its name.

    Args:
        modules: Names as `--import` takes them; of `package.module` the package counts.

    Example:

    >>> from hlstm_command import CurrentFolder
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
def _imported(modules: Sequence[str]) -> Iterator[None]:
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


@contextlib.contextmanager
def _quiet_stderr() -> Iterator[None]:
    """Holds back what is written to file descriptor 2; prints it after all if the block fails.

    TensorFlow's C++ code writes there before it reads any setting of its log level.
    """
    sys.stderr.flush()
    with tempfile.TemporaryFile() as held, contextlib.ExitStack() as stack:
        try:
            screen = os.dup(2)
        except OSError:  # the standard error is closed
            yield
            return
        stack.callback(os.close, screen)
        stack.callback(os.dup2, screen, 2)
        os.dup2(held.fileno(), 2)
        try:
            yield
        except ImportError:
            raise  # says itself what is missing
        except BaseException:
            held.seek(0)
            os.write(screen, held.read())
            raise


if __name__ == "__main__":
    sys.exit(main())
