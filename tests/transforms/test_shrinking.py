"""Shrink: dead neurons go, the function stays."""

from typing import Any

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import hlstm_tf as hl
from hlstm_tf.transforms import shrink, sparsify, strip, summary
from tests.transforms.models import (
    MODELS,
    cut_inputs,
    cut_outputs,
    dense_net,
    lenet,
    mask_at_random,
    model_and_batch,
    outputs,
    randomize,
    weights_of,
    zero,
)

layers = keras.layers
ACTIVATIONS = ["linear", "relu", "leaky_relu", "tanh", "sigmoid"]


def _check(model: keras.Model, batch: Any) -> keras.Model:
    """Shrinks, and checks all that holds for every model."""
    before, expected = weights_of(model), outputs(model, batch)
    small = shrink(model, verify_with=batch)
    np.testing.assert_allclose(outputs(small, batch), expected, rtol=1e-4, atol=1e-5)
    for weight, value in zip(model.weights, before, strict=True):
        np.testing.assert_array_equal(weight.numpy(), value)
    old, new = summary(model, print_fn=None).model, summary(small, print_fn=None).model
    assert new.places <= old.places
    assert new.connections <= old.connections
    assert not hl.masked_kernels(small)
    return small


def _shapes(model: keras.Model) -> list[tuple[int, ...]]:
    return [tuple(weight.shape) for weight in model.weights]


@pytest.mark.parametrize("name", MODELS)
def test_a_model_without_dead_neurons_stays_as_it_is(name: str) -> None:
    model, batch = model_and_batch(name)
    small = _check(model, batch)
    assert type(small) is type(model)
    assert _shapes(small) == _shapes(strip(model))


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_a_neuron_that_nobody_reads_and_one_that_nothing_feeds_are_gone(activation: str) -> None:
    model = keras.Sequential(
        [keras.Input((6,)), layers.Dense(5, activation=activation), layers.Dense(3)]
    )
    randomize(model)
    cut_inputs(model.layers[0], [1])
    cut_outputs(model.layers[1], [3], 5)
    kernel = model.layers[0].kernel.numpy()
    small = _check(model, np.ones((2, 6), "float32"))
    assert small.layers[0].units == 3
    np.testing.assert_array_equal(small.layers[0].kernel.numpy(), kernel[:, [0, 2, 4]])


def test_the_constant_of_a_dead_neuron_goes_into_the_next_bias() -> None:
    model = keras.Sequential([keras.Input((1,)), layers.Dense(2, "relu"), layers.Dense(2)])
    model.set_weights([
        np.array([[1.0, 0.0]]), np.array([0.0, 3.0]),  # the second puts out 3 whatever comes
        np.array([[1.0, 1.0], [2.0, -1.0]]), np.array([10.0, 20.0]),
    ])  # fmt: skip
    small = shrink(model)
    expected = [[[1.0]], [0.0], [[1.0, 1.0]], [16.0, 17.0]]
    for weight, value in zip(small.get_weights(), expected, strict=True):
        np.testing.assert_array_equal(weight, value)


def test_a_reader_without_a_bias_gets_one_if_it_needs_it() -> None:
    model = keras.Sequential(
        [keras.Input((2,)), layers.Dense(3, "sigmoid"), layers.Dense(2, use_bias=False)]
    )
    cut_inputs(model.layers[0], [0])
    small = _check(model, np.ones((2, 2), "float32"))
    assert small.layers[1].use_bias
    assert small.layers[0].units == 2
    model = keras.Sequential(
        [keras.Input((2,)), layers.Dense(3, "relu"), layers.Dense(2, use_bias=False)]
    )
    cut_inputs(model.layers[0], [0])
    small = _check(model, np.ones((2, 2), "float32"))
    assert not small.layers[1].use_bias
    assert small.layers[0].units == 2


def test_deaths_are_followed_through_the_model_both_ways() -> None:
    model = keras.Sequential(
        [keras.Input((4,)), *(layers.Dense(3, "tanh") for _ in range(3)), layers.Dense(2)]
    )
    randomize(model)
    first, second, third, last = model.layers
    cut_inputs(first, [0])
    zero(second.kernel, (slice(1, None), 0))  # hears the dead one alone
    zero(second.kernel, (1, slice(None)), (1, 2))
    second.kernel.assign(np.array([[0.5, 0.4, 0.3], [0.0, 0.0, 0.7], [0.0, 0.2, 0.6]]))
    cut_outputs(last, [2], 3)
    third.kernel.assign(np.array([[0.1, 0.2, 0.3], [0.4, 0.5, 0.6], [0.0, 0.0, 0.9]]))
    small = _check(model, np.ones((2, 4), "float32"))
    # third[2] is unread, so second[2] is, so first[1] is; first[0] and so second[0] are constant.
    assert [layer.units for layer in small.layers] == [1, 1, 2, 2]


def test_a_layer_whose_neurons_are_all_dead_keeps_one() -> None:
    model = randomize(dense_net())
    cut_inputs(model.layers[0], range(5))
    small = _check(model, np.ones((2, 6), "float32"))
    assert [layer.units for layer in small.layers if hasattr(layer, "units")] == [1, 1, 3]


def test_outputs_of_the_model_keep_their_width() -> None:
    model = randomize(dense_net())
    cut_inputs(model.layers[-1], [0, 1])
    assert _check(model, np.ones((2, 6), "float32")).output_shape == (None, 3)


def test_units_under_a_softmax_stay_because_they_change_each_other() -> None:
    model = keras.Sequential([keras.Input((3,)), layers.Dense(4, "softmax"), layers.Dense(2)])
    cut_inputs(model.layers[0], [1])
    cut_outputs(model.layers[1], [2], 4)
    assert _check(model, np.ones((2, 3), "float32")).layers[0].units == 4


def test_filters_go_through_pooling_normalization_and_flatten() -> None:
    model = randomize(lenet())
    conv_1, conv_2, dense = model.layers[0], model.layers[2], model.layers[7]
    cut_inputs(conv_1, [1])
    cut_outputs(conv_2, [2], 4)
    cut_inputs(conv_2, [0, 3])
    cut_outputs(dense, [4], 5)
    cut_outputs(model.layers[8], [5], 8)
    rng = np.random.default_rng(0)
    small = _check(model, rng.normal(size=(2, 12, 12, 1)).astype("float32"))
    assert [small.layers[i].filters for i in (0, 2)] == [2, 2]
    assert small.layers[3].gamma.shape == (2,)
    assert small.layers[7].units == 7


def test_a_constant_stays_where_padding_would_make_it_differ_at_a_border() -> None:
    def model(activation: str, padding: str) -> keras.Model:
        made = keras.Sequential(
            [
                keras.Input((5, 5, 2)),
                layers.Conv2D(3, 1, activation=activation),
                layers.Conv2D(2, 3, padding=padding),
            ]
        )
        randomize(made)
        cut_inputs(made.layers[0], [1])
        made.layers[0].bias.assign([0.1, -0.5, 0.2])
        return made

    batch = np.random.default_rng(0).normal(size=(2, 5, 5, 2)).astype("float32")
    widths = {
        (activation, padding): _check(model(activation, padding), batch).layers[0].filters
        for activation in ("relu", "tanh")
        for padding in ("valid", "same")
    }
    # relu(-0.5) is 0, which is the same inside and outside; tanh(-0.5) is not.
    assert widths == {
        ("relu", "valid"): 2, ("relu", "same"): 2, ("tanh", "valid"): 2, ("tanh", "same"): 3,
    }  # fmt: skip


def test_explicit_zero_padding_is_like_same_padding() -> None:
    model = keras.Sequential(
        [
            keras.Input((5, 2)),
            layers.Conv1D(3, 1, activation="tanh"),
            layers.ZeroPadding1D(1),
            layers.Conv1D(2, 3),
        ]
    )
    randomize(model)
    cut_inputs(model.layers[0], [0])
    cut_outputs(model.layers[2], [1], 3)
    batch = np.random.default_rng(0).normal(size=(2, 5, 2)).astype("float32")
    assert _check(model, batch).layers[0].filters == 2


def test_reshape_before_a_recurrent_layer_is_followed_and_rewritten() -> None:
    model = keras.Sequential(
        [
            keras.Input((None, 4, 1)),
            layers.Conv2D(3, (3, 1), activation="relu"),
            layers.Reshape((-1, 12)),
            layers.Bidirectional(layers.GRU(2, return_sequences=True)),
            layers.LSTM(2),
        ]
    )
    randomize(model)
    cut_inputs(model.layers[0], [2])
    batch = np.random.default_rng(0).normal(size=(2, 5, 4, 1)).astype("float32")
    small = _check(model, batch)
    assert small.layers[0].filters == 2
    assert tuple(small.layers[1].target_shape) == (-1, 8)
    assert small.layers[2].forward_layer.cell.kernel.shape == (8, 6)


@pytest.mark.parametrize("recurrent", [layers.SimpleRNN, layers.LSTM, layers.GRU, hl.HLSTM])
@pytest.mark.parametrize("use_bias", [True, False])
def test_recurrent_layers_take_the_constants_of_dead_inputs(recurrent: Any, use_bias: bool) -> None:
    model = keras.Sequential(
        [
            keras.Input((3, 4)),
            layers.Dense(5, activation="sigmoid"),
            recurrent(2, use_bias=use_bias),
        ]
    )
    randomize(model)
    cut_inputs(model.layers[0], [1, 2])
    batch = np.random.default_rng(0).normal(size=(2, 3, 4)).astype("float32")
    # Without a bias there is nowhere to put sigmoid(b), so those units stay.
    assert _check(model, batch).layers[0].units == (3 if use_bias else 5)


def test_a_gru_without_reset_after_takes_constants_too() -> None:
    model = keras.Sequential(
        [keras.Input((3, 4)), layers.Dense(5, "sigmoid"), layers.GRU(2, reset_after=False)]
    )
    randomize(model)
    cut_inputs(model.layers[0], [1, 2])
    batch = np.random.default_rng(0).normal(size=(2, 3, 4)).astype("float32")
    assert _check(model, batch).layers[0].units == 3


def test_columns_of_an_embedding_go() -> None:
    model, batch = model_and_batch("embedding")
    zero(model.layers[0].embeddings, (slice(None), 1))
    cut_outputs(model.layers[1], [3], 4)
    assert _check(model, batch).layers[0].output_dim == 2


def test_a_fork_is_followed_to_all_its_readers() -> None:
    inputs = keras.Input((4,))
    x = layers.Dense(5, activation="relu", name="x")(inputs)
    left = layers.Dense(2, name="left")(x)
    right = layers.Dense(2, name="right")(layers.BatchNormalization(name="norm")(x))
    model = randomize(keras.Model(inputs, layers.Add()([left, right])))
    cut_outputs(model.get_layer("left"), [0, 1], 5)
    cut_outputs(model.get_layer("right"), [1, 2], 5)
    small = _check(model, np.ones((2, 4), "float32"))
    assert small.get_layer("x").units == 4  # only neuron 1 is read by neither
    assert small.get_layer("norm").gamma.shape == (4,)


def test_layers_that_are_called_twice_or_joined_keep_their_width() -> None:
    shared = layers.Dense(4, activation="relu", name="shared")
    inputs = keras.Input((4,))
    model = randomize(keras.Model(inputs, layers.Dense(2, name="last")(shared(shared(inputs)))))
    cut_outputs(model.get_layer("last"), [0], 4)
    assert _check(model, np.ones((2, 4), "float32")).get_layer("shared").units == 4
    a = layers.Dense(4, name="a")(inputs)
    joined = layers.Concatenate()([a, inputs])
    model = randomize(keras.Model(inputs, layers.Dense(2)(joined)))
    cut_inputs(model.get_layer("a"), [0])
    assert _check(model, np.ones((2, 4), "float32")).get_layer("a").units == 4


def test_nested_models_are_shrunk_inside_and_keep_their_outside() -> None:
    model, batch = model_and_batch("functional")
    inner = model.layers[2]
    cut_inputs(inner.layers[0], [0, 2])
    small = _check(model, batch)
    assert small.layers[2].layers[0].units == 3
    assert small.layers[2].output_shape == (None, 4)


@keras.saving.register_keras_serializable("hlstm_tf.tests")
class Halved(layers.Layer):
    """Works on every feature by itself; only `neuronwise` tells that to shrink."""

    def call(self, x: Any) -> Any:
        return x / 2


@pytest.mark.parametrize("neuronwise", [False, True])
def test_a_custom_layer_is_passed_through_if_it_says_so(neuronwise: bool) -> None:
    class Mine(Halved):
        pass

    Mine.neuronwise = neuronwise  # type: ignore[attr-defined]
    model = keras.Sequential([keras.Input((4,)), layers.Dense(5, "relu"), Mine(), layers.Dense(2)])
    cut_outputs(model.layers[2], [0], 5)
    assert _check(model, np.ones((2, 4), "float32")).layers[0].units == (4 if neuronwise else 5)


@settings(max_examples=8)
@given(
    widths=st.lists(st.integers(1, 5), min_size=1, max_size=3),
    activation=st.sampled_from(ACTIVATIONS),
    use_bias=st.booleans(),
    density=st.floats(0.0, 1.0),
    seed=st.integers(0, 1000),
)
def test_any_dense_net_with_random_masks_keeps_its_function(
    widths: list[int], activation: str, use_bias: bool, density: float, seed: int
) -> None:
    hidden = [hl.MaskedDense(n, activation=activation, use_bias=use_bias) for n in widths]
    model = keras.Sequential([keras.Input((4,)), *hidden, hl.MaskedDense(2, use_bias=use_bias)])
    mask_at_random(randomize(model, seed), density, seed)
    batch = np.random.default_rng(seed).normal(size=(3, 4)).astype("float32")
    small = _check(model, batch)
    assert _shapes(shrink(small)) == _shapes(small)  # nothing was left to take out
    for reader in small.layers[1:]:
        read = (reader.kernel.numpy() != 0).any(axis=1)
        assert read.all() or len(read) == 1


@settings(max_examples=8)
@given(
    padding=st.sampled_from(["valid", "same"]),
    activation=st.sampled_from(ACTIVATIONS),
    between=st.sampled_from(["norm", "pool", "pad", "nothing"]),
    end=st.sampled_from(["flatten", "average"]),
    density=st.floats(0.0, 0.6),
    seed=st.integers(0, 1000),
)
def test_any_convolutional_net_with_random_masks_keeps_its_function(
    padding: str, activation: str, between: str, end: str, density: float, seed: int
) -> None:
    middle = {
        "norm": layers.BatchNormalization(),
        "pool": layers.MaxPooling2D(2, padding="same"),
        "pad": layers.ZeroPadding2D(1),
        "nothing": layers.Dropout(0.1),
    }[between]
    model = keras.Sequential(
        [
            keras.Input((6, 6, 1)),
            hl.MaskedConv2D(3, 2, padding=padding, activation=activation),
            middle,
            hl.MaskedConv2D(3, 2, padding=padding, use_bias=False),
            layers.Activation(activation),
            layers.Flatten() if end == "flatten" else layers.GlobalAveragePooling2D(),
            hl.MaskedDense(2),
        ]
    )
    mask_at_random(randomize(model, seed), density, seed)
    _check(model, np.random.default_rng(seed).normal(size=(2, 6, 6, 1)).astype("float32"))


@pytest.mark.parametrize("name", ["lenet", "functional"])
def test_a_shrunk_model_survives_its_file_and_trains(name: str, tmp_path: Any) -> None:
    model, batch = model_and_batch(name)
    masked = mask_at_random(sparsify(model, 0.0), 0.3)
    small = _check(masked, batch)
    assert sum(map(np.prod, _shapes(small))) < sum(map(np.prod, _shapes(model)))
    small.save(f"{tmp_path}/small.keras")
    loaded = keras.models.load_model(f"{tmp_path}/small.keras")
    np.testing.assert_array_equal(outputs(loaded, batch), outputs(small, batch))
    if name == "lenet":
        loaded.compile("sgd", "mse")
        loaded.fit(batch, outputs(small, batch), verbose=0)


def test_what_is_no_built_model_is_refused() -> None:
    with pytest.raises(TypeError, match=r"`model` must be a keras.Model, got NoneType"):
        shrink(None)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="is not built"):
        shrink(keras.Sequential([layers.Dense(2)]))
