"""A model folder for `saved_models/`: exported files, record, plot and a model card."""

from __future__ import annotations

import os
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np

from apps.an4_study.fronts import front_of
from apps.an4_study.latency import middle
from apps.an4_study.plots import plot_fronts
from apps.an4_study.presets import AN4_EXTRA
from apps.an4_study.recipe import StudyRecipe
from apps.common.callbacks import save_model
from apps.common.errors import InputError
from apps.common.export import TFLITE
from apps.common.model_card import finished_record, scored_once, size_of, write_card
from apps.common.rate import Rate
from apps.common.record import record_errors
from apps.common.report import CURVES, plot_training
from apps.common.tables import markdown
from apps.speech.cost import Cost, cost_of, milliseconds
from apps.speech.evaluate import recognize_all, score
from apps.speech.export import export_recognizer
from apps.speech.features import extract_all
from apps.speech.model import ModelConfig, build
from apps.speech.recipe import MONITOR
from apps.speech.recognizer import load_recognizer
from apps.speech.train import product
from apps.speech.utterance import Corpus

KERAS, FRONT = "model.keras", "front.png"
EXPORTED = (KERAS, TFLITE, "1")
STACKED = (800, 128)
"""Units of the stacks of five bidirectional LSTM layers that latency is compared with: the paper's
baseline (arXiv 1805.11797, section 4.2), and one as wide as our networks."""


@dataclass(frozen=True)
class Measured:
    """What was measured of an exported model.

    Attributes:
        cost: Connections and FLOPs.
        rates: Word errors on the validation split by file.
        bytes: Size by file.
        frames: Feature frames of the utterance that latency was measured with.
        ms: Milliseconds for it: the TFLite file's, and each stack's by its units.
    """

    cost: Cost
    rates: dict[str, Rate]
    bytes: dict[str, int]
    frames: int
    ms: dict[int | str, float]


def write_model(
    run: str | os.PathLike[str],
    folder: str | os.PathLike[str],
    corpus: Corpus,
    model: str | None = None,
    cache: str | os.PathLike[str] | None = None,
) -> list[Path]:
    """Export a model of a finished training and write its model card.

    Args:
        run: Folder of the training.
        folder: Gets `model.keras`, `model.tflite`, the SavedModel's folder `1`, `record.json`,
            `training.png`, `README.md` and, of a training that pruned, `front.png`.
        corpus: That of the training; its validation split is recognised with each file.
        model: File in the run's folder: `compact.keras` (the default, of a training that did not
            prune `model.keras`), `grown.keras`, the best epoch before the first pruning, or that of
            an iteration.
        cache: Folder of the features' cache.

    Returns:
        The files.

    Raises:
        InputError: The training is not finished, or was of another corpus.
        VerificationError: An exported file computes something else; it is not kept.
    """
    run, folder = Path(run), Path(folder)
    record = finished_record(run)
    if record.get("corpus") != corpus.summary():
        raise InputError(
            f"{run}: was trained on {record.get('corpus')}, got {corpus.summary()}; give the"
            " --data-dir of the training"
        )
    with record_errors(run):
        recipe = StudyRecipe.from_json(record["recipe"])
        front = front_of(record)
    if model is None:
        model = product(run, recipe).name
    network = export_recognizer(run / model, folder).network
    save_model(network, folder / KERAS)
    measured = _measure(network, folder, corpus, cache)
    with record_errors(run):
        plot_training({folder.name: record}, folder / CURVES, MONITOR)
    if front:
        plot_fronts({f"{run.name}, from grown to its last iteration": [front]}, folder / FRONT)
    text = card(record, measured, folder.name, f"{run.name}/{model}")
    more = [*EXPORTED, CURVES, *([FRONT] if front else [])]
    return [*write_card(run, folder, text), *(folder / name for name in more)]


def _measure(
    network: keras.Model,
    folder: Path,
    corpus: Corpus,
    cache: str | os.PathLike[str] | None,
) -> Measured:
    files = {name: folder / name for name in EXPORTED}
    utterances = corpus.split("valid")
    rates = {}
    for name, path in files.items():
        recognizer = load_recognizer(path)
        expected = [recognizer.card.alphabet.normalise(u.text) for u in utterances]
        rates[name] = score(expected, recognize_all(recognizer, utterances, cache)).words
    features = extract_all(utterances, recognizer.card.front_end, cache)
    sample = middle(features)
    return Measured(
        cost_of(network),
        rates,
        {name: size_of(path) for name, path in files.items()},
        len(sample),
        _latencies(network, folder / TFLITE, sample),
    )


def _latencies(network: Any, tflite: Path, features: np.ndarray) -> dict[int | str, float]:
    """Milliseconds of the file, and of the stacked LSTMs in the same form."""
    with tempfile.TemporaryDirectory(prefix="stacked-") as folder:
        files: dict[int | str, Path] = {TFLITE: tflite}
        for units in STACKED:
            stack = Path(folder) / f"{units}.keras"
            stacked(network, units).save(stack)
            files[units] = export_recognizer(stack, stack.with_suffix(""), saved_model=False).tflite
        found = milliseconds(files.values(), features)
        return {name: found[path] for name, path in files.items()}


def stacked(network: Any, units: int, layers: int = 5) -> keras.Model:
    """Return an untrained stack of bidirectional LSTM layers with a recogniser's front end.

    Args:
        network: The recogniser.
        units: Of each layer and direction.
        layers: How many.
    """
    speech = network.speech_input
    bands = network.input["features"].shape[-1]
    config = ModelConfig(
        speech.front_end, speech.alphabet, bands=bands, channels=(32, 32), cell="lstm",
        layers=layers, units=units,
    )  # fmt: skip
    return build(config)


TEST_WER = {
    374_275: "4.9 % (38/773)",
    261_986: "4.9 % (38/773)",
    175_527: "10.0 % (77/773)",
}
"""Word error rates of the TFLite files on AN4's official test split, by connections, which tell the
model."""


def _test_result(name: str, connections: int) -> str:
    """What a card says of the test split; nothing where it was not scored."""
    if connections not in TEST_WER:
        return ""
    return scored_once(
        "AN4's test split",
        f"**WER {TEST_WER[connections]}**,\n`{TFLITE}`, greedy. Who has the split",
        f"python -m apps.speech evaluate --model saved_models/{name}/{TFLITE} --data-dir AN4"
        " --split test",
    )


def card(record: dict[str, Any], measured: Measured, name: str, model: str) -> str:
    """Return the text of a model card.

    Args:
        record: Of the training.
        measured: What its exported files came to.
        name: Of the model's folder.
        model: The training's folder and its file, such as `tuned/compact.keras`.
    """
    training, file = model.split("/")
    out = f"saved_models/{name}"
    tested = _test_result(name, measured.cost.connections)
    recipe = StudyRecipe.from_json(record["recipe"])
    what = {
        KERAS: "`hl.shrink`'s network of plain layers",
        TFLITE: "step form, weights in 8 bits; front end and alphabet travel in it",
        "1": "SavedModel, signature `serve`",
    }
    rows = [
        (f"`{file}`", what[file], f"{measured.bytes[file]:,}", str(rate))
        for file, rate in measured.rates.items()
    ]
    seconds = measured.frames * recipe.front_end.hop
    times = [
        (f"5 x bi-LSTM {units}", f"{measured.ms[units]:.2f}",
         f"{measured.ms[units] / measured.ms[TFLITE]:.1f}")
        for units in STACKED
    ]  # fmt: skip
    times.insert(0, ("this model", f"{measured.ms[TFLITE]:.2f}", ""))
    live, streaming = ("", "") if recipe.bidirectional else (" --stream", " --streaming")
    extra = tested
    if "extra" in record:
        extra += f"\n\nMixed in, as data of other origin: {record['extra']}."
    if "start" in record:
        extra += (
            "\n\nThe training went on from the network of another, and that learnt from speech of"
            " other origin, too:\n"
            f"{AN4_EXTRA['train']:,} utterances of eSpeak's voices (`apps/an4_study/README.md`)."
        )
    front = (
        "It pruned\nnothing; `apps/an4_study/README.md` has the fronts of the trainings before it."
    )
    if front_of(record):
        front = f"""What it
reached on the way from the grown network to its last iteration:

![WER over connections]({FRONT})"""
    return f"""# {name}

Recognises AN4's spelled words, numbers, dates and commands.

* {measured.cost.connections:,} connections, convolutions and output included
* {measured.cost.flops / 1e6:.1f} MFLOPs for a second of speech: 2 a connection where it is applied

{markdown(("file", "what", "bytes", "WER, validation speakers"), rows)}

`record.json` has every epoch of the training (`training.png` draws them) and the recipe. {front}

```
python -m apps.speech transcribe{live} recording.wav --model saved_models/{name}/{TFLITE}
python -m apps.speech evaluate --model saved_models/{name}/{TFLITE} --data-dir AN4 --split valid
python -m apps.an4_study an4{streaming} --data-dir AN4 --out RUNS      # the trainings
python -m apps.an4_study card RUNS/{training} --model {file} --data-dir AN4 --out {out}
```

WER is greedy, with its errors, words and 95 % interval, on ten speakers whom no training heard, but
who chose the recipe and the best epoch of each phase. AN4's test speakers decided nothing.{extra}

One thread of LiteRT from features to logits, {seconds:.1f} s of speech, all files in step form
with 8-bit weights:

{markdown(("network", "ms", "times as long"), times)}

The stacks have random weights, which takes as long; 800 units is the paper's baseline (arXiv
1805.11797, section 4.2).

**Made for** American English in AN4's domain, from a close microphone.
"""
