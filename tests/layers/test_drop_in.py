"""`HLSTM(units, hidden_units=())` in place of `keras.layers.LSTM`: to the last bit."""

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

import hlstm_tf as hl
from tests.layers.helpers import assert_all_equal, gradients

UNITS, INPUTS = 4, 3
MASK = np.array([[1, 1, 1, 0], [0, 1, 0, 1], [0, 0, 0, 0]], bool)
OPTIONS: dict[str, dict[str, Any]] = {
    "default": {},
    "no_bias": {"use_bias": False, "implementation": 1},
    "sequences_and_states": {"return_sequences": True, "return_state": True},
    "backwards": {"go_backwards": True, "return_sequences": True, "zero_output_for_mask": True},
    "unrolled": {"unroll": True, "activation": "relu", "recurrent_activation": "hard_sigmoid"},
    "dropout": {"dropout": 0.4, "seed": 3},
    # With use_cudnn="auto", Keras's LSTM fails here: it takes the list of masks for one mask.
    "dropout_of_each_gate": {"dropout": 0.4, "implementation": 1, "use_cudnn": False, "seed": 3},
    "recurrent_dropout": {"recurrent_dropout": 0.4, "seed": 3},
    "regularized": {"kernel_regularizer": "l2", "bias_regularizer": "l1", "seed": 3},
    "lambdas": {"kernel_regularizer": lambda w: 0.1 * w[0, 0], "activation": lambda x: 0.5 * x},
}


def inputs() -> np.ndarray:
    return np.random.default_rng(0).standard_normal((3, 4, INPUTS)).astype("float32")


def pair(**options: Any) -> tuple[keras.layers.LSTM, hl.HLSTM]:
    """The Keras layer and its stand-in, each made after the same global seed."""
    keras.utils.set_random_seed(11)
    lstm = keras.layers.LSTM(UNITS, **options)
    lstm.build((3, None, INPUTS))
    following = keras.layers.Dense(2)
    following.build((None, UNITS))
    keras.utils.set_random_seed(11)
    stand_in = hl.HLSTM(UNITS, hidden_units=(), **options)
    stand_in.build((3, None, INPUTS))
    after = keras.layers.Dense(2)
    after.build((None, UNITS))
    assert_all_equal(following.get_weights(), after.get_weights())
    return lstm, stand_in


@pytest.mark.representatives(
    "training-default",
    "training-backwards",
    "training-dropout_of_each_gate",
    "training-recurrent_dropout",
    "inference-sequences_and_states",
    "inference-unrolled",
)
@pytest.mark.parametrize("option", OPTIONS)
@pytest.mark.parametrize("training", [False, True], ids=["inference", "training"])
def test_same_seeds_give_the_same_weights_numbers_and_gradients(
    option: str, training: bool
) -> None:
    lstm, stand_in = pair(**OPTIONS[option])
    assert_all_equal(lstm.get_weights(), stand_in.get_weights())
    assert [v.name for v in lstm.weights] == [v.name for v in stand_in.weights]
    x = inputs()
    for mask in (None, MASK):
        call = {"mask": mask, "training": training}
        assert_all_equal(lstm(x, **call), stand_in(x, **call))
        assert_all_equal(
            gradients(lstm, x, lstm.trainable_weights, **call),
            gradients(stand_in, x, stand_in.trainable_weights, **call),
        )
    assert_all_equal(lstm.losses, stand_in.losses)


def test_states_are_the_same() -> None:
    lstm, stand_in = pair(stateful=True, return_state=True)
    for _ in range(2):
        assert_all_equal(lstm(inputs()), stand_in(inputs()))
    states = [np.full((3, UNITS), value, "float32") for value in (0.5, -1.0)]
    assert_all_equal(lstm(inputs(), initial_state=states), stand_in(inputs(), initial_state=states))
    assert_all_equal(lstm.states, stand_in.states)


def test_masks_change_no_number_while_every_connection_exists() -> None:
    lstm, _ = pair()
    keras.utils.set_random_seed(11)
    masked = hl.HLSTM(UNITS, hidden_units=(), masked=True)
    masked.build((3, None, INPUTS))
    assert_all_equal(lstm(inputs()), masked(inputs()))
    assert len(masked.weights) == 5


def test_cells_are_the_same() -> None:
    keras.utils.set_random_seed(2)
    lstm = keras.layers.LSTMCell(UNITS, dropout=0.5, recurrent_dropout=0.5, seed=4)
    lstm.build((None, INPUTS))
    keras.utils.set_random_seed(2)
    stand_in = hl.HLSTMCell(UNITS, (), dropout=0.5, recurrent_dropout=0.5, seed=4)
    stand_in.build((None, INPUTS))
    x, states = inputs()[:, 0], [np.ones((3, UNITS), "float32")] * 2
    for training in (False, True):
        assert_all_equal(lstm(x, states, training=training), stand_in(x, states, training=training))


def test_weights_load_both_ways(tmp_path: Path) -> None:
    # Keras files a model's own layers under their classes' names, so that one LSTM's file is found
    # by another LSTM only; inside a wrapper it is the attribute that counts.
    theirs = keras.Sequential([keras.layers.Bidirectional(pair()[0])])
    ours = keras.Sequential([keras.layers.Bidirectional(pair()[1])])
    x = inputs()
    for source, target in ((theirs, ours), (ours, theirs)):
        source(x), target(x)
        source.set_weights([2 * w for w in target.get_weights()])
        assert np.abs(source(x) - target(x)).max() > 1e-3
        source.save_weights(tmp_path / "bidirectional.weights.h5")
        target.load_weights(tmp_path / "bidirectional.weights.h5")
        assert_all_equal(source(x), target(x))


@pytest.mark.parametrize(
    "arguments",
    [
        {"units": 0},
        {"units": 4, "use_cudnn": "yes"},
        {"units": 4, "activation": "no such"},
        {"units": 4, "kernel_initializer": "no such"},
        {"units": 4, "no_such_argument": 1},
    ],
    ids=str,
)
def test_constructor_errors_are_keras_s(arguments: dict[str, Any]) -> None:
    with pytest.raises((ValueError, TypeError)) as theirs:
        keras.layers.LSTM(**arguments)
    with pytest.raises(type(theirs.value)) as ours:
        hl.HLSTM(**{"hidden_units": (), **arguments})
    assert str(ours.value) == str(theirs.value).replace("to LSTM", "to HLSTM")


@pytest.mark.parametrize(
    ("options", "shape"),
    [
        ({}, (3, INPUTS)),
        ({}, (3, 4, INPUTS + 1)),
        ({"stateful": True}, (2, 4, INPUTS)),
        ({"use_cudnn": True}, (3, 4, INPUTS)),
    ],
    ids=str,
)
def test_call_errors_are_keras_s(options: dict[str, Any], shape: tuple[int, ...]) -> None:
    lstm, stand_in = pair(name="same", **options)
    with pytest.raises(Exception) as theirs:
        lstm(np.zeros(shape, "float32"))
    with pytest.raises(type(theirs.value)) as ours:
        stand_in(np.zeros(shape, "float32"))
    first = str(theirs.value).splitlines()[0].replace("LSTM", "HLSTM")
    assert str(ours.value).splitlines()[0].replace("HHLSTM", "HLSTM") == first
