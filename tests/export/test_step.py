"""Which models can run step by step, and which say why not. Numbers: see test_saved_model.py."""

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st

import hlstm_tf as hl
from hlstm_tf.export import export_saved_model
from hlstm_tf.export.layout import input_layout, named_outputs
from hlstm_tf.export.recurrences import NotSteppableError, Recurrence
from hlstm_tf.export.step import check_step, step_model
from tests.export import models
from tests.tiers import few

layers = keras.layers


def sequential(*parts: keras.Layer, shape: tuple[int | None, ...] = (None, 4)) -> keras.Model:
    return keras.Sequential([keras.Input(shape, name="x"), *parts], name="model")


def stepped(model: keras.Model, sequence: np.ndarray) -> tuple[list[dict], dict]:
    """The outputs of every step, and the last states."""
    form = step_model(model, input_layout(model))
    states, outputs = form.initial_state.function({"batch_size": len(sequence)}), []
    for t in range(sequence.shape[1]):
        results = form.step.function({"x": tf.constant(sequence[:, t]), **states})
        states = {name: results[name] for name in form.states}
        outputs.append({n: v.numpy() for n, v in results.items() if n not in form.states})
    return outputs, states


SEQUENCE = np.random.default_rng(0).normal(size=(2, 5, 4)).astype("float32")


def test_stacked_cells_nested_models_and_wrappers_step() -> None:
    cells = [hl.HLSTMCell(3, hidden_units=((5, 3, 1, 2),)), keras.layers.GRUCell(2)]
    nested = keras.Sequential(
        [keras.Input((None, 2)), layers.LSTM(3, return_sequences=True, name="inner")]
    )
    model = sequential(
        layers.RNN(cells, return_sequences=True, name="pair"),
        nested,
        layers.TimeDistributed(layers.Dense(2)),
    )
    form = step_model(model, input_layout(model))
    assert list(form.states) == ["pair_0_h", "pair_0_c", "pair_1_h", "inner_h", "inner_c"]
    outputs, _ = stepped(model, SEQUENCE)
    expected = model(SEQUENCE, training=False).numpy()
    for t, output in enumerate(outputs):
        np.testing.assert_allclose(output["outputs"], expected[:, t], atol=1e-6)


def test_a_model_that_keeps_the_last_output_gives_it_after_every_frame() -> None:
    model = sequential(hl.HLSTM(3), layers.Dense(2))
    outputs, _ = stepped(model, SEQUENCE)
    for t, output in enumerate(outputs):
        expected = model(SEQUENCE[:, : t + 1], training=False)
        np.testing.assert_allclose(output["outputs"], expected, atol=1e-6)


def test_several_outputs_and_returned_states_step() -> None:
    x = keras.Input((None, 4), name="x")
    y, h, c = hl.HLSTM(3, return_sequences=True, return_state=True)(x)
    model = keras.Model(x, {"y": layers.Dense(2)(y), "h": h, "c": c})
    outputs, states = stepped(model, SEQUENCE)
    expected = {name: value.numpy() for name, value in model(SEQUENCE, training=False).items()}
    for t, output in enumerate(outputs):
        np.testing.assert_allclose(output["y"], expected["y"][:, t], atol=1e-6)
    for name in ("h", "c"):
        np.testing.assert_allclose(outputs[-1][name], expected[name], atol=1e-6)
        np.testing.assert_allclose(states[f"hlstm_{name}"], expected[name], atol=1e-6)


def test_a_frame_may_have_several_axes() -> None:
    model = sequential(
        layers.TimeDistributed(layers.Conv2D(2, 2)),
        layers.TimeDistributed(layers.Flatten()),
        layers.GRU(3, return_sequences=True),
        shape=(None, 4, 4, 1),
    )
    video = np.random.default_rng(0).normal(size=(2, 3, 4, 4, 1)).astype("float32")
    outputs, _ = stepped(model, video)
    expected = model(video, training=False).numpy()
    np.testing.assert_allclose(outputs[-1]["outputs"], expected[:, -1], atol=1e-6)


LAYERS = {
    "hlstm": lambda units: hl.HLSTM(units, hidden_units=(units + 1,), return_sequences=True),
    "lstm": lambda units: layers.LSTM(units, return_sequences=True),
    "gru": lambda units: hl.MaskedGRU(units, return_sequences=True, reset_after=units % 2 == 0),
    "simple": lambda units: layers.SimpleRNN(units, return_sequences=True, activation="relu"),
    "dense": lambda units: layers.TimeDistributed(layers.Dense(units, "tanh")),
    "norm": lambda units: layers.LayerNormalization(),
}


@few(3)
@given(
    stack=st.lists(st.tuples(st.sampled_from(sorted(LAYERS)), st.integers(1, 4)), max_size=3),
    last=st.sampled_from(["hlstm", "lstm", "gru"]),
    batch=st.integers(1, 3),
)
def test_any_stack_of_forward_layers_steps_as_it_serves(
    stack: list[tuple[str, int]], last: str, batch: int
) -> None:
    model = sequential(*(LAYERS[kind](units) for kind, units in stack), LAYERS[last](3))
    sequence = np.random.default_rng(batch).normal(size=(batch, 4, 4)).astype("float32")
    outputs, _ = stepped(model, sequence)
    actual = np.stack([output["outputs"] for output in outputs], axis=1)
    np.testing.assert_allclose(actual, model(sequence, training=False), atol=1e-5)


class Leaky(keras.layers.Layer):
    """The least that Keras takes for a cell: no `training`, no initial state of its own."""

    state_size = (4, 4)

    def call(self, inputs: Any, states: Any) -> Any:
        slow, fast = states
        slow, fast = 0.9 * slow + inputs, 0.5 * fast + slow
        return slow * fast, [slow, fast]


def test_a_cell_of_the_users_own_steps() -> None:
    model = sequential(layers.RNN(Leaky(), return_sequences=True, name="leaky"))
    outputs, states = stepped(model, SEQUENCE)
    assert list(states) == ["leaky_state_0", "leaky_state_1"]
    expected = model(SEQUENCE, training=False).numpy()
    np.testing.assert_allclose(outputs[-1]["outputs"], expected[:, -1], atol=1e-6)


def test_the_model_itself_stays_as_it_was() -> None:
    model = sequential(layers.LSTM(3, return_sequences=True), layers.Dense(2))
    before = model(SEQUENCE).numpy()
    config = model.get_config()
    stepped(model, SEQUENCE)
    np.testing.assert_array_equal(model(SEQUENCE), before)
    assert model.get_config() == config


@pytest.mark.parametrize(
    ("parts", "reason"),
    [
        ([layers.Dense(2)], "it has no recurrent layer"),
        ([layers.Bidirectional(layers.LSTM(2), name="both")], "its layer 'both' is bidirectional"),
        ([layers.GRU(2, go_backwards=True, name="back")], "its layer 'back' runs backwards"),
        ([layers.Conv1D(4, 3), layers.LSTM(2)], "its layers do not take a single frame"),
    ],
)
def test_a_model_that_cannot_step_says_why(parts: list[keras.Layer], reason: str) -> None:
    model = sequential(*parts)
    with pytest.raises(NotSteppableError, match=reason):
        step_model(model, input_layout(model))


@pytest.mark.parametrize(
    "parts",
    [
        [layers.Conv1D(4, 3, padding="causal"), layers.LSTM(2, return_sequences=True)],
        [layers.LSTM(2, return_sequences=True), layers.AveragePooling1D(2, 1, padding="same")],
    ],
)
def test_a_layer_that_looks_at_several_frames_is_found_by_its_numbers(
    parts: list[keras.Layer],
) -> None:
    with pytest.raises(NotSteppableError, match="looks at more than one frame"):
        checked(sequential(*parts))


def checked(model: keras.Model) -> float:
    layout = input_layout(model)
    form = step_model(model, layout)
    functions = form.step.function, form.initial_state.function
    return check_step(lambda x: named_outputs(model(x)), *functions, form, layout, 1e-4)


def test_the_input_that_a_decoder_starts_from_may_be_its_frames_too() -> None:
    x = keras.Input((None, 4), name="x")
    _, h = layers.GRU(3, return_state=True)(x)
    model = keras.Model(x, layers.GRU(3, return_sequences=True, name="decoder")(x, initial_state=h))
    form = step_model(model, input_layout(model))
    assert set(form.initial_state.signature) == {"batch_size", "x"}
    assert list(form.states) == ["decoder_h"]
    assert checked(model) <= 1e-6


def test_an_input_of_a_fixed_length_steps() -> None:
    inner = keras.Sequential([keras.Input((5, 4)), layers.LSTM(3, return_sequences=True)])
    model = sequential(inner, layers.Dense(2), shape=(5, 4))
    outputs, _ = stepped(model, SEQUENCE)
    actual = np.stack([output["outputs"] for output in outputs], axis=1)
    np.testing.assert_allclose(actual, model(SEQUENCE, training=False), atol=1e-6)


def test_masked_frames_change_no_state() -> None:
    model = sequential(layers.Masking(), hl.HLSTM(3, return_sequences=True), layers.GRU(2))
    sequence = SEQUENCE.copy()
    sequence[0, 1:3] = 0
    outputs, _ = stepped(model, sequence)
    for t, output in enumerate(outputs):
        expected = model(sequence[:, : t + 1], training=False)
        np.testing.assert_allclose(output["outputs"], expected, atol=1e-6)


def test_inputs_without_time_are_kept_among_the_states() -> None:
    x, scale = keras.Input((None, 4), name="x"), keras.Input((2,), name="scale")
    model = keras.Model([x, scale], layers.Multiply()([layers.LSTM(2, name="memory")(x), scale]))
    assert list(step_model(model, input_layout(model)).states) == ["memory_h", "memory_c", "scale"]
    assert checked(model) <= 1e-6


def test_a_layer_that_is_called_twice_is_refused_with_a_way_out() -> None:
    image, x = keras.Input((1, 4), name="image"), keras.Input((None, 4), name="x")
    lstm = layers.LSTM(3, return_sequences=True, return_state=True, name="twice")
    _, h, c = lstm(image)
    outputs, *_ = lstm(x, initial_state=[h, c])
    model = keras.Model([image, x], outputs)
    with pytest.raises(
        NotSteppableError, match=r"'twice' is used more than once; call a layer of its own at each"
    ):
        step_model(model, input_layout(model))


def test_lengths_that_end_a_sequence_early_are_found_by_the_numbers() -> None:
    x, lengths = keras.Input((None, 4), name="x"), keras.Input((), dtype="int32", name="lengths")
    mask = models.LengthMask()(x, lengths)
    model = keras.Model([x, lengths], layers.LSTM(2, return_sequences=True)(x, mask=mask))
    with pytest.raises(NotSteppableError):
        checked(model)


def test_asking_for_a_step_that_cannot_be_is_an_error(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    model = sequential(layers.Bidirectional(layers.LSTM(2), name="both"))
    with pytest.raises(
        ValueError, match="model 'model' cannot run step by step: its layer 'both' is bidirectional"
    ):
        export_saved_model(model, tmp_path / "m" / "1", step=True)
    assert list(tmp_path.iterdir()) == []
    with caplog.at_level(logging.INFO, "hlstm_tf"):
        result = export_saved_model(model, tmp_path / "m" / "1")
    assert result.signatures == ("serve",)
    assert "its layer 'both' is bidirectional. The SavedModel has no signature" in caplog.text


@keras.saving.register_keras_serializable("tests")
class Demanding(keras.layers.Layer):
    """Takes at least two frames: says so while it is traced, or when it runs."""

    def __init__(self, traced: bool, **arguments: Any) -> None:
        super().__init__(**arguments)
        self.traced = traced

    def call(self, x: Any) -> Any:
        if self.traced and x.shape[1] == 1:
            raise RuntimeError("a pair\nof frames is needed")
        with tf.control_dependencies([tf.debugging.assert_greater(tf.shape(x)[1], 1)]):
            return tf.identity(x)

    def compute_output_spec(self, x: Any) -> Any:
        return keras.KerasTensor(x.shape, x.dtype)


@pytest.mark.representatives(
    "<lambda>-Demanding.call() raised a pair of frames is needed.-True",
    "<lambda>-assertion failed: -False",
)
@pytest.mark.parametrize("before", [True, False])
@pytest.mark.parametrize(
    ("layer", "reason"),
    [
        (lambda: Demanding(traced=True), "Demanding.call() raised a pair of frames is needed."),
        (lambda: Demanding(traced=False), "assertion failed: "),
        (lambda: layers.Reshape((-1, 8)), "Reshape.call() raised The total size"),
    ],
)
def test_a_model_that_fails_in_steps_for_whatever_reason_keeps_its_sequence_form(
    layer: Callable[[], keras.Layer],
    reason: str,
    before: bool,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    lstm = layers.LSTM(4, return_sequences=True)
    model = sequential(*([layer(), lstm] if before else [lstm, layer()]))
    result = export_saved_model(model, tmp_path / "1", warmup=False)
    assert result.signatures == ("serve",)
    line = next(each.getMessage() for each in caplog.records if "step by step" in each.getMessage())
    assert f"its layers do not take a single frame: {reason}" in line
    assert "\n" not in line
    assert "\x1b" not in line


def test_a_fault_of_the_export_is_not_taken_for_one_of_the_model(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def broken(self: Recurrence, states: Any) -> Any:
        raise AttributeError("a fault of the export")

    monkeypatch.setattr(Recurrence, "pack", broken)
    model = sequential(layers.LSTM(2, return_sequences=True))
    with pytest.raises(AttributeError, match=r"^a fault of the export$"):
        export_saved_model(model, tmp_path / "1", warmup=False)
    with pytest.raises(AttributeError, match=r"^a fault of the export$"):
        step_model(model, input_layout(model))


def test_a_step_can_be_left_out(tmp_path: Path) -> None:
    result = export_saved_model(sequential(layers.LSTM(2)), tmp_path / "1", step=False)
    assert result.signatures == ("serve",)
    assert result.states == ()
