"""Whatever a damaged file holds, a command does its work or says in one line what is wrong."""

import gzip
import io
import itertools
import json
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
from PIL import Image

from apps.digits import classifier
from apps.digits.cli import main as digits
from apps.digits.model import network
from apps.speech import recognizer
from apps.speech.cli import main as speech
from tests.apps.damage import damaged, damaged_json
from tests.apps.digits.conftest import drawn, idx

MODELS = Path(__file__).parents[2] / "saved_models"
STREAMING = MODELS / "an4-streaming"
LENET = MODELS / "lenet-300-100"
PROGRESS = ("extract features", "recognise", "read images")
SAMPLES = (0.2 * np.sin(np.arange(4800) ** 2 / 40_000)).astype(np.float32)


@pytest.fixture
def ends_well(capsys: pytest.CaptureFixture[str]) -> Callable[..., int]:
    """Runs a command; fails where it ends in anything but success or one line and status 2."""

    def run(main: Callable[[list[str]], int], *arguments: object) -> int:
        status = main([str(argument) for argument in arguments])
        lines = [x for x in capsys.readouterr().err.splitlines() if not x.startswith(PROGRESS)]
        assert (status, len(lines)) in {(0, 0), (2, 1)}, (arguments, status, lines)
        return status

    return run


@pytest.fixture
def loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    """The whole models are loaded once: it is not they that are damaged."""
    listener = recognizer.load_recognizer(STREAMING / "model.tflite")
    reader = classifier.load(LENET / "model.tflite")
    monkeypatch.setattr(recognizer, "load_recognizer", lambda path: listener)
    monkeypatch.setattr(classifier, "load", lambda path: reader)


def wav() -> bytes:
    file = io.BytesIO()
    soundfile.write(file, SAMPLES, 16000, format="WAV")
    return file.getvalue()


@pytest.mark.representatives("WAV", "FLAC", "NIST", "SDS")
@pytest.mark.parametrize(
    "kind", ["WAV", "AIFF", "FLAC", "OGG", "MP3", "NIST", "AU", "CAF", "W64", "RF64", "SDS", "VOC"]
)
def test_a_damaged_recording_is_one_line_or_a_text(kind, loaded, ends_well, tmp_path):
    file = io.BytesIO()
    soundfile.write(file, SAMPLES, 16000, format=kind)
    path = tmp_path / "damaged"
    path.write_bytes(file.getvalue())
    assert ends_well(speech, "transcribe", path, "--model", "whole.tflite") == 0
    for seed in range(6):
        path.write_bytes(damaged(file.getvalue(), seed))
        ends_well(speech, "transcribe", path, "--model", "whole.tflite")


def test_a_damaged_sample_dump_leaves_standard_output_to_the_text(loaded, tmp_path, capfd):
    file = io.BytesIO()
    soundfile.write(file, SAMPLES, 16000, format="SDS")
    content = bytearray(file.getvalue())
    content[21 + 127] = 0
    path = tmp_path / "damaged.sds"
    path.write_bytes(content)
    assert speech(["transcribe", str(path), "--model", "whole.tflite"]) == 2
    out, err = capfd.readouterr()
    assert out == ""
    assert "damaged at byte 148: no packet begins there" in err


@pytest.mark.representatives("PNG", "JPEG")
@pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP", "PPM"])
def test_a_damaged_image_is_one_line_or_a_digit(kind, loaded, ends_well, tmp_path):
    file = io.BytesIO()
    Image.fromarray(drawn(np.array([3]), 5)[0]).convert("RGB").save(file, kind)
    path = tmp_path / "damaged"
    for seed in range(16):
        path.write_bytes(damaged(file.getvalue(), seed))
        ends_well(digits, "classify", path, "--model", "whole.tflite")


def write_digits(folder: Path) -> dict[Path, bytes]:
    labels = np.arange(20) % 10
    contents = {"images-idx3": idx(drawn(labels, 1)), "labels-idx1": idx(labels)}
    folder.mkdir(exist_ok=True)
    files = {folder / f"t10k-{kind}-ubyte": content for kind, content in contents.items()}
    for path, content in files.items():
        path.write_bytes(content)
    return files


@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_a_damaged_idx_file_is_one_line_or_a_rate(pack, loaded, ends_well, tmp_path):
    for path, content in write_digits(tmp_path).items():
        for seed in range(16):
            path.write_bytes(damaged(pack(content), seed))
            ends_well(digits, "evaluate", "--model", "whole.tflite", "--data-dir", tmp_path)
        path.write_bytes(content)


def repacked(content: bytes, seed: int) -> bytes:
    """A ZIP archive with one entry damaged, whose checksum is right."""
    file = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as old, zipfile.ZipFile(file, "w") as new:
        names = old.namelist()
        for name in names:
            entry = old.read(name)
            if name == names[seed % len(names)]:
                entry = (damaged_json if name.endswith("json") else damaged)(entry, seed)
            new.writestr(name, entry)
    return file.getvalue()


@pytest.mark.parametrize("damage", [damaged, repacked])
def test_a_damaged_keras_file_is_one_line_or_a_rate(damage, ends_well, tmp_path):
    write_digits(tmp_path / "digits")
    network("lenet-300-100", 10, (20, 10)).save(tmp_path / "whole.keras")
    path = tmp_path / "damaged.keras"
    for seed in range(6):
        path.write_bytes(damage((tmp_path / "whole.keras").read_bytes(), seed))
        ends_well(digits, "evaluate", "--model", path, "--data-dir", tmp_path / "digits")


def test_a_damaged_tflite_file_is_one_line_or_a_result(ends_well, tmp_path):
    write_digits(tmp_path / "digits")
    (tmp_path / "a.wav").write_bytes(wav())
    path = tmp_path / "damaged.tflite"
    for seed in range(8):
        path.write_bytes(damaged((LENET / "model.tflite").read_bytes(), seed))
        ends_well(digits, "evaluate", "--model", path, "--data-dir", tmp_path / "digits")
        path.write_bytes(damaged((STREAMING / "model.tflite").read_bytes(), seed))
        ends_well(speech, "transcribe", tmp_path / "a.wav", "--model", path)


@pytest.mark.representatives("saved_model.pb", "variables/variables.index")
@pytest.mark.parametrize("file", ["saved_model.pb", "fingerprint.pb", "variables/variables.index"])
def test_a_damaged_savedmodel_is_one_line_or_a_rate(file, ends_well, tmp_path):
    write_digits(tmp_path / "digits")
    folder = tmp_path / "1"
    shutil.copytree(LENET / "1", folder)
    for seed in range(4):
        (folder / file).write_bytes(damaged((LENET / "1" / file).read_bytes(), seed))
        ends_well(digits, "evaluate", "--model", folder, "--data-dir", tmp_path / "digits")


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def as_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def as_link_to_nothing(path: Path) -> None:
    path.unlink()
    path.symlink_to("nothing")


SAVED = ("saved_model.pb", "variables/variables.index", "variables/variables.data-00000-of-00001")


@pytest.mark.representatives(
    "unlink-saved_model.pb",
    "as_folder-variables/variables.index",
    "as_link_to_nothing-variables/variables.data-00000-of-00001",
    "truncate-saved_model.pb",
)
@pytest.mark.parametrize("file", SAVED)
@pytest.mark.parametrize("change", [Path.unlink, as_folder, as_link_to_nothing, truncate])
def test_a_savedmodel_without_one_of_its_files_is_one_line(file, change, ends_well, tmp_path):
    write_digits(tmp_path / "digits")
    folder = tmp_path / "1"
    shutil.copytree(LENET / "1", folder)
    change(folder / file)
    command = ("evaluate", "--model", folder, "--data-dir", tmp_path / "digits")
    assert ends_well(digits, *command) == 2


ROWS = "path,text,speaker,split\n" + "".join(
    f"{place}.wav,YES NO,s{place},{split}\n"
    for place, split in enumerate(("train", "train", "valid", "test"))
)
MANIFEST = json.dumps(
    {
        "parameters": {"sample_rate": 16000},
        "utterances": {
            split: [{"id": split, "speaker": split, "text": "YES NO", "file": f"{place}.wav"}]
            for place, split in enumerate(("train", "valid", "test"))
        },
    }
)


@pytest.mark.parametrize(
    ("file", "content", "damage"),
    [
        ("rows.csv", ROWS, damaged),
        ("manifest.json", MANIFEST, damaged),
        ("manifest.json", MANIFEST, damaged_json),
    ],
)
def test_a_damaged_list_of_recordings_is_one_line_or_a_corpus(
    file, content, damage, ends_well, tmp_path
):
    for place in range(4):
        (tmp_path / f"{place}.wav").write_bytes(wav())
    for seed in range(24):
        (tmp_path / file).write_bytes(damage(content.encode(), seed))
        command = ("prepare", "--data-dir", tmp_path, "--cache-dir", tmp_path / "cache")
        ends_well(speech, *command)


def write_an4(folder: Path) -> list[Path]:
    """AN4's own layout with an utterance or two; returns its lists."""
    names = {"train": ("x/aaaa/one", "x/fjdn/two"), "test": ("y/bbbb/three",)}
    (folder / "etc").mkdir(parents=True, exist_ok=True)
    for part in names:
        texts = "".join(f"<s> YES NO </s> ({name.split('/')[-1]})\n" for name in names[part])
        (folder / "etc" / f"an4_{part}.transcription").write_text(texts)
        (folder / "etc" / f"an4_{part}.fileids").write_text("\n".join(names[part]))
        for name in names[part]:
            path = folder / "wav" / f"{name}.wav"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(wav())
    return sorted((folder / "etc").iterdir())


def test_damaged_lists_of_an4_are_one_line_or_a_corpus(ends_well, tmp_path):
    for path, seed in itertools.product(write_an4(tmp_path / "an4"), range(8)):
        whole = path.read_bytes()
        path.write_bytes(damaged(whole, seed))
        command = ("prepare", "--data-dir", tmp_path / "an4", "--cache-dir", tmp_path / "cache")
        ends_well(speech, *command)
        path.write_bytes(whole)


TABLES = ("targets", "comparison", "seeds")


@pytest.mark.parametrize("damage", [damaged, damaged_json])
def test_a_damaged_record_is_one_line_or_a_table(damage, ends_well, tmp_path):
    readme = tmp_path / "README.md"
    readme.write_text("".join(f"<!-- {x} -->\n<!-- /{x} -->\n" for x in TABLES))
    for seed in range(6):
        for folder in (STREAMING, LENET):
            record = damage((folder / "record.json").read_bytes(), seed)
            (tmp_path / "record.json").write_bytes(record)
            if folder == STREAMING:
                ends_well(speech, "report", tmp_path, "--out", tmp_path / "report")
                continue
            results = tmp_path / f"results-{seed}"
            command = ("table", tmp_path, "--results", results, "--readme", readme)
            ends_well(digits, *command)
