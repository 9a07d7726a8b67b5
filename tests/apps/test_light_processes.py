"""Commands that run a TFLite file load neither TensorFlow nor what they do not need."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parents[2]
HEAVY = ("tensorflow", "keras", "librosa", "numba", "scipy", "sklearn", "h5py", "matplotlib")
MOST = 200
"""MB that a process may need; it needs about 65."""

PROGRAM = f"""
import sys
from pathlib import Path
from apps.{{app}}.cli import main
status = main(sys.argv[1:])
peak = [line for line in Path("/proc/self/status").read_text().splitlines() if "VmHWM" in line]
print(status, sorted(set({HEAVY!r}) & set(sys.modules)), peak[0].split()[1], sep="|")
"""


def run(app: str, *arguments: object) -> tuple[list[str], str]:
    """Returns what the command printed, and checks what its process loaded and needed."""
    command = [sys.executable, "-c", PROGRAM.format(app=app), *map(str, arguments)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    *printed, last = done.stdout.splitlines()
    status, loaded, peak = last.split("|")
    assert (status, loaded) == ("0", "[]")
    assert int(peak) / 1024 < MOST
    return printed, done.stderr


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    soundfile = pytest.importorskip("soundfile")
    path = tmp_path / "one.wav"
    soundfile.write(path, 0.1 * np.random.default_rng(0).standard_normal(44100), 22050)
    return path


@pytest.mark.representatives("text-an4-compact", "words-an4-streaming")
@pytest.mark.parametrize("model", ["an4-compact", "an4-streaming"])
@pytest.mark.parametrize("options", [[], ["--words"]], ids=["text", "words"])
def test_transcribing_is_light_and_keeps_the_standard_error_clean(
    recording: Path, model: str, options: list[str]
) -> None:
    file = f"saved_models/{model}/model.tflite"
    _, error = run("speech", "transcribe", recording, "--model", file, *options)
    assert error == ""


def test_transcribing_while_somebody_speaks_is_light(recording: Path) -> None:
    model = "saved_models/an4-streaming/model.tflite"
    _, error = run("speech", "transcribe", recording, "--model", model, "--stream")
    assert error == ""


def test_classifying_is_light_and_keeps_the_standard_error_clean(tmp_path: Path) -> None:
    image = pytest.importorskip("PIL.Image")
    drawing = np.full((60, 60), 255, np.uint8)
    drawing[10:50, 28:33] = 0
    image.fromarray(drawing).save(tmp_path / "one.png")
    for model in ("lenet-5", "lenet-300-100"):
        file = f"saved_models/{model}/model.tflite"
        printed, error = run("digits", "classify", tmp_path / "one.png", "--model", file)
        assert printed[0].startswith("1 (")
        assert error == ""
