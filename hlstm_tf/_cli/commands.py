"""What the commands of `hlstm` do with models of Keras."""

import argparse
import json
from typing import Any

import keras
import numpy as np

import hlstm_tf as hl
from hlstm_tf._cli.files import (
    check_folder,
    check_suffix,
    load_inputs,
    load_model,
    renamed_into_place,
)
from hlstm_tf.export.conversion import SPARSE
from hlstm_tf.export.layout import input_layout
from hlstm_tf.pruning.architecture import Rule, count_connections, prune_model
from hlstm_tf.pruning.widths import sparsity_missed
from hlstm_tf.scoring.score_source import ScoreSource
from hlstm_tf.sparsity import NeuronStructure, Structure, get_structure


def summary(args: argparse.Namespace) -> None:
    """Prints the model's connections, sparsity, FLOPs and bytes (`hlstm summary`)."""
    model = load_model(args.model)
    table = hl.summary(model, print_fn=None)
    print(json.dumps(table.to_dict(), indent=2) if args.json else table)


def prune(args: argparse.Namespace) -> None:
    """Writes a model without its least connections, neurons or blocks (`hlstm prune`)."""
    check_suffix(args.output, ".keras")
    check_folder(args.output)
    rule = _pruning_rule(args)
    inputs = load_inputs(args.data, "--data")
    model = hl.sparsify(load_model(args.model))  # masks for what has none; the same function
    data = None if inputs is None else _scoring_data(model, inputs)
    kernels = hl.masked_kernels(model)
    before, places = count_connections(kernels)
    removed = prune_model(ScoreSource(model, data), rule, "hlstm prune", sparsity=args.sparsity)
    left, _ = count_connections(kernels)
    missed = sparsity_missed(model, rule.structure, args.sparsity, 1 - left / places)
    if not removed:
        already = f"{args.model} has a sparsity of {1 - before / places:.3g} already"
        raise ValueError(
            f"no {rule.structure} to remove: {missed or already} "
            f"(hlstm summary {args.model} shows its layers)"
        )
    with renamed_into_place(args.output) as unfinished:
        model.save(unfinished)
    print(
        f"{args.output}: {left:,} of {before:,} connections left, sparsity "
        f"{1 - left / places:.3g} ({1 - before / places:.3g} before); train it on, then "
        f"`hlstm shrink` or `hlstm export`\n{_bought_by(rule.structure)}"
    )
    if missed:
        print(f"not all of --sparsity {args.sparsity:g} by {rule.structure} is there: {missed}")


_MATRIX_FORMS: dict[str, Any] = {
    "shared-low-rank": hl.SharedLowRank,
    "low-rank": hl.LowRank,
    "kronecker": hl.Kronecker,
}


def factorize(args: argparse.Namespace) -> None:
    """Writes a model whose kernels are products of small factors (`hlstm factorize`)."""
    check_suffix(args.output, ".keras")
    check_folder(args.output)
    inputs = load_inputs(args.data, "--data")
    model = load_model(args.model)
    compact = hl.factorize(
        model,
        _MATRIX_FORMS[args.matrix_form],
        ranks=args.rank,
        parameters=args.parameters,
        energy=args.energy,
        data=None if inputs is None else _scoring_data(model, inputs),
    )
    with renamed_into_place(args.output) as unfinished:
        compact.save(unfinished)
    print(
        f"{args.output}: {compact.count_params():,} of {model.count_params():,} weights; train it "
        "on with model.fit, then `hlstm export`"
    )


def _bought_by(structure: Structure) -> str:
    """What a structure's pruning does to the file that the model is deployed as."""
    if isinstance(structure, NeuronStructure):
        return f"`hlstm shrink` takes each {structure} out: files become smaller and faster"
    if encoded := [name for name, (_, kernel) in SPARSE.items() if f"{kernel}" == f"{structure}"]:
        return (
            f"files become smaller by `hlstm export --quantization {encoded[0]}`; whether they "
            "become faster, too, --quantization best measures"
        )
    if structure.removes_inputs or structure.removes_outputs:
        return "`hlstm shrink` takes out the inputs and outputs that no matrix uses any more"
    return (
        "exported files keep their size and time, but for gzip; --structure unit or neuron makes "
        "them smaller and faster"
    )


def _scoring_data(model: keras.Model, inputs: Any) -> tuple[Any, np.ndarray]:
    """Inputs as the training set that scores are computed on; none of these looks at targets."""
    layout = input_layout(model)
    named = layout.named(inputs, "--data")
    return layout.pack(named), np.zeros(len(next(iter(named.values()))))


def _pruning_rule(args: argparse.Namespace) -> Rule:
    if not 0 < args.sparsity < 1:
        raise ValueError(f"--sparsity must be between 0 and 1; got {args.sparsity:g}")
    whole = isinstance(get_structure(args.structure), NeuronStructure)
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
    check_suffix(args.output, ".keras")
    check_folder(args.output)
    model = load_model(args.model)
    compact = hl.shrink(hl.strip(model))
    with renamed_into_place(args.output) as unfinished:
        compact.save(unfinished)
    before, after = args.model.stat().st_size, args.output.stat().st_size
    print(f"{args.output}: {after:,} bytes ({before:,} before)")


def export(args: argparse.Namespace) -> None:
    """Writes a SavedModel, a TFLite file or both (`hlstm export`)."""
    quantization = None if args.quantization == "none" else args.quantization
    _check_export_options(args, quantization)
    representative = load_inputs(args.representative, "--representative")
    verify_with = load_inputs(args.verify_with, "--verify-with")
    model = load_model(args.model)
    model = hl.strip(model)
    if args.shrink:
        model = hl.shrink(model)
    if args.saved_model:
        hl.export_saved_model(
            model,
            args.saved_model,
            lengths=args.lengths or (),
            overwrite=args.overwrite,
            top_k=args.top_k,
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
            top_k=args.top_k,
        )
        for candidate in written.candidates:
            kept = (candidate.form, candidate.quantization) == (written.form, written.quantization)
            print(f"{'*' if kept else ' '} {candidate}")
        print(f"{args.tflite}: {written.bytes:,} bytes, checked against the model")


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
        check_suffix(args.tflite, ".tflite")
    if args.for_ is not None and "best" not in (args.form, quantization):
        raise ValueError(f"--for {args.for_} goes with --quantization best or --form best")
    if quantization == "int8" and args.representative is None:
        raise ValueError(
            "--quantization int8 needs --representative FILE, inputs to calibrate with; "
            "dynamic needs none"
        )
