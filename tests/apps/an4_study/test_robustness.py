"""The kept model on recordings as other microphones make them, from real files."""

import re
from pathlib import Path

import numpy as np
import pytest

from apps.an4_study.cli import main
from apps.an4_study.disturb import DISTURBANCES, Disturbance, muted, noise, peak, silence
from apps.an4_study.robustness import COLUMNS, robustness, rows
from apps.common.errors import InputError
from apps.speech.audio import load_audio
from apps.speech.corpus import synthesise
from apps.speech.evaluate import score
from apps.speech.recipe import DEMO_CORPUS
from apps.speech.recognizer import load_recognizer

KEPT = Path(__file__).parents[3] / "saved_models" / "spoken-alphanumerics" / "model.tflite"
BY_NAME = {disturbance.name: disturbance for disturbance in DISTURBANCES}
MILD = (
    "as recorded", "44.1 kHz, stereo", "48 kHz, stereo", "4 s of zeros on either side",
    "4 s of a room at -40 dB on either side", "quiet: peak 0.01", "clipped by 6 dB",
    "offset 0.1 of full scale", "hum, 20 dB",
)  # fmt: skip
STRONG = ("8 kHz", "clipped by 20 dB", "white noise, 10 dB")


@pytest.fixture(scope="module")
def recognizer():
    return load_recognizer(KEPT)


@pytest.fixture(scope="module")
def utterances(tmp_path_factory):
    """Of voices that the kept model never heard; of its own domain."""
    sizes = {**DEMO_CORPUS, "train": 1, "valid": 1, "test": 12}
    folder = tmp_path_factory.mktemp("robustness") / "corpus"
    return synthesise(folder, 7, **sizes, workers=1, quiet=True).test


def test_what_can_be_heard_is_recognised_whatever_the_microphone(recognizer, utterances):
    found = robustness(recognizer, utterances, [BY_NAME[name] for name in MILD], quiet=True)
    assert list(found) == [*MILD, "joined to 60 s"]
    words = found["as recorded"].words.total
    assert {rates.words.total for rates in found.values()} == {words}
    # The model's own WER is 9 %; on a dozen utterances one condition may be twice that off.
    errors = sum(rates.words.errors for rates in found.values())
    assert errors / (words * len(found)) < 0.2
    for name, rates in found.items():
        assert rates.wer < 0.33, (name, rates)


def test_what_can_hardly_be_heard_is_no_babble(recognizer, utterances):
    found = robustness(recognizer, utterances[:5], [BY_NAME[name] for name in STRONG], quiet=True)
    for rates in found.values():
        assert rates.wer < 0.8
        assert rates.insertions <= 0.5 * rates.words.total


def test_silence_has_no_words(recognizer, utterances):
    nothing = [BY_NAME["digital silence"], BY_NAME["the first 10 ms"]]
    found = robustness(recognizer, utterances[:3], nothing, quiet=True)
    assert [found[d.name].insertions for d in nothing] == [0, 0]
    assert rows(found)[0] == ("digital silence", "0 words made up", "0", "0", "0")
    assert len(COLUMNS) == len(rows(found)[0])


def test_long_silence_does_not_change_the_text_much(recognizer, utterances):
    # That of each utterance alone, with its ends cut off: the same parts of it are heard.
    before, after = (
        [recognizer.transcribe(d.change(samples, 16000, np.random.default_rng(0))[0]).text
         for samples in (load_audio(u.audio) for u in utterances)]
        for d in (Disturbance("", silence(2.0)), Disturbance("", silence(20.0)))
    )  # fmt: skip
    assert score(before, after).wer < 0.1


def test_the_command_prints_a_table_with_counts(utterances, capsys):
    folder = utterances[0].audio.parents[2]
    command = ["robustness", "--model", str(KEPT), "--data-dir", str(folder)]
    assert main([*command, "--utterances", "1"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith(f"{KEPT} on 1 of 12 utterances of synthesised, test")
    assert len(lines) == 2 + 2 + len(DISTURBANCES) + 1
    assert re.search(r"as recorded +\| \d+\.\d % \(\d+/\d+\)", lines[4])


def test_no_utterances_are_refused(recognizer):
    with pytest.raises(InputError, match="got no utterances"):
        robustness(recognizer, [])


@pytest.mark.parametrize("disturbance", DISTURBANCES, ids=lambda d: d.name)
def test_a_disturbance_gives_samples_within_bounds(disturbance):
    samples = (0.1 * np.random.default_rng(0).standard_normal(16000)).astype(np.float32)
    before = samples.copy()
    changed, rate = disturbance.change(samples, 16000, np.random.default_rng(1))
    again, _ = disturbance.change(samples, 16000, np.random.default_rng(1))
    np.testing.assert_array_equal(changed, again)
    np.testing.assert_array_equal(samples, before)
    assert changed.dtype == np.float32
    assert np.abs(changed).max() <= 1
    assert rate in (8000, 16000, 44100, 48000)


def test_levels_are_what_their_names_say():
    rng = np.random.default_rng(0)
    samples = (0.1 * rng.standard_normal(32000)).astype(np.float32)
    noisy, _ = noise("white", 10.0)(samples, 16000, rng)
    gain = np.dot(noisy, samples) / np.dot(samples, samples)  # it is turned down not to clip
    ratio = np.mean((noisy - gain * samples) ** 2) / np.mean((gain * samples) ** 2)
    assert 10 * np.log10(ratio) == pytest.approx(-10, abs=0.2)
    room, _ = silence(1.0, -40.0)(samples, 16000, rng)
    assert 10 * np.log10(np.mean(room[:16000] ** 2) / np.mean(samples**2)) == pytest.approx(
        -40, abs=0.1
    )
    quiet, _ = peak(0.01)(samples, 16000, rng)
    assert np.abs(quiet).max() == pytest.approx(0.01)
    clipped, _ = peak(10.0)(samples, 16000, rng)
    assert np.mean(np.abs(clipped) == 1) > 0.1
    assert not muted(samples, 16000, rng)[0].any()
