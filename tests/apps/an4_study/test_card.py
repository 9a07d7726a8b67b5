import dataclasses
import functools
import json

import keras
import pytest

import hlstm_tf as hl
from apps.an4_study import card as study_card
from apps.an4_study.card import Measured, card, stacked, write_model
from apps.common.errors import InputError
from apps.common.export import TFLITE
from apps.common.record import read_record
from apps.speech.cost import Cost
from apps.speech.recognizer import load_keras, load_recognizer


@pytest.fixture(scope="module")
def folder(gp_run, toy_corpus, cache, tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(study_card, "STACKED", (6,))
        # One layer in place of five, each of which takes ten seconds to export.
        patch.setattr(study_card, "stacked", functools.partial(stacked, layers=1))
        target = tmp_path_factory.mktemp("models") / "toy"
        write_model(gp_run.folder, target, toy_corpus, cache=cache)
    return target


def test_a_model_folder_has_every_format_and_a_card_with_its_figures(folder, gp_run):
    names = {path.name for path in folder.iterdir()}
    plots = {"training.png", "front.png"}
    assert names == plots | {"1", "README.md", "model.keras", "model.tflite", "record.json"}
    card = (folder / "README.md").read_text()
    words = gp_run.result["words"]
    assert card.count(f"({words['errors']}/{words['total']})") >= 2  # Keras, SavedModel
    assert f"{gp_run.result['connections']:,} connections" in card
    assert f"{(folder / 'model.tflite').stat().st_size:,}" in card
    assert "| 5 x bi-LSTM 6 | " in card
    assert "card RUNS/gp --model compact.keras " in card
    assert "eSpeak" not in card
    assert json.loads((folder / "record.json").read_text())["result"] == gp_run.result


def test_the_kept_keras_model_is_the_compact_one(folder):
    model = load_keras(folder / "model.keras")
    assert not hl.masked_kernels(model)
    for file in ("model.keras", "model.tflite", "1"):
        assert load_recognizer(folder / file).card.time_stride == 4


def test_a_stack_has_five_bidirectional_lstm_layers_behind_the_same_front_end(folder):
    model = load_keras(folder / "model.keras")
    stack = stacked(model, 6)
    assert sum(isinstance(layer, keras.layers.Bidirectional) for layer in stack.layers) == 5
    assert stack.speech_input.front_end == model.speech_input.front_end


def test_the_card_of_a_network_that_hears_forward_only_has_its_commands(gp_run):
    record = read_record(gp_run.folder)
    measured = Measured(Cost(10, 20.0), {}, {}, 30, {TFLITE: 1.0, 800: 8.0, 128: 2.0})
    text = card(record, measured, "toy", "gp/compact.keras")
    assert "transcribe recording.wav" in text
    assert "an4 --data-dir" in text
    record["recipe"]["bidirectional"] = False
    text = card(record, measured, "toy", "gp/compact.keras")
    assert "transcribe --stream recording.wav" in text
    assert "an4 --streaming --data-dir" in text


def test_another_corpus_and_an_unfinished_training_are_refused(gp_run, toy_corpus, tmp_path):
    other = dataclasses.replace(toy_corpus, name="other")
    with pytest.raises(InputError, match=r"was trained on synthesised: .*, got other: "):
        write_model(gp_run.folder, tmp_path / "model", other)
    record = json.loads((gp_run.folder / "record.json").read_text())
    del record["result"]
    (tmp_path / "record.json").write_text(json.dumps(record))
    with pytest.raises(InputError, match="its training is not finished; train on"):
        write_model(tmp_path, tmp_path / "model", toy_corpus)
