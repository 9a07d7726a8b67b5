import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from apps.common.errors import InputError
from apps.speech.front_end import BLOCK, MFCC, LogMel
from apps.speech.spectrum import RunningNormalisation

RUNNING = LogMel(bands=8, running=RunningNormalisation())
UNEVEN = LogMel(sample_rate=11025, window=0.025, hop=0.007, bands=8, normalise=False)


def noise(samples, seed=0):
    return (0.1 * np.random.default_rng(seed).standard_normal(samples)).astype(np.float32)


@pytest.mark.parametrize("front_end", [RUNNING, UNEVEN])
@given(samples=st.integers(1, 5000), sizes=st.lists(st.integers(0, 2000), max_size=6))
def test_however_samples_are_cut_the_frames_are_the_same(front_end, samples, sizes):
    audio = noise(samples)
    whole, cut = front_end.stream(), front_end.stream()
    expected = np.concatenate([whole.feed(audio), whole.finish()])
    parts = [cut.feed(part) for part in np.split(audio, np.cumsum(sizes))]
    found = np.concatenate([*parts, cut.finish()])
    assert found.shape == (front_end.frames(samples), 8)
    np.testing.assert_array_equal(found, expected)
    np.testing.assert_allclose(found, front_end(audio), atol=1e-4)


def test_blocks_give_what_the_whole_spectrum_gives():
    audio = noise(8000)
    plain = LogMel(normalise=False)
    stream = plain.stream()
    found = np.concatenate([stream.feed(audio), stream.finish()])
    np.testing.assert_allclose(found, plain(audio), atol=1e-5)
    running = LogMel(running=RunningNormalisation())
    np.testing.assert_allclose(
        running(audio), RunningNormalisation().start(40, 0.01)(plain(audio)), atol=1e-4
    )


def test_a_block_comes_as_soon_as_its_last_window_is_there():
    stream = RUNNING.stream()
    # The last frame of a block stands at BLOCK - 1 hops; half of a window of 20 ms is behind it.
    needed = (BLOCK - 1) * 160 + 160
    assert len(stream.feed(noise(needed - 1))) == 0
    assert len(stream.feed(noise(1))) == BLOCK
    assert stream.heard == needed


def test_nothing_heard_has_no_frames():
    stream = RUNNING.stream()
    assert stream.feed(noise(0)).shape == (0, 8)
    assert stream.finish().shape == (0, 8)


@pytest.mark.parametrize(
    ("front_end", "reason"),
    [(LogMel(), "normalises by the mean and deviation of all"), (MFCC(normalise=False), "mfcc")],
)
def test_a_front_end_that_needs_the_whole_recording_says_so(front_end, reason):
    with pytest.raises(InputError, match=reason):
        front_end.stream()
