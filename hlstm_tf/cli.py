"""What the commands of `hlstm` do; `hlstm_command` reads the command line and reports errors."""

import argparse
import contextlib
import json
import os
import re
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import keras
import numpy as np

import hlstm_tf as hl
from hlstm_tf.callbacks.architecture import ScoreSource, count_connections
from hlstm_tf.callbacks.model_pruning import prune_model
from hlstm_tf.callbacks.rule import Rule
from hlstm_tf.export.layout import input_layout
from hlstm_tf.sparsity import Whole, get_structure


def summary(args: argparse.Namespace) -> None:
    """Prints the model's connections, sparsity, FLOPs and bytes (`hlstm summary`)."""
    model = load_model(args.model)
    table = hl.summary(model, print_fn=None)
    print(json.dumps(table.to_dict(), indent=2) if args.json else table)


def prune(args: argparse.Namespace) -> None:
    """Writes a model without its least connections, neurons or blocks (`hlstm prune`)."""
    _check_suffix(args.output, ".keras")
    _check_folder(args.output)
    rule = _pruning_rule(args)
    inputs = _load_inputs(args.data, "--data")
    model = hl.sparsify(load_model(args.model))  # masks for what has none; the same function
    data = None if inputs is None else _scoring_data(model, inputs)
    kernels = hl.masked_kernels(model)
    before, places = count_connections(kernels)
    if not prune_model(ScoreSource(model, data), rule, "hlstm prune", sparsity=args.sparsity):
        raise ValueError(
            f"no {rule.structure} to remove: {args.model} has a sparsity of "
            f"{1 - before / places:.3g} already, or no layer with such a structure that may go "
            f"(hlstm summary {args.model} shows its layers)"
        )
    left, _ = count_connections(kernels)
    with _renamed_into_place(args.output) as unfinished:
        model.save(unfinished)
    print(
        f"{args.output}: {left:,} of {before:,} connections left, sparsity "
        f"{1 - left / places:.3g} ({1 - before / places:.3g} before); train it on, then "
        f"`hlstm shrink` or `hlstm export`"
    )


def _scoring_data(model: keras.Model, inputs: Any) -> tuple[Any, np.ndarray]:
    """Inputs as the training set that scores are computed on; none of these looks at targets."""
    layout = input_layout(model)
    named = layout.named(inputs, "--data")
    return layout.pack(named), np.zeros(len(next(iter(named.values()))))


def _pruning_rule(args: argparse.Namespace) -> Rule:
    if not 0 < args.sparsity < 1:
        raise ValueError(f"--sparsity must be between 0 and 1; got {args.sparsity:g}")
    whole = isinstance(get_structure(args.structure), Whole)
    fitting = "output" if whole else "activation"
    score = args.score or (fitting if args.data else "magnitude")
    if score == "magnitude" and args.data:
        raise ValueError(f"--score magnitude needs no --data; leave one out, or use {fitting}")
    if score != "magnitude" and not args.data:
        raise ValueError(f"--score {score} needs --data FILE, typical inputs of the model")
    rule = Rule.of(score, args.structure, "per_matrix")
    rule.structure.check_sparsity(args.sparsity, "--sparsity")
    return rule


def shrink(args: argparse.Namespace) -> None:
    """Writes the same function as plain layers without dead neurons (`hlstm shrink`)."""
    _check_suffix(args.output, ".keras")
    _check_folder(args.output)
    model = load_model(args.model)
    compact = hl.shrink(hl.strip(model))
    with _renamed_into_place(args.output) as unfinished:
        compact.save(unfinished)
    before, after = args.model.stat().st_size, args.output.stat().st_size
    print(f"{args.output}: {after:,} bytes ({before:,} before)")


def export(args: argparse.Namespace) -> None:
    """Writes a SavedModel, a TFLite file or both (`hlstm export`)."""
    quantization = None if args.quantization == "none" else args.quantization
    _check_export_options(args, quantization)
    representative = _load_inputs(args.representative, "--representative")
    verify_with = _load_inputs(args.verify_with, "--verify-with")
    model = load_model(args.model)
    model = hl.strip(model)
    if args.shrink:
        model = hl.shrink(model)
    if args.saved_model:
        hl.export_saved_model(
            model, args.saved_model, lengths=args.lengths or (), overwrite=args.overwrite
        )
        print(f"{args.saved_model}: SavedModel written")
    if args.tflite:
        written = hl.export_tflite(
            model,
            args.tflite,
            form=args.form or "sequence",
            quantization=quantization,
            for_=args.for_,
            representative=representative,
            verify_with=verify_with,
        )
        for candidate in written.candidates:
            kept = candidate.quantization == written.quantization
            print(f"{'*' if kept else ' '} {candidate}")
        print(f"{args.tflite}: {written.bytes:,} bytes, checked against the model")


def load_model(path: str | Path) -> keras.Model:
    """Loads a `.keras` file for looking at or exporting; an optimizer in it is left out.

    Args:
        path: A file that `keras.Model.save` wrote.

    Raises:
        ValueError: The file is no `.keras` file, is damaged, or holds a class that is not
            registered.

    Example:

    >>> import os, tempfile, keras
    >>> from hlstm_tf.cli import load_model
    >>> path = os.path.join(tempfile.mkdtemp(), "model.keras")
    >>> keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)]).save(path)
    >>> load_model(path).count_params()
    10
    """
    path = Path(path)
    if not zipfile.is_zipfile(path):
        raise ValueError(
            f"{path} is not a .keras file or is damaged ({path.stat().st_size:,} bytes, "
            "no complete zip archive); save the model again with model.save('NAME.keras')"
        )
    try:
        # Keras chooses the reader by the suffix; whatever the name, the content is a zip archive.
        with _named_keras(path) as named:
            return keras.models.load_model(named, compile=False)
    except Exception as error:  # a damaged file can fail in any way: zip, JSON, HDF5, Keras
        raise ValueError(
            f"cannot read the model {path}: {_reason(error)}{_of_keras_2(path)}"
        ) from error


def _of_keras_2(path: Path) -> str:
    """Says that a file was written by Keras 2, where it was."""
    try:
        with zipfile.ZipFile(path) as archive:
            version = json.loads(archive.read("metadata.json"))["keras_version"]
    except (KeyError, TypeError, ValueError, OSError, zipfile.BadZipFile):
        return ""
    if not str(version).startswith("2."):
        return ""
    return f" (Keras {version} wrote it; make and save the model with Keras 3, as hlstm_tf needs)"


def _reason(error: Exception) -> str:
    """Returns what Keras says is wrong, without the configs that it prints around it."""
    message = " ".join(str(error).split()).split("Exception encountered: ")[-1]
    if unregistered := re.search("Could not locate (class|function) '([^']+)'", message):
        kind, name = unregistered.groups()
        return (
            f"its {kind} {name!r} is not registered; name the Python module that registers it "
            "with --import MODULE"
        )
    message = re.split("Full object config|config={", message)[0].strip()
    return f"{type(error).__name__}: {message[:300]}"


@contextlib.contextmanager
def _named_keras(path: Path) -> Iterator[Path]:
    if path.suffix == ".keras":
        yield path
        return
    with tempfile.TemporaryDirectory() as folder:
        link = Path(folder, "model.keras")
        link.symlink_to(path.resolve())
        yield link


def _check_export_options(args: argparse.Namespace, quantization: str | None) -> None:
    if not (args.saved_model or args.tflite):
        raise ValueError("nothing to write; name --saved-model DIR, --tflite FILE or both")
    if not args.saved_model:
        for given, option in ((args.lengths, "--lengths"), (args.overwrite, "--overwrite")):
            if given:
                raise ValueError(
                    f"{option} is about the SavedModel; name it with --saved-model DIR"
                )
    if not args.tflite:
        for given, option in (
            (quantization, "--quantization"),
            (args.for_, "--for"),
            (args.form, "--form"),
            (args.representative, "--representative"),
            (args.verify_with, "--verify-with"),
        ):
            if given is not None:
                raise ValueError(f"{option} is about the TFLite file; name it with --tflite FILE")
    if args.tflite:
        _check_suffix(args.tflite, ".tflite")
    if args.for_ is not None and quantization != "best":
        raise ValueError(f"--for {args.for_} goes with --quantization best")
    if quantization == "int8" and args.representative is None:
        raise ValueError(
            "--quantization int8 needs --representative FILE, inputs to calibrate with; "
            "dynamic needs none"
        )


def _check_suffix(path: Path, suffix: str) -> None:
    if path.suffix != suffix:
        raise ValueError(f"the output {path} must end in {suffix}")


def _check_folder(path: Path) -> None:
    if not path.parent.is_dir():
        raise FileNotFoundError(
            f"the folder {path.parent} of the output {path.name} does not exist"
        )


def _load_inputs(path: Path | None, option: str) -> np.ndarray | dict[str, np.ndarray] | None:
    """Reads model inputs, samples first: one array (.npy), or one a model input by name (.npz)."""
    if path is None:
        return None
    if not path.is_file():
        raise FileNotFoundError(f"{option}: {path} does not exist; expected a .npy or .npz file")
    try:
        content = np.load(path, allow_pickle=False)
        return content if isinstance(content, np.ndarray) else dict(content)
    except Exception as error:  # a damaged header can fail in any way: as text, zip or Python
        reason = " ".join(str(error).split())[:300] or type(error).__name__
        raise ValueError(
            f"{option}: {path} is no .npy or .npz file or is damaged: {reason}"
        ) from error


@contextlib.contextmanager
def _renamed_into_place(path: Path) -> Iterator[Path]:
    """Gives a name beside `path` to write to, and renames it to `path` if all went well."""
    if not path.parent.is_dir():
        raise FileNotFoundError(
            f"the folder {path.parent} of the output {path.name} does not exist"
        )
    unfinished = path.with_name(f".{path.stem}.{os.getpid()}{path.suffix}")
    try:
        yield unfinished
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)
