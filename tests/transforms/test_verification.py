"""The check that a transform kept the function."""

import keras
import numpy as np
import pytest

import hlstm_tf as hl
from hlstm_tf.transforms.verification import check_same_function
from tests.transforms.models import dense_net, randomize

BATCH = np.ones((2, 6), "float32")


def _copy(model: keras.Model) -> keras.Model:
    copy = keras.models.clone_model(model)
    copy.set_weights(model.get_weights())
    return copy


def test_equal_models_pass_with_no_difference() -> None:
    model = randomize(dense_net())
    assert check_same_function(model, _copy(model), BATCH, "copy") == 0.0


def test_another_function_is_refused_with_the_difference() -> None:
    model = randomize(dense_net())
    other = _copy(model)
    other.layers[-1].bias.assign_add([0.0, 0.5, 0.0])
    with pytest.raises(ValueError, match=r"copy changed the function of .*: output 0 differs by"):
        check_same_function(model, other, BATCH, "copy")
    assert check_same_function(model, other, BATCH, "copy", tolerance=1.0) > 0.01


def test_nan_and_other_shapes_are_differences() -> None:
    model = randomize(dense_net())
    other = _copy(model)
    other.layers[-1].bias.assign([np.nan, 0.0, 0.0])
    with pytest.raises(ValueError, match="differs by nan"):
        check_same_function(model, other, BATCH, "copy")
    wider = keras.Sequential([keras.Input((6,)), keras.layers.Dense(4)])
    with pytest.raises(ValueError, match=r"shape of output 0 .* from \(2, 3\) to \(2, 4\)"):
        check_same_function(model, wider, BATCH, "copy")


def test_a_batch_that_the_model_does_not_take_is_named():
    model = keras.Sequential([keras.Input((None, 3)), keras.layers.LSTM(2)])
    with pytest.raises(ValueError, match="verify_with is not a batch that 'sequential' takes"):
        hl.shrink(model, verify_with=np.ones((2, 4, 2), "float32"))
