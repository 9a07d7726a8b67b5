"""The options of `python -m apps.speech train`: what changes a preset, and what helps.

A value of the recipe that is not given is not in the namespace, and comes from the preset.
"""

from __future__ import annotations

import argparse
import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from apps.common.command_line import count
from apps.common.errors import InputError

if TYPE_CHECKING:
    from apps.speech.recipe import Recipe

AnyRecipe = TypeVar("AnyRecipe", bound="Recipe")


def add_options(command: argparse.ArgumentParser) -> None:
    """Add the options of network, training and grow-and-prune."""
    unset = argparse.SUPPRESS
    net = command.add_argument_group("network")
    net.add_argument("--cell", choices=("hlstm", "lstm", "gru"), default=unset)
    net.add_argument("--layers", type=count(1), default=unset, help="recurrent layers")
    net.add_argument("--units", type=count(1), default=unset, help="of each layer and direction")
    net.add_argument(
        "--hidden-units",
        type=count(1),
        nargs="*",
        default=unset,
        help="widths of the hidden layers of an H-LSTM's gates; as wide as --units by default",
    )
    net.add_argument("--dropout", type=float, default=unset, help="between the layers")
    net.add_argument("--hidden-dropout", type=float, default=unset, help="in an H-LSTM's gates")
    net.add_argument(
        "--unidirectional",
        dest="bidirectional",
        action="store_false",
        default=unset,
        help="look back only",
    )
    run = command.add_argument_group("training")
    run.add_argument("--epochs", type=count(1), default=unset, help="before any pruning")
    run.add_argument("--batch-size", type=count(1), default=unset)
    run.add_argument("--learning-rate", type=float, default=unset, help="at its peak")
    run.add_argument(
        "--speeds",
        type=float,
        nargs="+",
        metavar="FACTOR",
        default=unset,
        help="train on the recordings played at each of these speeds: 0.9 1 1.1 is three times the"
        " work an epoch, and worth more than three times the epochs",
    )
    run.add_argument(
        "--rooms",
        type=count(0),
        metavar="N",
        default=unset,
        help="make N copies more of the recordings, each as if made elsewhere: other levels, rooms,"
        " noise and waits before the first word",
    )
    run.add_argument(
        "--start", type=Path, metavar="MODEL", help="a .keras model to go on with, masks and all"
    )
    run.add_argument(
        "--extra", type=Path, metavar="DIR", help="a corpus whose training split is mixed in"
    )
    run.add_argument(
        "--max-seconds",
        type=float,
        metavar="SECONDS",
        default=unset,
        help="leave out longer training utterances, as the demo's preset does; 0 takes all",
    )
    run.add_argument("--seed", type=count(0), default=unset)
    run.add_argument(
        "--drop-impossible",
        action="store_true",
        help="leave out training utterances too short for their transcripts; by default an error",
    )
    _grow_and_prune(command.add_argument_group("grow-and-prune"))


def _share(text: str) -> float:
    value = float(text)
    if not 0 < value <= 1:
        raise argparse.ArgumentTypeError(f"got {text}; expected a share, such as 0.09 for 9 %")
    return value


def _grow_and_prune(group: argparse._ArgumentGroup) -> None:
    unset = argparse.SUPPRESS
    group.add_argument(
        "--grow-and-prune",
        action=argparse.BooleanOptionalAction,
        default=None,
        help="start from a sparse seed, grow by gradient, prune by magnitude, or train densely; by"
        " default as the preset does",
    )
    group.add_argument("--seed-sparsity", type=float, default=unset)
    group.add_argument("--growth-epochs", type=count(0), default=unset)
    group.add_argument("--growth-ratio", type=float, default=unset)
    group.add_argument("--prune-step", dest="step", type=float, default=unset)
    group.add_argument(
        "--prune-structures",
        dest="structures",
        nargs="+",
        default=unset,
        metavar="STRUCTURE",
        help="what the iterations remove, the last of these from then on: connection, neuron"
        " (hidden neurons of the gates), unit (of the states), row, column, 1x16, 2:4...",
    )
    group.add_argument("--retrain-epochs", type=count(1), default=unset)
    group.add_argument("--retrain-rate", type=float, default=unset, help="peak learning rate")
    group.add_argument(
        "--threshold",
        type=_share,
        default=unset,
        metavar="WER",
        help="validation WER, as a share (0.09 for 9 %%), that pruning must keep; by default that"
        " before pruning",
    )
    group.add_argument("--target-sparsity", type=float, default=unset)
    group.add_argument(
        "--max-iterations", type=count(0), default=unset, help="of pruning; 0 to grow only"
    )


def changed(recipe: AnyRecipe, args: argparse.Namespace) -> AnyRecipe:
    """Return a preset with what the command line changes in it, all at once.

    Args:
        recipe: The preset, of the recogniser or of an application that has more to try.
        args: What the options of `add_options`, and those of that application, were parsed to.

    Raises:
        InputError: A value is out of range, or there is one of grow-and-prune for a dense training.
    """
    from apps.speech.recipe import GrowAndPruneRecipe

    given = vars(args)
    names = {field.name for field in dataclasses.fields(recipe)} - {"grow_and_prune"}
    changes: dict[str, Any] = {name: given[name] for name in names if name in given}
    changes |= {n: tuple(changes[n]) for n in ("hidden_units", "speeds") if n in changes}
    if changes.get("max_seconds") == 0:
        changes["max_seconds"] = None
    plan = recipe.grow_and_prune
    wanted = bool(plan) if args.grow_and_prune is None else args.grow_and_prune
    fields = {field.name for field in dataclasses.fields(GrowAndPruneRecipe)}
    asked = {name: value for name, value in given.items() if name in fields}
    if not wanted and asked:
        raise InputError(
            f"train: got {', '.join(asked)} for a dense training; leave out the options of"
            " grow-and-prune, or give --grow-and-prune"
        )
    if wanted:
        plan = plan or GrowAndPruneRecipe()
        if "structures" in asked:
            asked["structures"] = tuple(asked["structures"])
        plan = dataclasses.replace(plan, **asked)
    return dataclasses.replace(recipe, **changes, grow_and_prune=plan if wanted else None)
