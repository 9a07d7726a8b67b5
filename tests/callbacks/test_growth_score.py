"""The growth score is the gradient w.r.t. the effective weight, averaged over the training set."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import hlstm_tf as hl
from hlstm_tf.callbacks import DenseGradients

RNG = np.random.default_rng(0)
X = RNG.normal(size=(10, 3)).astype("float32")
Y = RNG.normal(size=(10, 2)).astype("float32")


def linear_model(mask_seed: int | None = 0) -> keras.Model:
    model = keras.Sequential([keras.Input((3,)), hl.MaskedDense(2, use_bias=False)])
    model.compile("adam", "mse")
    if mask_seed is not None:
        [kernel] = hl.masked_kernels(model)
        mask = np.random.default_rng(mask_seed).random((3, 2)) < 0.5
        hl.edit_masks({kernel: mask})
    return model


def by_hand(weights: np.ndarray, x: np.ndarray = X, y: np.ndarray = Y) -> np.ndarray:
    """d/dW of the mean over examples and outputs of (xW - y)^2."""
    return 2 * x.T @ (x @ weights - y) / y.size


@pytest.mark.parametrize("batch_size", [10, 4, 3, 1])
def test_batches_count_by_their_size_so_the_mean_is_the_whole_sets(batch_size: int) -> None:
    model = linear_model()
    [kernel] = hl.masked_kernels(model)
    gradient = DenseGradients(model).mean((X, Y), batch_size=batch_size)[kernel]
    np.testing.assert_allclose(gradient, by_hand(kernel.variable.numpy()), rtol=1e-5, atol=1e-6)
    assert (gradient[~kernel.mask.numpy()] != 0).all()


class Batches(keras.utils.PyDataset):
    def __len__(self) -> int:
        return 3

    def __getitem__(self, index: int):
        return X[4 * index : 4 * index + 4], Y[4 * index : 4 * index + 4]


def test_arrays_datasets_and_py_datasets_score_alike() -> None:
    model = linear_model()
    [kernel] = hl.masked_kernels(model)
    gradients = DenseGradients(model)
    arrays = gradients.mean((X, Y), batch_size=4)[kernel]
    dataset = gradients.mean(tf.data.Dataset.from_tensor_slices((X, Y)).batch(4))[kernel]
    np.testing.assert_array_equal(arrays, dataset)
    np.testing.assert_array_equal(arrays, gradients.mean(Batches())[kernel])


@pytest.mark.parametrize("share", [0.1, 0.4, 0.5, 1.0])
def test_a_share_of_the_batches_is_evenly_spread(share: float) -> None:
    model = linear_model()
    [kernel] = hl.masked_kernels(model)
    gradient = DenseGradients(model).mean((X, Y), batch_size=1, share=share)[kernel]
    rows = {0.1: [0], 0.4: [0, 2, 5, 7], 0.5: [0, 2, 4, 6, 8], 1.0: list(range(10))}[share]
    expected = by_hand(kernel.variable.numpy(), X[rows], Y[rows])
    np.testing.assert_allclose(gradient, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("share", [0, -0.1, 1.1])
def test_a_share_outside_its_range_is_refused(share: float) -> None:
    with pytest.raises(ValueError, match="share must be above 0"):
        hl.Growth(share=share)
    with pytest.raises(ValueError, match="share must be above 0"):
        hl.GradientGrowth((X, Y), share=share)


def test_sample_weights_weigh() -> None:
    model = linear_model()
    [kernel] = hl.masked_kernels(model)
    weights = np.array([1.0, 0.0] * 5, "float32")
    gradient = DenseGradients(model).mean((X, Y, weights), batch_size=10)[kernel]
    # Keras divides by the number of examples, not by the sum of their weights.
    expected = by_hand(kernel.variable.numpy(), X[::2], Y[::2]) / 2
    np.testing.assert_allclose(gradient, expected, rtol=1e-4, atol=1e-5)


def test_momentum_is_the_running_mean_over_the_batches() -> None:
    model = linear_model()
    [kernel] = hl.masked_kernels(model)
    weights = kernel.variable.numpy()
    found = DenseGradients(model).momentum((X, Y), batch_size=5, decay=0.5)[kernel]
    first, last = by_hand(weights, X[:5], Y[:5]), by_hand(weights, X[5:], Y[5:])
    np.testing.assert_allclose(found, 0.25 * first + 0.5 * last, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("training", [False, True])
def test_scoring_changes_nothing_in_the_model(training: bool) -> None:
    model = keras.Sequential(
        [
            keras.Input((3,)),
            hl.MaskedDense(4),
            keras.layers.BatchNormalization(),
            keras.layers.Dropout(0.5),
            hl.MaskedDense(2),
        ]
    )
    model.compile("adam", "mse", metrics=["mae"], run_eagerly=True)
    model.fit(X, Y, verbose=0)
    variables = [*model.variables, *model.metrics_variables, *model.optimizer.variables]
    before = [v.numpy().copy() for v in variables]
    DenseGradients(model, training=training).mean((X, Y))
    for variable, value in zip(variables, before, strict=True):
        np.testing.assert_array_equal(variable.numpy(), value, err_msg=variable.path)


def test_a_gate_networks_gradient_reaches_dormant_connections() -> None:
    model = keras.Sequential([keras.Input((3, 2)), hl.HLSTM(3, hidden_units=2)])
    model.compile("sgd", "mse", run_eagerly=True)
    rng = np.random.default_rng(1)
    x, y = rng.normal(size=(4, 3, 2)).astype("float32"), np.ones((4, 3), "float32")
    kernels = hl.masked_kernels(model)
    for kernel in kernels:
        hl.edit_masks({kernel: rng.random(kernel.mask.shape) < 0.7})
    gradient = DenseGradients(model).mean((x, y), batch_size=4)
    # A dense layer of the same weights, all connections there, has the same gradient.
    for kernel in kernels:
        kernel.mask.assign(np.ones(kernel.mask.shape, bool))
    with tf.GradientTape() as tape:
        loss = tf.reduce_mean(tf.square(model(x, training=False) - y))
    expected = tape.gradient(loss, [kernel.variable.value for kernel in kernels])
    for kernel, value in zip(kernels, expected, strict=True):
        np.testing.assert_allclose(gradient[kernel], value, rtol=1e-4, atol=1e-6)


def test_embeddings_get_a_dense_gradient() -> None:
    model = keras.Sequential([keras.Input((2,), dtype="int32"), hl.MaskedEmbedding(5, 3)])
    model.compile("sgd", "mse")
    [kernel] = hl.masked_kernels(model)
    gradient = DenseGradients(model).mean((np.array([[0, 1], [1, 2]]), np.ones((2, 2, 3))))
    assert gradient[kernel].shape == (5, 3)
    assert (gradient[kernel][:3] != 0).all()
    assert (gradient[kernel][3:] == 0).all()


def test_float16_scores_agree_with_float32_though_its_gradients_would_vanish() -> None:
    tiny = 1e-6 * Y

    def score(policy: str) -> np.ndarray:
        model = keras.Sequential(
            [
                keras.Input((3,)),
                hl.MaskedDense(2, use_bias=False, kernel_initializer="zeros", dtype=policy),
                keras.layers.Activation("linear", dtype="float32"),
            ]
        )
        optimizer = keras.optimizers.SGD()
        if policy == "mixed_float16":
            optimizer = keras.optimizers.LossScaleOptimizer(optimizer)
        model.compile(optimizer, "mse")
        optimizer.build(model.trainable_variables)
        return next(iter(DenseGradients(model).mean((X, tiny)).values()))

    np.testing.assert_allclose(score("mixed_float16"), score("float32"), rtol=1e-2)


def test_a_nan_loss_names_the_batch() -> None:
    y = Y.copy()
    y[5] = np.nan
    with pytest.raises(FloatingPointError, match=r"growth after epoch 2, batch 1: the loss is nan"):
        DenseGradients(linear_model()).mean((X, y), 4, where="growth after epoch 2")


def test_a_failed_pass_leaves_the_models_state_too() -> None:
    model = keras.Sequential([keras.Input((3,)), hl.MaskedDense(2), keras.layers.Dropout(0.5)])
    model.compile("sgd", "mse")
    [seed] = [v for v in model.non_trainable_variables if "seed" in v.path]
    before = seed.numpy().copy()
    with pytest.raises(FloatingPointError):
        DenseGradients(model, training=True).mean((X, Y * np.nan))
    np.testing.assert_array_equal(seed.numpy(), before)


def test_data_without_a_batch_is_an_error() -> None:
    with pytest.raises(ValueError, match="no batch"):
        DenseGradients(linear_model()).mean(tf.data.Dataset.from_tensor_slices((X, Y)).take(0))


def test_a_generator_is_refused_since_it_gives_its_batches_only_once() -> None:
    with pytest.raises(TypeError, match="generator"):
        DenseGradients(linear_model()).mean((X, Y) for _ in range(2))


def test_a_model_without_masks_is_told_to_sparsify() -> None:
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
    model.compile("sgd", "mse")
    with pytest.raises(ValueError, match=r"hl\.sparsify"):
        DenseGradients(model)
