import json
import zipfile

import pytest

from apps.common.errors import InputError
from apps.speech.alphabet import Alphabet
from apps.speech.card import (
    NAME,
    Card,
    of_model,
    read_from_saved_model,
    read_from_tflite,
    write_to_tflite,
)
from apps.speech.front_end import MFCC, LogMel
from apps.speech.model import ModelConfig, build

CARD = Card(MFCC(bands=30, deltas=True), Alphabet(" XYZ"), 4)


def test_a_card_survives_json():
    assert Card.from_json(json.loads(json.dumps(CARD.to_json()))) == CARD
    assert CARD.seconds_per_frame == pytest.approx(0.04)


def test_a_model_has_the_card_it_was_built_with():
    config = ModelConfig(
        front_end=LogMel(bands=8).config(),
        alphabet=" AB",
        bands=8,
        channels=(2, 2),
        kernels=((3, 3), (3, 3)),
        cell="gru",
        layers=1,
        units=2,
    )
    assert of_model(build(config)) == Card(LogMel(bands=8), Alphabet(" AB"), 4)


def test_another_model_is_refused():
    import keras

    with pytest.raises(InputError, match=r"x\.keras: no speech recogniser"):
        of_model(keras.Sequential([keras.Input((3,)), keras.layers.Dense(1)]), "x.keras")


def test_a_tflite_file_keeps_its_bytes_before_the_card(tmp_path):
    path = tmp_path / "m.tflite"
    path.write_bytes(b"\x1c\x00\x00\x00TFL3" + bytes(100))
    write_to_tflite(path, CARD)
    first = path.read_bytes()
    assert first.startswith(b"\x1c\x00\x00\x00TFL3" + bytes(100))
    assert read_from_tflite(path) == CARD
    assert zipfile.ZipFile(path).namelist() == [NAME]
    path.write_bytes(first[:108])
    write_to_tflite(path, CARD)
    assert path.read_bytes() == first
    assert [p.name for p in tmp_path.iterdir()] == ["m.tflite"]


@pytest.mark.parametrize("cut", [0, 4, 60, 150])
def test_a_tflite_file_without_a_whole_card_is_named(tmp_path, cut):
    path = tmp_path / "m.tflite"
    path.write_bytes(b"\x1c\x00\x00\x00TFL3" + bytes(100))
    write_to_tflite(path, CARD)
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(InputError, match=r"m\.tflite: no recognizer\.json in the file"):
        read_from_tflite(path)


def test_a_saved_model_without_a_card_is_named(tmp_path):
    with pytest.raises(InputError, match=r"no assets\.extra/recognizer\.json"):
        read_from_saved_model(tmp_path)
    extra = tmp_path / "assets.extra"
    extra.mkdir()
    (extra / NAME).write_text("{")
    with pytest.raises(InputError, match="damaged"):
        read_from_saved_model(tmp_path)
    (extra / NAME).write_text(json.dumps({**CARD.to_json(), "format": 99}))
    with pytest.raises(InputError, match="made for format 99"):
        read_from_saved_model(tmp_path)
    (extra / NAME).write_text(json.dumps({"format": 1}))
    with pytest.raises(InputError, match=r"its recognizer\.json is damaged"):
        read_from_saved_model(tmp_path)
