"""The demo: from nothing to a compact recogniser, beside what it is compared with.

The two trainings run in two processes of one thread each. TensorFlow's loops over time are chains
of small operations, which a second thread hardly speeds up: two processes get twice as much done.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from apps.common.files import written_beside
from apps.common.progress import say
from apps.common.rate import Rate
from apps.common.record import read_record
from apps.common.report import CURVES, plot_training
from apps.common.tables import markdown
from apps.speech.audio import load_audio
from apps.speech.corpus import synthesise
from apps.speech.features import extract_all
from apps.speech.recipe import DEMO_CORPUS, MONITOR, Recipe, preset
from apps.speech.utterance import SPLITS, Corpus, Utterance
from hlstm_tf import quiet_import

LSTM, GROWN, COMPACT = "stacked LSTM", "H-LSTM, grown", "H-LSTM, grown and pruned"
MODELS = {
    "lstm": {LSTM: "model.keras"},
    "hlstm": {GROWN: "grown.keras", COMPACT: "compact.keras"},
}
"""What is measured of each training, and what the table calls it."""
COLUMNS = ("model", "WER", "errors/words", "connections", "MFLOPs/s", "bytes", "ms", "ms, loop")
NOTE = (
    "WER: on voices that no training heard, greedy, from the TFLite file (8-bit weights);"
    " MFLOPs/s: for a second of speech;\nbytes: of that file; ms: for {seconds:.1f} s of speech,"
    " one thread, median of {repeats};\nms, loop: with the loop over time inside the file, as"
    " TFLite converts a Keras model."
)
REPEATS = 15
Milliseconds = dict[Path, float]


@dataclass(frozen=True)
class Row:
    """A line of the demo's table.

    Attributes:
        name: What the table calls the model.
        words: Its word errors on the held-out voices, decoded greedily from the TFLite file.
        connections: Of the network.
        flops: For a second of speech.
        bytes: Of the TFLite file.
        tflite: The file.
        saved_model: The SavedModel, where one was written.
        loop: A TFLite file with the loop over time in its graph, where one was written.
    """

    name: str
    words: Rate
    connections: int
    flops: float
    bytes: int
    tflite: Path
    saved_model: Path | None = None
    loop: Path | None = None


def recipes(seed: int) -> dict[str, Recipe]:
    """Return the two trainings: the baseline, and the H-LSTM grown and pruned, which takes longer.

    Args:
        seed: Of both.
    """
    return {"lstm": preset("demo-lstm", seed=seed), "hlstm": preset("demo", seed=seed)}


def run_demo(folder: str | os.PathLike[str], seed: int = 0) -> list[Row]:
    """Run the demo; started again, it goes on where it was.

    Args:
        folder: For all that it makes.
        seed: Of the corpus and the trainings.

    Returns:
        The rows of its table.

    Raises:
        InputError: The folder holds something else.
        ChildProcessError: A training failed; the message names its log.
    """
    began = time.monotonic()
    folder = Path(folder)
    say("1/4 speech: a corpus of spoken alphanumerics (a minute)")
    front_end = preset("demo").front_end
    corpus = synthesise(folder / "corpus", seed, **DEMO_CORPUS)
    say(corpus.summary())
    for split in SPLITS:
        extract_all(corpus.split(split), front_end, folder / "features")
    say("2/4 training: a stacked LSTM, and an H-LSTM that grows and is pruned (about 7 minutes)")
    rows = _train_and_measure(folder, recipes(seed), corpus)
    say("3/4 timing")
    test = corpus.split("test")
    sample = next((u for u in test if len(u.text.split()) >= 4), test[0])
    latency = _latency(rows, sample)
    say("4/4 transcribing a held-out recording with the compact TFLite file")
    _transcribe(rows[-1], sample)
    note = NOTE.format(seconds=len(load_audio(sample.audio)) / 16000, repeats=REPEATS)
    report = f"{_table(rows, latency)}\n{note}\n\n{_comparison(rows, latency)}"
    print(f"\n{report}")
    files = [*_models(folder, rows[-1]), *_write(folder, report), sample.audio]
    print("\nfiles:", *(f"  {path}" for path in files), sep="\n")
    print(f"done in {(time.monotonic() - began) / 60:.1f} minutes")
    return rows


def _train_and_measure(folder: Path, recipes: dict[str, Recipe], corpus: Corpus) -> list[Row]:
    """Train in processes; measure what is done while the next one still trains."""
    rows = []
    with contextlib.ExitStack() as stack:
        last = list(recipes)[-1]  # everybody waits for it, so the others yield to it
        processes = {
            name: stack.enter_context(_training(folder / name, recipe, yielding=name != last))
            for name, recipe in recipes.items()
        }
        quiet_import("keras")  # the trainings leave time for it
        for name, process in processes.items():
            if status := process.wait():
                log = folder / name / "log.txt"
                lines = log.read_text(encoding="utf-8").strip().splitlines()
                raise ChildProcessError(
                    f"the training in {log.parent} failed ({lines[-1] if lines else status});"
                    f" see {log}"
                )
            for model, file in MODELS[name].items():
                say(f"  export and test {model}")
                rows.append(_measure(model, folder / name / file, corpus, folder / "features"))
                say(f"  {model}: WER {rows[-1].words} on held-out voices")
    return rows


@contextlib.contextmanager
def _training(folder: Path, recipe: Recipe, yielding: bool) -> Iterator[subprocess.Popen[str]]:
    """A process that trains into a folder beside the corpus, with its log in `log.txt`."""
    folder.mkdir(parents=True, exist_ok=True)
    one = dict.fromkeys(("OMP_NUM_THREADS", "TF_NUM_INTRAOP_THREADS"), "1")
    environment = {**os.environ, **one, "TF_CPP_MIN_LOG_LEVEL": "3", "PYTHONUNBUFFERED": "1"}
    process = subprocess.Popen(
        [sys.executable, "-m", "apps.speech.demo", str(folder), json.dumps(recipe.to_json())],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    )
    if yielding and hasattr(os, "setpriority"):
        os.setpriority(os.PRIO_PROCESS, process.pid, 5)

    assert process.stdout is not None
    output = process.stdout

    def keep_log() -> None:
        with open(folder / "log.txt", "a", encoding="utf-8") as log:
            for line in output:
                log.write(line)
                log.flush()
                if line.startswith(f"{folder.name}: "):
                    say(f"  {line.rstrip()}")

    reader = threading.Thread(target=keep_log, daemon=True)
    reader.start()
    try:
        yield process
    finally:
        process.terminate()  # nothing where it has ended
        process.wait()
        reader.join()
        output.close()


def _train(folder: Path, recipe: str) -> None:
    """Train by a recipe in JSON; what a process of the demo does."""
    from apps.common.memory import keep_freed_memory
    from apps.speech.folder import open_corpus
    from apps.speech.train import train

    keep_freed_memory()
    corpus = open_corpus(folder.parent / "corpus")
    train(Recipe.from_json(json.loads(recipe)), corpus, folder, folder.parent / "features")


def _measure(name: str, model: Path, corpus: Corpus, cache: Path) -> Row:
    from apps.speech.cost import cost_of
    from apps.speech.evaluate import recognize_all, score
    from apps.speech.export import export_recognizer
    from apps.speech.recognizer import load_keras, load_recognizer

    folder = model.with_suffix("")
    exported = export_recognizer(model, folder, saved_model=name == COMPACT)
    loop = None
    if name == LSTM:
        looped = export_recognizer(model, folder / "loop", saved_model=False, form="sequence")
        loop = looped.tflite
    test = corpus.split("test")
    heard = recognize_all(load_recognizer(exported.tflite), test, cache)
    words = score([u.text for u in test], heard).words
    cost = cost_of(load_keras(model))
    return Row(
        name, words, cost.connections, cost.flops, exported.tflite.stat().st_size, exported.tflite,
        exported.saved_model, loop,
    )  # fmt: skip


def _latency(rows: list[Row], sample: Utterance) -> Milliseconds:
    """Milliseconds from features to logits of each TFLite file."""
    from apps.speech.cost import milliseconds

    files = [path for row in rows for path in (row.tflite, row.loop) if path]
    return milliseconds(files, preset("demo").front_end(load_audio(sample.audio)), REPEATS)


def _table(rows: list[Row], latency: Milliseconds) -> str:
    cells = [
        (
            row.name,
            f"{100 * row.words.value:.1f} %",
            f"{row.words.errors}/{row.words.total}",
            f"{row.connections:,}",
            f"{row.flops / 1e6:.2f}",
            f"{row.bytes:,}",
            f"{latency[row.tflite]:.2f}",
            f"{latency[row.loop]:.2f}" if row.loop else "",
        )
        for row in rows
    ]
    return markdown(COLUMNS, cells)


def _comparison(rows: list[Row], latency: Milliseconds) -> str:
    baseline, compact = rows[0], rows[-1]
    ours = latency[compact.tflite]
    ratios = [
        f"{baseline.connections / compact.connections:.1f} times fewer connections",
        f"{baseline.flops / compact.flops:.1f} times fewer FLOPs",
        f"{baseline.bytes / compact.bytes:.1f} times fewer bytes",
        f"{latency[baseline.tflite] / ours:.1f} times faster than it in step form",
    ]
    if baseline.loop:
        faster = latency[baseline.loop] / ours
        ratios.insert(3, f"{faster:.1f} times faster than it as TFLite converts it")
    return (
        f"{compact.name} against {baseline.name}: {', '.join(ratios)}; WER {compact.words}"
        f" against {baseline.words}"
    )


def _transcribe(row: Row, sample: Utterance) -> None:
    from apps.speech.recognizer import load_recognizer

    found = load_recognizer(row.tflite).transcribe(sample.audio)
    print(f"\n{sample.audio}\n  said:  {sample.text}\n  heard: {found.text}")


def _models(folder: Path, row: Row) -> list[Path]:
    keras = folder / "hlstm" / MODELS["hlstm"][COMPACT]
    return [row.tflite, *([row.saved_model] if row.saved_model else []), keras]


def _write(folder: Path, text: str) -> list[Path]:
    report = folder / "report.md"
    with written_beside(report) as temporary:
        temporary.write_text(f"{text}\n", encoding="utf-8")
    records = {name: read_record(folder / name) for name in MODELS}
    return [report, plot_training(records, folder / CURVES, MONITOR)]


if __name__ == "__main__":
    _train(Path(sys.argv[1]), sys.argv[2])
