"""Streams through convolutions: windows that overlap, put together to what the whole gives."""

import sys
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import hlstm_tf as hl
from hlstm_tf.export import StepRunner, export_tflite
from hlstm_tf.runtime.frames import Window
from tests.export import models

layers = keras.layers
# Two convolutions: 2 frames on either side, and 1 of the frames that a stride of 2 leaves.
REACH = {"look_back": 4, "look_ahead": 4, "stride": 4}


def convolved(x: Any) -> Any:
    for kernel in (5, 3):
        x = layers.ZeroPadding1D((kernel - 1) // 2)(x)
        # A bias, so that what is padded before the second convolution is not what the first makes
        # of zeros: only the true ends of a sequence may be padded.
        x = layers.Conv1D(3, kernel, strides=2, activation="relu", bias_initializer="ones")(x)
    return hl.HLSTM(4, hidden_units=3, return_sequences=True)(x)


@pytest.fixture(scope="module", params=[None, "dynamic"])
def exported(request: Any, tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, StepRunner]:
    x = keras.Input((None, 4), name="x")
    y = convolved(x)
    outputs = {"a": layers.Dense(2)(y), "b": layers.Dense(1)(y)}
    model = models.scrambled(keras.Model(x, outputs))
    path = tmp_path_factory.mktemp("stream") / "m.tflite"
    export_tflite(model, path, form="step", quantization=request.param)
    return model, StepRunner(path)


def test_a_frame_takes_few_calls_of_python(tmp_path: Path) -> None:
    model = keras.Sequential([keras.Input((None, 4)), layers.GRU(8, return_sequences=True)])
    export_tflite(model, tmp_path / "m.tflite", form="step")
    stream, frame = StepRunner(tmp_path / "m.tflite").stream(), np.ones((1, 1, 4), "float32")
    stream(frame)
    calls: list[str] = []
    sys.setprofile(lambda place, event, argument: calls.append(event))
    stream(frame)
    sys.setprofile(None)
    # The engine takes a few microseconds for such a step, and Python as long for thirty calls.
    assert sum(event in ("call", "c_call") for event in calls) < 85


@pytest.mark.parametrize("width", [1, 5])
def test_states_of_another_width_are_refused(width: int, tmp_path: Path) -> None:
    model = keras.Sequential([keras.Input((None, 4)), layers.GRU(8, return_sequences=True)])
    export_tflite(model, tmp_path / "m.tflite", form="step")
    stream, frame = StepRunner(tmp_path / "m.tflite").stream(), np.ones((1, 1, 4), "float32")
    stream(frame)
    stream.states = {name: np.zeros((1, width), "float32") for name in stream.states}
    with pytest.raises(ValueError, match=r"must have the shape \(1, 8\)"):
        stream(frame)


def cut(frames: np.ndarray, sizes: list[int]) -> list[np.ndarray]:
    parts = np.split(frames, np.cumsum(sizes), axis=1)
    return [part for part in parts if part.shape[1]]


def streamed(runner: StepRunner, parts: list[np.ndarray], block: int) -> dict[str, np.ndarray]:
    stream = runner.stream(**REACH, block=block)
    found = [*map(stream, parts), stream.finish()]
    return {name: np.concatenate([part[name] for part in found], axis=1) for name in found[0]}


@pytest.mark.representatives("dynamic")
@given(
    frames=st.integers(1, 60),
    sizes=st.lists(st.integers(1, 25), max_size=6),
    block=st.integers(1, 3),
)
def test_however_a_sample_is_cut_it_gives_the_same(
    exported: Any, frames: int, sizes: list[int], block: int
) -> None:
    model, runner = exported
    sample = np.random.default_rng(frames).normal(size=(1, frames, 4)).astype("float32")
    whole = streamed(runner, [sample], block)
    pieces = streamed(runner, cut(sample, sizes), block)
    expected = model(sample, training=False)
    for name, value in expected.items():
        np.testing.assert_array_equal(pieces[name], whole[name])
        np.testing.assert_allclose(whole[name], value, atol=0.05 * (1 + np.ptp(value)))


@pytest.mark.representatives("dynamic")
def test_outputs_come_when_the_last_frame_they_need_has(exported: Any) -> None:
    _, runner = exported
    stream = runner.stream(**REACH, block=2)
    counts = [stream(np.zeros((1, 1, 4), "float32"))["a"].shape[1] for _ in range(18)]
    # The second output needs frame 1 * 4 + 4, the fourth 3 * 4 + 4.
    assert [k for k, count in enumerate(counts) if count] == [8, 16]
    assert set(counts) == {0, 2}
    assert stream.finish()["b"].shape == (1, 1, 1)  # 18 frames: five outputs are begun


@pytest.mark.representatives("dynamic")
def test_a_finished_stream_begins_anew(exported: Any) -> None:
    _, runner = exported
    sample = np.random.default_rng(0).normal(size=(1, 21, 4)).astype("float32")
    stream = runner.stream(**REACH)
    first = np.concatenate([stream(sample)["a"], stream.finish()["a"]], axis=1)
    again = np.concatenate([stream(sample)["a"], stream.finish()["a"]], axis=1)
    np.testing.assert_array_equal(again, first)
    stream(sample)
    stream.reset()
    assert stream.finish()["a"].shape == (1, 0, 2)


@pytest.mark.representatives("dynamic-wrong0", "dynamic-wrong1", "dynamic-wrong2", "dynamic-wrong3")
@pytest.mark.parametrize(
    "wrong", [{"look_back": 0}, {"look_ahead": 0}, {"stride": 2}, {"stride": 8, "look_ahead": 9}]
)
def test_a_window_that_the_model_does_not_have_is_refused(exported: Any, wrong: dict) -> None:
    _, runner = exported
    with pytest.raises(ValueError, match="it looks at other frames than"):
        runner.stream(**{**REACH, **wrong})


@pytest.mark.representatives("dynamic")
def test_a_wider_window_than_the_models_is_only_slower(exported: Any) -> None:
    model, runner = exported
    sample = np.random.default_rng(0).normal(size=(1, 33, 4)).astype("float32")
    stream = runner.stream(look_back=9, look_ahead=7, stride=4)
    found = np.concatenate([stream(sample)["b"], stream.finish()["b"]], axis=1)
    expected = model(sample, training=False)["b"]
    np.testing.assert_allclose(found, expected, atol=0.05 * np.ptp(expected))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"look_back": -1}, "look_back must be an integer of at least 0; got -1"),
        ({"look_ahead": 1.5}, "look_ahead must be an integer of at least 0; got 1.5"),
        ({"stride": 0}, "stride must be an integer of at least 1; got 0"),
        ({"block": True}, "block must be an integer of at least 1; got True"),
    ],
)
def test_impossible_windows_are_refused(arguments: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Window(**arguments)
