"""The commands of `python -m apps.speech`, with their parsed arguments."""

from __future__ import annotations

import argparse
import csv
import json
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from apps.common.command_line import each_file
from apps.common.errors import InputError
from apps.common.files import written_beside
from apps.speech.alphabet import Alphabet
from apps.speech.cli import CORPUS
from apps.speech.corpus import synthesise
from apps.speech.decode import Search, beam, greedy
from apps.speech.folder import open_corpus
from apps.speech.front_end import LogMel
from apps.speech.utterance import SPLITS, Corpus, Utterance

if TYPE_CHECKING:
    from apps.common.run import Trained
    from apps.speech.recipe import Recipe


def prepare(args: argparse.Namespace) -> None:
    """Make or check a corpus and cache its features."""
    from apps.speech.features import extract_all

    if args.data_dir:
        corpus = open_corpus(args.data_dir)
    else:
        corpus = synthesise(CORPUS, args.seed, train=args.train, valid=args.valid, test=args.test)
    front_end = LogMel()
    frames = 0
    for split in SPLITS:
        frames += sum(map(len, extract_all(getattr(corpus, split), front_end, args.cache_dir)))
    print(corpus.summary())
    print(f"{frames * front_end.hop / 60:.1f} minutes of audio; features in {args.cache_dir}")


def train(args: argparse.Namespace) -> None:
    """Train by a preset, with the changes that the command line makes."""
    from apps.speech.recipe import preset
    from apps.speech.train import train as run

    run_training(args, preset(args.preset), run)


def run_training(
    args: argparse.Namespace, preset: Recipe, run: Callable[..., Trained], **more: Any
) -> None:
    """Train by a preset and tell what came of it.

    Args:
        args: What the options of `train` were parsed to.
        preset: The recipe that they change.
        run: Trains, as `apps.speech.train.train` does.
        **more: More arguments of it.
    """
    from apps.common.memory import keep_freed_memory
    from apps.common.plan import changed

    keep_freed_memory()
    trained = run(
        changed(preset, args),
        corpus_of(args),
        args.out,
        args.cache_dir,
        extra=open_corpus(args.extra) if args.extra else None,
        start=args.start,
        drop_impossible=args.drop_impossible,
        **more,
    )
    tell_result(trained)
    print(f"model in {trained.model}")


def tell_result(trained: Trained) -> None:
    """Print what a training reached."""
    from apps.common.rate import Rate

    words = Rate(**trained.result["words"])
    print(f"validation WER {words}; {trained.result['connections']:,} connections")


def evaluate(args: argparse.Namespace) -> None:
    """Score a model of any format on a split."""
    from apps.speech.evaluate import recognize_all, score
    from apps.speech.recognizer import load_recognizer

    if args.out and (args.out.is_dir() or not args.out.resolve().parent.is_dir()):
        raise InputError(f"--out: got {args.out}; expected a file in a folder that exists")
    recognizer = load_recognizer(args.model)
    corpus = corpus_of(args)
    utterances = corpus.split(args.split)
    search = _search(args, recognizer.card.alphabet)
    texts = recognize_all(recognizer, utterances, args.cache_dir, search)
    references = [recognizer.card.alphabet.normalise(u.text) for u in utterances]
    rates = score(references, texts)
    if args.json:
        print(json.dumps(rates.as_dict()))
    else:
        print(f"{args.model} on {corpus.name}, {args.split}: {rates}", flush=True)
    if args.out:
        rows = zip(utterances, references, texts, strict=True)
        _write_csv(args.out, [(u.id, u.speaker, said, heard) for u, said, heard in rows])


def speed(args: argparse.Namespace) -> None:
    """Time a model's transcription, part by part."""
    from apps.common.tables import markdown
    from apps.speech.cost import COLUMNS, measure
    from apps.speech.recognizer import load_recognizer

    recognizer = load_recognizer(args.model)
    utterances = some(corpus_of(args).split(args.split), args.utterances)
    found = measure(recognizer, [utterance.audio for utterance in utterances], args.rounds)
    print(f"{args.model}, {len(utterances)} recordings, {found.audio:.0f} s of audio\n")
    print(markdown(COLUMNS, found.rows()))
    print(f"\nreal-time factor {found.factor:.4f}: {1 / found.factor:.0f} times faster than speech")


def transcribe(args: argparse.Namespace) -> bool:
    """Print the text of each file; return whether one of them could not be used."""
    from apps.speech.recognizer import load_recognizer

    if args.stream:
        _transcribe_live(args)
        return False
    if args.real_time or args.chunk:
        given = "--real-time" if args.real_time else "--chunk"
        raise InputError(f"{given}: is for --stream; give that, too")
    if Path("-") in args.files:
        raise InputError("-: standard input is for --stream; give that, too, or files")
    recognizer = load_recognizer(args.model)
    search = _search(args, recognizer.card.alphabet)
    seconds = recognizer.card.seconds_per_frame

    def tell(file: Path, prefix: str) -> None:
        found = recognizer.transcribe(file, search)
        print(f"{prefix}{found.text}", flush=True)
        for word in found.words if args.words else ():
            begin, end = word.start * seconds, word.end * seconds
            print(f"  {begin:7.2f} {end:7.2f} s  {word.confidence:4.0%}  {word.text}")

    return each_file(args, tell)


def _transcribe_live(args: argparse.Namespace) -> None:
    from apps.speech.streaming import transcribe_live

    if len(args.files) != 1:
        raise InputError(f"--stream: got {len(args.files)} files; expected one, or - for raw audio")
    if args.beam or args.vocabulary or args.words:
        raise InputError(
            "--stream: decodes greedily, letter by letter; leave out --beam, --vocabulary and"
            " --words"
        )
    if args.real_time and args.files == [Path("-")]:
        raise InputError("--real-time: is for a file; standard input comes as it comes")
    transcribe_live(args.files[0], args.model, (args.chunk or 100) / 1000, args.real_time)


def export(args: argparse.Namespace) -> None:
    """Write a SavedModel and a TFLite file."""
    from apps.speech.export import export_recognizer

    quantization = None if args.quantization == "none" else args.quantization
    exported = export_recognizer(args.model, args.out, quantization, form=args.form)
    print(f"{exported.saved_model}: SavedModel")
    print(f"{exported.tflite}: {exported.tflite.stat().st_size:,} bytes")


def report(args: argparse.Namespace) -> None:
    """Write tables and plots."""
    from apps.common.report import write_report
    from apps.speech.recipe import MONITOR

    def row(record: dict[str, Any]) -> tuple[str, str]:
        recipe = record["recipe"]
        directions = "bi-" if recipe["bidirectional"] else ""
        return recipe["cell"], f"{recipe['layers']} x {directions}{recipe['units']}"

    for path in write_report(args.runs, args.out, ("cell", "layers x units"), row, MONITOR):
        print(path)


def demo(args: argparse.Namespace) -> None:
    """Run the demo."""
    from apps.speech.demo import run_demo

    run_demo(args.out, args.seed)


def _search(args: argparse.Namespace, alphabet: Alphabet) -> Search:
    from apps.speech.decode import WIDTH, VocabularySearch, read_words

    if args.vocabulary:
        return VocabularySearch(read_words(args.vocabulary), alphabet, args.beam or WIDTH)
    return partial(beam, width=args.beam) if args.beam else greedy


def corpus_of(args: argparse.Namespace) -> Corpus:
    """Return the corpus that was asked for, or the synthesised one."""
    if args.data_dir:
        return open_corpus(args.data_dir)
    # What `prepare` made with parameters of its own is taken as it is.
    return open_corpus(CORPUS) if CORPUS.exists() else synthesise(CORPUS)


def some(utterances: Sequence[Utterance], number: int) -> list[Utterance]:
    """Return that many, evenly spaced: splits are sorted by speaker."""
    wanted = min(number, len(utterances))
    return [utterances[k * len(utterances) // wanted] for k in range(wanted)]


def _write_csv(path: Path, rows: list[tuple[str, ...]]) -> None:
    with written_beside(path) as temporary, open(temporary, "w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(("id", "speaker", "reference", "hypothesis"))
        writer.writerows(rows)
