"""The options of `python -m apps.speech train`: what changes a preset, and what helps.

A value of the recipe that is not given is not in the namespace, and comes from the preset.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from apps.common.command_line import count


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
        "--vocal-tract",
        type=float,
        metavar="SHARE",
        default=unset,
        help="warp each utterance's frequencies by up to this share, anew in each epoch",
    )
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
        "--spliced",
        type=count(0),
        metavar="N",
        default=unset,
        help="make N utterances of words from elsewhere for each recording; needs --aligner",
    )
    run.add_argument(
        "--aligner",
        type=Path,
        metavar="MODEL",
        help="a model that has learnt this corpus and finds its words, for --spliced",
    )
    run.add_argument(
        "--teacher-share",
        type=float,
        metavar="SHARE",
        default=unset,
        help="of the loss that is the distance from the outputs of --teacher",
    )
    run.add_argument(
        "--teacher", type=Path, metavar="MODEL", help="a .keras model to learn from, too"
    )
    run.add_argument(
        "--start", type=Path, metavar="MODEL", help="a .keras model to go on with, masks and all"
    )
    run.add_argument(
        "--extra", type=Path, metavar="DIR", help="a corpus whose training split is mixed in"
    )
    run.add_argument(
        "--averaged",
        type=float,
        metavar="MOMENTUM",
        default=unset,
        help="score and keep a running average of the weights, such as 0.998 a step; with"
        " --no-grow-and-prune",
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
    group.add_argument(
        "--keep-iterations",
        action="store_true",
        help="keep each iteration's model as iteration-1.keras and so on, masks included",
    )
