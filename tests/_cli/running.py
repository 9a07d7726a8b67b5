"""Runs the command `hlstm` as a user runs it, on real files."""

import os
import subprocess
import sys
from pathlib import Path

from hlstm_tf._cli.command import main

ROOT = Path(__file__).parents[2]


def run(capfd, *arguments):
    """Runs the command in this process, which spares the start of TensorFlow."""
    try:
        status = main([str(argument) for argument in arguments])
    except SystemExit as end:
        status = end.code
    output, error = capfd.readouterr()
    return status, output, error


def assert_one_clear_line(result, *expected):
    status, _, error = result
    assert status == 2, error
    lines = [line for line in error.split("\n") if line]
    assert len(lines) == 1, error
    assert lines[0].startswith("hlstm")
    for words in expected:
        assert str(words) in lines[0]


TRAP = "raise SystemExit('the current folder was executed: ' + __name__)\n"


def installed(*arguments, folder):
    """Runs the installed command as a process of its own, in a folder."""
    command = Path(sys.executable).with_name("hlstm")
    environment = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")}
    return subprocess.run(
        [command, *map(str, arguments)],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
    )
