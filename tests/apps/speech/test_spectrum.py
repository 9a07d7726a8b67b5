import librosa
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from apps.common.errors import InputError
from apps.speech.spectrum import (
    FLOOR,
    RunningNormalisation,
    by_utterance,
    cepstrum,
    delta,
    mel_basis,
    mel_frequencies,
    power_spectrum,
    without_empty_bands,
)


def noise(samples, seed=0):
    return (0.1 * np.random.default_rng(seed).standard_normal(samples)).astype(np.float32)


@pytest.mark.parametrize("window", [320, 321, 400, 512])
@pytest.mark.parametrize("samples", [512, 513, 512 + 37 * 160 + 5, 512 + 700 * 160])
def test_spectra_are_librosas_to_the_last_bit(samples, window):
    audio = noise(samples)
    expected = librosa.stft(
        audio, n_fft=512, hop_length=160, win_length=window, window="hann", center=False
    )
    found = power_spectrum(audio, 512, 160, window)
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, expected.real**2 + expected.imag**2)


@pytest.mark.parametrize(
    ("rate", "size", "bands", "low", "high"),
    [
        (16000, 512, 40, 20.0, 8000.0),
        (8000, 512, 23, 0.0, 4000.0),
        (44100, 1024, 80, 20.0, 22050.0),
        (16000, 512, 13, 100.0, 900.0),
        (16000, 512, 5, 2000.0, 3000.0),
        (2000, 512, 40, 20.0, 1000.0),
    ],
)
def test_mel_bands_are_librosas_to_the_last_bit(rate, size, bands, low, high):
    expected = librosa.filters.mel(sr=rate, n_fft=size, n_mels=bands, fmin=low, fmax=high)
    np.testing.assert_array_equal(mel_basis(rate, size, bands, low, high), expected)
    edges = librosa.mel_frequencies(bands + 2, fmin=low, fmax=high)
    np.testing.assert_array_equal(mel_frequencies(bands + 2, low, high), edges)


@pytest.mark.parametrize("frames", [1, 2, 8, 9, 100])
@pytest.mark.parametrize("bands", [13, 40])
def test_cepstra_and_their_differences_are_librosas(frames, bands):
    energies = 9 * noise(bands * frames).reshape(bands, frames) - 5
    expected = librosa.feature.mfcc(S=energies, n_mfcc=13)
    found = cepstrum(energies, 13)
    np.testing.assert_allclose(found, expected, atol=2e-5)
    for order in (1, 2):
        difference = librosa.feature.delta(found, order=order, mode="nearest")
        np.testing.assert_allclose(delta(found, order), difference, atol=1e-5)


def oracle(features, plan, hop):
    """From its definition, each frame anew: weights fall exponentially, the prior's do not."""
    prior = np.linspace(plan.low, plan.high, features.shape[1])
    rows = []
    for k in range(len(features)):
        weights = np.exp(-hop * np.arange(k, -1, -1) / plan.memory)[:, None]
        count = weights.sum() + plan.prior / hop
        mean = ((weights * features[: k + 1]).sum(0) + plan.prior / hop * prior) / count
        seen = (weights * (features[: k + 1] - mean) ** 2).sum(0)
        unseen = plan.prior / hop * (plan.deviation**2 + (prior - mean) ** 2)
        rows.append((features[k] - mean) / (np.sqrt((seen + unseen) / count) + 0.01))
    return np.array(rows)


def speech(frames, bands=3, seed=0):
    return np.random.default_rng(seed).normal(-9, 4, (frames, bands)).astype(np.float32)


@pytest.mark.parametrize(
    "plan", [RunningNormalisation(), RunningNormalisation(prior=2.0, memory=0.1, deviation=1.0)]
)
def test_running_normalisation_equals_its_definition(plan):
    features = speech(60)
    found = plan.start(3, 0.01)(features)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, oracle(features, plan, 0.01), atol=1e-4)


@given(st.lists(st.integers(0, 30), max_size=6))
def test_however_an_utterance_is_cut_its_frames_are_the_same(sizes):
    features = speech(60)
    whole = RunningNormalisation().start(3, 0.01)(features)
    running = RunningNormalisation().start(3, 0.01)
    parts = [running(part) for part in np.split(features, np.cumsum(sizes))]
    np.testing.assert_array_equal(np.concatenate(parts), whole)


def test_no_frame_depends_on_a_later_one():
    features = speech(60)
    later = features.copy()
    later[31:] += 5
    plan = RunningNormalisation()
    first, second = plan.start(3, 0.01)(features), plan.start(3, 0.01)(later)
    np.testing.assert_array_equal(first[:31], second[:31])
    assert np.all(first[31:] != second[31:])


def test_a_prior_makes_the_first_frame_sane_and_fades():
    plan = RunningNormalisation(low=-9, high=-9, deviation=4)
    loud = np.full((3000, 2), -1, np.float32)
    found = plan.start(2, 0.01)(loud)
    # One frame among fifty of the prior: two deviations, less what it moved the mean by.
    np.testing.assert_allclose(found[0], 2, atol=0.1)
    assert np.all(found[-1] < 0.4)
    assert np.all(np.diff(found[:, 0]) <= 1e-6)


def test_minutes_of_silence_leave_speech_within_bounds():
    hiss = np.random.default_rng(0).normal(-15, 1, (12000, 2)).astype(np.float32)
    running = RunningNormalisation().start(2, 0.01)
    running(hiss)
    assert np.abs(running(speech(50, 2))).max() < 8


def test_digital_silence_moves_nothing():
    features, zeros = speech(40), np.full((500, 3), np.log(np.float32(FLOOR)), np.float32)
    whole = RunningNormalisation().start(3, 0.01)(features)
    running = RunningNormalisation().start(3, 0.01)
    found = running(np.concatenate([zeros, features[:20], zeros, features[20:]]))
    np.testing.assert_array_equal(np.concatenate([found[500:520], found[1020:]]), whole)


def test_utterances_have_mean_0_and_deviation_1():
    found = by_utterance(speech(200))
    np.testing.assert_allclose(found.mean(0), 0, atol=1e-6)
    np.testing.assert_allclose(found.std(0), 1, atol=0.01)


def test_bands_above_half_the_rate_are_emptied():
    features = np.ones((2, 4), np.float32)
    found = without_empty_bands(features, [100.0, 3999.0, 4000.0, 7000.0], 8000)
    assert found.tolist() == [[1, 1, 0, 0]] * 2
    assert found.dtype == np.float32


@pytest.mark.parametrize("name", ["deviation", "prior", "memory"])
def test_what_must_be_positive_is_refused_otherwise(name):
    with pytest.raises(InputError, match=rf"RunningNormalisation: {name} is 0; expected above 0"):
        RunningNormalisation(**{name: 0})
