import itertools
import warnings

import keras
import numpy as np
import pytest
import tensorflow as tf

from hlstm_tf.scoring.data import check_data, check_inputs, training_batches


def model(*shapes):
    inputs = [keras.Input(shape, name=f"in_{k}") for k, shape in enumerate(shapes)]
    return keras.Model(inputs if len(inputs) > 1 else inputs[0], keras.layers.add(
        [keras.layers.Flatten()(each)[:, :1] for each in inputs] * 2
    ))  # fmt: skip


@pytest.mark.parametrize(
    "shape", [(4, 5, 3), (1, 5, 3), (4, 5, 3, 1)], ids=["batch", "one", "axis of one"]
)
def test_shapes_that_keras_takes_pass(shape):
    check_inputs(model((None, 3)), tf.zeros(shape), "growth")
    model((None, 3))(tf.zeros(shape))


@pytest.mark.parametrize("shape", [(5, 3), (4, 5, 2), (3,), (4, 5, 3, 2)])
def test_shapes_that_keras_refuses_are_named_in_one_line(shape):
    with pytest.raises(ValueError, match="growth: got inputs of shape") as caught:
        check_inputs(model((None, 3)), tf.zeros(shape), "growth")
    assert f"{shape} where the model takes (None, None, 3)" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_inputs_are_matched_by_name_and_by_order():
    two = model((3,), (2,))
    x = [tf.zeros((4, 3)), tf.zeros((4, 2))]
    check_inputs(two, x, "growth")
    check_inputs(two, {"in_1": x[1], "in_0": x[0], "more": tf.zeros(4)}, "growth")
    with pytest.raises(ValueError, match="where the model takes"):
        check_inputs(two, x[::-1], "growth")


def test_an_input_that_is_left_out_has_no_shape_to_check():
    check_inputs(model((3,), (2,)), [tf.zeros((4, 3)), None], "growth")


def test_a_model_that_says_no_shapes_is_not_checked():
    class Subclassed(keras.Model):
        def call(self, x):
            return x

    check_inputs(Subclassed(), tf.zeros((2, 9)), "growth")


def test_arrays_of_different_lengths_are_named():
    with pytest.raises(
        ValueError, match="train: got arrays of 8 and 16 examples; expected equally"
    ):
        check_data((np.zeros((16, 3)), np.zeros(8)), "train")
    data = ({"a": np.zeros((4, 3)), "b": np.zeros((4, 1))}, np.zeros(4), None)
    assert check_data(data, "train") is data


def test_a_share_of_the_batches_is_evenly_spread():
    data = (np.arange(8.0), np.arange(8.0))
    found = [x.numpy().tolist() for x, _ in training_batches(data, 2, share=0.5)]
    assert found == [[0.0, 1.0], [4.0, 5.0]]


def test_a_list_of_several_inputs_is_cut_input_by_input():
    data = ([np.ones((5, 7, 8)), np.ones((5, 4))], np.zeros(5))
    shapes = [[tuple(a.shape) for a in x] for x, _ in training_batches(data, 2)]
    assert shapes == [[(2, 7, 8), (2, 4)], [(2, 7, 8), (2, 4)], [(1, 7, 8), (1, 4)]]


def test_data_that_does_not_tell_its_length_is_named_where_a_pass_grows_long(monkeypatch) -> None:
    monkeypatch.setattr("hlstm_tf.scoring.data._MANY_BATCHES", 20)
    endless = tf.data.Dataset.range(3).repeat().filter(lambda number: number < 9)
    with pytest.warns(UserWarning, match="20 batches of a dataset that does not tell its length"):
        list(itertools.islice(training_batches(endless), 30))


def test_a_long_pass_over_data_that_tells_its_length_is_no_news(monkeypatch) -> None:
    monkeypatch.setattr("hlstm_tf.scoring.data._MANY_BATCHES", 20)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert len(list(training_batches(tf.data.Dataset.range(40)))) == 40
        assert len(list(training_batches(tf.data.Dataset.range(15).filter(lambda x: x >= 0)))) == 15
