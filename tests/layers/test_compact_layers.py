"""Compact layers against Keras's layers with the dense matrices that the factors stand for."""

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

import hlstm_tf as hl
from hlstm_tf.layers.cells import compact_kernels
from hlstm_tf.layers.matrix_forms import side_by_side

RNG = np.random.default_rng(11)
X = RNG.standard_normal((3, 7, 6)).astype("float32")
FORMS: dict[str, Any] = {
    "low-rank": hl.LowRank(2),
    "shared-low-rank": hl.SharedLowRank(3),
    "kronecker": hl.Kronecker((2, 4)),
    "doped": hl.Kronecker(doped=0.25),
    "toeplitz-like": hl.ToeplitzLike(1),
    "one-kernel": {"recurrent_kernel": hl.LowRank(2), "kernel": None},
    "dense": None,
}
each_form = pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
CLASSES: dict[str, tuple[Any, Any, dict[str, Any]]] = {
    "SimpleRNN": (hl.CompactSimpleRNN, keras.layers.SimpleRNN, {}),
    "LSTM": (hl.CompactLSTM, keras.layers.LSTM, {}),
    "GRU": (hl.CompactGRU, keras.layers.GRU, {}),
    "GRU-reset-before": (hl.CompactGRU, keras.layers.GRU, {"reset_after": False}),
}
each_class = pytest.mark.parametrize("kind", CLASSES)


def scrambled(layer: keras.layers.Layer) -> None:
    for variable in layer.trainable_variables:
        variable.assign(0.5 * RNG.standard_normal(variable.shape))


def dense_twin(layer: Any, twin: Any) -> Any:
    """Gives a plain Keras layer the matrices that a compact one stands for."""
    cell, other = getattr(layer, "cell", layer), getattr(twin, "cell", twin)
    for name in ("kernel", "recurrent_kernel"):
        if hasattr(other, name):
            compact = compact_kernels(cell).get(name)
            value = getattr(cell, name) if compact is None else side_by_side(compact.dense())
            getattr(other, name).assign(value)
    other.bias.assign(cell.bias)
    return twin


@pytest.mark.representatives(
    "low-rank-LSTM", "shared-low-rank-GRU", "kronecker-GRU-reset-before", "toeplitz-like-SimpleRNN"
)
@each_class
@each_form
def test_outputs_are_those_of_the_dense_layer(kind: str, form: Any) -> None:
    compact, plain, arguments = CLASSES[kind]
    layer = compact(8, kernel_form=form, return_sequences=True, **arguments)
    twin = plain(8, return_sequences=True, **arguments)
    layer.build(X.shape), twin.build(X.shape)
    scrambled(layer)
    dense_twin(layer, twin)
    np.testing.assert_allclose(layer(X), twin(X), rtol=1e-4, atol=1e-5)
    mask = np.array([[1] * 7, [1, 1, 1, 0, 0, 0, 0], [0, 1, 1, 1, 1, 1, 0]], bool)
    np.testing.assert_allclose(layer(X, mask=mask), twin(X, mask=mask), rtol=1e-4, atol=1e-5)


@each_form
def test_a_dense_layer_computes_the_product(form: Any) -> None:
    if isinstance(form, dict):
        form = {"kernel": hl.LowRank(3)}
    layer, twin = hl.CompactDense(8, "tanh", kernel_form=form), keras.layers.Dense(8, "tanh")
    layer.build(X.shape), twin.build(X.shape)
    scrambled(layer)
    np.testing.assert_allclose(layer(X), dense_twin(layer, twin)(X), rtol=1e-4, atol=1e-5)


def gradients(layer: Any, training: bool) -> list[np.ndarray]:
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(tf.sin(2.0 * layer(X, training=training)))
    return [np.asarray(each) for each in tape.gradient(loss, layer.trainable_variables)]


@pytest.mark.representatives("low-rank-GRU", "kronecker-LSTM", "doped-GRU-reset-before")
@pytest.mark.parametrize("kind", ["LSTM", "GRU", "GRU-reset-before"])
@each_form
def test_the_hand_written_backward_pass_gives_the_gradients_of_the_plain_loop(
    kind: str, form: Any
) -> None:
    compact, _, arguments = CLASSES[kind]
    layer = compact(8, kernel_form=form, return_sequences=True, **arguments)
    layer.build(X.shape)
    scrambled(layer)
    for fast, plain in zip(gradients(layer, True), gradients(layer, False), strict=True):
        np.testing.assert_allclose(fast, plain, rtol=1e-3, atol=1e-4 * np.abs(plain).max())


HIDDEN: dict[str, Any] = {
    "one-layer": {"hidden_units": 10},
    "two-layers": {"hidden_units": (10, 6)},
    "gates-of-different-widths": {"hidden_units": ((10, 6, 4, 5),)},
}


@pytest.mark.representatives(
    "low-rank-gates-of-different-widths",
    "shared-low-rank-two-layers",
    "kronecker-by-itself-one-layer",
)
@pytest.mark.parametrize("hidden", HIDDEN)
@pytest.mark.parametrize("form", ["low-rank", "shared-low-rank", "kronecker-by-itself"])
def test_an_hlstm_with_compact_kernels_computes_what_a_dense_one_does(
    hidden: str, form: str
) -> None:
    given = {**FORMS, "kronecker-by-itself": hl.Kronecker()}[form]
    if hidden == "gates-of-different-widths" and form == "kronecker-by-itself":
        with pytest.raises(ValueError, match="take low-rank forms only; got Kronecker"):
            hl.HLSTM(8, kernel_form=given, **HIDDEN[hidden])
        return
    layer = hl.HLSTM(8, kernel_form=given, return_sequences=True, **HIDDEN[hidden])
    twin = hl.HLSTM(8, return_sequences=True, masked=False, **HIDDEN[hidden])
    layer.build(X.shape), twin.build(X.shape)
    scrambled(layer)
    for variable in twin.cell.trainable_variables:
        compact = compact_kernels(layer.cell).get(variable.name)
        if compact is None:
            variable.assign(getattr(layer.cell, variable.name))
            continue
        matrices = compact.dense()
        axis = 1 if variable.name in ("kernel", "recurrent_kernel") else 0
        one = len(variable.shape) == 2
        variable.assign(matrices[0] if one else np.moveaxis(matrices, 0, axis))
    np.testing.assert_allclose(layer(X), twin(X), rtol=1e-4, atol=1e-5)
    for fast, plain in zip(gradients(layer, True), gradients(layer, False), strict=True):
        np.testing.assert_allclose(fast, plain, rtol=1e-3, atol=1e-4 * np.abs(plain).max())


def test_a_doped_kernel_has_masks_that_let_its_fraction_exist() -> None:
    layer = hl.CompactLSTM(8, kernel_form=hl.Kronecker(doped=0.25))
    layer.build(X.shape)
    masks = {kernel.name: np.asarray(kernel.mask) for kernel in hl.masked_kernels(layer)}
    assert layer.masked
    assert masks["kernel_sparse"].sum() == 0.25 * masks["kernel_sparse"].size
    assert masks["recurrent_kernel_sparse"].mean() == 0.25
    assert masks["kernel_left"].all()
    assert not hl.CompactLSTM(8, kernel_form=hl.Kronecker()).masked


def test_layers_of_one_shape_have_sparse_parts_of_their_own() -> None:
    def masks() -> list[np.ndarray]:
        keras.utils.set_random_seed(2)
        layers = [hl.CompactDense(8, kernel_form=hl.Kronecker(doped=0.25)) for _ in range(2)]
        for layer in layers:
            layer.build((None, 6))
        return [np.asarray(layer.kernel_sparse_mask) for layer in layers]

    first, second = masks()
    assert (first != second).any()
    np.testing.assert_array_equal(masks()[1], second)


def test_a_seed_gives_the_same_factors_again() -> None:
    def made() -> list[np.ndarray]:
        keras.utils.set_random_seed(4)
        layer = hl.CompactGRU(8, kernel_form=hl.LowRank(2))
        layer.build(X.shape)
        return layer.get_weights()

    for one, other in zip(made(), made(), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("form", [form for form in FORMS if form != "one-kernel"])
def test_a_kernel_that_starts_at_zero_learns(form: str) -> None:
    layer = hl.CompactDense(8, kernel_form=FORMS[form], kernel_initializer="zeros", use_bias=False)
    np.testing.assert_array_equal(layer(X), np.zeros((3, 7, 8)))
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(layer(X))
    gradients = tape.gradient(loss, layer.trainable_variables)
    assert any(np.any(gradient) for gradient in gradients)


@pytest.mark.representatives("float64")
@pytest.mark.parametrize("dtype", ["float64", "bfloat16"])
def test_factors_have_the_layer_s_own_type(dtype: str) -> None:
    layer = hl.CompactLSTM(8, kernel_form=hl.LowRank(2), dtype=dtype)
    assert layer(X).dtype == dtype
    assert {variable.dtype for variable in layer.trainable_variables} == {dtype}


def test_dropout_makes_one_choice_for_all_steps_and_gates() -> None:
    layer = hl.CompactLSTM(8, kernel_form=hl.LowRank(2), dropout=0.5, return_sequences=True)
    ones = np.ones((1, 5, 6), "float32")
    assert not np.allclose(layer(ones, training=True), layer(ones, training=False))


REFUSED: dict[str, tuple[Callable[[], Any], str]] = {
    "recurrent dropout": (
        lambda: hl.CompactLSTM(4, kernel_form=hl.LowRank(2), recurrent_dropout=0.1),
        "has no recurrent_dropout; got 0.1. Use dropout",
    ),
    "cuDNN": (
        lambda: hl.CompactGRU(4, use_cudnn=True),
        "cuDNN has no compact kernels. Use use_cudnn='auto'",
    ),
    "an LSTM by an H-LSTM": (
        lambda: hl.HLSTM(4, hidden_units=(), kernel_form=hl.LowRank(2)),
        "take hl.CompactLSTM",
    ),
    "units": (lambda: hl.CompactDense(0), "units must be a positive integer; got 0"),
    "features": (
        lambda: hl.CompactDense(3).build((None, None)),
        "needs a fixed number of inputs",
    ),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_compact_layers_do_not_have_is_refused_in_one_line(what: str) -> None:
    make, message = REFUSED[what]
    with pytest.raises(ValueError, match=message) as caught:
        make()
    assert "\n" not in str(caught.value)


def test_flops_are_those_of_the_products() -> None:
    def flops(form: Any) -> int:
        layer = hl.CompactLSTM(8, kernel_form={"recurrent_kernel": form})
        model = keras.Sequential([keras.Input((None, 6)), layer])
        return hl.summary(model, print_fn=None).flops - 2 * 6 * 32

    assert flops(None) == 2 * 8 * 32
    assert flops(hl.SharedLowRank(2)) == 2 * (8 * 2 + 2 * 32)
    assert flops(hl.LowRank(2)) == 2 * 4 * (8 * 2 + 2 * 8)
    # (8 rows as 4 x 2) by B (2, 4): 4 products of 2 x 4; then by A (4, 8): 4 columns of 4 x 8.
    assert flops(hl.Kronecker((4, 2))) == 2 * (4 * 2 * 4 + 4 * 4 * 8)
    assert flops(hl.ToeplitzLike(1)) == 2 * 8 * 32  # it is written down


@pytest.mark.representatives("LSTM")
@pytest.mark.parametrize("kind", CLASSES)
def test_an_unrolled_layer_and_one_with_dropout_run_keras_s_own_loop(kind: str) -> None:
    compact, _, arguments = CLASSES[kind]
    given = {"kernel_form": hl.LowRank(2), "return_sequences": True, **arguments}
    layer, unrolled = compact(8, **given), compact(8, unroll=True, **given)
    layer.build(X.shape), unrolled.build(X.shape)
    scrambled(layer)
    unrolled.set_weights(layer.get_weights())
    np.testing.assert_allclose(unrolled(X), layer(X), rtol=1e-4, atol=1e-5)
    for one, other in zip(gradients(unrolled, True), gradients(layer, True), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-3, atol=1e-4 * np.abs(other).max())
    dropping = compact(8, dropout=0.3, **given)
    assert all(np.isfinite(each).all() for each in gradients(dropping, True))


def test_fastgrnn_is_the_paper_s_equations() -> None:
    layer = hl.FastGRNN(5, return_sequences=True)
    layer.build(X.shape)
    scrambled(layer)
    w, u, b, b_z, zeta, nu = (np.asarray(weight) for weight in layer.get_weights())
    h, outputs = np.zeros((len(X), 5)), []

    def sigmoid(value: np.ndarray) -> np.ndarray:
        return 1 / (1 + np.exp(-value))

    for x in X.swapaxes(0, 1):
        both = x @ w + h @ u
        z = sigmoid(both + b_z)
        h = (sigmoid(zeta) * (1 - z) + sigmoid(nu)) * np.tanh(both + b) + z * h
        outputs.append(h)
    np.testing.assert_allclose(layer(X), np.stack(outputs, axis=1), rtol=1e-4, atol=1e-5)
    plain = hl.FastGRNN(5, use_bias=False)
    assert plain(X).shape == (3, 5)
    assert [weight.name for weight in plain.cell.weights][2:] == ["zeta", "nu"]
