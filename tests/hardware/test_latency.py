"""Latency as LiteRT has it here: more work takes more time."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

import hlstm_tf as hl
from hlstm_tf.export import choice
from hlstm_tf.hardware import latency


def test_a_longer_sequence_and_a_real_sample() -> None:
    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [keras.Input((None, 8)), hl.HLSTM(32, return_sequences=True, masked=False)]
    )
    short = hl.Latency(quantization=None, steps=10)(model)
    long = hl.Latency(quantization=None, inputs=np.ones((1, 400, 8), "float32"))(model)
    assert long > 4 * short > 0


def test_of_several_samples_the_first_is_run(monkeypatch: pytest.MonkeyPatch) -> None:
    run: list[np.ndarray] = []

    class Recorded(hl.TFLiteModel):
        def run(self, inputs: Any) -> dict[str, np.ndarray]:
            run.append(inputs["inputs"])
            return super().run(inputs)

    monkeypatch.setattr(
        latency, "load_tflite", lambda path, threads: Recorded(path, threads=threads)
    )
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(2)])
    samples = np.arange(8, dtype="float32").reshape(4, 2)
    hl.Latency(inputs=samples, repeats=3)(model)
    assert all((given == samples[:1]).all() and len(given) == 1 for given in run)


def test_a_model_without_recurrence_has_the_sequence_form_only() -> None:
    model = keras.Sequential([keras.Input((8,)), keras.layers.Dense(2)])
    assert hl.Latency(form="sequence", repeats=3)(model) > 0
    assert hl.Latency(repeats=3)(model).of == "sequence form, dynamic"
    with pytest.raises(ValueError, match="no recurrent layer"):
        hl.Latency(form="step")(model)


def test_the_figure_is_of_the_faster_form_and_says_which_that_is() -> None:
    model = keras.Sequential([keras.Input((None, 8)), keras.layers.GRU(16, return_sequences=True)])
    forms = {
        form: hl.Latency(form=form, steps=200, repeats=5)(model) for form in ("sequence", "step")
    }
    best = hl.Latency(steps=200, repeats=5)(model)
    assert {form: figure.of for form, figure in forms.items()} == {
        form: f"{form} form, dynamic" for form in forms
    }
    # LiteRT's loop takes several times as long as 200 steps of so small a model do.
    assert forms["step"] < forms["sequence"]
    assert best.of == "step form, dynamic"
    assert "(step form, dynamic)" in str(best)
    assert "microseconds (step form, dynamic) of 1" in hl.Budget(hl.Latency(), 1).says(best)


def test_the_form_is_chosen_on_as_many_threads_as_it_is_measured_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    used: dict[str, set[int]] = {"chosen": set(), "measured": set()}

    def recording(what: str) -> Callable[..., Any]:
        def load(path: Path, threads: int) -> Any:
            used[what].add(threads)
            return hl.load_tflite(path, threads=threads)

        return load

    monkeypatch.setattr(choice, "load_tflite", recording("chosen"))
    monkeypatch.setattr(latency, "load_tflite", recording("measured"))
    model = keras.Sequential([keras.Input((None, 3)), keras.layers.GRU(4, return_sequences=True)])
    hl.Latency(steps=5, threads=2, repeats=3)(model)
    assert used == {"chosen": {2}, "measured": {2}}


def test_the_best_quantization_is_measured_and_named() -> None:
    model = keras.Sequential([keras.Input((8,)), keras.layers.Dense(2)])
    figure = hl.Latency(quantization="best", repeats=3)(model)
    assert figure.of in {f"sequence form, {each}" for each in ("float32", "float16", "dynamic")}


@pytest.mark.representatives("sequence")
@pytest.mark.parametrize("form", ["sequence", "step"])
def test_a_stateful_model_is_measured_from_states_of_zero(form: str) -> None:
    model = keras.Sequential(
        [
            keras.Input(batch_shape=(1, None, 3)),
            keras.layers.LSTM(4, stateful=True, return_sequences=True),
        ]
    )
    assert hl.Latency(form=form, steps=5, repeats=3)(model).of == f"{form} form, dynamic"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"form": "steps"}, "`form` must be 'sequence' or 'step'; got 'steps'"),
        ({"quantization": "int8"}, "`quantization` must be one of None, .*; got 'int8'"),
        ({"steps": 0}, "`steps` must be an integer of at least 1, got 0"),
        ({"threads": -1}, "`threads` must be an integer of at least 1, got -1"),
        ({"repeats": 0.5}, "`repeats` must be an integer of at least 1, got 0.5"),
    ],
)
def test_what_cannot_be_measured_is_refused_before_anything_is_trained(
    arguments: dict, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        hl.Latency(**arguments)
