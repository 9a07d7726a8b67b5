"""The shared parts of the applications' command lines."""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from apps.common.errors import InputError, one_line
from hlstm_tf import quiet_import

Add = Callable[..., argparse.ArgumentParser]
"""Adds a command: its name, what it does, and more for its own help."""


def run_command(args: argparse.Namespace, commands: str, loads_tensorflow: bool) -> int:
    """Run a command; return the exit status: 0, or 2 after a message for a user's mistake.

    Args:
        args: What `parser_of` parsed.
        commands: The module that has a function for each command, which returns True where it has
            told of a mistake already. It is imported here: TensorFlow takes seconds, and `--help`
            should not.
        loads_tensorflow: Whether the command needs it whatever it is given, so that it is loaded
            without its noise. Those that read a model load it for the formats that need it.
    """
    try:
        module = importlib.import_module(commands)
        if loads_tensorflow:
            quiet_import("keras")
        failed = getattr(module, args.command)(args)
    except (InputError, FloatingPointError, OSError) as error:
        print(f"{args.program} {args.command}: {one_line(error)}", file=sys.stderr, flush=True)
        return 2
    except KeyboardInterrupt:
        print("interrupted; the same command goes on where it can", file=sys.stderr)
        return 130
    return 2 if failed else 0


def parser_of(
    program: str, description: str, epilog: str, adders: Sequence[Callable[[Add], None]]
) -> argparse.ArgumentParser:
    """Return the parser of all commands of an application.

    Args:
        program: What it is called by.
        description, epilog: Of its help.
        adders: Each adds one command.
    """
    root = argparse.ArgumentParser(prog=program, description=description, epilog=epilog)
    root.set_defaults(program=root.prog)
    commands = root.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def add(name: str, summary: str, details: str = "") -> argparse.ArgumentParser:
        text = f"{summary[0].upper()}{summary[1:]}. {details}".strip()
        return commands.add_parser(
            name,
            help=summary,
            description=text,
            formatter_class=argparse.ArgumentDefaultsHelpFormatter,
        )

    for adder in adders:
        adder(add)
    return root


def add_model(command: argparse.ArgumentParser) -> None:
    """Add the option of a model of any format."""
    command.add_argument(
        "--model", type=Path, required=True, help="a .keras or .tflite file or SavedModel folder"
    )


def add_split(command: argparse.ArgumentParser) -> None:
    """Add the option of a split, `test` by default."""
    command.add_argument(
        "--split", choices=("train", "valid", "test"), default="test", help="of the data"
    )


def add_json(command: argparse.ArgumentParser) -> None:
    """Add the option of figures for a program."""
    command.add_argument("--json", action="store_true", help="print the figures as JSON")


def add_export(
    command: argparse.ArgumentParser, quantizations: Sequence[str], default: str, about: str
) -> None:
    """Add the options of an export.

    Args:
        command: Gets them.
        quantizations: What the TFLite file may have, "none" among them.
        default: One of these.
        about: What the help says of them.
    """
    command.add_argument("--model", type=Path, required=True, help="a .keras file")
    command.add_argument(
        "--out",
        type=Path,
        required=True,
        help="folder; gets model.tflite and the SavedModel's numbered version",
    )
    command.add_argument(
        "--quantization",
        choices=quantizations,
        default=default,
        help=f"of the TFLite file; {about}",
    )


def recipe_option(
    group: argparse._ArgumentGroup, flag: str, kind: Callable[[str], Any], about: str | None = None,
    **more: Any,
) -> None:  # fmt: skip
    """Add an option that changes a value of a recipe: not given, it is not in the namespace.

    Args:
        group: Gets it.
        flag: Its name.
        kind: Its type.
        about: Its help.
        **more: As `add_argument` takes them.
    """
    group.add_argument(flag, type=kind, default=argparse.SUPPRESS, help=about, **more)


def _share(text: str) -> float:
    value = float(text)
    if not 0 < value <= 1:
        raise argparse.ArgumentTypeError(f"got {text}; expected a share, such as 0.09 for 9 %")
    return value


def add_plan(command: argparse.ArgumentParser, rate: str) -> None:
    """Add the options of grow-and-prune (`apps.common.plan`).

    Args:
        command: Gets them.
        rate: What the error rate that is monitored is called.
    """
    gp = command.add_argument_group("grow-and-prune")
    gp.add_argument(
        "--grow-and-prune",
        action=argparse.BooleanOptionalAction,
        default=None,
        help="start from a sparse seed, grow by gradient, prune by magnitude, or train densely; by"
        " default as the preset does",
    )
    recipe_option(gp, "--seed-sparsity", float)
    recipe_option(gp, "--growth-epochs", count(0))
    recipe_option(gp, "--growth-ratio", float)
    recipe_option(gp, "--prune-step", float, dest="step")
    about = (
        "what the iterations remove, the last of these from then on: connection, neuron (hidden"
        " neurons of the gates), unit (of the states), row, column, 1x16, 2:4..."
    )
    more = {"dest": "structures", "nargs": "+", "metavar": "STRUCTURE"}
    recipe_option(gp, "--prune-structures", str, about, **more)
    recipe_option(gp, "--retrain-epochs", count(1))
    recipe_option(gp, "--retrain-rate", float, "peak learning rate")
    about = (
        f"validation {rate}, as a share (0.09 for 9 %%), that pruning must keep; by default that"
        " before pruning"
    )
    recipe_option(gp, "--threshold", _share, about, metavar=rate)
    recipe_option(gp, "--target-sparsity", float)
    recipe_option(gp, "--max-iterations", count(0), "of pruning; 0 to grow only")


def each_file(args: argparse.Namespace, work: Callable[[Path, str], None]) -> bool:
    """Do something with each of `args.files`; return whether one of them could not be used.

    Args:
        args: What the command was parsed to.
        work: Takes a file, and what its line begins with where there are several files.
    """
    failed = False
    for file in args.files:
        try:
            work(file, f"{file}: " if len(args.files) > 1 else "")
        except (InputError, OSError) as error:
            failed = True  # the other files are still worth reading
            print(f"{args.program} {args.command}: {one_line(error)}", file=sys.stderr, flush=True)
    return failed


def count(least: int, most: int | None = None) -> Callable[[str], int]:
    """Return a type for options that are whole numbers of at least, and at most, so much.

    >>> count(1)("3")
    3
    """

    def integer(text: str) -> int:
        value = int(text)
        if value < least:
            raise argparse.ArgumentTypeError(f"got {value}; expected at least {least}")
        if most is not None and value > most:
            raise argparse.ArgumentTypeError(f"got {value}; expected at most {most}")
        return value

    return integer
