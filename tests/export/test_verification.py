import math

import keras
import numpy as np
import pytest

from hlstm_tf.export.layout import input_layout
from hlstm_tf.export.verification import compute_tolerance, largest_error, reference_outputs

INF = math.inf


@pytest.mark.parametrize(
    ("expected", "actual", "error"),
    [
        ([0.0, 2.0], [0.0, 2.0], 0.0),
        ([-1.0, 3.0], [-1.0, 2.0], 0.25),  # 1 of a range of 4
        ([100.0, 100.0], [100.0, 100.1], 1.0),  # no range: judged by a thousandth of the size
        ([0.0, 1.0], [0.0, np.nan], INF),
        ([0.0, 1.0], [0.0, np.inf], INF),
        ([0.0, 1.0], [0.0], INF),
        ([], [], 0.0),
        (np.array([1, 2, 3, 4]), np.array([1, 2, 3, 5]), 0.25),  # integers: how many differ
        (np.array([True, False]), np.array([True, True]), 0.5),
    ],
)
def test_error_is_a_fraction_of_the_range(expected: list, actual: list, error: float) -> None:
    found, name = largest_error({"y": np.asarray(expected)}, {"y": np.asarray(actual)})
    assert found == pytest.approx(error)
    assert name == "y"


def test_the_worst_output_is_named_and_a_missing_one_is_worst() -> None:
    one = np.array([0.0, 1.0])
    assert largest_error({"a": one, "b": one}, {"a": one, "b": one + 0.1})[1] == "b"
    assert largest_error({"a": one, "b": one}, {"b": one}) == (INF, "a")


def test_a_model_that_gives_nan_itself_is_named() -> None:
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)], name="broken")
    model.layers[0].kernel.assign([[np.nan], [0.0]])
    with pytest.raises(ValueError, match="model 'broken' itself gives NaN or infinity"):
        reference_outputs(model, input_layout(model), {"inputs": np.ones((1, 2), "float32")})


def test_half_precision_models_may_differ_more() -> None:
    half = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1, dtype="mixed_bfloat16")])
    full = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    assert (compute_tolerance(half), compute_tolerance(full)) == (5e-2, 1e-4)


def test_model_after_model_is_compared_without_a_warning_of_retracing(
    tensorflow_lines: list[str],
) -> None:
    for width in range(2, 10):
        model = keras.Sequential([keras.Input((width,)), keras.layers.Dense(1)])
        reference_outputs(model, input_layout(model), {"inputs": np.ones((1, width), "f4")})
    assert tensorflow_lines == []
