import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from apps.speech.segments import EDGE, LONG, MARGIN, speech_parts

RATE = 16000


def recording(*parts, noise=1e-3):
    """Seconds of silence and of words, by turns, with the noise of a room all over."""
    rng = np.random.default_rng(0)
    level = np.concatenate([np.full(int(s * RATE), 0.1 * (k % 2)) for k, s in enumerate(parts)])
    return (
        level * rng.standard_normal(len(level)) + noise * rng.standard_normal(len(level))
    ).astype(np.float32)


def seconds(samples):
    return [(begin / RATE, end / RATE) for begin, end in speech_parts(samples, RATE)]


def test_an_ordinary_recording_is_left_as_it_is():
    samples = recording(0.9 * EDGE, 1.0, 0.7, 1.0, 0.9 * EDGE)
    assert speech_parts(samples, RATE) == [(0, len(samples))]


@pytest.mark.parametrize("noise", [0, 1e-4, 1e-3, 1e-2])
def test_long_silence_at_the_ends_is_shortened(noise):
    ((begin, end),) = seconds(recording(3.0, 1.0, 2.0, noise=noise))
    # Smoothing makes a word 20 ms longer; of digital silence nothing but that stays.
    margin = MARGIN if noise else 0.02
    assert begin == pytest.approx(3.0 - margin, abs=0.03)
    assert end == pytest.approx(4.0 + margin, abs=0.03)


def test_one_end_does_not_change_the_other():
    samples = recording(0.3, 1.0, 4.0)
    ((begin, _),) = speech_parts(samples, RATE)
    assert begin == 0
    ((_, end),) = speech_parts(samples[::-1].copy(), RATE)
    assert end == len(samples)


def test_a_long_recording_is_cut_at_its_pauses():
    found = seconds(recording(0.3, 3.0, 0.6, 3.0, 0.2, 3.0, 2.0, 3.0, 0.3))
    assert len(found) == 3
    np.testing.assert_allclose(found, [(0, 3.55), (3.65, 10.35), (11.85, 15.4)], atol=0.05)
    assert found[-1][1] > LONG


def test_an_offset_is_no_sound():
    samples = recording(3.0, 1.0, 2.0)
    assert speech_parts(samples + np.float32(0.2), RATE) == pytest.approx(
        np.array(speech_parts(samples, RATE)), abs=160
    )


def test_where_nothing_sounds_there_are_no_parts():
    assert speech_parts(np.zeros(RATE, np.float32), RATE) == []
    assert speech_parts(np.full(RATE, 0.1, np.float32), RATE) == []
    assert speech_parts(np.zeros(3, np.float32), RATE) == []


def test_steady_noise_is_one_part():
    samples = recording(0.0, 9.5)
    assert speech_parts(samples, RATE) == [(0, len(samples))]


@given(
    lengths=st.lists(st.floats(0, 4), min_size=1, max_size=8),
    noise=st.sampled_from([0, 1e-5, 1e-3, 0.1]),
)
def test_parts_are_ascending_and_inside(lengths, noise):
    samples = recording(*lengths, noise=noise)
    bounds = [bound for part in speech_parts(samples, RATE) for bound in part]
    assert bounds == sorted(bounds)
    assert all(0 <= bound <= len(samples) for bound in bounds)
    assert all(begin < end for begin, end in zip(bounds[::2], bounds[1::2], strict=True))


def test_minutes_without_a_pause_are_cut_where_they_are_quietest():
    sound = 0.1 * np.random.default_rng(0).standard_normal(150 * 1000)
    sound[50_000:50_100] *= 0.9
    parts = speech_parts(sound.astype(np.float32), 1000)
    assert parts[0][0] == 0
    assert parts[-1][1] == len(sound)
    assert all(end == begin for (_, end), (begin, _) in itertools.pairwise(parts))
    assert max(end - begin for begin, end in parts) <= 60_000
