"""The kept model on real files."""

import re
from pathlib import Path

import numpy as np
import pytest
import soundfile

from apps.speech.audio import load_audio
from apps.speech.cli import main
from apps.speech.corpus import synthesise
from apps.speech.evaluate import score
from apps.speech.recipe import DEMO_CORPUS
from apps.speech.recognizer import load_recognizer

KEPT = Path(__file__).parents[3] / "saved_models" / "spoken-alphanumerics" / "model.tflite"
MINUTE = 60


@pytest.fixture(scope="module")
def utterance(tmp_path_factory):
    """Of a voice that the kept model never heard; of its own domain."""
    sizes = {**DEMO_CORPUS, "train": 1, "valid": 1, "test": 1}
    folder = tmp_path_factory.mktemp("transcribe") / "corpus"
    return synthesise(folder, 7, **sizes, workers=1, quiet=True).test[0]


def test_the_ends_of_a_minute_are_heard_at_their_times(utterance):
    recognizer = load_recognizer(KEPT)
    samples = load_audio(utterance.audio)
    gap = np.zeros(int(16000 * MINUTE) - 2 * len(samples), np.float32)
    alone = recognizer.transcribe(samples)
    found = recognizer.transcribe(np.concatenate([samples, gap, samples]))
    assert (
        score([alone.text], [" ".join(w.text for w in found.words if w.start * 0.04 < 30)]).wer
        < 0.5
    )
    seconds = recognizer.card.seconds_per_frame
    starts = [word.start * seconds for word in found.words]
    assert starts == sorted(starts)
    late = [start for start in starts if start > 30]
    assert late
    assert min(late) >= MINUTE - len(samples) / 16000 - 0.1
    assert found.words[-1].end * seconds <= MINUTE + 0.1


def test_words_have_times_and_confidences(utterance, tmp_path, capsys):
    path = tmp_path / "phone.wav"
    samples = load_audio(utterance.audio, 8000)
    soundfile.write(path, np.stack([samples, samples], 1), 8000, subtype="PCM_U8")
    assert main(["transcribe", str(path), "--words", "--model", str(KEPT)]) == 0
    text, *lines = capsys.readouterr().out.splitlines()
    assert len(lines) == len(text.split()) > 0
    for word, line in zip(text.split(), lines, strict=True):
        assert re.fullmatch(rf" +\d+\.\d\d +\d+\.\d\d s +\d+%  {word}", line)


@pytest.mark.parametrize("seconds", [0.01, 0.06])
def test_very_short_files_are_no_error(seconds, tmp_path, capsys):
    path = tmp_path / "short.wav"
    samples = np.random.default_rng(0).uniform(-0.5, 0.5, int(16000 * seconds))
    soundfile.write(path, samples, 16000)
    assert main(["transcribe", str(path), "--model", str(KEPT)]) == 0
    assert len(capsys.readouterr().out.strip()) <= 2


def test_a_file_without_samples_is_one(tmp_path, capsys):
    path = tmp_path / "empty.wav"
    soundfile.write(path, np.zeros(0), 16000)
    assert main(["transcribe", str(path), "--model", str(KEPT)]) == 2
    assert "empty.wav: holds no samples" in capsys.readouterr().err
