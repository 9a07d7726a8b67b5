"""What is kept in saved_models/ runs, and does what its card says."""

from pathlib import Path

import numpy as np
import pytest

from apps.speech import espeak
from apps.speech.audio import resample
from apps.speech.metrics import score
from apps.speech.recognizer import load_recognizer

FOLDER = Path(__file__).parents[1] / "saved_models"
MODELS = sorted(path for path in FOLDER.iterdir() if path.is_dir())


@pytest.mark.parametrize("folder", MODELS, ids=lambda folder: folder.name)
def test_every_model_has_a_card_and_is_listed(folder: Path) -> None:
    card = (folder / "README.md").read_text(encoding="utf-8")
    assert "WER" in card
    assert "make " in card or "python -m" in card
    assert f"({folder.name}/README.md)" in (FOLDER / "README.md").read_text(encoding="utf-8")


def test_the_recogniser_of_alphanumerics_hears_held_out_voices() -> None:
    recognizer = load_recognizer(FOLDER / "spoken-alphanumerics" / "model.tflite")
    said, heard = [], []
    for variant in ("m3", "f3"):  # no training heard them
        voice = espeak.Voice("en-US", variant, rate=160)
        for text in ("enter five seven", "erase j u f o", "three nine two", "start four eight one"):
            speech = espeak.speak(text, voice).astype(np.float32) / 32768
            samples = np.pad(resample(speech, espeak.SAMPLE_RATE, 16000), 3200)
            noise = np.random.default_rng(0).normal(scale=1e-3, size=samples.shape)
            said.append(text.upper())
            heard.append(recognizer.transcribe((samples + noise).astype(np.float32)).text)
    # Of a hundred words its card says nine are wrong: f is taken for s and the like.
    words = score(said, heard).words
    assert words.total == 30
    assert words.errors <= 2
