"""The ground that conftest.py lays for every test."""

import keras
import numpy as np
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st


def test_two_logical_cpus_train_together_under_a_mirrored_strategy():
    strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
    assert strategy.num_replicas_in_sync == 2
    with strategy.scope():
        model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1)])
        model.compile(keras.optimizers.SGD(0.1), "mse")
    inputs = np.ones((4, 3), "float32")
    losses = model.fit(inputs, inputs[:, :1], epochs=3, verbose=0).history["loss"]
    assert losses[-1] < losses[0]


def test_every_test_starts_from_the_same_seed_and_names():
    first = [keras.layers.Dense(2).name, keras.random.normal((2,)).numpy().tolist()]
    keras.utils.clear_session(free_memory=False)
    keras.utils.set_random_seed(0)
    assert [keras.layers.Dense(2).name, keras.random.normal((2,)).numpy().tolist()] == first
    assert first[0] == "dense"


@given(st.integers())
def test_properties_run_few_examples_with_no_deadline(number):
    assert isinstance(number, int)
    assert settings().deadline is None
    assert settings().derandomize
