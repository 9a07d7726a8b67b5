"""Spectra, mel bands and cepstra, compared with librosa's."""

import librosa
import numpy as np
import pytest

from apps.speech.spectrum import cepstrum, delta, mel_basis, mel_frequencies, power_spectrum


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
