"""From a clean voice to a recording: room, microphone, line, noise and level."""

import dataclasses

import numpy as np

from apps.common.errors import InputError

NOISES = ("white", "pink", "brown", "hum")


@dataclasses.dataclass(frozen=True)
class Channel:
    """How one utterance reaches the file.

    Args:
        snr: speech over noise, in dB of their mean powers.
        noise: one of `NOISES`.
        level: RMS of speech in the file, in dB of full scale; lowered where it would clip.
        lead, tail: silence before and after, in seconds.
        reverberation: seconds until the room's sound has fallen by 60 dB; 0 for none.
        band: lower and upper end of what the line passes, in Hz; None for all of it.
    """

    snr: float = 30.0
    noise: str = "pink"
    level: float = -24.0
    lead: float = 0.2
    tail: float = 0.2
    reverberation: float = 0.0
    band: tuple[float, float] | None = None

    @classmethod
    def random(cls, rng: np.random.Generator, telephone: float = 1 / 8) -> "Channel":
        """A channel as the embedded corpus uses them: mostly a quiet room and a close microphone;
        one in five reverberates, one in six is noisy, the share `telephone` is heard over a
        telephone line."""
        noisy = rng.random() < 1 / 6
        return cls(
            snr=round(float(rng.uniform(10, 20) if noisy else rng.uniform(20, 45)), 1),
            noise=NOISES[int(rng.integers(len(NOISES)))],
            level=round(float(rng.uniform(-34, -16)), 1),
            lead=round(float(rng.uniform(0.08, 0.4)), 2),
            tail=round(float(rng.uniform(0.08, 0.4)), 2),
            reverberation=round(float(rng.uniform(0.1, 0.4)), 2) if rng.random() < 1 / 5 else 0.0,
            band=(300.0, 3400.0) if rng.random() < telephone else None,
        )

    @classmethod
    def elsewhere(cls, rng: np.random.Generator) -> "Channel":
        """A channel for what has been recorded already, as a microphone may hear it that listens
        all the time: at any level, after a wait of up to four seconds; else as `random`."""
        return dataclasses.replace(
            cls.random(rng),
            level=round(float(rng.uniform(-50, -14)), 1),
            lead=round(min(4.0, float(rng.exponential(0.8))), 2),
            tail=round(min(2.0, float(rng.exponential(0.4))), 2),
        )

    def apply(self, speech: np.ndarray, sample_rate: int, rng: np.random.Generator) -> np.ndarray:
        """Sends speech, float32 (samples,) that is not silent, through the channel.

        Args:
            speech: at `sample_rate`, in Hz.
            sample_rate: as above.
            rng: of noise and room.

        Returns:
            float32 (samples + lead + tail,), within [-0.99, 0.99].

        Raises:
            InputError: silent speech, for which no level can be set.
        """
        speech = speech.astype(np.float64)
        if self.reverberation:
            speech = _reverberate(speech, self.reverberation, sample_rate, rng)
        power = float(np.mean(speech**2))
        if power == 0:
            raise InputError("channel: got silent speech; expected some sound")
        silence = (int(self.lead * sample_rate), int(self.tail * sample_rate))
        signal = np.pad(speech, silence)
        noise = coloured_noise(self.noise, len(signal), sample_rate, rng)
        signal = signal + noise * np.sqrt(power * 10 ** (-self.snr / 10))
        if self.band is not None:
            signal = _band_limit(signal, self.band, sample_rate)
        signal = signal * (10 ** (self.level / 20) / np.sqrt(power))
        peak = float(np.max(np.abs(signal)))
        return (signal * min(1.0, 0.99 / peak)).astype(np.float32)


def coloured_noise(
    kind: str, samples: int, sample_rate: int, rng: np.random.Generator
) -> np.ndarray:
    """Noise of mean power 1, float64 (samples,).

    Args:
        kind: "white", "pink" (power falls with frequency), "brown" (with its square) or "hum"
            (mains harmonics over a floor of pink noise).
        samples: how many, at least 2.
        sample_rate: in Hz.
        rng: where the noise comes from.

    Raises:
        InputError: another kind.
    """
    if kind not in NOISES:
        raise InputError(f"noise: got {kind!r}; expected one of {', '.join(NOISES)}")
    if kind == "hum":
        mains = (50.0, 60.0)[int(rng.integers(2))]
        time = np.arange(samples) / sample_rate
        harmonics = [np.sin(2 * np.pi * (k * mains * time + rng.random())) / k for k in (1, 2, 3)]
        noise = np.sum(harmonics, axis=0) + 0.5 * coloured_noise("pink", samples, sample_rate, rng)
        return noise / np.sqrt(np.mean(noise**2))
    exponent = {"white": 0.0, "pink": 0.5, "brown": 1.0}[kind]
    size = fast_length(samples)
    frequencies = np.fft.rfftfreq(size, 1 / sample_rate)
    # White noise has a white spectrum, so it is drawn as one; 20 Hz is where rising ends, as no
    # microphone passes drift.
    spectrum = rng.standard_normal(2 * len(frequencies)).view(np.complex128)
    noise = np.fft.irfft(spectrum / np.maximum(frequencies, 20.0) ** exponent, size)[:samples]
    return noise / np.sqrt(np.mean(noise**2))


def fast_length(samples: int) -> int:
    """Smallest 2^k or 3 * 2^k that is at least `samples`: lengths whose Fourier transform is fast.

    Example:
        >>> fast_length(1000), fast_length(1300)
        (1024, 1536)
    """
    power = 1 << max(samples - 1, 1).bit_length()
    return power * 3 // 4 if power * 3 // 4 >= samples else power


def _reverberate(
    speech: np.ndarray, seconds: float, sample_rate: int, rng: np.random.Generator
) -> np.ndarray:
    time = np.arange(int(seconds * sample_rate)) / sample_rate
    tail = rng.standard_normal(len(time)) * 10 ** (-3 * time / seconds)  # -60 dB at the end
    # Direct sound first, the room's energy a quarter of it: a talker near the microphone.
    response = 0.5 * tail / np.sqrt(np.sum(tail**2))
    response[0] += 1.0
    size = fast_length(len(speech) + len(response))
    spectrum = np.fft.rfft(speech, size) * np.fft.rfft(response, size)
    return np.fft.irfft(spectrum, size)[: len(speech) + len(response) - 1]


def _band_limit(signal: np.ndarray, band: tuple[float, float], sample_rate: int) -> np.ndarray:
    """Passes `band` with slopes of a quarter octave, phase untouched."""
    size = fast_length(len(signal))
    frequencies = np.maximum(np.fft.rfftfreq(size, 1 / sample_rate), 1e-3)
    low, high = band
    octaves = np.minimum(np.log2(frequencies / low), np.log2(high / frequencies))
    gain = np.clip(1 + 4 * octaves, 0.0, 1.0)
    return np.fft.irfft(np.fft.rfft(signal, size) * gain, size)[: len(signal)]
