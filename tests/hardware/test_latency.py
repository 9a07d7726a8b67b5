"""Latency as LiteRT has it here: more work takes more time."""

import keras
import numpy as np
import pytest

import hlstm_tf as hl


def test_a_longer_sequence_and_a_real_sample() -> None:
    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [keras.Input((None, 8)), hl.HLSTM(32, return_sequences=True, masked=False)]
    )
    short = hl.Latency(quantization=None, steps=10)(model)
    long = hl.Latency(quantization=None, inputs=np.ones((1, 400, 8), "float32"))(model)
    assert long > 4 * short > 0


def test_a_model_without_recurrence_has_the_sequence_form_only() -> None:
    model = keras.Sequential([keras.Input((8,)), keras.layers.Dense(2)])
    assert hl.Latency(form="sequence", repeats=3)(model) > 0
    with pytest.raises(ValueError, match="no recurrent layer"):
        hl.Latency()(model)


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
