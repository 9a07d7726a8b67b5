"""Growth lands exactly where the rule puts it."""

import keras
import numpy as np
import pytest

import hlstm_tf as hl
from hlstm_tf.callbacks import GradientGrowth
from hlstm_tf.callbacks.chosen_epochs import chosen_epochs
from hlstm_tf.sparsity import Score, grow, seed_mask

RNG = np.random.default_rng(0)
X = RNG.normal(size=(32, 4, 6)).astype("float32")
Y = RNG.normal(size=(32, 3)).astype("float32")


def gate_model(sparsity: float = 0.5, **compile_arguments) -> keras.Model:
    layers = [keras.Input((4, 6)), hl.HLSTM(8, hidden_units=10), hl.MaskedDense(3)]
    model = keras.Sequential(layers)
    model.compile("adam", "mse", **compile_arguments)
    for number, kernel in enumerate(hl.masked_kernels(model)):
        gates, *shape = kernel.to_matrices(kernel.mask).shape
        masks = [seed_mask(shape, sparsity, rng=100 * number + gate) for gate in range(gates)]
        hl.edit_masks({kernel: kernel.from_matrices(np.stack(masks))})
    return model


def matrices(model: keras.Model) -> list[np.ndarray]:
    return [m for k in hl.masked_kernels(model) for m in k.to_matrices(k.mask)]


def test_three_epochs_of_growth_from_half_land_each_matrix_where_the_rule_puts_it() -> None:
    seen: list[np.ndarray] = []

    def recorded(gradient: np.ndarray) -> np.ndarray:
        seen.append(np.abs(gradient))
        return seen[-1]

    model = gate_model(sparsity=0.5, run_eagerly=True)
    expected = matrices(model)
    assert all(abs(m.mean() - 0.5) < 0.01 for m in expected)
    growth = GradientGrowth(
        (X, Y), ratio=0.9, epochs=3, score=Score("recorded", ("gradient",), recorded), verbose=0
    )
    model.fit(X, Y, epochs=4, callbacks=[growth], verbose=0)

    assert len(seen) == 3 * len(expected)
    for event in range(3):
        scores = seen[event * len(expected) : (event + 1) * len(expected)]
        expected = [grow(m, s, 0.9) for m, s in zip(expected, scores, strict=True)]
    for found, wanted in zip(matrices(model), expected, strict=True):
        np.testing.assert_array_equal(found, wanted)
    assert [record["epoch"] for record in growth.history] == [0, 1, 2]
    connections = sum(int(m.sum()) for m in expected)
    assert growth.history[-1]["connections"] == connections
    assert growth.history[-1]["sparsity"] == 1 - connections / sum(m.size for m in expected)
    assert 0.30 < growth.history[-1]["sparsity"] < 0.45  # the paper saw 38 %


def test_growth_does_not_change_what_the_model_computes() -> None:
    model = gate_model(run_eagerly=True)
    model.fit(X, Y, verbose=0)
    before = model.predict(X, verbose=0)
    growth = GradientGrowth((X, Y), ratio=0.5, verbose=0)
    growth.set_model(model)
    growth.on_train_begin()
    growth.on_epoch_end(0)
    assert growth.history[0]["grown"] > 0
    np.testing.assert_array_equal(model.predict(X, verbose=0), before)


def test_only_the_epochs_named_grow() -> None:
    model = keras.Sequential([keras.Input((6,)), hl.MaskedDense(3)])
    model.compile("sgd", "mse")
    [kernel] = hl.masked_kernels(model)
    hl.edit_masks({kernel: np.eye(6, 3, dtype=bool)})
    growth = GradientGrowth((X[:, 0], Y), epochs=[1, 3], verbose=0)
    model.fit(X[:, 0], Y, epochs=4, callbacks=[growth], verbose=0)
    assert [record["epoch"] for record in growth.history] == [1, 3]


@pytest.mark.representatives(
    "connection-saliency", "1x4-momentum", "column-magnitude", "2:4-random", "2:4-saliency"
)
@pytest.mark.parametrize("score", ["random", "magnitude", "momentum", "saliency"])
@pytest.mark.parametrize("structure", ["connection", "1x4", "column", "2:4"])
def test_scores_and_structures_combine(score: str, structure: str) -> None:
    model = keras.Sequential([keras.Input((8,)), hl.MaskedDense(6)])
    model.compile("sgd", "mse", run_eagerly=True)
    [kernel] = hl.masked_kernels(model)
    mask = np.zeros((8, 6), bool)
    mask[0] = True
    hl.edit_masks({kernel: mask})
    x = RNG.normal(size=(8, 8)).astype("float32")
    growth = GradientGrowth(
        (x, x[:, :6]), ratio=0.5, epochs=1, score=score, structure=structure, verbose=0
    )
    model.fit(x, x[:, :6], callbacks=[growth], verbose=0)
    after = kernel.mask.numpy()
    assert (after & mask == mask).all()
    # At a dormant connection the weight is 0, so what rests on it alone grows nothing there.
    assert growth.history[0]["grown"] > 0 or score in ("magnitude", "saliency")


def test_random_growth_is_the_same_for_the_same_seed() -> None:
    masks = []
    for seed in (3, 3, 4):
        model = keras.Sequential([keras.Input((6,)), hl.MaskedDense(30)])
        model.compile("sgd", "mse", run_eagerly=True)
        [kernel] = hl.masked_kernels(model)
        hl.edit_masks({kernel: np.eye(6, 30, dtype=bool)})
        growth = GradientGrowth((X[:, 0], X[:, 0]), score="random", seed=seed, verbose=0)
        growth.set_model(model)
        growth.on_train_begin()
        growth.on_epoch_end(0)
        masks.append(kernel.mask.numpy())
    np.testing.assert_array_equal(masks[0], masks[1])
    assert (masks[0] != masks[2]).any()


@pytest.mark.parametrize("ratio", [-0.1, 1.1, "0.9", None])
def test_a_ratio_outside_zero_to_one_is_an_error(ratio: object) -> None:
    with pytest.raises(ValueError, match=r"ratio.*between 0 and 1"):
        GradientGrowth((X, Y), ratio=ratio)


@pytest.mark.parametrize("epochs", [-1, [0, -2]])
def test_negative_epochs_are_an_error(epochs: object) -> None:
    with pytest.raises(ValueError, match="epochs must be 0 or more"):
        chosen_epochs(epochs)


def test_a_model_without_masks_is_told_to_sparsify() -> None:
    model = keras.Sequential([keras.Input((6,)), keras.layers.Dense(3)])
    model.compile("sgd", "mse")
    with pytest.raises(ValueError, match=r"hl\.sparsify"):
        model.fit(X[:, 0], Y, callbacks=[GradientGrowth((X[:, 0], Y))], verbose=0)


def test_a_nan_loss_names_growth_and_the_epoch() -> None:
    model = keras.Sequential([keras.Input((6,)), hl.MaskedDense(3)])
    model.compile("sgd", "mse")
    growth = GradientGrowth((X[:, 0], Y * np.nan), verbose=0)
    with pytest.raises(FloatingPointError, match="growth after epoch 0, batch 0"):
        model.fit(X[:, 0], Y, callbacks=[growth], verbose=0)
