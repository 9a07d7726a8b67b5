import keras
import numpy as np
import pytest
import tensorflow as tf

from hlstm_tf.export.layout import input_layout, named_outputs
from tests.export import models


def test_an_input_has_the_name_it_was_given() -> None:
    layout = input_layout(models.language_model())
    assert layout.specs == {"words": tf.TensorSpec((None, None), tf.int32, "words")}


def test_an_input_without_a_name_is_called_inputs_in_every_process() -> None:
    for _ in range(2):  # Keras numbers the second one on
        assert list(input_layout(models.dense()).specs) == ["inputs"]


@pytest.mark.filterwarnings("ignore:When providing `inputs` as a dict")
def test_dictionary_inputs_have_the_names_of_their_keys() -> None:
    named = keras.Input((3,), name="other_name")
    model = keras.Model({"a b": named, "c": keras.Input((2,), dtype="int32")}, named * 2.0)
    layout = input_layout(model)
    assert {name: spec.dtype for name, spec in layout.specs.items()} == {
        "a_b": tf.float32,
        "c": tf.int32,
    }
    assert set(layout.pack({"a_b": 1, "c": 2})) == {"a b", "c"}


def test_several_inputs_without_a_name_are_numbered() -> None:
    a, b = keras.Input((3,)), keras.Input((3,))
    layout = input_layout(keras.Model([a, b], a + b))
    assert layout.pack({"inputs": "first", "inputs_2": "second"}) == ["first", "second"]


def test_outputs_are_named_by_key_or_number() -> None:
    assert named_outputs(5) == {"outputs": 5}
    assert named_outputs([5, 6]) == {"output_0": 5, "output_1": 6}
    assert named_outputs({"logits": 5, "state": 6}) == {"logits": 5, "state": 6}


def test_a_batch_is_taken_in_the_models_structure_or_by_name_and_cast() -> None:
    layout = input_layout(models.recognizer(recurrent_layers=0))
    batch = {"features": np.zeros((2, 5, 8)), "lengths": [5, 3]}
    named = layout.named(batch, "verify_with")
    assert named["features"].dtype == np.float32
    assert named["lengths"].dtype == np.int32

    layout = input_layout(models.dense())
    values = tf.ones((2, 16))
    assert layout.named(values, "x")["inputs"].shape == (2, 16)
    assert layout.named({"inputs": values}, "x")["inputs"].shape == (2, 16)


@pytest.mark.parametrize(
    ("batch", "message"),
    [
        (np.zeros((2, 5, 8)), r"verify_with must hold .*\['features', 'lengths'\]; got a ndarray"),
        ({"features": np.zeros((2, 5, 8))}, "got a dictionary with \\['features'\\]"),
        (
            {"features": np.zeros((2, 5, 7)), "lengths": [5, 3]},
            r"'features' must have the shape \(samples, any, 8\); got \(2, 5, 7\)",
        ),
        (
            {"features": np.zeros((2, 5, 8)), "lengths": [5.0, 3.0]},
            "'lengths' must be of type int32; got float64",
        ),
        ({"features": np.zeros((2, 5, 8)), "lengths": [5]}, "same number of samples"),
        ({"features": np.zeros((0, 5, 8)), "lengths": np.zeros(0, int)}, "at least one"),
        ({"features": [[1.0], [1.0, 2.0]], "lengths": [1, 1]}, "'features' must be an array"),
    ],
)
def test_a_batch_that_does_not_fit_is_one_clear_line(batch: object, message: str) -> None:
    layout = input_layout(models.recognizer(recurrent_layers=0))
    with pytest.raises(ValueError, match=message) as caught:
        layout.named(batch, "verify_with")
    assert "\n" not in str(caught.value)


def test_random_inputs_are_what_the_model_takes() -> None:
    words = input_layout(models.language_model()).random(samples=50)["words"]
    assert words.shape == (50, 24)
    assert words.min() >= 1
    assert words.max() == 10  # the embedding knows the ids 0 to 10
    speech = input_layout(models.recognizer(recurrent_layers=0)).random(samples=2)
    assert speech["lengths"].tolist() == [24, 24]
    assert speech["features"].std() > 0.5


def test_what_is_no_model_or_has_no_inputs_is_refused() -> None:
    with pytest.raises(TypeError, match=r"must be a keras.Model; got Dense"):
        input_layout(keras.layers.Dense(2))
    with pytest.raises(ValueError, match="does not say what its inputs are"):
        input_layout(keras.Sequential([keras.layers.Dense(2)]))
