import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st

from apps.common.errors import InputError
from apps.speech.audio import speed
from apps.speech.augment import SpecAugment


def masked(augment, shape=(6, 50, 20), lengths=None, seed=(0, 0), dtype=tf.float32):
    """Where a batch of ones was masked."""
    lengths = lengths or [shape[1]] * shape[0]
    out = augment(tf.ones(shape, dtype), tf.constant(lengths), tf.constant(seed))
    assert out.dtype == dtype
    assert out.shape == shape
    return out.numpy() == 0


def runs(flags):
    """Lengths of the runs of True."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], flags.astype(int), [0]])))
    return edges[1::2] - edges[::2]


@given(st.integers(0, 10_000), st.integers(0, 10), st.integers(1, 60), st.floats(0, 1))
def test_a_time_mask_is_one_interval_within_width_share_and_length(seed, width, length, share):
    augment = SpecAugment(0, 0, time_masks=1, time_width=width, time_share=share)
    hidden = masked(augment, (4, 60, 3), [length] * 4, (seed, 1))
    assert (hidden == hidden[:, :, :1]).all()
    for row in hidden[:, :, 0]:
        assert not row[length:].any()
        assert len(runs(row)) <= 1
        assert row.sum() <= min(width, share * length)


@given(st.integers(0, 10_000), st.integers(0, 30))
def test_frequency_masks_hide_whole_bands_no_wider_than_asked(seed, width):
    augment = SpecAugment(frequency_masks=2, frequency_width=width, time_masks=0)
    hidden = masked(augment, seed=(seed, 0))
    assert (hidden == hidden[:, :1]).all()
    for row in hidden[:, 0]:
        assert row.sum() <= 2 * width
        assert len(runs(row)) <= 2


def test_every_width_and_place_occurs():
    augment = SpecAugment(frequency_masks=1, frequency_width=3, time_masks=0)
    hidden = masked(augment, (4000, 1, 6))[:, 0]
    counts = np.bincount(hidden.sum(1), minlength=4) / len(hidden)
    np.testing.assert_allclose(counts, 0.25, atol=0.03)
    assert hidden.any(0).all()
    # Widths 1, 2, 3 at 6, 5, 4 starts: band 0 is hidden when the start is 0.
    assert hidden[:, 0].mean() == pytest.approx((1 / 6 + 1 / 5 + 1 / 4) / 4, abs=0.02)


def test_equal_seeds_give_equal_masks_and_others_do_not():
    augment = SpecAugment()
    first = masked(augment, seed=(3, 7))
    masked(augment, seed=(1, 1))
    assert np.array_equal(masked(augment, seed=(3, 7)), first)
    assert not np.array_equal(masked(augment, seed=(3, 8)), first)
    assert not np.array_equal(masked(augment, seed=(4, 7)), first)


def test_utterances_of_a_batch_get_masks_of_their_own():
    hidden = masked(SpecAugment(time_masks=0))
    assert len({row.tobytes() for row in hidden}) > 3


def test_a_traced_function_gives_the_same_as_eager_calls():
    augment = SpecAugment()
    arguments = (tf.random.stateless_normal((3, 40, 20), (0, 0)), tf.constant([40, 30, 7]),
                 tf.constant([5, 6]))  # fmt: skip
    signature = [
        tf.TensorSpec([None, None, 20]),
        tf.TensorSpec([None], tf.int32),
        tf.TensorSpec([2], tf.int32),
    ]
    traced = tf.function(augment.__call__, input_signature=signature)
    np.testing.assert_array_equal(traced(*arguments), augment(*arguments))


def test_unmasked_values_stay_and_half_precision_works():
    features = tf.random.stateless_normal((3, 40, 20), (0, 0))
    out = SpecAugment()(features, tf.constant([40] * 3), tf.constant([0, 0])).numpy()
    kept = out != 0
    assert 0.3 < kept.mean() < 1
    np.testing.assert_array_equal(out[kept], features.numpy()[kept])
    masked(SpecAugment(), dtype=tf.float16)


def test_no_masks_change_nothing():
    assert not masked(SpecAugment(0, 0, 0, 0)).any()


def test_config_restores_it_and_bad_numbers_are_refused():
    augment = SpecAugment(time_masks=5)
    assert SpecAugment(**augment.config()) == augment
    with pytest.raises(InputError, match="time_width is -1"):
        SpecAugment(time_width=-1)
    with pytest.raises(InputError, match=r"time_share is 1.5; expected 0 to 1"):
        SpecAugment(time_share=1.5)


@pytest.mark.parametrize("factor", [0.9, 1.1])
def test_speed_changes_length_and_pitch(factor):
    time = np.arange(16000) / 16000
    audio = (0.5 * np.sin(2 * np.pi * 1000 * time)).astype(np.float32)
    fast = speed(audio, factor)
    assert fast.dtype == np.float32
    assert len(fast) == round(16000 / factor)
    spectrum = np.abs(np.fft.rfft(fast))
    assert spectrum.argmax() * 16000 / len(fast) == pytest.approx(1000 * factor, rel=0.01)


def test_speed_1_is_the_input_and_extremes_are_refused():
    audio = np.ones(10, np.float32)
    assert speed(audio, 1.0) is audio
    with pytest.raises(InputError, match=r"got factor 3; expected 0.5 to 2"):
        speed(audio, 3)
