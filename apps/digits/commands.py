"""The commands of `python -m apps.digits`, with their parsed arguments."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np

from apps.common.command_line import each_file
from apps.common.errors import InputError
from apps.common.rate import Rate
from apps.digits.cli import RUNS


def train(args: argparse.Namespace) -> None:
    """Train by the architecture's recipe."""
    from apps.digits.train import error_rate
    from apps.digits.train import train as run

    recipe, splits = _job(args)
    trained = run(recipe, splits, args.out or RUNS / f"{args.arch}-{args.seed}")
    figures = trained.result
    print(
        f"validation error {_text(error_rate(figures))}; {figures['parameters']:,} parameters,"
        f" {figures['flops']:,} FLOPs an image"
    )
    print(f"model in {trained.model}")


def _job(args: argparse.Namespace) -> tuple[Any, Any]:
    """The recipe and the data of an architecture."""
    from apps.digits.recipes import recipe

    if args.arch == "alexnet-cifar":
        from apps.digits.pictures import read_pictures

        if args.data_dir is None:
            raise InputError("alexnet-cifar needs --data-dir, a folder of images for each class")
        pictures = read_pictures(args.data_dir)
        return recipe(args.arch, seed=args.seed, classes=len(pictures.names)), pictures.splits
    from apps.digits.mnist import load

    return recipe(args.arch, seed=args.seed), load(args.data_dir)


def evaluate(args: argparse.Namespace) -> None:
    """Score a model of any format on a split."""
    from apps.digits.classifier import load, load_keras
    from apps.digits.cost import cost_of
    from apps.digits.evaluate import errors
    from apps.digits.mnist import load as load_digits

    model = load(args.model)
    rate = errors(model, load_digits(args.data_dir).split(args.split))
    low, high = rate.interval
    figures: dict[str, Any] = {
        "errors": rate.errors,
        "total": rate.total,
        "error": rate.value,
        "interval": [low, high],
    }
    size = ""
    if args.model.suffix == ".keras":
        cost = cost_of(load_keras(args.model))
        figures |= cost.as_dict()
        size = f"; {cost.parameters:,} parameters, {cost.flops:,} FLOPs an image"
    if args.json:
        print(json.dumps(figures))
        return
    print(f"{args.model} on {args.split}: error {_text(rate)}{size}")


def _text(rate: Rate) -> str:
    """An error rate to hundredths of a percent: one digit of 10,000."""
    low, high = (100 * end for end in rate.interval)
    share = f"{100 * rate.value:.2f} % ({rate.errors}/{rate.total})"
    return f"{share}, 95 % interval {low:.2f} to {high:.2f} %"


def export(args: argparse.Namespace) -> None:
    """Write a SavedModel and a TFLite file."""
    from apps.common.model_card import size_of
    from apps.digits.export import export_digits

    quantization = None if args.quantization == "none" else args.quantization
    done = export_digits(args.model, args.out, quantization)
    for kind, path, error in zip(("", " SavedModel,"), done.files, done.errors, strict=True):
        print(f"{path}:{kind} {size_of(path):,} bytes, logits within {error:.1e}")


def classify(args: argparse.Namespace) -> bool:
    """Print the digit on each image; return whether one of them could not be used."""
    from apps.digits.classifier import load
    from apps.digits.image import read_digit
    from apps.digits.pixels import scaled

    model = load(args.model)

    def tell(file: Path, prefix: str) -> None:
        logits = model(scaled(read_digit(file)[None]))[0].astype(np.float64)
        sure = np.exp(logits - logits.max())
        digit = int(np.argmax(logits))
        print(f"{prefix}{digit} ({sure[digit] / sure.sum():.1%})", flush=True)

    return each_file(args, tell)


def compare(args: argparse.Namespace) -> None:
    """Train in other ways for comparison."""
    from apps.digits.compare import run_all
    from apps.digits.mnist import load

    for path in run_all(load(args.data_dir), args.data_dir, args.out, args.seeds):
        print(path)


def table(args: argparse.Namespace) -> None:
    """Write tables and plots."""
    from apps.common.tables import add_records
    from apps.digits.table import write_tables

    add_records(args.runs, args.results)
    for path in write_tables(args.results, args.readme):
        print(path)


def card(args: argparse.Namespace) -> None:
    """Write a model folder."""
    from apps.digits.card import write_model
    from apps.digits.mnist import load

    for path in write_model(args.run, args.out, load(args.data_dir)):
        print(path)
