"""The demo: from nothing to a compact recogniser, beside what it is compared with.

The two trainings run in two processes of one thread each. TensorFlow's loops over time are chains
of small operations, which a second thread hardly speeds up: two processes get twice as much done.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

from apps.common.files import write_json, written_beside
from apps.common.progress import say
from apps.common.record import read_record
from apps.speech.audio import load_audio
from apps.speech.corpus import synthesise
from apps.speech.demo_part import RESULT, Row
from apps.speech.features import extract_all
from apps.speech.presets import DEMO_CORPUS, preset
from apps.speech.recipe import Recipe
from apps.speech.report import markdown, plot_training
from apps.speech.utterance import SPLITS, Corpus, Utterance
from hlstm_tf import quiet_import

LSTM, GROWN, COMPACT = "stacked LSTM", "H-LSTM, grown", "H-LSTM, grown and pruned"
COLUMNS = ("model", "WER", "errors/words", "connections", "MFLOPs/s", "bytes", "ms", "ms, loop")
NOTE = (
    "WER: on voices that no training heard, greedy, from the TFLite file (8-bit weights);"
    " MFLOPs/s: for a second of speech;\nbytes: of that file; ms: for {seconds:.1f} s of speech,"
    " one thread, median of {repeats};\nms, loop: with the loop over time inside the file, as"
    " TFLite converts a Keras model."
)
REPEATS = 15


def jobs(folder: Path, seed: int) -> list[dict[str, Any]]:
    """Return the two trainings: the baseline, and the H-LSTM grown and pruned."""
    baseline = preset("demo-lstm", seed=seed)
    compact = preset("demo", seed=seed)
    return [
        _job(folder, "lstm", baseline, [(LSTM, "model.keras", False, True)]),
        _job(
            folder,
            "hlstm",
            compact,
            [(GROWN, "grown.keras", False, False), (COMPACT, "compact.keras", True, False)],
        ),
    ]


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
    work = jobs(folder, seed)
    for split in SPLITS:
        extract_all(corpus.split(split), front_end, work[0]["cache"])
    say("2/4 training: a stacked LSTM, and an H-LSTM that grows and is pruned (about 7 minutes)")
    _run_side_by_side(work)
    rows = [
        Row.from_json(row)
        for job in work
        for row in json.loads((Path(job["folder"]) / RESULT).read_text(encoding="utf-8"))
    ]
    say("3/4 measuring")
    sample = _sample(corpus)
    latency = _latencies(rows, sample)
    table = _table(rows, latency)
    say("4/4 transcribing a held-out recording with the compact TFLite file")
    _transcribe(rows[-1], sample)
    report = f"{table}\n{_note(sample)}\n\n{_comparison(rows, latency)}"
    print(f"\n{report}")
    files = _write(folder, work, rows, report, sample)
    print("\nfiles:", *(f"  {path}" for path in files), sep="\n")
    print(f"done in {(time.monotonic() - began) / 60:.1f} minutes")
    return rows


def _job(
    folder: Path, label: str, recipe: Recipe, models: list[tuple[str, str, bool, bool]]
) -> dict[str, Any]:
    return {
        "label": label,
        "recipe": recipe.to_json(),
        "corpus": str(folder / "corpus"),
        "cache": str(folder / "features"),
        "folder": str(folder / label),
        "models": [list(model) for model in models],
    }


def _run_side_by_side(work: list[dict[str, Any]]) -> None:
    # The last job is the longest: everybody waits for it.
    parts = [_Part(job, yielding=job is not work[-1]) for job in work]
    try:
        quiet_import("keras")  # the measurements want it; the trainings leave time for it
        for part in parts:
            part.wait()
    finally:
        for part in parts:
            part.stop()


class _Part:
    """A process of `demo_part`: its log goes into a file, its own lines to the screen, too.

    Where `yielding`, the other process goes first.
    """

    def __init__(self, job: dict[str, Any], yielding: bool) -> None:
        folder = Path(job["folder"])
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / "job.json"
        write_json(path, job)
        self.log = folder / "log.txt"
        self.label = job["label"]
        one = dict.fromkeys(("OMP_NUM_THREADS", "TF_NUM_INTRAOP_THREADS"), "1")
        environment = {**os.environ, **one, "TF_CPP_MIN_LOG_LEVEL": "3", "PYTHONUNBUFFERED": "1"}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "apps.speech.demo_part", str(path)],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
        )
        if yielding and hasattr(os, "setpriority"):
            os.setpriority(os.PRIO_PROCESS, self.process.pid, 5)
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        with open(self.log, "a", encoding="utf-8") as log:
            for line in self.process.stdout:
                log.write(line)
                log.flush()
                if line.startswith(f"{self.label}: "):
                    say(f"  {line.rstrip()}")

    def wait(self) -> None:
        """Wait for the end.

        Raises:
            ChildProcessError: It failed.
        """
        status = self.process.wait()
        self._reader.join()
        if status:
            lines = self.log.read_text(encoding="utf-8").strip().splitlines()
            raise ChildProcessError(
                f"the training in {self.log.parent} failed ({lines[-1] if lines else status});"
                f" see {self.log}"
            )

    def stop(self) -> None:
        """End the process if it still runs."""
        if self.process.poll() is None:
            self.process.terminate()
            self.process.wait()


def _sample(corpus: Corpus) -> Utterance:
    """The first held-out utterance of at least four words."""
    test = corpus.split("test")
    return next((u for u in test if len(u.text.split()) >= 4), test[0])


Milliseconds = list[tuple[float, float | None]]
"""Of each model: as it is deployed, and with the loop over time inside the file."""


def _table(rows: list[Row], latency: Milliseconds) -> str:
    cells = [
        (
            row.name,
            f"{100 * row.wer:.1f} %",
            f"{row.words[0]}/{row.words[1]}",
            f"{row.connections:,}",
            f"{row.flops / 1e6:.2f}",
            f"{row.bytes:,}",
            f"{stepped:.2f}",
            f"{looped:.2f}" if looped else "",
        )
        for row, (stepped, looped) in zip(rows, latency, strict=True)
    ]
    return markdown(COLUMNS, cells)


def _note(sample: Utterance) -> str:
    return NOTE.format(seconds=len(load_audio(sample.audio)) / 16000, repeats=REPEATS)


def _latencies(rows: list[Row], sample: Utterance) -> Milliseconds:
    """Milliseconds from features to logits."""
    from apps.speech.latency import milliseconds

    files = [path for row in rows for path in (row.tflite, row.loop) if path]
    features = preset("demo").front_end(load_audio(sample.audio))
    median = milliseconds(files, features, REPEATS)
    return [
        (median[Path(row.tflite)], median[Path(row.loop)] if row.loop else None) for row in rows
    ]


def _transcribe(row: Row, sample: Utterance) -> None:
    from apps.speech.recognizer import load_recognizer

    found = load_recognizer(row.tflite).transcribe(sample.audio)
    print(f"\n{sample.audio}\n  said:  {sample.text}\n  heard: {found.text}")


def _comparison(rows: list[Row], latency: Milliseconds) -> str:
    baseline, compact = rows[0], rows[-1]
    (stepped, looped), (ours, _) = latency[0], latency[-1]
    ratios = [
        f"{baseline.connections / compact.connections:.1f} times fewer connections",
        f"{baseline.flops / compact.flops:.1f} times fewer FLOPs",
        f"{baseline.bytes / compact.bytes:.1f} times fewer bytes",
        *([f"{looped / ours:.1f} times faster than it as TFLite converts it"] if looped else []),
        f"{stepped / ours:.1f} times faster than it in step form",
    ]
    return (
        f"{compact.name} against {baseline.name}: {', '.join(ratios)}; WER {compact.wer_text}"
        f" against {baseline.wer_text}"
    )


def _write(
    folder: Path, work: list[dict[str, Any]], rows: list[Row], text: str, sample: Utterance
) -> list[Path]:
    report = folder / "report.md"
    with written_beside(report) as temporary:
        temporary.write_text(f"{text}\n", encoding="utf-8")
    records = {job["label"]: read_record(job["folder"]) for job in work}
    plot = plot_training(records, folder / "training.png")
    compact = rows[-1]
    models = [Path(p) for p in (compact.tflite, compact.saved_model, compact.keras) if p]
    return [*models, report, plot, sample.audio]
