"""Products are left out where they are small, and a pair of maps without an area is gone."""

import keras
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import hlstm_tf as hl
from hlstm_tf.callbacks.area_pruning import product_sizes, prune_areas
from tests.tiers import few

layers = keras.layers
RNG = np.random.default_rng(0)
X = RNG.normal(size=(6, 5, 5, 2)).astype("float32")
Y = RNG.normal(size=(6, 1)).astype("float32")


def net(**options) -> keras.Model:
    keras.utils.set_random_seed(1)
    model = keras.Sequential(
        [
            keras.Input((5, 5, 2)),
            hl.PartialAreaConv2D(3, 3, activation="relu", name="area", **options),
            layers.Flatten(),
            hl.MaskedDense(1),
        ]
    )
    model.compile("adam", "mse", run_eagerly=True)
    return model


def test_products_are_those_of_the_pairs_of_maps() -> None:
    model = net(padding="same")
    layer = model.get_layer("area")
    kernel = layer.kernel.numpy()
    expected = np.stack(
        [
            keras.ops.conv(X[..., m : m + 1], kernel[:, :, m : m + 1], padding="same").numpy()
            for m in range(2)
        ],
        axis=3,
    )
    np.testing.assert_allclose(layer.products(X), expected, rtol=1e-5, atol=1e-6)
    [sizes] = product_sizes(model, (X, Y), 4, 1.0, "a test")
    np.testing.assert_allclose(sizes, np.abs(expected).mean(axis=0), rtol=1e-4, atol=1e-6)


def test_the_smallest_products_go_as_worked_by_hand() -> None:
    model = keras.Sequential([keras.Input((1, 3, 2)), hl.PartialAreaConv2D(1, 1, use_bias=False)])
    layer = model.layers[0]
    layer.kernel.assign(np.array([1.0, -2.0]).reshape(1, 1, 2, 1))
    x = np.array([[[[1.0, 1.0], [2.0, 0.1], [3.0, -3.0]]], [[[3.0, 1.0], [0.0, 0.1], [3.0, 1.0]]]])
    # Means of magnitudes: 2, 1, 3 of the first map and 2, 0.2, 4 of the second.
    assert prune_areas(model, 0.4, (x, np.zeros(2))) == 2
    assert layer.area.numpy()[0, :, :, 0].tolist() == [[True, True], [False, False], [True, True]]
    assert prune_areas(model, 0.5, (x, np.zeros(2))) == 2
    assert layer.area.numpy()[0, :, :, 0].tolist() == [[False, False], [False, False], [True, True]]


@few(4)
@given(st.floats(0, 1), st.integers(0, 99))
def test_areas_only_narrow_and_pairs_without_one_lose_their_connections(
    ratio: float, seed: int
) -> None:
    model = net()
    layer = model.get_layer("area")
    rng = np.random.default_rng(seed)
    [kernel, _] = hl.masked_kernels(model)
    hl.edit_masks({kernel: rng.random(kernel.shape) < 0.2})
    before = rng.random(layer.area.shape) < 0.3
    layer.area.assign(before)
    connected = kernel.mask.numpy().any(axis=(0, 1))
    removed = prune_areas(model, ratio, (X, Y))
    area = layer.area.numpy()
    assert not (area & ~before).any()
    assert removed == before.sum() - area.sum()
    in_use = (before & connected).sum()
    assert removed <= np.ceil(ratio * in_use) + 1
    np.testing.assert_array_equal(area[..., ~connected], before[..., ~connected])
    left = kernel.mask.numpy().any(axis=(0, 1))
    np.testing.assert_array_equal(left, connected & area.any(axis=(0, 1)))
    assert not kernel.variable.numpy()[~kernel.mask.numpy()].any()


def test_the_callback_prunes_at_its_epochs_and_training_goes_on() -> None:
    model = net()
    pruning = hl.AreaPruning(0.5, (X, Y), epochs=[0, 1], batch_size=4, verbose=0)
    history = model.fit(X, Y, epochs=4, callbacks=[pruning], verbose=0)
    assert [record["epoch"] for record in pruning.history] == [0, 1]
    assert [record["positions"] for record in pruning.history] == [27, 14]
    assert history.history["loss"][-1] < history.history["loss"][1]
    assert model.get_layer("area").area.numpy().sum() == 14
    with pytest.raises(ValueError, match="has no PartialAreaConv2D"):
        prune_areas(keras.Sequential([keras.Input((2,)), layers.Dense(1)]), 0.1, (X, Y))
    with pytest.raises(ValueError, match="`ratio` must be a number between 0 and 1"):
        hl.AreaPruning(1.5, (X, Y))


def test_grow_and_prune_takes_areas_back_with_the_rest() -> None:
    model = net()
    gp = hl.GrowAndPrune(
        (X, Y),
        None,
        hl.Pruning(0.5, retrain_epochs=1, min_step=0.5),
        monitor="loss",
        threshold=1e-9,
        mode="min",
        train_epochs=0,
        verbose=0,
    )
    # The first iteration fails for its threshold, and the areas that went in it come back.
    model.fit(X, Y, epochs=2, callbacks=[hl.AreaPruning(0.5, (X, Y), verbose=0), gp], verbose=0)
    assert gp.progress.phase.value == "finished"
    assert model.get_layer("area").area.numpy().all()
