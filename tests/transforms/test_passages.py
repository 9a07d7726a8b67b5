"""What neurons go through in shrink: normalization, pooling, padding, merging."""

from typing import Any

import keras
import numpy as np
import pytest

from tests.transforms.models import check_shrunk, cut_inputs, cut_outputs, lenet, randomize

layers = keras.layers


def test_filters_go_through_pooling_normalization_and_flatten() -> None:
    model = randomize(lenet())
    conv_1, conv_2, dense = model.layers[0], model.layers[2], model.layers[7]
    cut_inputs(conv_1, [1])
    cut_outputs(conv_2, [2], 4)
    cut_inputs(conv_2, [0, 3])
    cut_outputs(dense, [4], 5)
    cut_outputs(model.layers[8], [5], 8)
    rng = np.random.default_rng(0)
    small = check_shrunk(model, rng.normal(size=(2, 12, 12, 1)).astype("float32"))
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
        (activation, padding): check_shrunk(model(activation, padding), batch).layers[0].filters
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
    assert check_shrunk(model, batch).layers[0].filters == 2


def test_constants_go_through_every_kind_of_passage() -> None:
    passages = [
        layers.AveragePooling2D(2, strides=1, padding="same"),
        layers.LeakyReLU(0.3),
        layers.MaxPooling2D(2, strides=1, padding="same"),
        layers.BatchNormalization(scale=False),
        layers.UpSampling2D(2, interpolation="bilinear"),
        layers.Activation("gelu"),
        layers.Cropping2D(1),
        layers.SpatialDropout2D(0.1),
        layers.BatchNormalization(center=False),
        layers.ELU(),
        layers.GaussianNoise(0.1),
        layers.ReLU(negative_slope=0.2, threshold=0.1),
    ]
    model = keras.Sequential(
        [
            keras.Input((5, 5, 1)),
            layers.Conv2D(4, 2, activation="tanh"),
            *passages,
            layers.Conv2D(3, 3, use_bias=False),
            layers.GlobalMaxPooling2D(),
            layers.RepeatVector(2),
            layers.BatchNormalization(),
            layers.TimeDistributed(layers.Dense(2)),
        ]
    )
    randomize(model)
    first, second = model.layers[0], model.layers[len(passages) + 1]
    cut_inputs(first, [0, 2])
    cut_inputs(second, [1])
    batch = np.random.default_rng(0).normal(size=(2, 5, 5, 1)).astype("float32")
    small = check_shrunk(model, batch)
    assert (small.layers[0].filters, small.layers[len(passages) + 1].filters) == (2, 2)


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
    small = check_shrunk(model, batch)
    assert small.layers[0].filters == 2
    assert tuple(small.layers[1].target_shape) == (-1, 8)
    assert small.layers[2].forward_layer.cell.kernel.shape == (8, 6)


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
    assert check_shrunk(model, np.ones((2, 4), "float32")).layers[0].units == (
        4 if neuronwise else 5
    )
