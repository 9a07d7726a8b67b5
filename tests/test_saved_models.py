"""What is kept in saved_models/ runs, and does what its card says."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from apps.an4_study.card import EXPORTED, Measured
from apps.an4_study.card import card as speech_card
from apps.common.export import Exported
from apps.common.rate import Rate
from apps.digits.card import card as digits_card
from apps.digits.classifier import load
from apps.digits.image import normalize
from apps.digits.model import lenet_5
from apps.digits.pixels import scaled
from apps.speech import voices
from apps.speech.audio import resample
from apps.speech.cost import cost_of
from apps.speech.evaluate import score
from apps.speech.recognizer import load_keras, load_recognizer
from apps.speech.streaming import StreamingRecognizer

FOLDER = Path(__file__).parents[1] / "saved_models"
MODELS = sorted(path for path in FOLDER.iterdir() if path.is_dir())


def _ring() -> np.ndarray:
    rows, columns = np.mgrid[:60, :50]
    distance = np.hypot((rows - 30) / 24, (columns - 25) / 17)
    return ((distance > 0.75) & (distance < 1.05)).astype(float)


def _one() -> np.ndarray:
    image = np.zeros((60, 50))
    image[8:52, 22:27] = 1
    return image


def _seven() -> np.ndarray:
    image = np.zeros((60, 50))
    image[8:13, 10:38] = 1
    for row in range(10, 54):
        column = 36 - (row - 10) * 18 // 44
        image[row, column - 2 : column + 3] = 1
    return image


SAID = ("enter five seven", "q u i n n", "may third nineteen sixty", "stop")
DRAWN = {0: _ring(), 1: _one(), 7: _seven()}


@pytest.mark.parametrize("folder", MODELS, ids=lambda folder: folder.name)
def test_every_model_has_a_card_and_is_listed(folder: Path) -> None:
    card = (folder / "README.md").read_text(encoding="utf-8")
    assert "WER" in card or "validation error" in card
    assert "make " in card or "python -m" in card
    for path in folder.glob("*.tflite"):
        assert f"{path.stat().st_size:,}" in card
    assert f"({folder.name}/README.md)" in (FOLDER / "README.md").read_text(encoding="utf-8")


def test_the_recogniser_of_alphanumerics_hears_held_out_voices() -> None:
    recognizer = load_recognizer(FOLDER / "spoken-alphanumerics" / "model.tflite")
    said, heard = [], []
    for variant in ("m3", "f3"):  # no training heard them
        voice = voices.Voice("en-US", variant, rate=160)
        for text in ("enter five seven", "erase j u f o", "three nine two", "start four eight one"):
            speech = voices.speak(text, voice).astype(np.float32) / 32768
            samples = np.pad(resample(speech, voices.SAMPLE_RATE, 16000), 3200)
            noise = np.random.default_rng(0).normal(scale=1e-3, size=samples.shape)
            said.append(text.upper())
            heard.append(recognizer.transcribe((samples + noise).astype(np.float32)).text)
    # Of a hundred words its card says nine are wrong: f is taken for s and the like.
    words = score(said, heard).words
    assert words.total == 30
    assert words.errors <= 2


def _says(text: str) -> np.ndarray:
    voice = voices.Voice("en-US", "m1", rate=160)
    speech = voices.speak(text, voice).astype(np.float32) / 32768
    samples = np.pad(resample(speech, voices.SAMPLE_RATE, 16000), 3200)
    noise = np.random.default_rng(0).normal(scale=1e-3, size=samples.shape)
    return (samples + noise).astype(np.float32)


# In words that a network is not sure of, 8-bit weights may change a letter.
@pytest.mark.representatives("an4-compact-0")
@pytest.mark.parametrize(
    ("name", "differing"), [("an4-accurate", 0), ("an4-compact", 0), ("an4-streaming", 1)]
)
def test_every_file_of_a_network_for_an4_hears_the_same(name: str, differing: int) -> None:
    folder = FOLDER / name
    card = (folder / "README.md").read_text(encoding="utf-8")
    network = load_keras(folder / "model.keras")
    cost = cost_of(network)
    assert f"{cost.connections:,} connections" in card
    assert f"{cost.flops / 1e6:.1f} MFLOPs" in card
    assert cost.connections < 500_000
    assert (folder / "model.tflite").stat().st_size < 1_000_000
    recognizers = [load_recognizer(folder / file) for file in ("model.keras", "1", "model.tflite")]
    found, served, lite = (
        [recognizer.transcribe(_says(text)).text for text in SAID] for recognizer in recognizers
    )
    assert served == found
    assert score(found, lite).words.errors <= differing
    # People are what it is made for; of a synthetic voice only an easy phrase is held to its text.
    assert found[0] == "ENTER FIVE SEVEN"


@pytest.mark.parametrize("name", ["an4-accurate", "an4-compact", "an4-streaming"])
def test_the_card_of_a_network_for_an4_is_what_its_command_writes(name: str) -> None:
    folder = FOLDER / name
    kept = (folder / "README.md").read_text(encoding="utf-8")
    record = json.loads((folder / "record.json").read_text(encoding="utf-8"))
    # What only the recordings and a clock could tell again.
    counts = re.findall(r"% \((\d+)/774\)", kept)
    rates = {file: Rate(int(n), 774) for file, n in zip(EXPORTED, counts, strict=True)}
    heard = float(re.search(r"([\d.]+) s of speech, all files", kept)[1])
    frames = round(heard / record["recipe"]["front_end"]["hop"])
    times = re.findall(r"^\| (?:this model|5 x bi-LSTM (\d+)) +\| ([\d.]+) +\|", kept, re.M)
    ms = {int(units) if units else "model.tflite": float(found) for units, found in times}
    model = "{}/{}".format(*re.search(r"card RUNS/(\S+) --model (\S+)", kept).groups())
    measured = Measured(
        cost_of(load_keras(folder / "model.keras")),
        rates,
        {file: _bytes(folder / file) for file in EXPORTED},
        frames,
        ms,
    )
    assert speech_card(record, measured, name, model) == kept
    assert rates["model.keras"].errors == record["result"]["words"]["errors"]


def _bytes(path: Path) -> int:
    """Bytes of a file, or of all files in a folder."""
    files = path.rglob("*") if path.is_dir() else [path]
    return sum(file.stat().st_size for file in files if file.is_file())


def test_the_streaming_network_writes_before_the_speaker_is_done() -> None:
    recognizer = StreamingRecognizer(FOLDER / "an4-streaming" / "model.tflite")
    for text in SAID:
        samples = _says(text)
        written = [recognizer.feed(chunk) for chunk in np.array_split(samples, 20)]
        assert "".join(written[:15])
        whole = recognizer.recognizer.transcribe(samples).text
        assert "".join(written) + recognizer.finish() == whole


@pytest.mark.parametrize("name", ["lenet-300-100", "lenet-5"])
def test_a_network_for_digits_is_small_and_its_card_says_how_small(name: str) -> None:
    folder = FOLDER / name
    record = json.loads((folder / "record.json").read_text(encoding="utf-8"))
    card = (folder / "README.md").read_text(encoding="utf-8")
    result = record["result"]
    assert f"{result['parameters']:,} parameters" in card
    assert f"({result['valid']['errors']} of {result['valid']['total']:,})" in card
    assert (folder / "model.tflite").stat().st_size < 100_000
    size = _bytes(folder / "1")
    assert size < 100_000
    assert f"{size:,}" in card
    stored = tf.train.load_checkpoint(str(folder / "1" / "variables" / "variables"))
    values = [stored.get_tensor(name) for name in stored.get_variable_to_shape_map()]
    weights = [value for value in values if getattr(value, "dtype", None) == np.float32]
    assert sum(map(np.count_nonzero, weights)) == result["parameters"]


@pytest.mark.parametrize("name", ["lenet-300-100", "lenet-5"])
def test_the_card_of_a_network_for_digits_is_what_its_command_writes(name: str) -> None:
    folder = FOLDER / name
    kept = (folder / "README.md").read_text(encoding="utf-8")
    record = json.loads((folder / "record.json").read_text(encoding="utf-8"))
    # What only the Keras model could tell again, which is not kept.
    lite, saved = (float(found) for found in re.findall(r"\| (\d\.\de[+-]\d\d) \|", kept))
    read = re.search(r"looks at (\d+) of the 784 pixels", kept)
    counts = (np.arange(784) < int(read[1])).astype(int) if read else None
    files = (folder / "model.tflite", folder / "1")
    exported = Exported(lenet_5(), *files, errors=(lite, saved))
    assert digits_card(record, exported, name, counts, mnist=True) == kept


@pytest.mark.parametrize("name", ["lenet-300-100", "lenet-5"])
def test_both_files_of_a_network_for_digits_agree_and_read_drawn_digits(name: str) -> None:
    images = scaled(np.stack([normalize(drawing) for drawing in DRAWN.values()]))
    lite, saved = (load(FOLDER / name / file)(images) for file in ("model.tflite", "1"))
    np.testing.assert_allclose(lite, saved, atol=1e-4 * np.ptp(saved))
    assert np.argmax(lite, axis=1).tolist() == list(DRAWN)
