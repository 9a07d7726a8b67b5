"""Neurons are born where the bridging gradient, or a trial, says that they help."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import hlstm_tf as hl
from hlstm_tf.pruning.architecture import Rule, grow_model
from hlstm_tf.pruning.layer_sites import layer_sites, living_rooms
from hlstm_tf.pruning.neuron_growth import BridgingGradients, grow_neurons
from hlstm_tf.scoring.gradients import MeanLoss
from hlstm_tf.scoring.score_source import ScoreSource
from tests.callbacks.kills import Killed, run_births

layers = keras.layers
RNG = np.random.default_rng(0)
X = RNG.normal(size=(48, 5)).astype("float32")
Y = np.stack([np.abs(X[:, 0]), X[:, 1] * X[:, 2]], axis=1)
IMAGES = RNG.normal(size=(24, 8, 8, 2)).astype("float32")
LABELS = IMAGES[:, 2:5, 2:5, 0].sum(axis=(1, 2), keepdims=False)[:, None]


def dense_net(sparsity: float = 0.3, between: tuple = (), **compiled) -> keras.Model:
    keras.utils.set_random_seed(1)
    plain = keras.Sequential(
        [
            keras.Input((5,)),
            layers.Dense(12, activation="relu", name="a"),
            *between,
            layers.Dense(9, activation="relu", name="b"),
            layers.Dense(2, name="c"),
        ]
    )
    model = hl.sparsify(plain, sparsity, seed=3, neurons={"a": 4, "b": 3})
    # Eagerly, to save the tracing, where nothing else is said.
    model.compile(keras.optimizers.Adam(0.01), "mse", **{"run_eagerly": True, **compiled})
    return model


def image_net(head: list) -> keras.Model:
    keras.utils.set_random_seed(1)
    model = keras.Sequential(
        [
            keras.Input((8, 8, 2)),
            layers.Conv2D(6, 3, activation="relu", name="first"),
            layers.MaxPooling2D(),
            layers.Conv2D(5, 2, activation="relu", padding="same", name="second"),
            *head,
            layers.Dense(1, name="out"),
        ]
    )
    model = hl.sparsify(model, 0.4, seed=3, neurons=0.5)
    model.compile(keras.optimizers.Adam(0.01), "mse")
    return model


def living(model: keras.Model, name: str) -> np.ndarray:
    mask = model.get_layer(name).kernel_mask.numpy()
    return mask.any(axis=tuple(range(mask.ndim - 1)))


def assert_sound(model: keras.Model) -> None:
    """Dormant weights are 0, and every neuron is connected at both ends or at none."""
    for kernel in hl.masked_kernels(model):
        assert not kernel.variable.numpy()[~kernel.mask.numpy()].any()
    for site in layer_sites(model):
        read = np.zeros(site.width, dtype=bool)
        for reader in site.consumers:
            mask = reader.mask.numpy()
            rows = mask.any(axis=(*range(mask.ndim - 2), -1))
            read |= rows.reshape(-1, site.width).any(axis=0)
        np.testing.assert_array_equal(living(model, site.name), read)


@pytest.mark.parametrize("eager", [True, False])
def test_the_bridging_gradient_is_that_of_connections_past_the_layer(eager: bool) -> None:
    model = dense_net(run_eagerly=eager)
    site = layer_sites(model)[0]
    assert (site.name, site.is_bridge, site.dormant.tolist()) == ("a", True, list(range(4, 12)))
    [(found, mean)] = BridgingGradients(model, [site]).mean((X, Y), 20, "a test", 1.0)
    # A layer beside it, of zeros, that leads where the readers' pre-activations are.
    a, b, c = (model.get_layer(name) for name in "abc")
    past = tf.Variable(tf.zeros((5, 9)))
    with tf.GradientTape() as tape:
        hidden = tf.nn.relu(a(X) @ b.kernel.value + b.bias.value + X @ past)
        loss = tf.reduce_mean(tf.square(c(hidden) - Y))
    expected = tape.gradient(loss, past).numpy()
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(mean, X.mean(axis=0), rtol=1e-4, atol=1e-6)
    assert not found[:, 3:].any()  # neurons that nobody reads
    assert found[:, :3].any(axis=0).sum() >= 2


def test_the_bridging_gradient_is_the_same_in_float16_with_a_scaled_loss() -> None:
    found = []
    for policy in ("float32", "mixed_float16"):
        keras.config.set_dtype_policy(policy)
        model = dense_net(run_eagerly=False)
        keras.config.set_dtype_policy("float32")
        model.optimizer.build(model.trainable_variables)
        found.append(BridgingGradients(model, layer_sites(model)).mean((X, Y), 20, "t", 1.0))
    assert hasattr(model.optimizer, "dynamic_scale")
    for (exact, _), (rough, _) in zip(*found, strict=True):
        assert exact.any()
        np.testing.assert_allclose(rough, exact, atol=0.02 * np.abs(exact).max())


def test_new_neurons_are_sound_scaled_and_begin_without_a_past() -> None:
    model = dense_net()
    model.fit(X, Y, epochs=1, verbose=0)
    bias = model.get_layer("a").bias
    bias.assign(np.where(np.arange(12) == 4, 7.0, bias.numpy()))  # left by an earlier life
    before = {k.path: (k.mask.numpy(), k.variable.numpy()) for k in hl.masked_kernels(model)}
    born = grow_neurons(ScoreSource(model, (X, Y)), hl.NeuronGrowthRule(3, 0.5, 0.5), 0, "a test")
    assert born == {"a": 3, "b": 3}
    assert living(model, "a").tolist() == [True] * 7 + [False] * 5
    assert_sound(model)
    a, b = hl.masked_kernels(model)[:2]
    for kernel, new in ((a, a.variable.numpy()[:, 4:7]), (b, b.variable.numpy()[4:7, :3])):
        mask, old = before[kernel.path]
        np.testing.assert_array_equal(kernel.variable.numpy()[mask], old[mask])
        size = np.abs(old[old != 0]).mean()
        sums = np.abs(new).sum(axis=0 if kernel is a else 1)
        counts = np.count_nonzero(new, axis=0 if kernel is a else 1)
        np.testing.assert_allclose(sums / counts, 0.5 * size, rtol=1e-5)
    assert bias.numpy()[4] == 0
    for slot in model.optimizer.variables:
        if slot.shape == a.variable.shape and "kernel" in slot.path:
            assert not slot.numpy()[:, 4:7].any()


def test_the_loss_falls_by_new_neurons_of_little_strength() -> None:
    model = dense_net(sparsity=0.0)
    model.fit(X, Y, epochs=3, verbose=0)
    loss = MeanLoss(model)
    before = loss.mean((X, Y))
    born = grow_neurons(
        ScoreSource(model, (X, Y)), hl.NeuronGrowthRule({"a": 4}, 0.5, 0.1), 0, "a test"
    )
    assert born == {"a": 4}
    assert loss.mean((X, Y)) < before


def test_normalization_of_a_new_neuron_starts_afresh() -> None:
    model = dense_net(between=(layers.BatchNormalization(momentum=0.5, name="norm"),))
    model.fit(X, Y, epochs=4, verbose=0)
    norm = model.get_layer("norm")
    assert norm.moving_variance.numpy()[5] < 0.1
    grow_neurons(ScoreSource(model, (X, Y)), hl.NeuronGrowthRule({"a": 2}, 0.5), 0, "a test")
    np.testing.assert_array_equal(norm.moving_variance.numpy()[4:6], 1.0)
    assert norm.moving_variance.numpy()[6] < 0.1


@pytest.mark.parametrize(
    "head", [[layers.Flatten()], [layers.GlobalAveragePooling2D()]], ids=["flat", "pooled"]
)
def test_feature_maps_are_kept_where_a_trial_lowers_the_loss(head: list) -> None:
    model = image_net([type(layer)() for layer in head])
    loss = MeanLoss(model)
    before = loss.mean((IMAGES, LABELS))
    born = grow_neurons(ScoreSource(model, (IMAGES, LABELS)), hl.NeuronGrowthRule(2), 0, "a test")
    assert all(number > 0 for number in born.values())
    assert living(model, "first").sum() == 3 + born["first"]
    assert living(model, "second").sum() == 2 + born["second"]
    assert_sound(model)
    assert loss.mean((IMAGES, LABELS)) < before


def test_connections_grow_by_the_percentile_over_living_neurons() -> None:
    model = image_net([layers.Flatten()])
    small = keras.Sequential(
        [
            keras.Input((8, 8, 2)),
            hl.MaskedConv2D(3, 3, activation="relu"),
            layers.MaxPooling2D(),
            hl.MaskedConv2D(2, 2, activation="relu", padding="same"),
            layers.Flatten(),
            hl.MaskedDense(1),
        ]
    )
    small.compile("sgd", "mse")
    rooms = living_rooms(model)
    assert [int(room.sum()) for room in rooms.values()] == [54, 24, 18]
    pairs = list(zip(hl.masked_kernels(small), rooms, strict=True))
    for mine, kernel in pairs:
        inside = rooms[kernel]
        shape = mine.shape
        hl.edit_masks({mine: kernel.mask.numpy()[inside].reshape(shape)})
        mine.variable.assign(kernel.variable.numpy()[inside].reshape(shape))
    rule = Rule.of("gradient", "connection", "erk")
    for each, where in ((model, rooms), (small, None)):
        grow_model(ScoreSource(each, (IMAGES, LABELS)), rule, 0.7, 0, "a test", where)
    grown = 0
    for mine, kernel in pairs:
        inside = rooms[kernel]
        mask = kernel.mask.numpy()
        assert not mask[~inside].any()
        np.testing.assert_array_equal(mask[inside].reshape(mine.shape), mine.mask.numpy())
        grown += int(mask.sum())
    assert grown > 0.6 * 96


def test_a_feature_map_that_is_born_has_its_whole_area() -> None:
    keras.utils.set_random_seed(1)
    plain = keras.Sequential(
        [
            keras.Input((8, 8, 2)),
            hl.PartialAreaConv2D(4, 3, activation="relu", name="first"),
            hl.PartialAreaConv2D(3, 3, activation="relu", name="second"),
            layers.Flatten(),
            layers.Dense(1),
        ]
    )
    model = hl.sparsify(plain, 0.0, neurons={"first": 3})
    model.compile("sgd", "mse")
    first, second = (model.get_layer(name).area for name in ("first", "second"))
    first.assign(np.zeros(first.shape, bool) | (np.arange(4) < 3))
    second.assign(np.zeros(second.shape, bool) | (np.arange(4) < 3)[:, None])
    source = ScoreSource(model, (IMAGES, LABELS))
    assert grow_neurons(source, hl.NeuronGrowthRule({"first": 1}), 0, "a test") == {"first": 1}
    assert first.numpy().all()
    assert second.numpy().all()


def test_nothing_grows_where_no_candidate_lowers_the_loss() -> None:
    model = image_net([layers.Flatten()])
    exact = model.predict(IMAGES, verbose=0)  # no model does better than this one
    before = model.get_weights()
    source = ScoreSource(model, (IMAGES, exact))
    assert set(grow_neurons(source, hl.NeuronGrowthRule(2, candidates=2), 0, "t").values()) == {0}
    for now, then in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(now, then)


def test_the_callback_grows_at_its_epochs_and_the_same_twice() -> None:
    results = []
    for _ in range(2):
        model = dense_net()
        growth = hl.NeuronGrowth((X, Y), neurons=0.2, ratio=0.8, epochs=[0, 2], seed=5, verbose=0)
        model.fit(X, Y, epochs=3, callbacks=[growth], verbose=0, shuffle=False)
        assert [record["epoch"] for record in growth.history] == [0, 2]
        assert growth.history[0]["neurons"] == {"a": 3, "b": 2}
        assert_sound(model)
        results.append(model.get_weights())
    for one, other in zip(*results, strict=True):
        np.testing.assert_array_equal(one, other)


def test_an_envelope_that_is_full_grows_no_more() -> None:
    model = dense_net()
    source = ScoreSource(model, (X, Y))
    assert grow_neurons(source, hl.NeuronGrowthRule(20, 0.0), 0, "t")["a"] == 8
    assert grow_neurons(source, hl.NeuronGrowthRule(20, 0.0), 1, "t")["a"] == 0


def test_dormant_neurons_stay_without_bias_and_weights_in_training() -> None:
    model = dense_net()
    model.fit(X, Y, epochs=2, verbose=0)
    assert not model.get_layer("a").bias.numpy()[4:].any()
    assert model.get_layer("a").bias.numpy()[:4].any()
    assert_sound(model)


def test_grow_and_prune_grows_neurons_too_and_resumes_bit_for_bit(tmp_path) -> None:
    def run(directory, kill: int | None = None) -> keras.Model:
        return run_births(dense_net(), (X, Y), hl.NeuronGrowthRule(2, ratio=0.5), directory, kill)

    whole = run(tmp_path / "whole")
    for kill in (1, 2):
        with pytest.raises(Killed):
            run(tmp_path / "killed", kill)
    resumed = run(tmp_path / "killed")
    assert living(whole, "a").sum() == 8
    for one, other in zip(whole.get_weights(), resumed.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


def test_mistakes_are_named() -> None:
    model = keras.Sequential([keras.Input((5,)), hl.MaskedDense(2)])
    model.compile("sgd", "mse")
    with pytest.raises(ValueError, match="has no layer into which neurons can grow"):
        model.fit(X, Y, callbacks=[hl.NeuronGrowth((X, Y), verbose=0)], verbose=0)
    with pytest.raises(ValueError, match=r"no layer 'z' into which neurons can grow.*are: a, b"):
        grow_neurons(ScoreSource(dense_net(), (X, Y)), hl.NeuronGrowthRule({"z": 1}), 0, "t")
    with pytest.raises(ValueError, match="birth_strength must be above 0"):
        hl.NeuronGrowthRule(birth_strength=0.0)
    with pytest.raises(ValueError, match="`neurons` must be a number between 0 and 1"):
        hl.Growth(neurons=1.5)
    gp = hl.GrowAndPrune((X, Y), hl.Growth(neurons=1), None, "loss", train_epochs=0, verbose=0)
    with pytest.raises(ValueError, match="has no layer into which neurons can grow"):
        model.fit(X, Y, epochs=9, callbacks=[gp], verbose=0)
    with pytest.raises(TypeError, match="train must be the training set"):
        hl.GrowAndPrune(None, hl.Growth(score="random", neurons=1), None)
