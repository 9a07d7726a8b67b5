import itertools

import numpy as np
import pytest

from apps.common.errors import InputError
from apps.speech.channel import NOISES, Channel, coloured_noise, fast_length

RATE = 16000


def rng():
    return np.random.default_rng(0)


def speech(seconds=1.0):
    time = np.arange(int(seconds * RATE)) / RATE
    return (0.3 * np.sin(2 * np.pi * 800 * time)).astype(np.float32)


def power(samples):
    return float(np.mean(np.square(samples, dtype=np.float64)))


def decibels(ratio):
    return 10 * np.log10(ratio)


@pytest.mark.parametrize("kind", NOISES)
@pytest.mark.parametrize("snr", [10.0, 30.0])
def test_speech_is_above_the_noise_by_the_ratio_asked_for(kind, snr):
    out = Channel(snr=snr, noise=kind, lead=1.0, tail=1.0, level=-20).apply(speech(), RATE, rng())
    noise = np.concatenate([out[:RATE], out[-RATE:]])
    assert decibels(power(out[RATE:-RATE]) / power(noise)) == pytest.approx(snr, abs=2)
    assert decibels(power(out[RATE:-RATE])) == pytest.approx(-20, abs=1)


def test_lead_and_tail_lengthen_the_recording():
    out = Channel(lead=0.25, tail=0.5).apply(speech(), RATE, rng())
    assert out.shape == (int(1.75 * RATE),)
    assert out.dtype == np.float32


def test_a_level_that_would_clip_is_lowered():
    out = Channel(level=0.0).apply(speech(), RATE, rng())
    assert np.abs(out).max() == pytest.approx(0.99)


def test_a_telephone_line_passes_its_band_only():
    clicks = np.zeros(RATE, np.float32)
    clicks[::400] = 1.0
    out = Channel(snr=60, band=(300.0, 3400.0)).apply(clicks, RATE, rng())
    spectrum = np.square(np.abs(np.fft.rfft(out)))
    hertz = np.fft.rfftfreq(len(out), 1 / RATE)
    inside = spectrum[(hertz > 400) & (hertz < 3000)].mean()
    for outside in (spectrum[hertz < 200], spectrum[hertz > 4200]):
        assert decibels(outside.mean() / inside) < -40


def test_a_room_sounds_on_after_the_speech_and_dies_away():
    out = Channel(snr=80, reverberation=0.4, lead=0.0, tail=0.2).apply(speech(), RATE, rng())
    after = [power(out[RATE + k * 1600 : RATE + (k + 1) * 1600]) for k in range(3)]
    assert power(out[:RATE]) > after[0] > 5 * after[1] > 25 * after[2] > 0


def test_colours_fall_with_frequency_as_their_names_say():
    for kind, slope in (("white", 0.0), ("pink", -3.0), ("brown", -6.0)):
        noise = coloured_noise(kind, 1 << 17, RATE, rng())
        assert power(noise) == pytest.approx(1)
        spectrum = np.square(np.abs(np.fft.rfft(noise)))
        hertz = np.fft.rfftfreq(len(noise), 1 / RATE)
        octaves = [spectrum[(hertz >= f) & (hertz < 2 * f)].mean() for f in (500, 1000, 2000)]
        falls = [decibels(b / a) for a, b in itertools.pairwise(octaves)]
        assert falls == pytest.approx([slope, slope], abs=0.5)


def test_equal_generators_give_equal_recordings():
    channel = Channel.random(np.random.default_rng(5))
    one, same = (channel.apply(speech(), RATE, np.random.default_rng(9)) for _ in range(2))
    assert np.array_equal(one, same)


def test_random_channels_cover_rooms_lines_and_noises():
    generator = np.random.default_rng(0)
    channels = [Channel.random(generator) for _ in range(400)]
    assert {channel.noise for channel in channels} == set(NOISES)
    assert 0.1 < np.mean([c.reverberation > 0 for c in channels]) < 0.3
    assert 0.06 < np.mean([c.band is not None for c in channels]) < 0.2
    assert min(c.snr for c in channels) >= 10


@pytest.mark.parametrize("samples", [1, 2, 3, 1000, 1024, 1025, 1537, 40000])
def test_fast_lengths_are_long_enough_and_not_much_longer(samples):
    assert samples <= fast_length(samples) <= max(2, 1.5 * samples)


def test_silence_and_unknown_noises_are_refused():
    with pytest.raises(InputError, match="silent speech"):
        Channel().apply(np.zeros(100, np.float32), RATE, rng())
    with pytest.raises(InputError, match="noise: got 'blue'; expected one of white"):
        coloured_noise("blue", 100, RATE, rng())


def test_a_microphone_elsewhere_waits_and_hears_speech_at_any_level():
    generator = rng()
    channels = [Channel.elsewhere(generator) for _ in range(300)]
    waits = np.array([channel.lead for channel in channels])
    assert waits.max() <= 4
    assert 0.1 < np.mean(waits > 1.5) < 0.25  # exp(-1.5 / 0.8) = 0.15
    levels = [channel.level for channel in channels]
    assert min(levels) < -48
    assert max(levels) > -16
    out = channels[0].apply(speech(), RATE, generator)
    assert np.isfinite(out).all()
