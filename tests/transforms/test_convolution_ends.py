"""Neurons that go through depthwise, separable and transposed convolutions, and their masks."""

from typing import Any

import keras
import numpy as np
import pytest
from keras import layers

import hlstm_tf as hl

IMAGE = (7, 7, 3)


def model_of(*stack: keras.Layer, shape: tuple[int, ...] = IMAGE) -> keras.Sequential:
    """A model with weights and biases that are not zero."""
    model = keras.Sequential([keras.Input(shape), *stack])
    rng = np.random.default_rng(3)
    for variable in model.trainable_variables:
        variable.assign(rng.normal(size=variable.shape))
    return model


def silence(model: keras.Model, layer: str, kernel: str, axis: int, indices: list[int]) -> None:
    variable = getattr(model.get_layer(layer), kernel)
    rows = np.moveaxis(variable.numpy().copy(), axis, 0)
    rows[indices] = 0
    variable.assign(np.moveaxis(rows, 0, axis))


def shrunk(model: keras.Model) -> keras.Model:
    batch = np.random.default_rng(4).normal(size=(2, *model.input_shape[1:])).astype("float32")
    return hl.shrink(model, verify_with=batch)


@pytest.mark.representatives("1-valid", "2-same")
@pytest.mark.parametrize("padding", ["valid", "same"])
@pytest.mark.parametrize("strides", [1, 2])
def test_a_filter_that_nobody_reads_behind_a_depthwise_convolution_goes(
    padding: str, strides: int
) -> None:
    model = model_of(
        layers.Conv2D(6, 3, name="writer"),
        layers.BatchNormalization(),
        layers.ReLU(6.0),
        layers.DepthwiseConv2D(3, strides=strides, padding=padding, name="between"),
        layers.Conv2D(4, 1, padding="same", name="reader"),
    )
    silence(model, "reader", "kernel", -2, [0, 2, 5])
    small = shrunk(model)
    assert small.get_layer("writer").filters == 3
    assert small.get_layer("between").kernel.shape == (3, 3, 3, 1)
    assert small.get_layer("between").bias.shape == (3,)


@pytest.mark.parametrize("padding", ["valid", "same"])
def test_a_channel_that_a_depthwise_convolution_leaves_out_goes(padding: str) -> None:
    model = model_of(
        layers.Conv2D(6, 3, name="writer"),
        layers.DepthwiseConv2D(3, padding=padding, activation="relu", name="between"),
        layers.Conv2D(4, 1, padding="same"),
    )
    silence(model, "between", "kernel", -2, [1, 4])
    assert shrunk(model).get_layer("writer").filters == 4


def test_a_constant_that_padding_would_change_stays() -> None:
    model = model_of(
        layers.Conv2D(6, 3, name="writer"),
        layers.DepthwiseConv2D(3, padding="same"),
        layers.Conv2D(4, 1),
    )
    silence(model, "writer", "kernel", -1, [1])  # its bias is not zero
    assert shrunk(model).get_layer("writer").filters == 6


@pytest.mark.parametrize(
    "between",
    [
        layers.DepthwiseConv2D(3, depth_multiplier=2),
        layers.DepthwiseConv2D(3, activation="softmax"),
        layers.DepthwiseConv2D(3, data_format="channels_first"),
    ],
    ids=["multiplier", "softmax", "channels-first"],
)
def test_other_depthwise_convolutions_keep_their_width(between: keras.Layer) -> None:
    model = keras.Sequential(
        [keras.Input(IMAGE), layers.Conv2D(6, 3, name="writer"), between, layers.Conv2D(4, 1)]
    )
    silence(model, model.layers[-1].name, "kernel", -2, [0, 1])
    assert hl.shrink(model).get_layer("writer").filters == 6


@pytest.mark.representatives("True-valid-2", "True-same-1", "False-same-2")
@pytest.mark.parametrize("multiplier", [1, 2])
@pytest.mark.parametrize("padding", ["valid", "same"])
@pytest.mark.parametrize("use_bias", [True, False])
def test_channels_of_separable_convolutions_go(
    multiplier: int, padding: str, use_bias: bool
) -> None:
    arguments: dict[str, Any] = {"padding": padding, "depth_multiplier": multiplier}
    model = model_of(
        layers.SeparableConv2D(6, 3, name="writer", **arguments),
        layers.ReLU(),
        layers.SeparableConv2D(5, 3, name="reader", use_bias=use_bias, **arguments),
    )
    silence(model, "reader", "depthwise_kernel", -2, [0, 2])
    small = shrunk(model)
    assert small.get_layer("writer").filters == 4
    assert small.get_layer("reader").depthwise_kernel.shape == (3, 3, 4, multiplier)
    assert small.get_layer("reader").pointwise_kernel.shape == (1, 1, 4 * multiplier, 5)


def test_a_constant_filter_of_a_separable_convolution_goes_into_the_next_bias() -> None:
    model = model_of(
        layers.SeparableConv2D(6, 3, name="writer"),
        layers.SeparableConv2D(5, 3, use_bias=False, name="reader"),
    )
    silence(model, "writer", "pointwise_kernel", -1, [0, 2, 3])
    small = shrunk(model)
    assert small.get_layer("writer").filters == 3
    assert small.get_layer("reader").use_bias


@pytest.mark.parametrize("strides", [1, 2])
def test_channels_of_transposed_convolutions_go(strides: int) -> None:
    model = model_of(
        layers.Conv2DTranspose(6, 3, strides=strides, name="writer"),
        layers.ReLU(),
        layers.Conv2DTranspose(5, 3, strides=strides, name="reader"),
    )
    silence(model, "reader", "kernel", -1, [0, 2])
    small = shrunk(model)
    assert small.get_layer("writer").filters == 4
    assert small.get_layer("reader").kernel.shape == (3, 3, 5, 4)


@pytest.mark.representatives("magnitude", "output")
@pytest.mark.parametrize("score", ["magnitude", "gradient", "activation", "output"])
def test_neurons_are_pruned_across_every_kind_of_convolution(score: str) -> None:
    model = model_of(
        layers.Conv2D(16, 3),
        layers.SeparableConv2D(16, 3),
        layers.DepthwiseConv2D(2),
        layers.Conv2DTranspose(16, 3),
        layers.Conv2DTranspose(3, 2),
    )
    sparse = hl.sparsify(model, sparsity=0.0)
    sparse.compile("sgd", "mse")
    x = np.random.default_rng(0).normal(size=(4, *IMAGE)).astype("float32")
    data = x, np.zeros((4, *model.output_shape[1:]), "float32")
    pruning = hl.MagnitudePruning(0.5, structure="neuron", score=score, data=data)
    sparse.fit(*data, callbacks=[pruning], verbose=0)
    small = hl.shrink(sparse, verify_with=x)
    channels = [layer.kernel.shape[-2:] for layer in small.layers if hasattr(layer, "kernel")]
    assert channels == [(3, 8), (8, 1), (8, 8), (3, 8)]
    assert small.layers[1].pointwise_kernel.shape == (1, 1, 8, 8)
    masks = {kernel.name: kernel.mask.numpy() for kernel in hl.masked_kernels(sparse)[1:3]}
    assert masks["depthwise_kernel"].mean() == 0.5
    assert masks["pointwise_kernel"].mean() == 0.25


@pytest.mark.parametrize("tied", [True, False])
def test_a_reversible_embedding_has_one_mask_for_both_uses(tied: bool) -> None:
    inputs = keras.Input((5,), dtype="int32")
    table = layers.ReversibleEmbedding(12, 6, tie_weights=tied)
    hidden = layers.Dense(6, activation="tanh")(table(inputs))
    model = keras.Model(inputs, table(hidden, reverse=True))
    sparse = hl.sparsify(model, sparsity=0.5)
    names = [kernel.name for kernel in hl.masked_kernels(sparse)]
    assert names == ["embeddings", *([] if tied else ["reverse_embeddings"]), "kernel"]
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    sparse.compile("adam", loss)
    ids = np.random.default_rng(0).integers(0, 12, (8, 5))
    sparse.fit(ids, ids, callbacks=[hl.MagnitudePruning(0.75)], verbose=0)
    for kernel in hl.masked_kernels(sparse):
        assert kernel.mask.numpy().mean() == pytest.approx(0.25, abs=0.1)
        assert not kernel.variable.numpy()[~kernel.mask.numpy()].any()
    plain = hl.strip(sparse, verify_with=ids)
    assert type(plain.layers[1]) is layers.ReversibleEmbedding
    hl.shrink(sparse, verify_with=ids)


def test_the_matrix_of_a_transposed_kernel_has_its_filters_as_columns() -> None:
    layer = hl.MaskedConv1DTranspose(4, 3)
    layer.build((None, 8, 2))
    [kernel] = hl.masked_kernels(layer)
    values = np.arange(24.0).reshape(3, 4, 2)
    matrices = kernel.to_matrices(values)
    assert matrices.shape == (1, 6, 4)
    np.testing.assert_array_equal(matrices[0, :, 1], values[:, 1].ravel())
    np.testing.assert_array_equal(kernel.from_matrices(matrices), values)


def test_the_matrix_of_a_depthwise_kernel_has_a_column_for_each_output() -> None:
    layer = hl.MaskedDepthwiseConv2D(3, depth_multiplier=2)
    layer.build((None, 8, 8, 5))
    [kernel] = hl.masked_kernels(layer)
    assert kernel.matrices_shape == (1, 9, 10)
    values = np.random.default_rng(0).normal(size=kernel.shape)
    np.testing.assert_array_equal(kernel.from_matrices(kernel.to_matrices(values)), values)


def test_only_weights_that_are_alive_are_counted_as_a_separable_convolution_s_flops() -> None:
    model = hl.sparsify(model_of(layers.SeparableConv2D(4, 3)), sparsity=0.0)
    # 9 places of 3 channels and 3 x 4 products, at 5 x 5 positions.
    assert hl.summary(model, print_fn=None).flops == 2 * 25 * (27 + 12)
