import os

import numpy as np
import pytest
import soundfile

from apps.common.errors import InputError
from apps.speech.audio import load_audio, speed
from apps.speech.channel import Channel
from apps.speech.features import LogMel, extract_all
from apps.speech.utterance import Utterance

FRONT_END = LogMel(bands=20)


@pytest.fixture
def utterances(tmp_path):
    rng = np.random.default_rng(0)
    found = []
    for k, samples in enumerate((4000, 16000, 9000)):
        path = tmp_path / f"{k}.wav"
        soundfile.write(path, 0.1 * rng.standard_normal(samples), 16000)
        found.append(Utterance(str(k), "a", "YES", path))
    return found


def expected(utterances):
    return [FRONT_END(load_audio(utterance.audio)) for utterance in utterances]


def assert_equal(found, wanted):
    assert len(found) == len(wanted)
    for a, b in zip(found, wanted, strict=True):
        assert a.dtype == np.float32
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("cached", [False, True])
def test_every_utterance_gets_its_features_in_order(utterances, tmp_path, cached):
    cache = tmp_path / "cache" if cached else None
    assert_equal(extract_all(utterances, FRONT_END, cache, quiet=True), expected(utterances))


def test_a_second_call_reads_no_audio(utterances, tmp_path, monkeypatch):
    first = extract_all(utterances, FRONT_END, tmp_path / "cache", quiet=True)
    monkeypatch.setattr("apps.speech.features.load_audio", lambda *_: pytest.fail("read audio"))
    assert_equal(extract_all(utterances, FRONT_END, tmp_path / "cache", quiet=True), first)
    assert len(list((tmp_path / "cache").iterdir())) == 1


def test_changed_audio_another_front_end_and_another_speed_are_computed_anew(utterances, tmp_path):
    cache = tmp_path / "cache"
    extract_all(utterances, FRONT_END, cache, quiet=True)
    soundfile.write(utterances[0].audio, 0.1 * np.ones(5000), 16000)
    os.utime(utterances[0].audio, ns=(1, 1))
    assert_equal(extract_all(utterances, FRONT_END, cache, quiet=True), expected(utterances))
    assert extract_all(utterances, LogMel(), cache, quiet=True)[0].shape[1] == 40
    fast = extract_all(utterances, FRONT_END, cache, speed_factor=1.1, quiet=True)
    wanted = FRONT_END(speed(load_audio(utterances[1].audio), 1.1))
    np.testing.assert_array_equal(fast[1], wanted)
    assert len(list(cache.iterdir())) == 4


@pytest.mark.parametrize("damage", ["truncate", "empty", "overwrite"])
def test_a_damaged_cache_is_made_again(utterances, tmp_path, damage):
    cache = tmp_path / "cache"
    extract_all(utterances, FRONT_END, cache, quiet=True)
    (path,) = cache.iterdir()
    data = path.read_bytes()
    path.write_bytes({"truncate": data[:-400], "empty": b"", "overwrite": b"x" * 4000}[damage])
    assert_equal(extract_all(utterances, FRONT_END, cache, quiet=True), expected(utterances))


def test_a_bad_file_is_named_and_leaves_no_cache(utterances, tmp_path):
    utterances[1].audio.write_bytes(b"not audio at all")
    with pytest.raises(InputError, match=r"1.wav: cannot be read as audio"):
        extract_all(utterances, FRONT_END, tmp_path / "cache", quiet=True)
    assert list((tmp_path / "cache").iterdir()) == []


def test_a_file_that_went_missing_is_named(utterances, tmp_path):
    utterances[2].audio.unlink()
    with pytest.raises(InputError, match=r"2.wav: no such file"):
        extract_all(utterances, FRONT_END, tmp_path / "cache", quiet=True)


def test_each_room_hears_each_recording_elsewhere_and_always_the_same(utterances, tmp_path):
    cache = tmp_path / "cache"
    plain = extract_all(utterances, FRONT_END, cache, quiet=True)
    one, two = (extract_all(utterances, FRONT_END, cache, room=k, quiet=True) for k in (1, 2))
    assert len(list(cache.iterdir())) == 3
    assert_equal(extract_all(utterances, FRONT_END, room=1, quiet=True), one)
    rng = np.random.default_rng([2, 1])
    there = Channel.elsewhere(rng).apply(load_audio(utterances[1].audio), 16000, rng)
    np.testing.assert_array_equal(two[1], FRONT_END(there))
    assert all(len(a) > len(b) for a, b in zip(one, plain, strict=True))


def test_a_silent_recording_is_silent_everywhere(tmp_path):
    path = tmp_path / "silent.wav"
    soundfile.write(path, np.zeros(9000), 16000)
    found = [
        extract_all([Utterance("0", "a", "", path)], FRONT_END, room=room, quiet=True)
        for room in (0, 1)
    ]
    assert_equal(*found)
