"""The activation changes in the middle of training; nothing else does."""

import keras
import numpy as np
import pytest

import hlstm_tf as hl
from hlstm_tf import ActivationShift, LeakyReLU, set_hidden_activation

X = np.random.default_rng(0).normal(size=(4, 3, 2)).astype("float32")
Y = np.ones((4, 3), "float32")


@pytest.mark.compiled
def test_the_traced_functions_follow_in_the_middle_of_fit() -> None:
    model = keras.Sequential([keras.Input((3, 2)), hl.HLSTM(3, hidden_units=4)])
    # At a rate of 0 the loss depends on the activation alone.
    model.compile(keras.optimizers.SGD(0.0), "mse")
    set_hidden_activation(model, LeakyReLU(0.5))
    leaky = model.evaluate(X, Y, verbose=0)
    logs = model.fit(
        X, Y, epochs=2, validation_data=(X, Y), callbacks=[ActivationShift(epoch=1)], verbose=0
    ).history
    relu = model.evaluate(X, Y, verbose=0)
    assert abs(leaky - relu) > 1e-6
    np.testing.assert_allclose(logs["loss"], [leaky, relu], rtol=1e-6)
    np.testing.assert_allclose(logs["val_loss"], [leaky, relu], rtol=1e-6)


def test_weights_masks_and_optimizer_stay() -> None:
    model = keras.Sequential([keras.Input((3, 2)), hl.HLSTM(3, hidden_activation=LeakyReLU())])
    model.compile("adam", "mse", run_eagerly=True)
    [kernel, *_] = hl.masked_kernels(model)
    hl.edit_masks({kernel: np.arange(24).reshape(2, 4, 3) % 2 == 0})
    model.fit(X, Y, verbose=0)
    variables = [*model.variables, *model.optimizer.variables]
    before = [v.numpy() for v in variables]
    optimizer = model.optimizer
    assert set_hidden_activation(model, "relu") == 1
    assert model.optimizer is optimizer
    for variable, value in zip(variables, before, strict=True):
        np.testing.assert_array_equal(variable.numpy(), value)


def test_cells_are_found_wherever_they_are_and_set_once() -> None:
    shared = hl.HLSTMCell(2)
    model = keras.Sequential(
        [
            keras.Input((3, 2)),
            keras.layers.Bidirectional(hl.HLSTM(2, return_sequences=True)),
            keras.layers.RNN([hl.HLSTMCell(2), shared], return_sequences=True),
            keras.layers.TimeDistributed(hl.MaskedDense(2, activation="relu")),
        ]
    )
    assert set_hidden_activation(model, "elu") == 4
    assert shared.hidden_activation is keras.activations.elu
    assert model.layers[0].forward_layer.hidden_activation is keras.activations.elu
    assert set_hidden_activation(model, "elu") == 0


def test_only_says_which_activation_is_replaced() -> None:
    model = keras.Sequential(
        [
            keras.Input((3, 2)),
            hl.HLSTM(2, hidden_activation="tanh", return_sequences=True),
            hl.HLSTM(2),
        ]
    )
    assert set_hidden_activation(model, "leaky_relu", only="relu") == 1
    assert model.layers[0].hidden_activation is keras.activations.tanh
    assert model.layers[1].hidden_activation == LeakyReLU(0.01)


def test_other_layers_activation_is_set_where_named() -> None:
    dense, plain = hl.MaskedDense(2, activation=LeakyReLU()), keras.layers.BatchNormalization()
    model = keras.Sequential([keras.Input((2,)), dense, plain])
    assert set_hidden_activation(model, "relu", layers=[dense]) == 1
    assert dense.activation is keras.activations.relu
    with pytest.raises(ValueError, match="has no activation"):
        set_hidden_activation(model, "relu", layers=[plain])


def test_a_fit_that_starts_after_the_epoch_shifts_at_once() -> None:
    model = keras.Sequential([keras.Input((3, 2)), hl.HLSTM(3, hidden_activation=LeakyReLU())])
    model.compile("sgd", "mse", run_eagerly=True)
    shift = ActivationShift(epoch=2)
    model.fit(X, Y, initial_epoch=5, epochs=6, callbacks=[shift], verbose=0)
    assert model.layers[0].hidden_activation is keras.activations.relu


def test_a_model_saved_while_growing_loads_with_its_leaky_relu(tmp_path) -> None:
    model = keras.Sequential([keras.Input((3, 2)), hl.HLSTM(3)])
    set_hidden_activation(model, LeakyReLU(0.02))
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert loaded.layers[0].hidden_activation == LeakyReLU(0.02)
    np.testing.assert_array_equal(loaded(X), model(X))


@pytest.mark.parametrize("arguments", [{"epoch": -1}, {"to": "no_such_activation"}])
def test_wrong_arguments_are_errors(arguments: dict) -> None:
    with pytest.raises(ValueError):
        ActivationShift(**arguments)
