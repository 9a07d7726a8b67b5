"""What each command of `python -m apps.an4_study` does with its parsed arguments."""

from __future__ import annotations

import argparse

from apps.common.errors import InputError
from apps.speech.an4 import read_an4
from apps.speech.commands import corpus_of, run_training, some, tell_result


def an4(args: argparse.Namespace) -> None:
    """Train AN4's networks."""
    from apps.an4_study.trainings import train_models, train_streaming
    from apps.common.memory import keep_freed_memory

    corpus = read_an4(args.data_dir)
    keep_freed_memory()
    train_all = train_streaming if args.streaming else train_models
    result = train_all(corpus, args.out, args.cache_dir)
    tell_result(result)
    print(f"models in {result.folder}; `card` exports them")


def train(args: argparse.Namespace) -> None:
    """Train by a preset, with the changes that the command line makes."""
    from apps.an4_study.presets import preset
    from apps.an4_study.train import train as run

    recipe = preset(args.preset)
    pruned = bool(recipe.grow_and_prune) if args.grow_and_prune is None else args.grow_and_prune
    if args.keep_iterations and not pruned:
        raise InputError("--keep-iterations: a dense training has none; leave it out")
    run_training(
        args,
        recipe,
        run,
        aligner=args.aligner,
        teacher=args.teacher,
        keep_iterations=args.keep_iterations,
    )


def card(args: argparse.Namespace) -> None:
    """Export a model with its card."""
    from apps.an4_study.card import write_model

    corpus = read_an4(args.data_dir)
    for path in write_model(args.run, args.out, corpus, args.model, args.cache_dir):
        print(path)


def robustness(args: argparse.Namespace) -> None:
    """Score a model on recordings that were disturbed in many ways."""
    from apps.an4_study.robustness import COLUMNS, robustness, rows
    from apps.common.tables import markdown
    from apps.speech.recognizer import load_recognizer

    recognizer = load_recognizer(args.model)
    corpus = corpus_of(args)
    utterances = corpus.split(args.split)
    chosen = some(utterances, args.utterances)
    found = robustness(recognizer, chosen, seed=args.seed)
    of = f"{len(chosen)} of {len(utterances)} utterances of {corpus.name}, {args.split}"
    print(f"{args.model} on {of}\n")
    print(markdown(COLUMNS, rows(found)))


def ablate(args: argparse.Namespace) -> None:
    """Train the rows of the ablation tables, and time what is to be timed."""
    from apps.an4_study.latency import time_all
    from apps.an4_study.records import read_results
    from apps.an4_study.rows import select
    from apps.an4_study.runs import Place, run_all
    from apps.common.memory import keep_freed_memory

    tables = select(args.tables, args.rows)
    keep_freed_memory()
    place = Place(corpus_of(args), args.out, args.cache_dir, args.expert)
    known = read_results(args.missing) if args.missing else []
    for path in run_all(tables, place, args.seeds, known):
        print(path, flush=True)
    time_all(tables, place, args.seeds, anew=args.time_again)


def table(args: argparse.Namespace) -> None:
    """Write the ablation tables and their plots."""
    from apps.an4_study.records import add_records
    from apps.an4_study.tables import write_tables

    add_records(args.runs, args.results)
    for path in write_tables(args.results, args.readme):
        print(path)
