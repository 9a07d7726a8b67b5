import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from apps.common.errors import InputError
from apps.speech.front_end import MFCC, LogMel, from_config


def noise(samples=8000, seed=0):
    return (0.1 * np.random.default_rng(seed).standard_normal(samples)).astype(np.float32)


def tone(hertz, samples=8000, rate=16000):
    return (0.5 * np.sin(2 * np.pi * hertz * np.arange(samples) / rate)).astype(np.float32)


def mel_oracle(audio, rate=16000, window=320, hop=160, size=512, bands=40, low=20.0):
    """Log-mel energies from their definition: Slaney's mel scale, triangles of unit area."""

    def mel(hertz):
        log = 15 + np.log(np.maximum(hertz, 1e-9) / 1000) * 27 / np.log(6.4)
        return np.where(hertz < 1000, hertz * 3 / 200, log)

    def hertz(mels):
        return np.where(mels < 15, mels * 200 / 3, 1000 * np.exp((mels - 15) * np.log(6.4) / 27))

    edges = hertz(np.linspace(mel(low), mel(rate / 2), bands + 2))
    bins = np.arange(size // 2 + 1) * rate / size
    up = (bins - edges[:-2, None]) / np.diff(edges)[:-1, None]
    down = (edges[2:, None] - bins) / np.diff(edges)[1:, None]
    weights = np.maximum(0, np.minimum(up, down)) * 2 / (edges[2:] - edges[:-2])[:, None]
    hann = np.zeros(size)
    start = (size - window) // 2
    hann[start : start + window] = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(window) / window)
    padded = np.pad(audio.astype(np.float64), size // 2)
    rows = [
        weights @ np.abs(np.fft.rfft(padded[k * hop : k * hop + size] * hann)) ** 2
        for k in range(1 + len(audio) // hop)
    ]
    return np.log(np.maximum(rows, 1e-10))


def test_log_mel_equals_its_definition():
    audio = noise() + tone(700)
    found = LogMel(normalise=False)(audio)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, mel_oracle(audio), atol=2e-4)


def test_a_higher_tone_is_loudest_in_a_higher_band():
    front_end = LogMel(normalise=False)
    peaks = [int(front_end(tone(hertz)).mean(0).argmax()) for hertz in (200, 800, 2500, 6000)]
    assert peaks == sorted(set(peaks))


def test_normalised_bands_have_mean_0_and_deviation_1():
    features = LogMel()(noise(16000))
    np.testing.assert_allclose(features.mean(0), 0, atol=1e-5)
    np.testing.assert_allclose(features.std(0), 1, atol=0.03)


def test_a_microphones_gain_does_not_matter():
    np.testing.assert_allclose(LogMel()(noise()), LogMel()(noise() * 0.25), atol=1e-3)


@pytest.mark.parametrize("front_end", [LogMel(), LogMel(normalise=False), MFCC(deltas=True)])
@given(
    audio=hnp.arrays(
        np.float32,
        st.integers(1, 900),
        elements=st.floats(-1, 1, width=32) | st.sampled_from([0.0, 1.0, -1.0]),
    )
)
def test_any_audio_gives_finite_features_of_the_promised_shape(front_end, audio):
    features = front_end(audio)
    assert features.shape == (front_end.frames(len(audio)), front_end.width)
    assert features.dtype == np.float32
    assert np.isfinite(features).all()


def test_digital_silence_becomes_zeros_when_normalised():
    assert np.array_equal(LogMel()(np.zeros(3000, np.float32)), np.zeros((19, 40), np.float32))


def test_mfcc_is_the_orthonormal_cosine_transform_of_log_mel():
    audio, bands = noise(), 40
    k = np.arange(13)[:, None]
    basis = np.sqrt(2 / bands) * np.cos(np.pi * k * (2 * np.arange(bands) + 1) / (2 * bands))
    basis[0] /= np.sqrt(2)
    found = MFCC(normalise=False)(audio)
    np.testing.assert_allclose(found, LogMel(normalise=False)(audio) @ basis.T, atol=1e-3)


def test_deltas_are_slopes_over_nine_frames():
    plain, with_deltas = (MFCC(normalise=False, deltas=d)(noise()) for d in (False, True))
    np.testing.assert_array_equal(with_deltas[:, :13], plain)
    offsets = np.arange(-4, 5)
    slope = sum(k * plain[20 + k] for k in offsets) / np.sum(offsets**2)
    np.testing.assert_allclose(with_deltas[20, 13:26], slope, atol=1e-4)


@pytest.mark.parametrize(
    "front_end", [LogMel(), LogMel(bands=23, high=4000.0), MFCC(coefficients=20, deltas=True)]
)
def test_a_config_restores_the_front_end(front_end):
    restored = from_config(front_end.config())
    assert restored == front_end
    assert type(restored) is type(front_end)
    assert restored.width == front_end(noise()).shape[1]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"sample_rate": 0}, "sample_rate is 0"),
        ({"window": 0.01, "hop": 0.02}, "window is 0.01 and hop 0.02"),
        ({"hop": 0.0}, "hop 0.0"),
        ({"bands": 0}, "bands is 0"),
        ({"low": 5000.0, "high": 300.0}, "low is 5000.0 and high 300.0 Hz"),
        ({"high": 9000.0}, "high 9000.0 Hz; expected 0 <= low < high <= 8000"),
    ],
)
def test_impossible_front_ends_are_refused(arguments, message):
    with pytest.raises(InputError, match=message):
        LogMel(**arguments)


def test_more_coefficients_than_bands_are_refused():
    with pytest.raises(InputError, match=r"coefficients is 41; expected 1 to bands \(40\)"):
        MFCC(coefficients=41)


@pytest.mark.parametrize(
    ("config", "message"),
    [({"kind": "wavelet"}, "got kind 'wavelet'"), ({}, "got kind None"),
     ({"kind": "mfcc", "colour": 1}, "front end mfcc: .*colour")],
)  # fmt: skip
def test_unknown_configs_are_refused(config, message):
    with pytest.raises(InputError, match=message):
        from_config(config)


@pytest.mark.parametrize(
    "audio", [np.zeros(0, np.float32), np.zeros((10, 2), np.float32), np.full(99, np.nan)]
)
def test_what_is_not_one_channel_of_numbers_is_refused(audio):
    with pytest.raises(InputError, match="LogMel: got"):
        LogMel()(audio)
