"""The step form: models cut at their recurrent layers, put together again by a host's loop."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter
from hypothesis import given
from hypothesis import strategies as st
from tensorflow.lite.tools import flatbuffer_utils

import hlstm_tf as hl
from hlstm_tf.export import StepRunner, TFLiteModel, export_tflite, load_tflite
from hlstm_tf.export.calibration import recorded_calls
from hlstm_tf.export.layout import input_layout
from hlstm_tf.export.preparation import plain_model
from hlstm_tf.export.step import Graphs, step_form
from hlstm_tf.runtime.host_loop import HostLoop
from tests.export import models
from tests.export.test_step import Leaky
from tests.tiers import few

layers = keras.layers
FULLY_CONNECTED, SPLIT_V, REVERSE, WHILE = 9, 102, 105, 119  # of tflite.BuiltinOperator
INT8 = 9  # of tflite.TensorType


def sequential(*parts: keras.Layer, shape: tuple[int | None, ...] = (None, 4)) -> keras.Model:
    return models.scrambled(keras.Sequential([keras.Input(shape, name="x"), *parts], name="model"))


def functional(build: Callable[[Any], Any]) -> keras.Model:
    x = keras.Input((None, 4), name="x")
    return models.scrambled(keras.Model(x, build(x)))


def both(layer: keras.Layer, **arguments: Any) -> keras.Layer:
    return layers.Bidirectional(layer, **arguments)


def two_towers(x: Any) -> Any:
    left = layers.GRU(3, return_sequences=True)(x)
    right = layers.LSTM(2, return_sequences=True, go_backwards=True)(x)
    joined = layers.Concatenate()([left, right])
    return layers.SimpleRNN(2, return_sequences=True)(joined)


def skipping(x: Any) -> Any:
    wide = layers.Dense(6, activation="tanh")(x)
    y = both(layers.LSTM(3, return_sequences=True))(wide)
    return layers.Dense(2)(layers.Add()([wide, y]))


def state_as_output(x: Any) -> Any:
    y, h, c = hl.HLSTM(3, hidden_units=5, return_state=True, return_sequences=True)(x)
    return {"y": y, "h": h, "state": layers.Dense(2)(c)}


def softmax_gates(x: Any) -> Any:
    # No elementwise activation: each gate's hidden layer by itself.
    layer = hl.HLSTM(3, hidden_units=4, hidden_activation="softmax", return_sequences=True)
    return layers.Dense(2)(layer(x))


MODELS: dict[str, Callable[[], keras.Model]] = {
    "hlstm": lambda: sequential(hl.HLSTM(3, hidden_units=(5, 4), return_sequences=True)),
    "gates_of_different_widths": lambda: sequential(
        both(hl.HLSTM(3, hidden_units=((5, 2, 1, 4), (2, 3, 3, 1)), return_sequences=True))
    ),
    "hlstm_without_bias": lambda: sequential(
        hl.HLSTM(3, use_bias=False, return_sequences=True), layers.Dense(2)
    ),
    "hlstm_without_hidden_layers": lambda: sequential(
        hl.HLSTM(3, hidden_units=(), return_sequences=True)
    ),
    "softmax_gates": lambda: functional(softmax_gates),
    "gru_reset_before": lambda: sequential(layers.GRU(3, reset_after=False, return_sequences=True)),
    "gru_without_bias": lambda: sequential(layers.GRU(3, use_bias=False, return_sequences=True)),
    "last_output": lambda: sequential(hl.HLSTM(3), layers.Dense(2)),
    "two_layers_last_output": lambda: sequential(
        layers.LSTM(3, return_sequences=True), layers.GRU(2)
    ),
    "stacked_cells": lambda: sequential(
        layers.RNN([hl.HLSTMCell(3, hidden_units=5), layers.GRUCell(2)], return_sequences=True)
    ),
    "own_cell": lambda: sequential(layers.RNN(Leaky(), return_sequences=True)),
    "backwards": lambda: sequential(layers.LSTM(3, go_backwards=True, return_sequences=True)),
    "sum": lambda: sequential(both(layers.LSTM(3, return_sequences=True), merge_mode="sum")),
    "pair": lambda: sequential(
        both(layers.GRU(3, return_sequences=True), merge_mode=None), shape=(None, 4)
    ),
    "bidirectional_last_output": lambda: sequential(both(hl.HLSTM(3)), layers.Dense(2)),
    "convolution_between": lambda: sequential(
        layers.LSTM(3, return_sequences=True),
        layers.Conv1D(4, 3),
        layers.LSTM(2, return_sequences=True),
    ),
    "nested": lambda: sequential(
        keras.Sequential([keras.Input((None, 4)), both(layers.LSTM(3, return_sequences=True))]),
        layers.GRU(2, return_sequences=True),
    ),
    "two_towers": lambda: functional(two_towers),
    "skipping": lambda: functional(skipping),
    "state_as_output": lambda: functional(state_as_output),
    "fixed_time": lambda: sequential(
        layers.LSTM(3, return_sequences=True), layers.Dense(2), shape=(9, 4)
    ),
}


@pytest.mark.representatives(
    "gates_of_different_widths",
    "stacked_cells",
    "bidirectional_last_output",
    "convolution_between",
    "two_towers",
    "state_as_output",
)
@pytest.mark.parametrize("kind", MODELS)
def test_the_parts_compute_what_the_whole_does(kind: str) -> None:
    model = plain_model(MODELS[kind]())
    layout = input_layout(model)
    inputs = layout.random(samples=1, steps=9)
    engine = Graphs(step_form(model, layout))
    outputs = HostLoop(engine.names, engine).run(inputs)
    expected = keras.tree.flatten(model(layout.pack(inputs), training=False))
    for actual, value in zip(keras.tree.flatten(outputs), expected, strict=True):
        np.testing.assert_allclose(actual, value, atol=1e-5)


@few(2)
@given(
    kinds=st.lists(st.sampled_from(["hlstm", "lstm", "gru", "dense", "norm"]), max_size=3),
    two_ways=st.booleans(),
    sequences=st.booleans(),
)
def test_any_stack_runs_in_parts(kinds: list[str], two_ways: bool, sequences: bool) -> None:
    make = {
        "hlstm": lambda: hl.HLSTM(3, hidden_units=5, return_sequences=True),
        "lstm": lambda: layers.LSTM(2, return_sequences=True),
        "gru": lambda: layers.GRU(4, return_sequences=True),
        "dense": lambda: layers.Dense(3, activation="tanh"),
        "norm": lambda: layers.LayerNormalization(),
    }
    last = hl.HLSTM(3, hidden_units=2, return_sequences=sequences)
    model = sequential(*(make[kind]() for kind in kinds), both(last) if two_ways else last)
    model = plain_model(model)
    layout = input_layout(model)
    inputs = layout.random(samples=1, steps=6)
    engine = Graphs(step_form(model, layout))
    (actual,) = HostLoop(engine.names, engine).run(inputs).values()
    np.testing.assert_allclose(actual, model(inputs["x"], training=False), atol=1e-5)


@pytest.fixture(scope="module")
def recognizer(tmp_path_factory: pytest.TempPathFactory) -> tuple[keras.Model, StepRunner]:
    model = models.recognizer()
    models.prune(model, 0.5)
    path = tmp_path_factory.mktemp("step") / "recognizer.tflite"
    export_tflite(model, path, form="step", verify_with=models.utterances())
    return model, StepRunner(path)


@pytest.fixture(scope="module")
def words(tmp_path_factory: pytest.TempPathFactory) -> tuple[keras.Model, StepRunner]:
    model = models.language_model()
    path = tmp_path_factory.mktemp("step") / "words.tflite"
    export_tflite(model, path, form="step")
    return model, StepRunner(path)


def test_utterances_of_different_lengths_come_out_as_from_keras(recognizer: Any) -> None:
    model, runner = recognizer
    batch = models.utterances(4)
    np.testing.assert_allclose(runner(batch), model(batch, training=False), atol=1e-5)


def test_a_bidirectional_model_has_a_step_for_each_direction(recognizer: Any) -> None:
    _, runner = recognizer
    assert runner.signatures["project_1"] == {
        "inputs": ["features", "lengths"],
        "outputs": [
            "frames_backward_hlstm",
            "frames_forward_hlstm",
            "mask_backward_hlstm",
            "mask_forward_hlstm",
        ],
    }
    assert runner.signatures["step_backward_hlstm"] == {
        "inputs": ["backward_hlstm_c", "backward_hlstm_h", "frame_backward_hlstm"],
        "outputs": ["backward_hlstm_c", "backward_hlstm_h", "output_backward_hlstm"],
    }
    # The second stage knows the mask from the first: it does not want the convolution's input.
    assert "features" not in runner.signatures["project_2"]["inputs"]
    assert runner.signatures["head"]["outputs"] == ["outputs"]


def test_a_forward_model_has_one_step(words: Any) -> None:
    _, runner = words
    assert set(runner.signatures) == {"project", "step", "initial_state"}
    assert runner.signatures["project"] == {"inputs": ["words"], "outputs": ["frames_first"]}
    assert "outputs" in runner.signatures["step"]["outputs"]


def test_gates_of_different_widths_step_in_the_interpreter(tmp_path: Path) -> None:
    model = sequential(hl.HLSTM(6, hidden_units=((5, 2, 1, 4),), return_sequences=True))
    export_tflite(model, tmp_path / "model.tflite", form="step")
    runner = StepRunner(tmp_path / "model.tflite")
    sequence = np.random.default_rng(0).normal(size=(1, 7, 4)).astype("float32")
    expected = model(sequence, training=False)
    assert np.abs(expected).max() > 0.05
    np.testing.assert_allclose(runner(sequence), expected, atol=1e-5)
    # XNNPACK has no split into unequal parts: it would run the step in two pieces.
    codes = flatbuffer_utils.read_model(str(runner.path)).operatorCodes
    assert SPLIT_V not in {max(code.builtinCode, code.deprecatedBuiltinCode) for code in codes}


def test_no_file_has_a_loop_inside(recognizer: Any, words: Any) -> None:
    for _, runner in (recognizer, words):
        content = flatbuffer_utils.read_model(str(runner.path))
        codes = {max(c.builtinCode, c.deprecatedBuiltinCode) for c in content.operatorCodes}
        assert WHILE not in codes


def test_the_first_graph_of_a_file_has_operations(recognizer: Any, words: Any) -> None:
    # LiteRT gives none of a file's graphs to XNNPACK if the first has none: three times slower.
    for _, runner in (recognizer, words):
        assert Interpreter(str(runner.path))._get_ops_details()


def test_quantized_steps_stay_near(tmp_path: Path) -> None:
    model = keras.Sequential(
        [keras.Input((None, 32)), both(hl.HLSTM(32, return_sequences=True)), layers.Dense(5)]
    )
    plain, *others = (
        export_tflite(model, tmp_path / "model.tflite", form="step", quantization=quantization)
        for quantization in (None, "float16", "dynamic")
    )
    for result, part in zip(others, (0.7, 0.6), strict=True):
        assert 0 < result.error <= result.tolerance
        assert result.bytes < part * plain.bytes


def test_full_int8_is_calibrated_on_the_states_that_the_model_comes_to(tmp_path: Path) -> None:
    layer = both(layers.LSTM(8, return_sequences=True))
    model = sequential(layer, layers.Dense(3))
    kernel, *others = layer.backward_layer.get_weights()
    layer.backward_layer.set_weights([0.01 * kernel, *others])  # of another range than forward
    samples = np.random.default_rng(0).normal(size=(5, 6, 4)).astype("float32")
    path = tmp_path / "model.tflite"
    result = export_tflite(
        model, path, form="step", quantization="int8", representative=samples, verify_with=samples
    )
    expected = model(samples).numpy()
    error = np.abs(StepRunner(path)(samples) - expected).max() / np.ptp(expected)
    assert 0 < error < 0.05
    assert error == pytest.approx(result.error, abs=1e-6)
    products = [tensors[0].type for tensors in operators(path, FULLY_CONNECTED)]
    assert products == 5 * [INT8]  # two projections, two steps, the head
    reversals = [tensors for tensors in operators(path, REVERSE) if tensors[0].type == INT8]
    assert reversals
    for source, _, result in reversals:  # LiteRT's quantizer has them of two scales
        assert source.quantization.scale == result.quantization.scale


def operators(path: Path, code: int) -> list[list[Any]]:
    """The tensors of each operator of a kind: inputs, then outputs."""
    file = flatbuffer_utils.read_model(str(path))
    return [
        [graph.tensors[i] for i in (*operator.inputs, *operator.outputs)]
        for graph in file.subgraphs
        for operator in graph.operators
        if file.operatorCodes[operator.opcodeIndex].builtinCode == code
    ]


def test_what_is_recorded_is_what_keras_feeds_its_cell() -> None:
    layer = layers.LSTM(3, return_sequences=True, return_state=True, name="lstm")
    inputs = keras.Input((None, 4), name="x")
    outputs, *states = layer(inputs)
    model = keras.Model(inputs, outputs)
    samples = np.random.default_rng(0).normal(size=(2, 5, 4)).astype("float32")
    traced = step_form(model, input_layout(model))
    calls = recorded_calls(traced, [{"x": samples[:1]}, {"x": samples[1:]}])
    called = [signature for signature, _ in calls]
    assert called == ["initial_state"] + 2 * (["project"] + 5 * ["step"])
    steps = [fed for signature, fed in calls if signature == "step"]
    after = keras.Model(inputs, states)
    for number, fed in enumerate(steps):
        sample, frame = samples[number // 5 : number // 5 + 1], number % 5
        h, c = after(sample[:, :frame]) if frame else (np.zeros((1, 3)),) * 2
        np.testing.assert_allclose(fed["lstm_h"], h, atol=1e-6)
        np.testing.assert_allclose(fed["lstm_c"], c, atol=1e-6)


def test_a_stream_gives_what_the_whole_sequence_gives(words: Any) -> None:
    model, runner = words
    sentence = np.random.default_rng(0).integers(0, 11, (1, 9)).astype("int32")
    stream = runner.stream()
    parts = [stream(sentence[:, a:b]) for a, b in ((0, 1), (1, 5), (5, 9))]
    expected = model(sentence, training=False)
    np.testing.assert_allclose(np.concatenate(parts, axis=1), expected, atol=1e-5)


def test_a_stream_can_be_set_back(words: Any) -> None:
    _, runner = words
    stream = runner.stream()
    stream(np.array([[3, 1]], "int32"))
    states = stream.states
    first = stream(np.array([[4]], "int32"))
    stream.states = states
    np.testing.assert_array_equal(stream(np.array([[4]], "int32")), first)
    stream.reset()
    np.testing.assert_array_equal(stream(np.array([[4]], "int32")), runner([[4]]))


def test_streams_of_one_file_do_not_disturb_each_other(words: Any) -> None:
    _, runner = words
    ids = np.array([[3, 1, 4]], "int32")
    one, other = runner.stream(), runner.stream()
    for t in range(3):
        one(ids[:, t : t + 1])
        last = other(ids[:, t : t + 1])
    np.testing.assert_allclose(last, runner(ids)[:, -1:], atol=1e-6)


def test_what_cannot_stream_says_why(recognizer: Any, words: Any, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="cannot stream: it has no signature 'step'"):
        recognizer[1].stream()
    fixed = sequential(layers.LSTM(2, return_sequences=True), shape=(6, 4))
    export_tflite(fixed, tmp_path / "f.tflite", form="step")
    with pytest.raises(ValueError, match=r"the length of its input is fixed, \(1, 6, 4\)"):
        StepRunner(tmp_path / "f.tflite").stream()
    model = sequential(layers.Conv1D(3, 3, padding="same"), layers.LSTM(2, return_sequences=True))
    export_tflite(model, tmp_path / "m.tflite", form="step")
    with pytest.raises(ValueError, match="it looks at several frames at a time"):
        StepRunner(tmp_path / "m.tflite").stream()
    with pytest.raises(ValueError, match="a stream is one sample"):
        words[1].stream()(np.zeros((2, 3), "int32"))


PADDED = [[0, 0, 3, 1, 4], [2, 5, 0, 0, 0], [1, 2, 3, 4, 5], [3, 0, 2, 0, 1], [0, 0, 0, 0, 0]]


def masked_forward() -> list[keras.Layer]:
    # Under a bias a masked frame before the first valid one shows: its output is not zero.
    return [hl.HLSTM(4, hidden_units=5, return_sequences=True), layers.Dense(2)]


def masked_zeroed() -> list[keras.Layer]:
    return [layers.LSTM(4, return_sequences=True, zero_output_for_mask=True), layers.Dense(2)]


def masked_both_ways() -> list[keras.Layer]:
    return [both(hl.HLSTM(4, hidden_units=5, return_sequences=True)), layers.Dense(2)]


def masked_twice() -> list[keras.Layer]:
    return [layers.LSTM(4, return_sequences=True), layers.GRU(3, return_sequences=True)]


@pytest.mark.representatives("masked_zeroed", "masked_both_ways")
@pytest.mark.parametrize("parts", [masked_forward, masked_zeroed, masked_both_ways, masked_twice])
def test_masked_steps_keep_the_state_wherever_they_are(parts: Callable, tmp_path: Path) -> None:
    embedding = layers.Embedding(6, 3, mask_zero=True)
    model = keras.Sequential([keras.Input((None,), dtype="int32"), embedding, *parts()])
    models.scrambled(model)
    export_tflite(model, tmp_path / "m.tflite", form="step")
    ids = np.array(PADDED, "int32")
    runner = StepRunner(tmp_path / "m.tflite")
    np.testing.assert_allclose(runner(ids), model(ids, training=False), atol=1e-5)
    if "step" in runner.signatures:
        stream = runner.stream()
        for sample in ids:
            found = [stream(sample[None, t : t + 1]) for t in range(len(sample))]
            expected = model(sample[None], training=False)
            np.testing.assert_allclose(np.concatenate(found, axis=1), expected, atol=1e-5)
            stream.reset()


def test_names_that_the_form_needs_are_kept_apart(tmp_path: Path) -> None:
    x = keras.Input((None, 4), name="x")
    y, h, _ = layers.LSTM(3, return_sequences=True, return_state=True, name="lstm")(x)
    model = keras.Model(x, {"lstm_h": y, "h": h})
    export_tflite(model, tmp_path / "m.tflite", form="step")
    inputs = np.random.default_rng(0).normal(size=(2, 5, 4)).astype("float32")
    actual, expected = StepRunner(tmp_path / "m.tflite")(inputs), model(inputs, training=False)
    for name, value in expected.items():
        np.testing.assert_allclose(actual[name], value, atol=1e-5)
    z = keras.Input((None, 4), name="outputs_lstm")
    model = keras.Model(z, layers.LSTM(3, name="lstm")(z))
    with pytest.raises(ValueError, match="its input 'outputs_lstm' has a name that the step form"):
        export_tflite(model, tmp_path / "n.tflite", form="step")


@pytest.mark.parametrize("shape", [(1, 0), (0, 5)])
def test_an_empty_sequence_is_refused(shape: tuple[int, int], words: Any) -> None:
    with pytest.raises(ValueError, match="input 'words' is empty"):
        words[1](np.zeros(shape, "int32"))


def test_either_form_is_opened_as_what_it_is(words: Any, tmp_path: Path) -> None:
    model, runner = words
    assert isinstance(load_tflite(runner.path), StepRunner)
    export_tflite(model, tmp_path / "s.tflite")
    assert isinstance(load_tflite(tmp_path / "s.tflite"), TFLiteModel)
    with pytest.raises(ValueError, match="is not in step form: a step form has the signatures"):
        StepRunner(tmp_path / "s.tflite")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"form": "loop"}, "form must be 'sequence' or 'step'; got 'loop'"),
        ({"quantization": "int8"}, "quantization='int8' needs representative"),
    ],
)
def test_what_does_not_go_together_is_refused(
    arguments: dict, message: str, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match=message):
        export_tflite(MODELS["hlstm"](), tmp_path / "m.tflite", **{"form": "step", **arguments})
    assert list(tmp_path.iterdir()) == []


def shared(x: Any) -> Any:
    layer = layers.LSTM(4, return_sequences=True, name="twice")
    return layer(layer(x))


@pytest.mark.parametrize(
    ("build", "reason"),
    [
        (layers.Dense(2), "it has no recurrent layer"),
        (shared, "its layer 'twice' is used more than once"),
    ],
)
def test_a_model_without_a_step_form_says_why(build: Any, reason: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=f"has no step form: {reason}"):
        export_tflite(functional(build), tmp_path / "m.tflite", form="step")
    assert list(tmp_path.iterdir()) == []


def test_wrong_calls_of_a_runner_are_refused(recognizer: Any, words: Any, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="threads must be a positive integer; got 0"):
        StepRunner(words[1].path, threads=0)
    with pytest.raises(FileNotFoundError, match=r"none\.tflite does not exist"):
        StepRunner(tmp_path / "none.tflite")
    with pytest.raises(ValueError, match="takes several inputs; give a dictionary"):
        recognizer[1](np.zeros((1, 5, 8), "float32"))
    with pytest.raises(ValueError, match="must have the shape"):
        recognizer[1]({**models.utterances(1), "features": np.zeros((1, 5, 7), "float32")})
