"""The command line: `python -m apps.speech COMMAND`.

What a command does is in `apps.speech.commands`, which is imported when one runs: TensorFlow takes
seconds, and `--help` should not.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from apps.common.command_line import Add, count, parser_of, run_command
from apps.speech.train_options import add_options

RUNS = Path("runs/speech")
RESULTS = Path(__file__).parent / "results" / "ablations"
CORPUS = RUNS / "corpus"
CACHE = RUNS / "features"
WITHOUT_TENSORFLOW = ("prepare", "report", "table", "demo")
"""Commands that do not load it, or in processes of their own."""


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
        (
            *(_prepare, _train, _evaluate, _robustness, _speed, _transcribe, _export, _report),
            *(_demo, _an4, _card, _ablate, _table),
        ),
    )


def _prepare(add: Add) -> None:
    command = add(
        "prepare",
        "synthesise the corpus, or check one of yours, and cache its features",
        "A corpus of yours is AN4 in its official layout, or a folder of audio files with a CSV of"
        " the columns path,text[,speaker][,split].",
    )
    _data(command)
    command.add_argument("--seed", type=count(0), default=0, help="of the synthesised corpus")
    for split, default in (("train", 2000), ("valid", 200), ("test", 300)):
        command.add_argument(
            f"--{split}",
            type=count(1),
            default=default,
            metavar="N",
            help=f"utterances to synthesise in the {split} split",
        )


def _train(add: Add) -> None:
    command = add(
        "train",
        "train a recogniser, dense or by grow-and-prune",
        "Killed and started again by the same command it goes on where it was. The folder gets"
        " model.keras, compact.keras (grow-and-prune: the same function in plain layers) and"
        " record.json. Options that are not given come from the preset.",
    )
    _data(command)
    command.add_argument("--out", type=Path, required=True, help="folder of the run")
    command.add_argument(
        "--preset",
        choices=(
            *("demo", "demo-lstm", "an4", "an4-mixed", "an4-tuned", "an4-thinned"),
            *("an4-polished", "an4-streaming-pretrained", "an4-streaming-tuned"),
        ),
        default="demo",
        help="sizes and schedule: the demo's compact network, its baseline, AN4's in one training"
        " or in several, or those of a network for AN4 that listens while the speaker is speaking",
    )
    add_options(command)


def _evaluate(add: Add) -> None:
    command = add("evaluate", "state a model's word and character error rates, with counts")
    _model(command)
    _data(command)
    command.add_argument("--split", choices=("train", "valid", "test"), default="test")
    _search(command)
    command.add_argument("--out", type=Path, help="CSV file for each utterance's texts")
    command.add_argument("--json", action="store_true", help="print the figures as JSON")


def _robustness(add: Add) -> None:
    command = add(
        "robustness",
        "state a model's word error rates on recordings that were disturbed",
        "Other rates and channels, long silence, low and clipped levels, an offset, noise, hum,"
        " minutes, and recordings with nothing in them.",
    )
    _model(command)
    _data(command)
    command.add_argument("--split", choices=("train", "valid", "test"), default="test")
    command.add_argument(
        "--utterances", type=count(1), default=40, metavar="N", help="of the split, evenly spaced"
    )
    command.add_argument("--seed", type=count(0), default=0, help="of the noise")


def _speed(add: Add) -> None:
    command = add(
        "speed",
        "state how much of real time a model's transcription takes, and on what",
        "Processor time of reading, features, network and decoding, warm, as the median of some"
        " rounds; set OMP_NUM_THREADS=1 to be sure of one thread.",
    )
    _model(command)
    _data(command)
    command.add_argument("--split", choices=("train", "valid", "test"), default="test")
    command.add_argument(
        "--utterances", type=count(1), default=40, metavar="N", help="of the split, evenly spaced"
    )
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
    _model(command)
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
    command.add_argument("--model", type=Path, required=True, help="a .keras file")
    command.add_argument(
        "--out",
        type=Path,
        required=True,
        help="folder; gets model.tflite and the SavedModel's numbered version",
    )
    command.add_argument(
        "--quantization",
        choices=("none", "float16", "dynamic", "sparse", "best"),
        default="dynamic",
        help="of the TFLite file; dynamic: 8-bit weights; sparse: the same, block by block where"
        " the model was pruned in 1x16 blocks; best: the fastest on this machine",
    )
    command.add_argument(
        "--form",
        choices=("step", "sequence"),
        default="step",
        help="of the TFLite file; step: the program that uses it runs the loop over time, which is"
        " faster; sequence: one call an utterance",
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
    _cache(command)


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
    _cache(command)


def _ablate(add: Add) -> None:
    command = add(
        "ablate",
        "train every row of the ablation tables from several seeds",
        "One setting, a few minutes a training, and rows that differ from it in one thing. Finished"
        " trainings are skipped, one that was killed goes on; several processes may share the"
        " folder, each with all tables or some. Needs --data-dir for figures that mean anything.",
    )
    _data(command)
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


def _data(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--data-dir",
        type=Path,
        help="AN4 in its official layout, or a folder of audio with a CSV; without it the"
        f" synthesised corpus in {CORPUS}, made on first use",
    )
    _cache(command)


def _cache(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--cache-dir", type=Path, default=CACHE, help="where features are kept for the next time"
    )


def _model(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--model", type=Path, required=True, help="a .keras or .tflite file or SavedModel folder"
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
