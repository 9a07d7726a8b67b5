"""tensorflow-io's spectrogram against the front end's own, where it is installed."""

import subprocess
import sys

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st

from apps.common.errors import InputError
from apps.speech import features as tf_features
from apps.speech.features import extract_all
from apps.speech.front_end import MFCC, LogMel
from apps.speech.spectrum import RunningNormalisation
from apps.speech.utterance import Utterance
from tests.tiers import few

needs_tensorflow_io = pytest.mark.skipif(
    tf_features.audio_operations() is None, reason="tensorflow-io is not installed"
)
FRONT_ENDS = [
    LogMel(),
    LogMel(bands=20, normalise=False),
    LogMel(sample_rate=11025, window=0.025, hop=0.007, bands=8),
    LogMel(sample_rate=8000, window=0.1, hop=0.1, bands=30, low=100, high=3000),
]


@pytest.fixture
def utterances(tmp_path):
    rng = np.random.default_rng(0)
    found = []
    for k, samples in enumerate((4000, 16000, 9000, 801)):
        path = tmp_path / f"{k}.wav"
        soundfile.write(path, 0.1 * rng.standard_normal(samples), 16000)
        found.append(Utterance(str(k), "a", "YES", path))
    return found


@pytest.mark.representatives("front_end0", "front_end2")
@needs_tensorflow_io
@pytest.mark.parametrize("front_end", FRONT_ENDS)
@few(6)
@given(length=st.integers(1, 6000), seed=st.integers(0, 99), level=st.sampled_from([0, 1e-4, 0.5]))
def test_the_features_are_the_front_ends_own_but_for_rounding(front_end, length, seed, level):
    samples = np.float32(level) * np.random.default_rng(seed).standard_normal(length)
    assert tf_features.can_compute(front_end)
    [found] = tf_features.features_of(1, lambda place: samples, front_end, 1)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, front_end(samples), atol=2e-3)
    assert np.abs(found - front_end(samples)).mean() < 1e-5


@needs_tensorflow_io
@pytest.mark.parametrize("workers", [1, 3])
def test_a_split_has_the_same_features_in_the_same_order_and_cache(utterances, tmp_path, workers):
    front_end, cache = LogMel(), tmp_path / "cache"
    options = {"speed_factor": 1.1, "room": 2, "workers": workers, "quiet": True}
    found = extract_all(utterances, front_end, cache, in_tensorflow=True, **options)
    wanted = extract_all(utterances, front_end, None, **options)
    for one, other in zip(found, wanted, strict=True):
        # A transform rounds by the loudest frequency of its frame.
        np.testing.assert_allclose(one, other, atol=2e-3)
        assert np.abs(one - other).mean() < 1e-5
    again = extract_all(utterances, front_end, cache, **options)
    assert all(np.array_equal(one, other) for one, other in zip(found, again, strict=True))


@needs_tensorflow_io
def test_a_bad_file_is_named_in_one_line_and_leaves_no_cache(utterances, tmp_path):
    utterances[2].audio.write_bytes(b"no audio at all")
    with pytest.raises(InputError, match=r"^\S*2\.wav: cannot be read as audio[^\n]*$"):
        extract_all(utterances, LogMel(), tmp_path / "cache", quiet=True, in_tensorflow=True)
    assert list((tmp_path / "cache").iterdir()) == []


@pytest.mark.parametrize(
    "front_end",
    [
        MFCC(bands=20),
        LogMel(bands=20, running=RunningNormalisation()),
        LogMel(bands=20, window=321 / 16000),  # an odd number of samples
        LogMel(),
    ],
)
def test_other_front_ends_and_places_without_the_package_compute_themselves(
    front_end, utterances, monkeypatch
):
    if front_end == LogMel():
        monkeypatch.setattr(tf_features, "audio_operations", lambda: None)
    found = extract_all(utterances, front_end, quiet=True, in_tensorflow=True)
    wanted = extract_all(utterances, front_end, quiet=True)
    assert all(np.array_equal(one, other) for one, other in zip(found, wanted, strict=True))


@needs_tensorflow_io
def test_the_package_is_imported_without_a_word_of_what_does_not_load():
    code = "from apps.speech.features import audio_operations; print(bool(audio_operations()))"
    done = subprocess.run(
        [sys.executable, "-W", "always", "-c", code], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "True"
    assert "unable to load" not in done.stderr
    assert "tensorflow_io" not in done.stderr


def test_a_package_that_cannot_be_imported_is_one_that_is_not_there(monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorflow_io", None)
    tf_features.audio_operations.cache_clear()
    try:
        assert tf_features.audio_operations() is None
        assert not tf_features.can_compute(LogMel())
    finally:
        tf_features.audio_operations.cache_clear()
