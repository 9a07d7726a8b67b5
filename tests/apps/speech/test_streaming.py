import dataclasses
import io
import json
import time
from pathlib import Path

import keras
import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st

from apps.common.errors import InputError
from apps.speech.alphabet import Alphabet
from apps.speech.audio import audio_chunks, load_audio
from apps.speech.cli import main
from apps.speech.decode import transcripts
from apps.speech.export import export_recognizer, is_causal, window_of, without_padding
from apps.speech.front_end import LogMel
from apps.speech.model import ModelConfig, build
from apps.speech.recipe import Recipe, preset
from apps.speech.recognizer import load_recognizer
from apps.speech.spectrum import RunningNormalisation
from apps.speech.streaming import GreedyStream, StreamingRecognizer, in_real_time, pcm_chunks, show

KEPT = Path(__file__).parents[3] / "saved_models" / "spoken-alphanumerics" / "model.tflite"
FRONT_END = LogMel(bands=8, running=RunningNormalisation())
CONFIG = ModelConfig(
    front_end=FRONT_END.config(),
    alphabet=Alphabet().characters,
    bands=8,
    channels=(2, 3),
    kernels=((5, 3), (3, 3)),
    layers=1,
    units=6,
    bidirectional=False,
)


LETTERS = 6  # the blank and the space among them


def talkative(config):
    """A network without training that writes many words: of a few letters, and random norms."""
    model = build(config)
    rng = np.random.default_rng(0)
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.beta.assign(rng.normal(size=layer.beta.shape))
            layer.moving_mean.assign(rng.normal(size=layer.beta.shape))
            layer.moving_variance.assign(0.01 * np.ones(layer.beta.shape))
    head = model.get_layer("logits")
    head.kernel.assign(3 * rng.normal(size=head.kernel.shape) * (np.arange(29) < LETTERS))
    features = LogMel(bands=8, running=RunningNormalisation())(noise(32000))
    inputs = {"features": features[None], "lengths": np.array([len(features)])}
    mean = keras.ops.mean(model(inputs, training=False), axis=(0, 1))
    often = 1 * (np.arange(29) == 1)  # spaces
    head.bias.assign(np.where(np.arange(29) < LETTERS, often - mean, -20))
    return model


def noise(samples, seed=0):
    rng = np.random.default_rng(seed)
    loudness = np.repeat(rng.uniform(0.001, 0.2, samples // 1000 + 1), 1000)[:samples]
    return (loudness * rng.standard_normal(samples)).astype(np.float32)


@pytest.fixture(scope="module")
def network():
    return talkative(CONFIG)


@pytest.fixture(scope="module")
def model_file(network, tmp_path_factory):
    folder = tmp_path_factory.mktemp("streaming")
    network.save(folder / "model.keras")
    return export_recognizer(folder / "model.keras", folder, saved_model=False).tflite


@pytest.fixture(scope="module")
def streaming(model_file):
    return StreamingRecognizer(model_file)


def streamed(recognizer, samples, sizes):
    parts = np.split(samples, np.cumsum(sizes))
    return "".join([*map(recognizer.feed, parts), recognizer.finish()])


@given(
    seconds=st.floats(0.001, 3),
    seed=st.integers(0, 9),
    sizes=st.lists(st.integers(0, 9000), max_size=8),
)
def test_streamed_text_is_the_text_of_the_whole(streaming, seconds, seed, sizes):
    samples = noise(int(16000 * seconds), seed)
    whole = streaming.recognizer.transcribe(samples).text
    assert streamed(streaming, samples, sizes) == whole


def test_the_text_is_the_keras_models_own_but_for_rounding(network, streaming):
    samples = noise(96000, seed=1)
    features = FRONT_END(samples)
    inputs = {"features": features[None], "lengths": np.array([len(features)])}
    expected = np.asarray(network(inputs, training=False))
    found = streaming.recognizer.logits(features)
    np.testing.assert_allclose(found, expected[0], atol=0.05 * np.ptp(expected))
    (transcript,) = transcripts(expected, [len(expected[0])], Alphabet())
    assert len(transcript.words) > 3
    assert len(set(transcript.text)) > 3


def test_a_batch_of_different_lengths_is_heard_one_by_one(streaming):
    features = np.random.default_rng(0).normal(size=(2, 41, 8)).astype(np.float32)
    found = streaming.recognizer.infer(features, np.array([41, 18]))
    np.testing.assert_array_equal(found[0], streaming.recognizer.logits(features[0]))
    np.testing.assert_array_equal(found[1, :5], streaming.recognizer.logits(features[1, :18]))
    assert found.shape == (2, 11, 29)
    assert not found[1, 5:].any()


def test_no_output_needs_more_than_the_look_ahead(streaming):
    recognizer = streaming.recognizer
    samples = noise(32000)
    # The middle of output k stands at k strides; what comes after its look-ahead is cut off.
    for k in (3, 10):
        heard = round((k * 0.04 + streaming.look_ahead) * 16000)
        assert streaming.look_ahead == pytest.approx(0.05)
        changed = samples.copy()
        changed[heard:] = noise(32000, seed=1)[heard:]
        one, other = (recognizer.logits(FRONT_END(audio)) for audio in (samples, changed))
        error = np.abs(one - other).max(axis=1)
        assert error[: k + 1].max() < 0.03 * np.ptp(one)  # 8-bit rounding goes by the window
        assert error[k + 1 :].max() > 0.15 * np.ptp(one)


def test_text_comes_within_the_longest_wait(streaming):
    samples = noise(16000)
    needed = round(streaming.longest_wait * 16000)
    network = streaming.recognizer.stream()
    streaming.feed(samples[:needed])
    # What the features so far give: the first output frames at least.
    assert network(FRONT_END(samples)[None, : needed // 160]).shape[1] >= 2
    streaming.finish()


@pytest.mark.parametrize("samples", [np.full(1600, np.nan), np.zeros((1600, 2)), np.zeros(0)])
def test_samples_that_are_none_are_refused(streaming, samples):
    with pytest.raises(InputError, match="LogMel: got"):
        streaming.recognizer.transcribe(samples)


def test_the_preset_streams_and_travels_as_json():
    recipe = preset("streaming")
    assert recipe.front_end.streams
    assert not recipe.bidirectional
    assert Recipe.from_json(json.loads(json.dumps(recipe.to_json()))) == recipe


@given(st.lists(st.integers(0, 3), max_size=30), st.integers(0, 30))
def test_greedy_decoding_in_two_parts_is_that_of_the_whole(ids, cut):
    # blank, space, A, B: spaces at the ends and beside each other, repeats, blanks between them.
    logits = 9 * np.eye(29)[np.array(ids, int)].reshape(len(ids), 29)
    (whole,) = transcripts(logits[None], [len(ids)], Alphabet())
    decode = GreedyStream(Alphabet())
    assert decode(logits[:cut]) + decode(logits[cut:]) == whole.text


def test_one_network_with_and_without_lengths(network):
    assert is_causal(network)
    assert window_of(network) == (4, 4)
    single = without_padding(network)
    assert single.input_shape == (None, None, 8)
    both_ways = build(dataclasses.replace(CONFIG, bidirectional=True))
    assert not is_causal(both_ways)


@pytest.fixture
def recording(tmp_path):
    path = tmp_path / "speech.wav"
    soundfile.write(path, noise(80000, seed=2), 16000, subtype="PCM_16")
    return path


class Screen(io.StringIO):
    def isatty(self):
        return True


def test_a_terminal_gets_one_growing_line_and_a_pipe_a_line_a_word(streaming, recording):
    whole = streaming.recognizer.transcribe(recording).text
    assert " " in whole
    screen, pipe = Screen(), io.StringIO()
    assert show(streaming, audio_chunks(recording, 0.1), screen) == whole
    assert screen.getvalue() == f"{whole}\n"
    assert show(streaming, audio_chunks(recording, 0.1), pipe) == whole
    assert pipe.getvalue().splitlines() == whole.split()


def test_a_word_is_printed_before_the_recording_ends(streaming, recording):
    pipe = io.StringIO()
    seen = []

    def chunks():
        for chunk in audio_chunks(recording, 0.1):
            seen.append(pipe.getvalue().count("\n"))
            yield chunk

    show(streaming, chunks(), pipe)
    assert 0 < seen[-1] <= pipe.getvalue().count("\n")
    assert sorted(seen) == seen


def test_an_interrupted_stream_prints_what_it_has(streaming, recording):
    def chunks():
        yield from list(audio_chunks(recording, 0.1))[:10]
        raise KeyboardInterrupt

    heard = np.concatenate(list(audio_chunks(recording, 0.1))[:10])
    assert show(streaming, chunks(), io.StringIO()) == streaming.recognizer.transcribe(heard).text


def test_the_command_streams_files_and_standard_input(
    model_file, streaming, recording, capsys, monkeypatch
):
    words = streaming.recognizer.transcribe(recording).text.split()
    command = ["transcribe", "--stream", "--model", str(model_file), "--chunk", "70"]
    assert main([*command, str(recording)]) == 0
    assert capsys.readouterr().out.split() == words
    raw = soundfile.read(recording, dtype="int16")[0].astype("<i2").tobytes()

    class Stdin:
        buffer = io.BytesIO(raw)

    monkeypatch.setattr("sys.stdin", Stdin)
    assert main([*command, "-"]) == 0
    assert capsys.readouterr().out.split() == words


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["a.wav", "b.wav"], "--stream: got 2 files; expected one, or -"),
        (["a.wav", "--words"], "leave out --beam, --vocabulary and"),
        (["a.wav", "--beam", "4"], "leave out --beam, --vocabulary and"),
        (["none.wav"], "none.wav: no such file"),
    ],
)
def test_a_mistake_in_streaming_is_one_line(arguments, message, model_file, capsys):
    assert main(["transcribe", "--stream", "--model", str(model_file), *arguments]) == 2
    out, err = capsys.readouterr()
    assert (out, len(err.splitlines())) == ("", 1)
    assert message in err


def test_a_model_that_needs_the_whole_recording_says_so_in_one_line(model_file, recording, capsys):
    keras_file = model_file.with_suffix(".keras")
    for model, reason in ((KEPT, "also runs backwards"), (keras_file, "needs a .tflite file")):
        assert main(["transcribe", "--stream", str(recording), "--model", str(model)]) == 2
        out, err = capsys.readouterr()
        assert (out, len(err.splitlines())) == ("", 1)
        assert reason in err


@pytest.mark.parametrize(("rate", "channels"), [(16000, 1), (16000, 2), (44100, 1), (8000, 2)])
def test_chunks_of_a_file_join_to_the_recording(rate, channels, tmp_path):
    path = tmp_path / "speech.flac"
    soundfile.write(path, noise(20010 * channels).reshape(-1, channels), rate)
    chunks = list(audio_chunks(path, 0.1))
    assert {len(chunk) for chunk in chunks[:-1]} == {1600}
    np.testing.assert_array_equal(np.concatenate(chunks), load_audio(path))


def test_a_recording_of_another_rate_and_a_raw_one_may_be_as_long_as_they_like(tmp_path):
    path = tmp_path / "long.wav"
    soundfile.write(path, np.zeros(700 * 8000, np.int16), 8000)
    assert sum(map(len, audio_chunks(path, 1.0))) == 700 * 16000
    with open(tmp_path / "long.raw", "wb") as file:
        file.truncate(700 * 32000)
    assert sum(map(len, audio_chunks(tmp_path / "long.raw", 1.0))) == 700 * 16000


def test_a_truncated_file_is_refused_before_its_first_chunk(recording):
    recording.write_bytes(recording.read_bytes()[:-1000])
    with pytest.raises(InputError, match="truncated: its header promises 160,000 bytes"):
        next(audio_chunks(recording, 0.1))


class Dribble(io.BytesIO):
    """A pipe that gives three bytes at a time."""

    def read1(self, size=-1):
        return self.read(3)


def test_raw_audio_that_comes_within_a_sample_is_put_together():
    samples = np.arange(-5, 5, dtype="<i2")
    found = np.concatenate(list(pcm_chunks(Dribble(samples.tobytes()), 0.1)))
    np.testing.assert_array_equal(found, samples / 32768)
    with pytest.raises(InputError, match="ends within a sample"):
        list(pcm_chunks(io.BytesIO(b"abc"), 0.1))
    with pytest.raises(InputError, match="got an audio file with a header"):
        list(pcm_chunks(io.BytesIO(b"RIFF" + bytes(96)), 0.1))


def test_a_microphone_cannot_be_overtaken(recording):
    began = time.monotonic()
    assert len(list(in_real_time(list(audio_chunks(recording, 0.1))[:3], 16000))) == 3
    assert time.monotonic() - began >= 0.29


def test_a_unidirectional_model_with_other_features_cannot_stream(model_file):
    recognizer = load_recognizer(model_file)
    card = dataclasses.replace(recognizer.card, front_end=LogMel(bands=8))
    recognizer = dataclasses.replace(recognizer, card=card)
    assert isinstance(recognizer.transcribe(noise(16000)).text, str)
    with pytest.raises(InputError, match="normalises by the mean and deviation of all"):
        StreamingRecognizer(recognizer)
