"""The shared parts of the applications' command lines."""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Callable, Sequence

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
        tell(args, error)
        return 2
    except KeyboardInterrupt:
        print("interrupted; the same command goes on where it can", file=sys.stderr)
        return 130
    return 2 if failed else 0


def tell(args: argparse.Namespace, error: BaseException) -> None:
    """Print a user's mistake as one line, after the command that met it."""
    print(f"{args.program} {args.command}: {one_line(error)}", file=sys.stderr, flush=True)


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
