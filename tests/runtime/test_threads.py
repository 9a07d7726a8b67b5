"""Threads that share a file's engine get what each would get alone."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

import hlstm_tf as hl
from hlstm_tf.export import StepRunner, TFLiteModel, export_tflite
from tests.export import models

layers = keras.layers
THREADS = 8


def forward() -> keras.Model:
    x = keras.Input((None, 5), name="x")
    y = hl.HLSTM(24, hidden_units=16, return_sequences=True)(x)
    return keras.Model(x, layers.Dense(7)(layers.GRU(24, return_sequences=True)(y)))


def both_ways() -> keras.Model:
    x = keras.Input((None, 5), name="x")
    y = layers.Bidirectional(layers.LSTM(16))(layers.Masking()(x))
    return keras.Model(x, layers.Dense(3)(y))


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("threads")
    return {
        f"{make.__name__}-{form}": export_tflite(
            models.scrambled(make()), folder / f"{make.__name__}-{form}.tflite", form=form
        ).path
        for make, form in ((forward, "step"), (both_ways, "step"), (forward, "sequence"))
    }


def samples(count: int) -> list[np.ndarray]:
    """Of different lengths, so that one call's memory does not fit the next one's."""
    rng = np.random.default_rng(0)
    return [rng.normal(size=(1, 5 + 11 * (i % 4), 5)).astype("float32") for i in range(count)]


def at_once(run: Callable[[Any], Any], values: list[Any]) -> list[Any]:
    """Runs all in eight threads that begin together."""
    gate = threading.Barrier(THREADS)

    def share(thread: int) -> list[tuple[int, Any]]:
        gate.wait()
        return [(i, run(values[i])) for i in range(thread, len(values), THREADS)]

    with ThreadPoolExecutor(THREADS) as pool:
        found = dict(pair for pairs in pool.map(share, range(THREADS)) for pair in pairs)
    return [found[i] for i in range(len(values))]


@pytest.mark.parametrize(
    ("name", "opened"),
    [
        ("forward-step", StepRunner),
        ("both_ways-step", StepRunner),
        ("forward-sequence", TFLiteModel),
    ],
)
def test_eight_threads_that_share_a_file_get_what_each_gets_alone(
    files: dict[str, Path], name: str, opened: Callable[[Path], Any]
) -> None:
    shared, values = opened(files[name]), samples(160)
    alone = [shared(value) for value in values]
    for found, expected in zip(at_once(shared, values), alone, strict=True):
        np.testing.assert_array_equal(found, expected)


def test_streams_of_one_runner_may_run_in_threads_of_their_own(files: dict[str, Path]) -> None:
    runner, values = StepRunner(files["forward-step"]), samples(48)

    def frame_by_frame(value: np.ndarray) -> np.ndarray:
        stream = runner.stream()
        return np.concatenate([stream(value[:, t : t + 1]) for t in range(value.shape[1])], axis=1)

    alone = [frame_by_frame(value) for value in values]
    for found, expected in zip(at_once(frame_by_frame, values), alone, strict=True):
        np.testing.assert_array_equal(found, expected)


def test_one_stream_in_two_threads_is_refused(files: dict[str, Path]) -> None:
    stream = StepRunner(files["forward-step"]).stream()
    frames = np.zeros((1, 4000, 5), "float32")
    errors: list[RuntimeError] = []

    def feed(_: int) -> None:
        try:
            for _ in range(5):
                stream(frames)
        except RuntimeError as error:
            errors.append(error)

    at_once(feed, list(range(THREADS)))
    assert errors
    assert "give each thread a stream of its own" in str(errors[0])
    stream.reset()  # and goes on working
    assert stream(frames[:, :3]).shape == (1, 3, 7)


def test_an_error_in_one_thread_leaves_the_others_alone(files: dict[str, Path]) -> None:
    shared, values = StepRunner(files["forward-step"]), samples(80)
    wrong = np.zeros((1, 4, 6), "float32")

    def run(value: np.ndarray) -> Any:
        with pytest.raises(ValueError, match="must have the shape"):
            shared(wrong)
        return shared(value)

    alone = [shared(value) for value in values]
    for found, expected in zip(at_once(run, values), alone, strict=True):
        np.testing.assert_array_equal(found, expected)
