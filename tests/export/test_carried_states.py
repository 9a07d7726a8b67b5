"""Stateful models as stateless files whose signatures take the states and return them."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

import hlstm_tf as hl
from hlstm_tf.transforms.verification import kept_states, reset

layers = keras.layers
BATCH = 4
CHUNKS = np.random.default_rng(0).normal(size=(3, BATCH, 5, 2)).astype("float32")
CHUNKS[:, 0, 1:3] = 0  # frames that a mask leaves out


def _model(*inner: keras.Layer) -> keras.Model:
    given = keras.Input(batch_shape=(BATCH, None, 2), name="features")
    return keras.Sequential([given, *inner, layers.Dense(2)])


def _stacked() -> keras.Layer:
    cells = [layers.LSTMCell(3), hl.HLSTMCell(3, hidden_units=4)]
    return layers.RNN(layers.StackedRNNCells(cells), stateful=True, return_sequences=True)


def _some_stateful() -> keras.Model:
    return _model(
        layers.GRU(3, return_sequences=True), layers.LSTM(2, stateful=True, name="memory")
    )


MODELS: dict[str, Callable[[], keras.Model]] = {
    "LSTM": lambda: _model(layers.LSTM(3, stateful=True, return_sequences=True)),
    "GRU": lambda: _model(layers.GRU(3, stateful=True)),
    "HLSTM": lambda: hl.sparsify(
        _model(hl.HLSTM(3, stateful=True, return_sequences=True)), sparsity=0.3, seed=0
    ),
    "both directions": lambda: _model(
        layers.Bidirectional(layers.GRU(3, stateful=True, return_sequences=True))
    ),
    "backwards": lambda: _model(
        layers.GRU(3, stateful=True, go_backwards=True, return_sequences=True)
    ),
    "masked frames": lambda: _model(
        layers.Masking(), layers.LSTM(3, stateful=True, return_sequences=True)
    ),
    "stacked cells": lambda: _model(_stacked()),
    "one of two": _some_stateful,
    "a nested model": lambda: _model(
        keras.Sequential(
            [
                keras.Input(batch_shape=(BATCH, None, 2)),
                layers.SimpleRNN(3, stateful=True, return_sequences=True),
            ]
        )
    ),
}


def _in_turn(model: keras.Model) -> list[np.ndarray]:
    """What a model gives for chunk after chunk from the states zero on; leaves it elsewhere."""
    reset(kept_states(model))
    return [model(chunk, training=False).numpy() for chunk in CHUNKS]


def _by_file(call: Callable[[dict], dict], specs: dict[str, Any]) -> list[np.ndarray]:
    states = {
        name: np.zeros((BATCH, *spec.shape[1:]), "float32")
        for name, spec in specs.items()
        if name != "features"
    }
    found = []
    for chunk in CHUNKS:
        results = call({"features": chunk, **states})
        states = {name: np.asarray(results[name]) for name in states}
        found.append(np.asarray(results["outputs"]))
    return found


@pytest.mark.representatives("one of two")
@pytest.mark.parametrize("name", MODELS)
def test_chunk_after_chunk_a_file_gives_what_the_stateful_model_does(
    name: str, tmp_path: Path
) -> None:
    model = MODELS[name]()
    expected = _in_turn(model)
    before = [np.array(state) for state in kept_states(model)]
    hl.export_tflite(model, tmp_path / "model.tflite")
    hl.export_saved_model(model, tmp_path / "toy" / "1", warmup=False)
    for state, value in zip(kept_states(model), before, strict=True):
        np.testing.assert_array_equal(state, value)
    file = hl.TFLiteModel(tmp_path / "model.tflite")
    serve = tf.saved_model.load(str(tmp_path / "toy" / "1")).signatures["serve"]
    _, specs = serve.structured_input_signature
    assert set(file.inputs) == set(specs) == {"features", *file.outputs} - {"outputs"}
    for found in (
        _by_file(file.run, file.inputs),
        _by_file(lambda given: serve(**{k: tf.constant(v) for k, v in given.items()}), specs),
    ):
        np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-5)


def test_the_step_form_and_a_stream_begin_at_zero(tmp_path: Path) -> None:
    model = MODELS["LSTM"]()
    expected = np.concatenate(_in_turn(model), axis=1)
    hl.export_tflite(model, tmp_path / "model.tflite", form="step")
    runner = hl.StepRunner(tmp_path / "model.tflite")
    whole = np.concatenate(CHUNKS, axis=1)
    np.testing.assert_allclose(runner(whole), expected, rtol=1e-3, atol=1e-5)
    stream = runner.stream()
    pieces = [stream(chunk[:1]) for chunk in CHUNKS]
    np.testing.assert_allclose(np.concatenate(pieces, axis=1), expected[:1], rtol=1e-3, atol=1e-5)


def test_signatures_of_a_length_step_and_warm_up_take_the_states_too(tmp_path: Path) -> None:
    model = _model(layers.LSTM(3, stateful=True, return_sequences=True, name="memory"))
    result = hl.export_saved_model(model, tmp_path / "toy" / "1", lengths=[5], warmup=CHUNKS[0])
    assert result.signatures == ("serve", "serve_5", "step", "initial_state")
    assert result.states == ("memory_h", "memory_c")
    assert not result.buckets[0].pads  # the states after zeros are others
    signatures = tf.saved_model.load(str(tmp_path / "toy" / "1")).signatures
    states = signatures["initial_state"](batch_size=tf.constant(BATCH))
    given = {"features": tf.constant(CHUNKS[0]), **states}
    fixed, whole = signatures["serve_5"](**given), signatures["serve"](**given)
    for frame in range(5):
        results = signatures["step"](features=given["features"][:, frame], **states)
        states = {name: results[name] for name in states}
    for name in ("memory_h", "memory_c"):
        np.testing.assert_allclose(fixed[name], whole[name], atol=1e-5)
        np.testing.assert_allclose(states[name], whole[name], atol=1e-5)


def test_a_stateful_layer_that_is_used_twice_is_one_clear_line(tmp_path: Path) -> None:
    given = keras.Input(batch_shape=(1, 5, 2))
    memory = layers.LSTM(2, stateful=True, return_sequences=True, name="memory")
    model = keras.Model(given, memory(memory(given)))
    for export in (
        lambda: hl.export_tflite(model, tmp_path / "model.tflite"),
        lambda: hl.export_saved_model(model, tmp_path / "toy" / "1", warmup=False),
    ):
        with pytest.raises(
            ValueError, match=r"is stateful, and .* 'memory' is used more than once"
        ):
            export()
