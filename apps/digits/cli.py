"""The command line: `python -m apps.digits COMMAND`.

What a command does is in `apps.digits.commands`, which is imported when one runs: TensorFlow takes
seconds, and `--help` should not.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from apps.common.command_line import (
    Add,
    add_export,
    add_json,
    add_model,
    add_split,
    count,
    parser_of,
    run_command,
)

ARCHITECTURES = ("lenet-300-100", "lenet-5", "alexnet-cifar")
RUNS = Path("runs/digits")
RESULTS = Path(__file__).parent / "results"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; return the exit status: 0, or 2 after a message for a user's mistake."""
    args = parser().parse_args(arguments)
    return run_command(args, "apps.digits.commands", args.command not in ("classify", "table"))


def parser() -> argparse.ArgumentParser:
    """Return the parser of all commands."""
    return parser_of(
        "python -m apps.digits",
        "Handwritten digits with small networks, grown and pruned as NeST does (arXiv"
        " 1711.02017): train, evaluate, export, classify.",
        "`python -m apps.digits COMMAND --help` tells more.",
        (_train, _evaluate, _export, _classify, _compare, _table, _card),
    )


def _train(add: Add) -> None:
    command = add(
        "train",
        "train a network by growth and pruning",
        "Killed and started again by the same command it goes on where it was. The folder gets"
        " model.keras, compact.keras (the same function in plain layers without dead neurons) and"
        " record.json. What is chosen is chosen by the validation digits, the last 5,000 of the"
        " training files; test digits are not looked at.",
    )
    command.add_argument(
        "--arch", choices=ARCHITECTURES, default=ARCHITECTURES[0], help="the network"
    )
    _data(command)
    command.add_argument(
        "--seed", type=count(0), default=0, help="of weights, masks, order and augmentation"
    )
    command.add_argument(
        "--out", type=Path, help=f"folder of the run; {RUNS}/ARCH-SEED where it is not given"
    )


def _evaluate(add: Add) -> None:
    command = add("evaluate", "state a model's size and error rate, with its interval")
    add_model(command)
    _data(command)
    add_split(command)
    add_json(command)


def _export(add: Add) -> None:
    command = add(
        "export",
        "write a model as SavedModel and TFLite file, each checked against the Keras model",
        "Masks are folded in and dead neurons removed first; sparse dense layers hold no more than"
        " the connections that exist.",
    )
    about = "none: float32, as exact as the Keras model"
    add_export(command, ("none", "float16", "dynamic"), "none", about)


def _classify(add: Add) -> None:
    command = add(
        "classify",
        "print which digit is on an image, and how sure the network is",
        "Any format that Pillow reads, gray, colored or transparent, dark on light or light on"
        " dark, of any size.",
    )
    command.add_argument("files", nargs="+", type=Path, metavar="IMAGE", help="image files")
    add_model(command)


def _compare(add: Add) -> None:
    command = add(
        "compare",
        "train LeNet-300-100 in other ways to the same size, on a shortened schedule",
        "Growth by gradient, growth at random, pruning only, tfmot's magnitude pruning, and seeds"
        " from very sparse to full. Each goes on where it was when it was killed.",
    )
    _data(command)
    command.add_argument("--seeds", type=count(1), default=3, help="trainings of each kind")
    command.add_argument("--out", type=Path, default=RUNS / "compare", help="folder of the runs")


def _table(add: Add) -> None:
    command = add(
        "table",
        "write the README's tables and plots from the records of trainings",
    )
    command.add_argument(
        "runs", nargs="*", type=Path, metavar="RUN", help="folders whose records to add first"
    )
    command.add_argument("--results", type=Path, default=RESULTS, help="folder of the records")
    command.add_argument(
        "--readme", type=Path, default=RESULTS.parent / "README.md", help="to write into"
    )


def _card(add: Add) -> None:
    command = add(
        "card",
        "export a finished training and write its model card, as in saved_models/",
    )
    command.add_argument("run", type=Path, metavar="RUN", help="folder of the training")
    _data(command)
    command.add_argument("--out", type=Path, required=True, help="folder of the model")


def _data(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--data-dir",
        type=Path,
        help="folder with MNIST's idx files, plain or gzipped, or for alexnet-cifar with a folder"
        " of images for each class; without it HLSTM_DATA, else MNIST is downloaded",
    )
