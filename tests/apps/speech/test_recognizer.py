import shutil

import keras
import numpy as np
import pytest
import soundfile

from apps.common.errors import InputError
from apps.speech.decode import beam
from apps.speech.export import export_recognizer
from apps.speech.recognizer import load_recognizer


@pytest.fixture(scope="module")
def recognizers(gp_run, exported, tmp_path_factory):
    folder = tmp_path_factory.mktemp("sequence")
    sequence = export_recognizer(gp_run.model, folder, saved_model=False, form="sequence")
    paths = (gp_run.model, exported.saved_model.parent, exported.tflite, sequence.tflite)
    return [load_recognizer(path) for path in paths]


def test_all_formats_carry_the_same_card_and_hear_the_same(recognizers, toy_corpus):
    cards = {str(recognizer.card.to_json()) for recognizer in recognizers}
    assert len(cards) == 1
    features = recognizers[0].card.front_end(soundfile.read(toy_corpus.test[0].audio)[0])
    dense, saved, *tflite = (recognizer.logits(features) for recognizer in recognizers)
    np.testing.assert_allclose(saved, dense, atol=1e-4)
    for logits in tflite:
        np.testing.assert_allclose(logits, dense, atol=0.05 * np.ptp(dense))


def test_a_padded_batch_gives_the_tflite_forms_what_it_gives_keras(recognizers):
    keras_model, _, *tflite = recognizers
    features = np.random.default_rng(0).normal(size=(3, 40, 8)).astype("float32")
    lengths = np.array([40, 7, 23], np.int32)
    expected = keras_model.infer(features, lengths)
    for recognizer in tflite:
        logits = recognizer.infer(features, lengths)
        np.testing.assert_allclose(logits, expected, atol=0.05 * np.ptp(expected))


def test_any_rate_and_number_of_channels_is_transcribed(recognizers, toy_corpus, tmp_path):
    samples, rate = soundfile.read(toy_corpus.test[0].audio)
    soundfile.write(tmp_path / "stereo.flac", np.stack([samples, samples], 1), rate)
    soundfile.write(tmp_path / "slow.wav", samples[::2], rate // 2, subtype="PCM_U8")
    for recognizer in recognizers:
        whole = recognizer.transcribe(toy_corpus.test[0].audio)
        assert recognizer.transcribe(tmp_path / "stereo.flac").text == whole.text
        assert isinstance(recognizer.transcribe(tmp_path / "slow.wav").text, str)
        assert isinstance(recognizer.transcribe(toy_corpus.test[0].audio, beam).text, str)


@pytest.mark.parametrize("kind", ["keras", "tflite"])
def test_a_truncated_model_is_one_clear_line(kind, gp_run, exported, tmp_path):
    source = gp_run.model if kind == "keras" else exported.tflite
    path = tmp_path / f"cut.{kind}"
    path.write_bytes(source.read_bytes()[: source.stat().st_size // 2])
    with pytest.raises(InputError, match=rf"cut\.{kind}.*damaged") as caught:
        load_recognizer(path)
    assert "\n" not in str(caught.value)


def test_a_damaged_saved_model_is_one_clear_line(exported, tmp_path):
    folder = tmp_path / "1"
    shutil.copytree(exported.saved_model, folder)
    (folder / "saved_model.pb").write_bytes(b"nonsense")
    with pytest.raises(InputError, match="cannot be loaded as a SavedModel") as caught:
        load_recognizer(folder)
    assert "\n" not in str(caught.value)


def test_what_is_no_model_is_named(tmp_path):
    with pytest.raises(InputError, match="no such model"):
        load_recognizer(tmp_path / "none.keras")
    with pytest.raises(InputError, match=r"holds no saved_model\.pb"):
        load_recognizer(tmp_path)
    (tmp_path / "m.onnx").touch()
    with pytest.raises(InputError, match="unknown kind of model; expected a"):
        load_recognizer(tmp_path / "m.onnx")
    path = tmp_path / "other.keras"
    keras.Sequential([keras.Input((3,)), keras.layers.Dense(1)]).save(path)
    with pytest.raises(InputError, match="no speech recogniser"):
        load_recognizer(path)
