"""Partial-area convolution: against loops and Conv2D, transformed and exported."""

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import hlstm_tf as hl
from tests.tiers import few

layers = keras.layers
RNG = np.random.default_rng(0)
X = RNG.normal(size=(3, 6, 5, 2)).astype("float32")


def assert_close(one: Any, other: Any) -> None:
    np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)


def test_each_product_is_used_where_its_area_is_and_nowhere_else() -> None:
    layer = hl.PartialAreaConv2D(2, (2, 3), bias_initializer="ones")
    layer.build((None, 6, 5, 2))
    assert [w.name for w in layer.weights] == ["kernel", "bias", "kernel_mask", "area"]
    area = RNG.random((5, 3, 2, 2)) < 0.5
    mask = RNG.random(layer.kernel.shape) < 0.7
    [kernel] = hl.masked_kernels(layer)
    hl.edit_masks({kernel: mask})
    layer.area.assign(area)
    weights = layer.kernel.numpy()
    expected = np.ones((3, 5, 3, 2))
    for p, q, m, n in np.ndindex(5, 3, 2, 2):
        window = X[:, p : p + 2, q : q + 3, m]
        expected[:, p, q, n] += area[p, q, m, n] * (window * weights[:, :, m, n]).sum(axis=(1, 2))
    assert_close(layer(X), expected)


@pytest.mark.parametrize(
    "options",
    [{}, {"padding": "same", "strides": 2}, {"dilation_rate": 2}, {"padding": "same"}],
    ids=str,
)
def test_with_whole_areas_it_is_conv2d_and_strip_makes_it_one(options: dict) -> None:
    model = keras.Sequential([keras.Input((6, 5, 2)), hl.PartialAreaConv2D(3, 2, **options)])
    plain = hl.strip(model, verify_with=X)
    assert type(plain.layers[0]) is layers.Conv2D
    assert_close(plain(X), model(X))


def net(padding: str = "valid") -> keras.Model:
    keras.utils.set_random_seed(2)
    model = keras.Sequential(
        [
            keras.Input((6, 5, 2)),
            hl.MaskedConv2D(4, 2, activation="relu", bias_initializer="ones", name="before"),
            hl.PartialAreaConv2D(
                3, 2, activation="relu", padding=padding, bias_initializer="ones", name="area"
            ),
            layers.Flatten(),
            hl.MaskedDense(2),
        ]
    )
    model.get_layer("area").area.assign(RNG.random(model.get_layer("area").area.shape) < 0.7)
    return model


@pytest.mark.parametrize("padding", ["valid", "same"])
def test_shrink_takes_maps_out_before_it_and_of_it(padding: str) -> None:
    model = net(padding)
    before, own, _ = hl.masked_kernels(model)
    masks = [before.mask.numpy().copy(), own.mask.numpy().copy()]
    masks[0][..., 1] = False  # puts out a constant
    masks[1][..., 3, :] = False  # is not read
    masks[1][..., 0] = False
    hl.edit_masks({before: masks[0], own: masks[1]})
    area = model.get_layer("area").area.numpy()
    area[:, :, :, 1] = False  # a filter whose areas are empty is a constant, too
    area[:, :, 1, 2] = True  # the constant is read whole by this filter
    model.get_layer("area").area.assign(area)
    shrunk = hl.shrink(model, verify_with=X)
    partial = shrunk.get_layer("area")
    assert partial.filters == 1
    # Padded, a constant is none at the border.
    expected = 2 if padding == "valid" else 3
    assert shrunk.get_layer("before").filters == expected
    assert hl.masked_kernels(shrunk) == []
    assert partial.area.shape[2:] == (expected, 1)


@few(4)
@given(st.integers(0, 10**6), st.sampled_from(["valid", "same"]), st.sampled_from([0.1, 0.5, 0.9]))
def test_any_masks_and_areas_keep_the_function(seed: int, padding: str, keep: float) -> None:
    rng = np.random.default_rng(seed)
    model = net(padding)
    before, own, out = hl.masked_kernels(model)
    # By whole maps, so that some die, and by single connections.
    edits = {k: rng.random(k.shape) < keep for k in (before, own, out)}
    edits[before][..., rng.random(4) < 0.4] = False
    edits[own][..., rng.random(3) < 0.4] = False
    hl.edit_masks(edits)
    area = model.get_layer("area").area
    chosen = rng.random(area.shape) < keep
    chosen[:, :, rng.random((4, 3)) < 0.5] = rng.random() < 0.5
    area.assign(chosen)
    shrunk = hl.shrink(model, verify_with=X)
    flops = [hl.summary(m, print_fn=None).flops for m in (shrunk, hl.strip(model))]
    assert flops[0] <= flops[1]


def test_a_constant_that_is_used_in_a_part_of_the_picture_stays() -> None:
    model = net()
    before = hl.masked_kernels(model)[0]
    mask = before.mask.numpy().copy()
    mask[..., 1] = False
    hl.edit_masks({before: mask})
    assert not model.get_layer("area").area.numpy()[:, :, 1].all()
    assert hl.shrink(model, verify_with=X).get_layer("before").filters == 4


def test_flops_are_counted_where_products_are_used() -> None:
    model = net()
    layer = model.get_layer("area")
    [_, kernel, _] = hl.masked_kernels(model)
    hl.edit_masks({kernel: RNG.random(kernel.shape) < 0.5})
    used = layer.area.numpy().sum(axis=(0, 1))
    expected = 2 * (kernel.mask.numpy().sum(axis=(0, 1)) * used).sum()
    for counted in (model, hl.strip(model)):
        parts = {p["name"]: p for p in hl.summary(counted, print_fn=None).to_dict()["layers"]}
        assert parts["area"]["flops"] == expected
        assert parts["area"]["parameters"] == kernel.mask.numpy().sum() + 3
    assert "area" in str(hl.summary(model, print_fn=None))


def test_sparsify_keeps_areas_and_gives_new_masks() -> None:
    model = net()
    sparse = hl.sparsify(hl.strip(model), 0.5)
    np.testing.assert_array_equal(
        sparse.get_layer("area").area.numpy(), model.get_layer("area").area.numpy()
    )
    assert hl.masked_kernels(sparse)[1].mask.numpy().sum() == 24


def test_the_variables_of_conv2d_load_under_the_areas() -> None:
    plain, partial = layers.Conv2D(3, 2), hl.PartialAreaConv2D(3, 2)
    plain.build((None, 6, 5, 2))
    partial.build((None, 6, 5, 2))
    area = RNG.random((5, 4, 2, 3)) < 0.5
    partial.area.assign(area)
    store: dict[str, Any] = {}
    plain.save_own_variables(store)
    partial.load_own_variables(store)
    np.testing.assert_array_equal(partial.kernel.numpy(), plain.kernel.numpy())
    np.testing.assert_array_equal(partial.area.numpy(), area)


@pytest.mark.parametrize("options", [{}, {"padding": "same", "strides": 2}, {"dilation_rate": 2}])
def test_it_exports_to_tflite_with_builtin_operations(options: dict, tmp_path: Path) -> None:
    layer = hl.PartialAreaConv2D(3, 2, **options)
    model = keras.Sequential([keras.Input((6, 5, 2)), layer])
    layer.area.assign(RNG.random(layer.area.shape) < 0.5)
    # Other than builtin operations it refuses to write.
    hl.export_tflite(model, tmp_path / "model.tflite", verify_with=X)
    loaded = hl.load_tflite(tmp_path / "model.tflite")
    assert_close(loaded(X), model(X))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"groups": 2}, "groups must be 1"),
        ({"strides": (1, 2)}, "strides must be equal"),
        ({"data_format": "channels_first"}, "data_format must be 'channels_last'"),
    ],
)
def test_what_it_cannot_do_is_named(arguments: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        hl.PartialAreaConv2D(4, 2, **arguments)


def test_pictures_of_any_size_are_refused() -> None:
    with pytest.raises(ValueError, match="needs pictures of a fixed size"):
        hl.PartialAreaConv2D(4, 2)(keras.Input((None, 5, 2)))
