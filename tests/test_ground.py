"""The ground that conftest.py lays for every test."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from hlstm_tf.layers import passes


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


def compiled_model(**arguments):
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1)])
    model.compile("sgd", "mse", **arguments)
    return model


def test_models_train_eagerly_where_a_test_says_nothing_of_it(request):
    everywhere = request.config.getoption("compiled")
    assert compiled_model().run_eagerly == (not everywhere)
    assert not compiled_model(run_eagerly=False).run_eagerly
    assert not compiled_model(steps_per_execution=2).run_eagerly
    assert not compiled_model(jit_compile=True).run_eagerly
    assert (passes.XLA_WEIGHTS > 0) == everywhere


def test_a_model_that_is_loaded_is_compiled_and_trains_as_one_that_is_made(tmp_path):
    model = compiled_model()
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert loaded.compiled
    assert loaded.run_eagerly == model.run_eagerly


@pytest.mark.compiled
def test_models_train_as_a_users_do_in_a_test_that_is_marked_compiled():
    assert not compiled_model().run_eagerly
    assert passes.XLA_WEIGHTS > 0


@given(st.integers())
def test_properties_run_few_examples_with_no_deadline(number):
    assert isinstance(number, int)
    assert settings().deadline is None
    assert settings().derandomize
