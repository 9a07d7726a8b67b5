import io

import numpy as np
import pytest
import soundfile

from apps.common.errors import InputError
from apps.speech import audio
from apps.speech.audio import audio_chunks, load_audio, resample


def tone(seconds=0.5, rate=16000, hertz=440.0, level=0.5):
    return (level * np.sin(2 * np.pi * hertz * np.arange(int(seconds * rate)) / rate)).astype(
        np.float32
    )


def sphere(samples, order="01", promised=None):
    """A NIST SPHERE file as AN4's are, 16-bit mono at 16 kHz."""
    count = len(samples) if promised is None else promised
    header = (
        "NIST_1A\n   1024\n"
        f"sample_count -i {count}\nsample_rate -i 16000\nsample_n_bytes -i 2\n"
        f"sample_byte_format -s2 {order}\nchannel_count -i 1\nsample_coding -s3 pcm\nend_head\n"
    )
    dtype = "<i2" if order == "01" else ">i2"
    data = np.round(samples * 32767).astype(dtype).tobytes()
    return header.encode().ljust(1024, b" ") + data


@pytest.mark.parametrize(
    ("name", "subtype", "tolerance"),
    [
        ("a.wav", "PCM_U8", 1 / 100),
        ("a.wav", "PCM_16", 1e-4),
        ("a.wav", "PCM_24", 1e-6),
        ("a.wav", "FLOAT", 1e-7),
        ("a.wav", "ULAW", 0.03),
        ("a.flac", "PCM_16", 1e-4),
        ("a.ogg", "VORBIS", 0.1),
        ("a.aiff", "PCM_16", 1e-4),
    ],
)
def test_every_width_and_container_gives_the_same_samples(tmp_path, name, subtype, tolerance):
    soundfile.write(tmp_path / name, tone(), 16000, subtype=subtype)
    samples = load_audio(tmp_path / name)
    assert samples.dtype == np.float32
    np.testing.assert_allclose(samples, tone(), atol=tolerance)


@pytest.mark.parametrize("rate", [8000, 11025, 22050, 44100, 96000])
def test_any_rate_is_converted_to_the_same_tone(tmp_path, rate):
    soundfile.write(tmp_path / "a.wav", tone(rate=rate), rate)
    samples = load_audio(tmp_path / "a.wav")
    assert abs(len(samples) - 8000) <= 1  # half a second at 11,025 Hz is no whole number of samples
    # The middle, away from the filter's edges.
    np.testing.assert_allclose(samples[1000:7000], tone()[1000:7000], atol=2e-3)


def test_channels_are_averaged(tmp_path):
    left, right = tone(level=0.8), tone(level=0.2)
    soundfile.write(tmp_path / "a.wav", np.stack([left, right], 1), 16000, subtype="FLOAT")
    np.testing.assert_allclose(load_audio(tmp_path / "a.wav"), tone(level=0.5), atol=1e-6)


@pytest.mark.parametrize("order", ["01", "10"])
def test_sphere_of_both_byte_orders_is_read(tmp_path, order):
    (tmp_path / "a.sph").write_bytes(sphere(tone(), order))
    np.testing.assert_allclose(load_audio(tmp_path / "a.sph"), tone(), atol=1e-4)


def test_raw_is_big_endian_16_bit_at_16_khz(tmp_path):
    (tmp_path / "a.raw").write_bytes(np.array([256, -32768] * 800, ">i2").tobytes())
    assert load_audio(tmp_path / "a.raw")[:2].tolist() == [256 / 32768, -1.0]


def test_another_rate_can_be_asked_for(tmp_path):
    soundfile.write(tmp_path / "a.wav", tone(), 16000)
    assert len(load_audio(tmp_path / "a.wav", 8000)) == 4000


def test_resampling_a_full_scale_square_stays_in_range():
    square = np.sign(tone(0.2, 22050, 200.0))
    assert np.abs(resample(square, 22050, 16000)).max() <= 1.0


@pytest.mark.parametrize("name", ["a.wav", "a.flac", "a.sph", "a.raw", "a.ogg"])
def test_an_empty_file_is_refused(tmp_path, name):
    (tmp_path / name).write_bytes(b"")
    with pytest.raises(InputError, match=rf"{name}: the file is empty \(0 bytes\)"):
        load_audio(tmp_path / name)


@pytest.mark.parametrize("name", ["a.wav", "a.flac"])
def test_a_file_without_samples_is_refused(tmp_path, name):
    soundfile.write(tmp_path / name, np.zeros(0, np.float32), 16000)
    with pytest.raises(InputError, match=rf"{name}: .*(holds no samples|the file is empty)"):
        load_audio(tmp_path / name)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("text.wav", b"these are not samples\n" * 50),
        ("page.flac", b"<html><body>404</body></html>"),
        ("picture.wav", b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 4),
        ("stub.wav", b"RIFF"),
        ("zeros.sph", bytes(2048)),
        ("no_suffix", b"hello"),
    ],
)
def test_what_is_not_audio_is_refused(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=f"{name}: cannot be read as audio"):
        load_audio(tmp_path / name)


@pytest.mark.parametrize("name", ["a.wav", "a.flac", "a.sph", "a.ogg"])
@pytest.mark.parametrize("share", [0.3, 0.9])
def test_a_truncated_file_is_refused(tmp_path, name, share):
    path = tmp_path / name
    if name.endswith(".sph"):
        path.write_bytes(sphere(tone(2.0)))
    else:
        soundfile.write(path, tone(2.0), 16000)
    data = path.read_bytes()
    path.write_bytes(data[: int(share * len(data))])
    with pytest.raises(InputError, match=rf"{name}: (truncated|cannot be read|holds no samples)"):
        load_audio(path)


def test_a_truncated_24_bit_stereo_wav_is_refused(tmp_path):
    soundfile.write(tmp_path / "a.wav", np.stack([tone(), tone()], 1), 96000, subtype="PCM_24")
    data = (tmp_path / "a.wav").read_bytes()
    (tmp_path / "a.wav").write_bytes(data[:-30])
    with pytest.raises(
        InputError, match="promises 48,000 bytes or samples of sound, the file has 47,970"
    ):
        load_audio(tmp_path / "a.wav")


# Of MP3 and Ogg the decoder misses what is gone, of FLAC and CAF, too; RAW, IRCAM, PVF, PAF and SD2
# do not state how long they are.
STATED = {
    "aiff": ("PCM_S8", "PCM_16", "PCM_24", "FLOAT", "ULAW", "IMA_ADPCM"),
    "au": ("PCM_16", "PCM_32", "DOUBLE", "ULAW"),
    "w64": ("PCM_16", "PCM_24", "FLOAT", "ALAW", "MS_ADPCM", "IMA_ADPCM"),
    "rf64": ("PCM_16", "PCM_24", "FLOAT", "ULAW"),
    "wav": ("PCM_U8", "PCM_16", "DOUBLE", "ULAW", "MS_ADPCM", "IMA_ADPCM", "GSM610"),
    "wavex": ("PCM_16", "FLOAT"),
    "caf": ("PCM_16", "ALAC_16"),
    "flac": ("PCM_16",),
    "mp3": ("MPEG_LAYER_III",),
    "nist": ("PCM_16", "ULAW"),
    "svx": ("PCM_S8", "PCM_16"),
    "avr": ("PCM_S8", "PCM_16"),
    "mpc2k": ("PCM_16",),
    "voc": ("PCM_16", "ULAW"),
    "wve": ("ALAW",),
    "mat4": ("PCM_16", "DOUBLE"),
    "mat5": ("PCM_16", "FLOAT"),
}


@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize(("kind", "coding"), [(k, c) for k, all_ in STATED.items() for c in all_])
def test_a_container_that_states_its_length_is_read_whole_and_refused_truncated(
    tmp_path, kind, coding, channels
):
    path = tmp_path / "a"
    samples = np.stack([tone(2.0, 8000 if kind == "wve" else 16000)] * channels, axis=1)
    rate = 8000 if kind == "wve" else 16000
    try:
        soundfile.write(path, samples, rate, format=kind.upper(), subtype=coding)
    except soundfile.LibsndfileError:
        assert channels == 2  # some are for one channel only
        return
    whole = load_audio(path)
    assert abs(len(whole) - 32000) < 1024
    data = path.read_bytes()
    for share in (0.4, 0.7, 0.97):
        path.write_bytes(data[: int(share * len(data))])
        with pytest.raises(InputError, match=r"truncated|cannot be read as audio|holds no samples"):
            load_audio(path)
        with pytest.raises(InputError, match=r"truncated|cannot be read as audio|holds no samples"):
            list(audio_chunks(path, 0.5))


@pytest.mark.parametrize("kind", ["wav", "aiff", "w64", "au"])
def test_one_missing_byte_is_enough(tmp_path, kind):
    soundfile.write(tmp_path / "a", tone(), 16000, format=kind.upper(), subtype="PCM_16")
    data = (tmp_path / "a").read_bytes()
    (tmp_path / "a").write_bytes(data[:-1])
    with pytest.raises(InputError, match=r"truncated: .*; copy it again"):
        load_audio(tmp_path / "a")


@pytest.mark.parametrize("notes", [1, 300])
@pytest.mark.parametrize("size", [10, 5000, 70000])
def test_a_truncated_wav_is_refused_whatever_stands_before_its_samples(tmp_path, size, notes):
    soundfile.write(tmp_path / "a.wav", tone(), 16000, subtype="PCM_16")
    data = (tmp_path / "a.wav").read_bytes()
    start = data.index(b"data")
    note = (b"LIST" + size.to_bytes(4, "little") + bytes(size)) * notes
    length = len(data) + len(note) - 8
    longer = data[:4] + length.to_bytes(4, "little") + data[8:start] + note
    (tmp_path / "a.wav").write_bytes(longer + data[start:])
    assert len(load_audio(tmp_path / "a.wav")) == 8000
    (tmp_path / "a.wav").write_bytes(longer + data[start:-4000])
    with pytest.raises(InputError, match="truncated"):
        load_audio(tmp_path / "a.wav")


def test_a_wav_whose_riff_or_title_states_a_wrong_number_is_read(tmp_path):
    path = tmp_path / "a.wav"
    soundfile.write(path, tone(), 16000, subtype="PCM_16")
    data = path.read_bytes()
    path.write_bytes(data[:4] + (len(data) + 100).to_bytes(4, "little") + data[8:])
    assert len(load_audio(path)) == 8000
    with soundfile.SoundFile(path, "w", 16000, 1, "PCM_16") as file:
        file.title = "Take 12 (should be 11)"
        file.write(tone())
    assert len(load_audio(path)) == 8000


@pytest.mark.parametrize("unknown", [0x7FFFF000, 0xFFFFFFFF])
def test_a_streamed_au_and_aiff_of_unknown_length_are_read(tmp_path, unknown):
    for kind, mark, offset in (("AU", b".snd", 8), ("AIFF", b"SSND", 4)):
        soundfile.write(tmp_path / "a", tone(), 16000, format=kind, subtype="PCM_16")
        data = bytearray((tmp_path / "a").read_bytes())
        place = data.index(mark) + offset
        data[place : place + 4] = unknown.to_bytes(4, "big")
        (tmp_path / "a").write_bytes(data)
        assert abs(len(load_audio(tmp_path / "a")) - 8000) <= 4


@pytest.mark.parametrize("rate", [8000, 11025, 44100, 96000, 192000])
def test_reading_in_blocks_gives_what_converting_at_once_gives(tmp_path, rate, monkeypatch):
    samples = np.random.default_rng(0).normal(scale=0.2, size=rate).astype(np.float32)
    soundfile.write(tmp_path / "a.wav", samples, rate, subtype="FLOAT")
    monkeypatch.setattr(audio, "BLOCK", 1000)
    np.testing.assert_array_equal(load_audio(tmp_path / "a.wav"), resample(samples, rate, 16000))


def test_a_streamed_wav_of_unknown_length_is_read(tmp_path):
    buffer = io.BytesIO()
    soundfile.write(buffer, tone(), 16000, format="WAV", subtype="PCM_16")
    data = bytearray(buffer.getvalue())
    start = data.index(b"data")
    data[4:8] = data[start + 4 : start + 8] = b"\xff\xff\xff\xff"
    (tmp_path / "a.wav").write_bytes(data)
    np.testing.assert_allclose(load_audio(tmp_path / "a.wav"), tone(), atol=1e-4)


def test_an_odd_number_of_raw_bytes_is_refused(tmp_path):
    (tmp_path / "a.raw").write_bytes(bytes(3201))
    with pytest.raises(InputError, match=r"a.raw: 3201 bytes; raw audio has two bytes a sample"):
        load_audio(tmp_path / "a.raw")


def test_durations_out_of_range_are_refused(tmp_path):
    soundfile.write(tmp_path / "short.wav", tone(0.02), 16000)
    with pytest.raises(InputError, match=r"short.wav: only 0.020 s long; expected at least 0.05 s"):
        load_audio(tmp_path / "short.wav")
    soundfile.write(tmp_path / "long.wav", tone(3), 16000)
    with pytest.raises(InputError, match=r"long.wav: longer than 2 s; cut it"):
        load_audio(tmp_path / "long.wav", max_seconds=2)


def test_samples_that_are_not_numbers_are_refused(tmp_path):
    samples = tone()
    samples[100] = np.nan
    soundfile.write(tmp_path / "a.wav", samples, 16000, subtype="FLOAT")
    with pytest.raises(InputError, match=r"a.wav: some samples are NaN"):
        load_audio(tmp_path / "a.wav")


def test_a_missing_file_and_a_folder_are_refused(tmp_path):
    with pytest.raises(InputError, match=r"none.wav: no such file"):
        load_audio(tmp_path / "none.wav")
    with pytest.raises(InputError, match="is a folder"):
        load_audio(tmp_path)
