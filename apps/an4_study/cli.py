"""The command line: `python -m apps.an4_study COMMAND`.

What a command does is in `apps.an4_study.commands`, which is imported when one runs: TensorFlow
takes seconds, and `--help` should not.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from apps.common.command_line import (
    Add,
    add_model,
    add_split,
    count,
    parser_of,
    recipe_option,
    run_command,
)
from apps.speech.cli import add_cache, add_data, add_sample, add_training

RUNS = Path("runs/an4_study")
RESULTS = Path(__file__).parent / "results" / "ablations"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; return the exit status: 0, or 2 after a message for a user's mistake."""
    args = parser().parse_args(arguments)
    return run_command(args, "apps.an4_study.commands", args.command != "table")


def parser() -> argparse.ArgumentParser:
    """Return the parser of all commands."""
    return parser_of(
        "python -m apps.an4_study",
        "The networks of saved_models/an4-*, and what each part of their training is worth.",
        "`python -m apps.an4_study COMMAND --help` tells more.",
        (_an4, _train, _card, _robustness, _ablate, _table),
    )


def _an4(add: Add) -> None:
    command = add(
        "an4",
        "from AN4's folder to its networks, by six trainings",
        "Synthesises what is mixed in, trains a network that finds the words in the recordings, one"
        " that learns from all of it, prunes it twice, and polishes what comes of either, in the"
        " folders accurate and compact. Killed and started again it goes on where it was.",
    )
    command.add_argument("--data-dir", type=Path, required=True, help="AN4 in its official layout")
    command.add_argument("--out", type=Path, required=True, help="folder of the trainings")
    command.add_argument(
        "--streaming",
        action="store_true",
        help="instead train the network that listens while somebody speaks, by two trainings, in"
        " the folder streaming-tuned",
    )
    add_cache(command)


def _train(add: Add) -> None:
    command = add(
        "train",
        "train a network by one of the study's recipes, or with what it tries",
        "As `python -m apps.speech train`, with more presets and options.",
    )
    add_data(command)
    command.add_argument("--out", type=Path, required=True, help="folder of the run")
    command.add_argument(
        "--preset",
        choices=(
            *("an4", "an4-mixed", "an4-tuned", "an4-thinned", "an4-polished"),
            *("an4-streaming-pretrained", "an4-streaming-tuned"),
        ),
        default="an4",
        help="sizes and schedule of one of the trainings of `an4`",
    )
    add_training(command)
    _tried(command.add_argument_group("tried"))


def _tried(group: argparse._ArgumentGroup) -> None:
    about = "warp each utterance's frequencies by up to this share, anew in each epoch"
    recipe_option(group, "--vocal-tract", float, about, metavar="SHARE")
    about = "make N utterances of words from elsewhere for each recording; needs --aligner"
    recipe_option(group, "--spliced", count(0), about, metavar="N")
    about = "a model that has learnt this corpus and finds its words, for --spliced"
    group.add_argument("--aligner", type=Path, metavar="MODEL", help=about)
    about = "of the loss that is the distance from the outputs of --teacher"
    recipe_option(group, "--teacher-share", float, about, metavar="SHARE")
    about = "a .keras model to learn from, too"
    group.add_argument("--teacher", type=Path, metavar="MODEL", help=about)
    about = (
        "score and keep a running average of the weights, such as 0.998 a step; with"
        " --no-grow-and-prune"
    )
    recipe_option(group, "--averaged", float, about, metavar="MOMENTUM")
    about = "keep each iteration's model as iteration-1.keras and so on, masks included"
    group.add_argument("--keep-iterations", action="store_true", help=about)


def _card(add: Add) -> None:
    command = add(
        "card",
        "export the model of a training on AN4 with a model card, as in saved_models/",
        "Recognises the validation split with every file, and compares their speed with that of"
        " five bidirectional LSTM layers: three minutes.",
    )
    command.add_argument("run", type=Path, metavar="RUN", help="folder of a finished training")
    command.add_argument("--out", type=Path, required=True, help="folder of the model")
    command.add_argument(
        "--model",
        metavar="FILE",
        help="which of the training's files: by default compact.keras, or model.keras where nothing"
        " was pruned; grown.keras, as it was before it was pruned; iteration-1.keras and so on",
    )
    command.add_argument("--data-dir", type=Path, required=True, help="AN4 in its official layout")
    add_cache(command)


def _robustness(add: Add) -> None:
    command = add(
        "robustness",
        "state a model's word error rates on recordings that were disturbed",
        "Other rates and channels, long silence, low and clipped levels, an offset, noise, hum,"
        " minutes, and recordings with nothing in them.",
    )
    add_model(command)
    add_data(command)
    add_split(command)
    add_sample(command)
    command.add_argument("--seed", type=count(0), default=0, help="of the noise")


def _ablate(add: Add) -> None:
    command = add(
        "ablate",
        "train every row of the ablation tables from several seeds",
        "One setting, a few minutes a training, and rows that differ from it in one thing. Finished"
        " trainings are skipped, one that was killed goes on; several processes may share the"
        " folder, each with all tables or some. Needs --data-dir for figures that mean anything.",
    )
    add_data(command)
    command.add_argument("--out", type=Path, default=RUNS / "ablate", help="folder of the runs")
    command.add_argument(
        "--tables",
        nargs="+",
        metavar="NAME",
        help="cells, growth, latency, dropout, width, training; all by default",
    )
    command.add_argument(
        "--rows",
        nargs="+",
        metavar="ROW",
        help="only these rows, by the names of their folders without the seed; all by default",
    )
    command.add_argument(
        "--seeds",
        type=count(1),
        metavar="N",
        help="trainings of each row; two or three by default, as each table needs",
    )
    command.add_argument(
        "--missing",
        type=Path,
        nargs="?",
        const=RESULTS,
        metavar="RECORDS",
        help="only the trainings of which a folder has no record; without a folder, of which"
        f" {RESULTS.relative_to(Path(__file__).parents[2])} has none",
    )
    command.add_argument(
        "--expert",
        type=Path,
        default=Path("saved_models/an4-accurate/model.keras"),
        metavar="MODEL",
        help="a .keras model that has learnt the corpus, for the rows that learn from it or from"
        " words that it cuts out of the recordings; default: %(default)s",
    )
    command.add_argument(
        "--time-again",
        action="store_true",
        help="measure the latencies anew, which is done once when the table latency is complete:"
        " better on a machine that is idle",
    )


def _table(add: Add) -> None:
    command = add(
        "table",
        "write the README's ablation tables and plots from the records of trainings",
    )
    command.add_argument(
        "runs",
        nargs="*",
        type=Path,
        metavar="RUNS",
        help="--out of `ablate`, or folders in it, whose records to add first",
    )
    command.add_argument("--results", type=Path, default=RESULTS, help="folder of the records")
    command.add_argument(
        "--readme", type=Path, default=RESULTS.parents[1] / "README.md", help="to write into"
    )
