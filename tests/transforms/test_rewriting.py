"""Making models anew from their configuration: what is kept, and what cannot be done."""

from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

import hlstm_tf as hl
from hlstm_tf.transforms import sparsify, strip
from tests.transforms.models import outputs, randomize, with_attributes

layers = keras.layers


def test_trainable_flags_are_kept_layer_by_layer() -> None:
    inner = keras.Sequential([keras.Input((4,)), layers.Dense(4), layers.Dense(4)], name="inner")
    model = keras.Sequential([keras.Input((4,)), inner, layers.Dense(2)])
    inner.layers[0].trainable = False
    model.layers[1].trainable = False
    new = sparsify(model)
    flags = [inner.trainable, *(layer.trainable for layer in inner.layers)]
    kept = new.layers[0]
    assert [kept.trainable, *(layer.trainable for layer in kept.layers)] == flags
    assert len(new.trainable_weights) == len(model.trainable_weights) == 2


def test_the_state_of_random_generators_is_kept() -> None:
    model = keras.Sequential([keras.Input((50,)), layers.Dropout(0.5, seed=3)])
    model.add(layers.Dense(50, kernel_initializer="identity"))
    batch = np.ones((1, 50), "float32")
    model(batch, training=True)
    new = sparsify(model, 0.0)
    np.testing.assert_array_equal(new(batch, training=True), model(batch, training=True))


def test_adapted_preprocessing_is_kept() -> None:
    numbers = layers.Normalization()
    numbers.adapt(np.array([[1.0, 10.0], [3.0, 30.0]]))
    words = layers.StringLookup()
    words.adapt(["a", "b", "b"])
    inputs = {"n": keras.Input((2,), name="n"), "w": keras.Input((1,), dtype="string", name="w")}
    embedded = layers.Flatten()(layers.Embedding(5, 2)(words(inputs["w"])))
    joined = layers.Concatenate()([numbers(inputs["n"]), embedded])
    model = keras.Model(inputs, layers.Dense(2)(joined))
    batch = {"n": tf.constant([[2.0, 7.0]]), "w": tf.constant([["a"]])}
    np.testing.assert_array_equal(outputs(sparsify(model, 0.0), batch), outputs(model, batch))


def test_a_shared_layer_stays_shared() -> None:
    shared, inputs = layers.Dense(4), keras.Input((4,))
    new = sparsify(keras.Model(inputs, shared(shared(inputs))))
    assert len(hl.masked_kernels(new)) == 1


@keras.saving.register_keras_serializable("tests")
class Unnamed(layers.Layer):
    """Makes layers inside, and leaves it to Keras to name them."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.parts = [layers.Dense(4), layers.Dropout(0.1), layers.Dense(4)]

    def build(self, input_shape: Any) -> None:
        for part in self.parts:
            part.build(input_shape)

    def call(self, inputs: Any) -> Any:
        for part in self.parts:
            inputs = part(inputs)
        return inputs


def test_layers_that_name_nothing_inside_them_are_left_as_they_are() -> None:
    inputs = keras.Input((None, 4))
    x = layers.Dropout(0.1)(Unnamed()(Unnamed()(inputs)))
    x = layers.MultiHeadAttention(2, 4, dropout=0.1)(x, x)
    model = randomize(keras.Model(inputs, layers.Dense(2)(x)))
    batch = np.random.default_rng(0).normal(size=(2, 5, 4)).astype("float32")
    with pytest.warns(UserWarning, match="left"):
        new = sparsify(model, 0.0)
    np.testing.assert_allclose(new(batch), model(batch), atol=1e-6)
    np.testing.assert_allclose(hl.shrink(new, verify_with=batch)(batch), model(batch), atol=1e-6)


def test_a_layer_that_two_nested_models_share_is_refused() -> None:
    shared = layers.Dense(4, name="shared")
    one = keras.Sequential([keras.Input((4,)), shared])
    two = keras.Sequential([keras.Input((4,)), shared])
    inputs = keras.Input((4,))
    with pytest.raises(ValueError, match=r"cannot be rewritten: .* two nested models share"):
        sparsify(keras.Model(inputs, two(one(inputs))))


def test_lambdas_and_unregistered_classes_of_the_model_are_found() -> None:
    class Local(layers.Layer):
        def call(self, x: Any) -> Any:
            return x + 1

    model = keras.Sequential(
        [keras.Input((4,)), layers.Lambda(lambda x: 2 * x), Local(), layers.Dense(2)]
    )
    batch = np.ones((1, 4), "float32")
    np.testing.assert_array_equal(outputs(sparsify(model, 0.0), batch), outputs(model, batch))


def test_policies_and_input_names_are_kept() -> None:
    inputs = keras.Input((4,), name="frames")
    dense = layers.Dense(3, dtype="mixed_bfloat16", name="half")
    model = keras.Model({"frames": inputs}, {"out": dense(inputs)})
    new = sparsify(model, 0.5)
    assert new.get_layer("half").compute_dtype == "bfloat16"
    assert set(new({"frames": np.ones((1, 4), "float32")})) == {"out"}


def test_twins_in_attributes_come_in_the_order_of_the_weights_before() -> None:
    model = randomize(with_attributes())
    new = strip(sparsify(model, 0.0))
    for old, weight in zip(model.weights, new.weights, strict=True):
        np.testing.assert_array_equal(old.numpy(), weight.numpy())


def test_a_file_of_a_model_with_twins_in_attributes_is_refused_when_it_is_read(
    tmp_path: Any,
) -> None:
    new = sparsify(with_attributes(), 0.5)
    new.save(f"{tmp_path}/model.keras")
    with pytest.raises(ValueError, match="could not be loaded"):
        keras.models.load_model(f"{tmp_path}/model.keras")
    again = sparsify(with_attributes(), 0.0)
    new.save_weights(f"{tmp_path}/model.weights.h5")
    again.load_weights(f"{tmp_path}/model.weights.h5")
    batch = np.ones((2, 3, 3), "float32")
    np.testing.assert_array_equal(outputs(again, batch), outputs(new, batch))


@keras.saving.register_keras_serializable("hlstm_tf.tests")
class OwnConstructor(keras.Model):
    """A functional model made in a constructor: its layers cannot be replaced."""

    def __init__(self, units: int = 2, **kwargs: Any) -> None:
        self.units = units
        inputs = keras.Input((4,))
        super().__init__(inputs=inputs, outputs=layers.Dense(units)(inputs), **kwargs)

    def get_config(self) -> dict[str, Any]:
        return {"units": self.units, "name": self.name}


@keras.saving.register_keras_serializable("hlstm_tf.tests")
class NoConfig(keras.Model):
    """A subclassed model that needs an argument and does not say which."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.dense = layers.Dense(width)

    def call(self, x: Any) -> Any:
        return self.dense(x)


def test_models_that_cannot_be_made_again_are_refused_in_one_line() -> None:
    with pytest.raises(ValueError, match="its constructor builds the layers") as caught:
        sparsify(OwnConstructor())
    assert "\n" not in str(caught.value)
    model = NoConfig(3)
    model(np.ones((1, 4), "float32"))
    with pytest.raises(ValueError, match=r"'no_config' \(NoConfig\) cannot be rewritten") as caught:
        sparsify(model)
    assert "\n" not in str(caught.value)
