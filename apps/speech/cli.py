"""The command line: `python -m apps.speech COMMAND`.

What a command does is in `apps.speech.commands`, which is imported when one runs: TensorFlow takes
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
    add_plan,
    add_split,
    count,
    parser_of,
    recipe_option,
    run_command,
)

RUNS = Path("runs/speech")
CORPUS = RUNS / "corpus"
CACHE = RUNS / "features"
WITHOUT_TENSORFLOW = ("prepare", "transcribe", "report", "demo")
"""Commands that do not load it, or in processes of their own, or for some models only."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; return the exit status: 0, or 2 after a message for a user's mistake."""
    args = parser().parse_args(arguments)
    loading = args.command not in WITHOUT_TENSORFLOW
    return run_command(args, "apps.speech.commands", loading)


def parser() -> argparse.ArgumentParser:
    """Return the parser of all commands."""
    return parser_of(
        "python -m apps.speech",
        "Speech recognition with compact H-LSTM networks: prepare a corpus, train by"
        " grow-and-prune, evaluate, export, transcribe.",
        "Without --data-dir every command works on a corpus of spoken alphanumerics that it"
        " synthesises itself. `python -m apps.speech COMMAND --help` tells more.",
        (_prepare, _train, _evaluate, _speed, _transcribe, _export, _report, _demo),
    )


def _prepare(add: Add) -> None:
    command = add(
        "prepare",
        "synthesise the corpus, or check one of yours, and cache its features",
        "A corpus of yours is AN4 in its official layout, or a folder of audio files with a CSV of"
        " the columns path,text[,speaker][,split].",
    )
    add_data(command)
    command.add_argument("--seed", type=count(0), default=0, help="of the synthesised corpus")
    for split, default in (("train", 2000), ("valid", 200), ("test", 300)):
        about = f"utterances to synthesise in the {split} split"
        command.add_argument(f"--{split}", type=count(1), default=default, metavar="N", help=about)


def _train(add: Add) -> None:
    command = add(
        "train",
        "train a recogniser, dense or by grow-and-prune",
        "Killed and started again by the same command it goes on where it was. The folder gets"
        " model.keras, compact.keras (grow-and-prune: the same function in plain layers) and"
        " record.json. Options that are not given come from the preset.",
    )
    add_data(command)
    command.add_argument("--out", type=Path, required=True, help="folder of the run")
    command.add_argument(
        "--preset",
        choices=("demo", "demo-lstm", "an4", "streaming"),
        default="demo",
        help="sizes and schedule: the demo's compact network, its baseline, those for AN4 or as"
        " many recordings of people, or for a network that listens while somebody speaks",
    )
    add_training(command)


def _evaluate(add: Add) -> None:
    command = add("evaluate", "state a model's word and character error rates, with counts")
    add_model(command)
    add_data(command)
    add_split(command)
    _search(command)
    command.add_argument("--out", type=Path, help="CSV file for each utterance's texts")
    add_json(command)


def _speed(add: Add) -> None:
    command = add(
        "speed",
        "state how much of real time a model's transcription takes, and on what",
        "Processor time of reading, features, network and decoding, warm, as the median of some"
        " rounds; set OMP_NUM_THREADS=1 to be sure of one thread.",
    )
    add_model(command)
    add_data(command)
    add_split(command)
    add_sample(command)
    command.add_argument("--rounds", type=count(1), default=5)


def _transcribe(add: Add) -> None:
    command = add(
        "transcribe",
        "print what is said in audio files",
        "Any format that libsndfile reads (WAV, FLAC, OGG, MP3, SPHERE, ...), at any rate, with any"
        " number of channels, up to ten minutes; a file named .raw is read as AN4's are: 16-bit"
        " big-endian, 16 kHz, one channel.",
    )
    command.add_argument("files", nargs="+", type=Path, metavar="FILE")
    add_model(command)
    _search(command)
    command.add_argument(
        "--words", action="store_true", help="a line a word, with its time and confidence"
    )
    command.add_argument(
        "--stream",
        action="store_true",
        help="print the text as it is spoken: one file, or - for raw 16-bit little-endian audio,"
        " 16 kHz, one channel, on standard input; needs a .tflite file as in"
        " saved_models/an4-streaming",
    )
    command.add_argument(
        "--chunk",
        type=count(1),
        metavar="MS",
        help="milliseconds that --stream reads at a time; 100 by default",
    )
    command.add_argument(
        "--real-time", action="store_true", help="stream a file as slowly as it was spoken"
    )


def _export(add: Add) -> None:
    command = add(
        "export",
        "write a model as SavedModel and TFLite file, each checked against the Keras model",
        "Masks are folded in and dead neurons removed first. Both files carry the front end and the"
        " alphabet: `transcribe` needs nothing else.",
    )
    about = (
        "dynamic: 8-bit weights; sparse: the same, block by block where the model was pruned in"
        " 1x16 blocks; best: the fastest on this machine"
    )
    add_export(command, ("none", "float16", "dynamic", "sparse", "best"), "dynamic", about)
    command.add_argument(
        "--form",
        choices=("step", "sequence"),
        default="step",
        help="of the TFLite file; step: the program that uses it runs the loop over time, which was"
        " twice as fast for the LSTM of the demo; sequence: one call an utterance",
    )


def _report(add: Add) -> None:
    command = add("report", "make a table and plots from the records of trainings")
    command.add_argument("runs", nargs="+", type=Path, metavar="RUN", help="folders of trainings")
    command.add_argument("--out", type=Path, required=True, help="folder for the report")


def _demo(add: Add) -> None:
    command = add(
        "demo",
        "the whole way in ten minutes on two cores",
        "Synthesises the corpus, trains a stacked LSTM and an H-LSTM, the latter by grow-and-prune,"
        " exports, transcribes, and compares.",
    )
    command.add_argument("--out", type=Path, default=Path("demo"), help="folder for all it makes")
    command.add_argument("--seed", type=count(0), default=0)


def add_data(command: argparse.ArgumentParser) -> None:
    """Add the options of a corpus."""
    command.add_argument(
        "--data-dir",
        type=Path,
        help="AN4 in its official layout, or a folder of audio with a CSV; without it the"
        f" synthesised corpus in {CORPUS}, made on first use",
    )
    add_cache(command)


def add_cache(command: argparse.ArgumentParser) -> None:
    """Add the option of the features' cache."""
    command.add_argument(
        "--cache-dir", type=Path, default=CACHE, help="where features are kept for the next time"
    )


def add_sample(command: argparse.ArgumentParser) -> None:
    """Add the option of how many utterances are looked at."""
    command.add_argument(
        "--utterances", type=count(1), default=40, metavar="N", help="of the split, evenly spaced"
    )


def _search(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--beam",
        type=count(1, 4096),
        metavar="WIDTH",
        help="beam search of that width; greedy without",
    )
    command.add_argument(
        "--vocabulary",
        type=Path,
        metavar="FILE",
        help="a text file with all words that can be said; beam search for nothing but them",
    )


def _longest(text: str) -> float | None:
    return float(text) or None


def add_training(command: argparse.ArgumentParser) -> None:
    """Add the options of network, training and grow-and-prune."""
    net = command.add_argument_group("network")
    recipe_option(net, "--cell", str, choices=("hlstm", "lstm", "gru"))
    recipe_option(net, "--layers", count(1), "recurrent layers")
    recipe_option(net, "--units", count(1), "of each layer and direction")
    about = "widths of the hidden layers of an H-LSTM's gates; as wide as --units by default"
    recipe_option(net, "--hidden-units", count(1), about, nargs="*")
    about = (
        "of the recurrent layers' matrices: dense (the default), low-rank, shared-low-rank, "
        "kronecker, toeplitz-like, or hybrid (toeplitz-like below, shared-low-rank above)"
    )
    forms = "dense", "low-rank", "shared-low-rank", "kronecker", "toeplitz-like", "hybrid"
    recipe_option(net, "--matrix-form", str, about, choices=forms)
    about = "the fraction of a dense matrix's weights that a form has; 0.25 by default"
    recipe_option(net, "--matrix-parameters", float, about)
    recipe_option(net, "--dropout", float, "between the layers")
    recipe_option(net, "--hidden-dropout", float, "in an H-LSTM's gates")
    net.add_argument(
        "--unidirectional",
        dest="bidirectional",
        action="store_false",
        default=argparse.SUPPRESS,
        help="look back only",
    )
    run = command.add_argument_group("training")
    recipe_option(run, "--epochs", count(1), "before any pruning")
    recipe_option(run, "--batch-size", count(1))
    recipe_option(run, "--learning-rate", float, "at its peak")
    about = (
        "train on the recordings played at each of these speeds: 0.9 1 1.1 is three times the work"
        " an epoch, and worth more than three times the epochs"
    )
    recipe_option(run, "--speeds", float, about, nargs="+", metavar="FACTOR")
    about = (
        "make N copies more of the recordings, each as if made elsewhere: other levels, rooms,"
        " noise and waits before the first word"
    )
    recipe_option(run, "--rooms", count(0), about, metavar="N")
    about = "leave out longer training utterances, as the demo's preset does; 0 takes all"
    recipe_option(run, "--max-seconds", _longest, about, metavar="SECONDS")
    recipe_option(run, "--seed", count(0))
    about = "a .keras model to go on with, masks and all"
    run.add_argument("--start", type=Path, metavar="MODEL", help=about)
    about = "a corpus whose training split is mixed in"
    run.add_argument("--extra", type=Path, metavar="DIR", help=about)
    about = "leave out training utterances too short for their transcripts; by default an error"
    run.add_argument("--drop-impossible", action="store_true", help=about)
    add_plan(command, "WER")
