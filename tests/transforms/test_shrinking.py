"""Shrink: dead neurons go, the function stays."""

from typing import Any

import keras
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import hlstm_tf as hl
from hlstm_tf.transforms import shrink, sparsify, strip
from tests.tiers import few
from tests.transforms.models import (
    ACTIVATIONS,
    MODELS,
    check_shrunk,
    mask_at_random,
    model_and_batch,
    outputs,
    randomize,
    shapes,
)

layers = keras.layers


@pytest.mark.representatives("lenet", "recurrent", "embedding", "with_loss")
@pytest.mark.parametrize("name", MODELS)
def test_a_model_without_dead_neurons_stays_as_it_is(name: str) -> None:
    model, batch = model_and_batch(name)
    small = check_shrunk(model, batch)
    assert type(small) is type(model)
    assert shapes(small) == shapes(strip(model))


@few(4)
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
    small = check_shrunk(model, batch)
    assert shapes(shrink(small)) == shapes(small)  # nothing was left to take out
    for reader in small.layers[1:]:
        read = (reader.kernel.numpy() != 0).any(axis=1)
        assert read.all() or len(read) == 1


@few(4)
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
    check_shrunk(model, np.random.default_rng(seed).normal(size=(2, 6, 6, 1)).astype("float32"))


@pytest.mark.parametrize("name", ["lenet", "functional"])
def test_a_shrunk_model_survives_its_file_and_trains(name: str, tmp_path: Any) -> None:
    model, batch = model_and_batch(name)
    masked = mask_at_random(sparsify(model, 0.0), 0.3)
    small = check_shrunk(masked, batch)
    assert sum(map(np.prod, shapes(small))) < sum(map(np.prod, shapes(model)))
    small.save(f"{tmp_path}/small.keras")
    loaded = keras.models.load_model(f"{tmp_path}/small.keras")
    np.testing.assert_array_equal(outputs(loaded, batch), outputs(small, batch))
    if name == "lenet":
        loaded.compile("sgd", "mse")
        loaded.fit(batch, outputs(small, batch), verbose=0)


def test_what_is_no_built_model_is_refused() -> None:
    with pytest.raises(TypeError, match=r"`model` must be a keras.Model; got NoneType"):
        shrink(None)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="is not built"):
        shrink(keras.Sequential([layers.Dense(2)]))


@keras.saving.register_keras_serializable(package="test_shrinking")
class Counted(keras.layers.Layer):
    """Passes its input on, and counts how often a layer of it was made."""

    made = 0

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        Counted.made += 1

    def call(self, inputs: Any) -> Any:
        return inputs


def test_a_masked_model_is_made_again_once() -> None:
    model = keras.Sequential([keras.Input((4,)), hl.MaskedDense(3), Counted(), hl.MaskedDense(2)])
    made = Counted.made
    small = shrink(model)
    assert Counted.made == made + 1
    assert [type(layer) for layer in small.layers] == [layers.Dense, Counted, layers.Dense]


def test_a_weight_that_an_average_left_at_a_dormant_place_counts_as_zero() -> None:
    model = keras.Sequential([keras.Input((4,)), hl.MaskedDense(3), hl.MaskedDense(2)])
    kernel = hl.masked_kernels(model)[0]
    mask = np.ones(kernel.shape, bool)
    mask[:, 1] = False
    hl.edit_masks({kernel: mask})
    kernel.variable.assign(np.ones(kernel.shape))  # as Keras does with moving averages
    batch = np.ones((2, 4), "float32")
    small = shrink(model, verify_with=batch)
    assert small.layers[0].units == 2


def test_a_convolution_whose_areas_are_all_in_use_becomes_a_plain_narrow_one() -> None:
    model = keras.Sequential(
        [
            keras.Input((6, 6, 2)),
            hl.PartialAreaConv2D(5, 3, activation="relu"),
            hl.PartialAreaConv2D(4, 3, name="partial"),
            layers.Flatten(),
            hl.MaskedDense(2),
        ]
    )
    area = np.ones(model.layers[1].area.shape, bool)
    area[0] = False
    model.layers[1].area.assign(area)
    kernel = hl.masked_kernels(model)[0]
    mask = np.ones(kernel.shape, bool)
    mask[..., 2:4] = False
    hl.edit_masks({kernel: mask})
    batch = np.random.default_rng(0).normal(size=(2, 6, 6, 2)).astype("float32")
    small = shrink(model, verify_with=batch)
    assert [type(layer) for layer in small.layers[:2]] == [layers.Conv2D, hl.PartialAreaConv2D]
    assert small.layers[0].filters == 3
    assert small.layers[1].area.shape == (2, 2, 3, 4)
