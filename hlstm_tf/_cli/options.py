"""The options of the command `hlstm`."""

import argparse
import importlib.metadata
from pathlib import Path
from typing import NoReturn

USAGE_ERROR = 2
QUANTIZATIONS = ("none", "float16", "dynamic", "int8", "sparse", "sparse_float32", "best")
MATRIX_FORMS = ("shared-low-rank", "low-rank", "kronecker")
SCORES = ("magnitude", "activation", "output")


class _OneLineParser(argparse.ArgumentParser):
    """Says what is wrong in one line; argparse would print the usage above it."""

    def error(self, message: str) -> NoReturn:
        self.exit(USAGE_ERROR, f"{self.prog}: error: {message} (see {self.prog} --help)\n")


def parser() -> argparse.ArgumentParser:
    """Returns the parser of all commands."""
    whole = _OneLineParser(
        prog="hlstm",
        description="Look into, prune, factorize, shrink and export Keras models.",
        epilog="`hlstm COMMAND --help` says more about a command.",
    )
    whole.add_argument(
        "--version",
        action="version",
        version=f"hlstm_tf {importlib.metadata.version('hlstm_tf')}",
    )
    commands = whole.add_subparsers(
        dest="command", metavar="COMMAND", required=True, parser_class=_OneLineParser
    )
    common = _common_options()
    _add_summary(commands, common)
    _add_prune(commands, common)
    _add_factorize(commands, common)
    _add_shrink(commands, common)
    _add_export(commands, common)
    commands.add_parser(
        "version", help="print the versions of hlstm_tf and of what it computes with"
    )
    return whole


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
        "gzipped): per gate, layer and model. Of a .tflite file: its bytes, the types of its "
        "weights, and its signatures.",
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


def _add_factorize(
    commands: "argparse._SubParsersAction[_OneLineParser]", common: _OneLineParser
) -> None:
    factorize = commands.add_parser(
        "factorize",
        parents=[common],
        help="replace trained weight matrices by products of small ones",
        description="Write a model whose dense and recurrent layers hold low-rank or Kronecker "
        "factors, those nearest to the trained weights. Prints each kernel's error. Nothing is "
        "trained here: load the file and train it on with model.fit.",
        epilog="Example: hlstm factorize model.keras compact.keras --parameters 0.25 --data x.npy",
    )
    factorize.add_argument("output", metavar="OUTPUT.keras", type=Path, help="the file to write")
    factorize.add_argument(
        "--matrix-form",
        choices=MATRIX_FORMS,
        default="shared-low-rank",
        help="shared-low-rank (the gates of a layer share a projection; the default), low-rank "
        "(each gate has its own), or kronecker (with --parameters)",
    )
    size = factorize.add_mutually_exclusive_group(required=True)
    size.add_argument(
        "--parameters",
        metavar="F",
        type=float,
        help="the fraction of each matrix's weights that its factors may have, between 0 and 1",
    )
    size.add_argument(
        "--energy",
        metavar="F",
        type=float,
        help="the fraction of the squared norm of each matrix's outputs that the least sufficient "
        "rank keeps, between 0 and 1",
    )
    size.add_argument("--rank", metavar="R", type=int, help="the rank of every matrix")
    factorize.add_argument(
        "--data",
        metavar="FILE",
        type=Path,
        help="typical inputs, samples first: the factors are then those whose outputs on them are "
        "nearest. An array (.npy) or, for a model of several inputs, one array each by name (.npz)",
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
        "(weights and activations; needs --representative; of a model that ends in a softmax over "
        "hundreds of words or more export the logits, as int8 gives a softmax in steps of 1/256), "
        "sparse (dynamic, with matrices pruned in 1x16 blocks stored and multiplied block by "
        "block; faster or slower than dynamic by the size of the matrices: best measures), "
        "sparse_float32 (the same in float32 with 1x4 blocks), best (makes all, measures each and "
        "keeps the best --for this machine). Default: none",
    )
    export.add_argument(
        "--for",
        dest="for_",
        choices=("latency", "size"),
        help="what --quantization best and --form best are to be best for: latency (one sample, "
        "one thread; the default), or size in bytes",
    )
    export.add_argument(
        "--form",
        choices=("sequence", "step", "best"),
        help="of the TFLite file: sequence (one call for a whole input; the default), step (the "
        "program that uses the file runs the loop over time, as hlstm_tf.StepRunner does), or best "
        "(makes both, measures them and keeps the faster: which it is depends on the model, on the "
        "machine and on the length of the inputs: give some as long as yours as --verify-with)",
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
        "--top-k",
        metavar="K",
        type=int,
        help="of every output give the K largest entries of its last axis alone, NAME_values and "
        "NAME_ids in place of NAME: for large vocabularies. Default: all entries",
    )
    export.add_argument(
        "--shrink", action="store_true", help="remove dead neurons first, as `hlstm shrink` does"
    )
