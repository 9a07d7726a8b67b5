"""Strip: plain layers with zeros, the same function."""

import keras
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import hlstm_tf as hl
from hlstm_tf.transforms import sparsify, strip
from tests.tiers import few
from tests.transforms.models import (
    MODELS,
    dense_net,
    mask_at_random,
    model_and_batch,
    outputs,
    recurrent_net,
    weights_of,
)


@pytest.mark.representatives("lenet", "recurrent", "functional")
@pytest.mark.parametrize("name", MODELS)
def test_strip_gives_plain_layers_with_zeros_and_the_same_function(name: str) -> None:
    model, batch = model_and_batch(name)
    masked = sparsify(model, 0.5)
    before = weights_of(masked)
    plain = strip(masked, verify_with=batch)
    np.testing.assert_array_equal(outputs(plain, batch), outputs(masked, batch))
    assert not hl.masked_kernels(plain)
    assert len(plain.weights) == len(strip(model).weights)
    assert sum(int((w == 0).sum()) for w in weights_of(plain)) > 0
    for weight, value in zip(masked.weights, before, strict=True):
        np.testing.assert_array_equal(weight.numpy(), value)


def test_every_twin_becomes_exactly_its_keras_layer() -> None:
    plain = strip(sparsify(recurrent_net(), 0.5))
    kinds = [type(layer).__name__ for layer in plain._flatten_layers()]
    assert not [kind for kind in kinds if kind.startswith("Masked")]
    assert plain.layers[3].masked is False
    assert type(plain.layers[4]) is keras.layers.GRU


def test_a_model_without_masks_is_copied() -> None:
    model = dense_net()
    copy = strip(model)
    assert copy is not model
    copy.layers[0].kernel.assign(keras.ops.zeros((6, 5)))
    assert model.layers[0].kernel.numpy().any()


@few(3)
@given(
    hidden=st.sampled_from([(), (3,), (4, 2)]),
    density=st.floats(0.0, 1.0),
    both_ways=st.booleans(),
    seed=st.integers(0, 1000),
)
def test_strip_keeps_the_function_of_any_masked_hlstm(
    hidden: tuple[int, ...], density: float, both_ways: bool, seed: int
) -> None:
    layer = hl.HLSTM(3, hidden_units=hidden, masked=True)
    model = keras.Sequential(
        [keras.Input((3, 2)), keras.layers.Bidirectional(layer) if both_ways else layer]
    )
    mask_at_random(model, density, seed)
    batch = np.random.default_rng(seed).normal(size=(2, 3, 2)).astype("float32")
    plain = strip(model)
    np.testing.assert_allclose(outputs(plain, batch), outputs(model, batch), atol=1e-6)
    assert len(plain.weights) < len(model.weights)


def test_a_stripped_model_loads_as_a_file_of_plain_layers(tmp_path: object) -> None:
    model, batch = model_and_batch("lenet")
    plain = strip(sparsify(model, 0.5))
    plain.save(f"{tmp_path}/plain.keras")
    with keras.saving.custom_object_scope({}):
        loaded = keras.models.load_model(f"{tmp_path}/plain.keras")
    np.testing.assert_array_equal(outputs(loaded, batch), outputs(plain, batch))


def test_what_is_no_built_model_is_refused() -> None:
    with pytest.raises(TypeError, match=r"`model` must be a keras.Model; got str"):
        strip("model.keras")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="is not built"):
        strip(keras.Sequential([hl.MaskedDense(2)]))
