"""GP training of compact layers: their factors grow, are pruned and resume as dense kernels do."""

from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

import hlstm_tf as hl

RNG = np.random.default_rng(6)
X = RNG.standard_normal((32, 6, 5)).astype("float32")
Y = np.cumsum(X[..., :1], axis=1).astype("float32")


def model_of() -> keras.Model:
    keras.utils.set_random_seed(3)
    model = keras.Sequential(
        [
            keras.Input((None, 5)),
            hl.CompactLSTM(8, kernel_form=hl.LowRank(3), return_sequences=True),
            hl.CompactDense(1),
        ]
    )
    return hl.sparsify(model, sparsity=0.5, seed=0)


def test_growth_sees_the_dense_gradient_of_masked_factors() -> None:
    """Against finite differences at dormant places, through the hand-written backward pass."""
    model = model_of()
    kernels = [kernel for kernel in hl.masked_kernels(model) if "recurrent" in kernel.name]

    def loss() -> tf.Tensor:
        return tf.reduce_mean(tf.square(model(X, training=True) - Y))

    with hl.dense_gradients(), tf.GradientTape() as tape:
        value = loss()
    found = tape.gradient(value, [kernel.variable.value for kernel in kernels])
    for kernel, gradient in zip(kernels, found, strict=True):
        mask = kernel.mask.numpy()
        largest = np.argmax(np.abs(gradient) * ~mask)
        place = np.unravel_index(largest, mask.shape)
        grown = mask.copy()
        grown[place] = True
        sides = []
        for step in (1e-2, -1e-2):
            weights = kernel.variable.numpy()
            weights[place] = step
            kernel.mask.assign(grown)
            kernel.variable.assign(weights)
            sides.append(float(loss()))
        weights[place] = 0
        kernel.variable.assign(weights)
        kernel.mask.assign(mask)
        np.testing.assert_allclose(gradient[place], np.diff(sides[::-1])[0] / 2e-2, rtol=3e-2)


def gp(directory: Path) -> hl.GrowAndPrune:
    return hl.GrowAndPrune(
        (X, Y),
        growth=hl.Growth(ratio=0.3, epochs=2),
        pruning=hl.Pruning(step=0.3, retrain_epochs=1, max_iterations=2),
        monitor="loss",
        threshold=100.0,
        directory=directory,
        verbose=0,
    )


def train(directory: Path, epochs: int) -> keras.Model:
    model = model_of()
    model.compile(keras.optimizers.Adam(0.01), "mse")
    model.fit(
        X, Y, epochs=epochs, batch_size=16, shuffle=False, verbose=0, callbacks=[gp(directory)]
    )
    return model


def test_a_run_grows_and_prunes_factors_and_resumes_to_the_same_end(tmp_path: Path) -> None:
    whole = train(tmp_path / "whole", 8)
    train(tmp_path / "parts", 3)
    resumed = train(tmp_path / "parts", 8)
    for one, other in zip(whole.get_weights(), resumed.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
    start = {kernel.name: kernel.mask.numpy() for kernel in hl.masked_kernels(model_of())}
    end = {kernel.name: kernel.mask.numpy() for kernel in hl.masked_kernels(whole)}
    assert any((end[name] & ~start[name]).any() for name in start), "nothing grew"
    assert sum(m.sum() for m in end.values()) < sum(m.sum() for m in start.values())
    small = hl.shrink(whole, verify_with=X)
    np.testing.assert_allclose(small(X), whole(X), rtol=1e-3, atol=1e-4)


def test_scores_by_activations_see_what_each_factor_multiplies() -> None:
    model = model_of()
    model.compile("sgd", "mse")
    pruning = hl.MagnitudePruning(0.8, end=1, score="activation", data=(X, Y), verbose=0)
    model.fit(X, Y, epochs=2, verbose=0, callbacks=[pruning])
    assert abs(hl.summary(model, print_fn=None).sparsity - 0.8) < 0.05
