"""Gradients that training steps leave for growth, beside those of a pass of its own."""

from collections.abc import Callable

import keras
import numpy as np
import pytest
import tensorflow as tf

import hlstm_tf as hl
from hlstm_tf.scoring.gradients import DenseGradients
from hlstm_tf.scoring.step_gradients import EpochGradients

RNG = np.random.default_rng(0)
X = RNG.normal(size=(24, 5, 6)).astype("float32")
Y = RNG.normal(size=(24, 3)).astype("float32")
IDS = RNG.integers(0, 7, (24, 5)).astype("int32")


def sparse(*layers: keras.Layer, shape: tuple[int, ...] = (5, 6), **compiled) -> keras.Model:
    keras.utils.set_random_seed(1)
    dtype = "int32" if len(shape) == 1 else None
    model = keras.Sequential([keras.Input(shape, dtype=dtype), *layers, hl.MaskedDense(3)])
    for number, kernel in enumerate(hl.masked_kernels(model)):
        rng = np.random.default_rng(number)
        hl.edit_masks({kernel: rng.random(kernel.variable.shape) < 0.5})
    model.compile(**{"optimizer": keras.optimizers.SGD(0.0), "loss": "mse", **compiled})
    return model


class Collect(keras.callbacks.Callback):
    """Collects in every epoch, and keeps the mean of the last."""

    def on_train_begin(self, logs=None):
        self.gradients = EpochGradients(self.model)
        self.gradients.start()

    def on_epoch_begin(self, epoch, logs=None):
        self.gradients.begin_epoch()

    def on_train_batch_end(self, batch, logs=None):
        self.gradients.count(batch)

    def on_epoch_end(self, epoch, logs=None):
        self.mean = list(self.gradients.mean("the test").values())


def convolution() -> list[keras.Layer]:
    """Traced in a moment, for tests that train several models."""
    return [hl.MaskedConv1D(4, 3), keras.layers.Flatten()]


LAYERS: dict[str, Callable[[], list[keras.Layer]]] = {
    "hlstm": lambda: [hl.HLSTM(4, hidden_units=5)],
    "hlstm_plain_loop": lambda: [hl.HLSTM(4, hidden_units=5, hidden_activation=tf.nn.relu)],
    "lstm": lambda: [hl.MaskedLSTM(4)],
    "convolution": convolution,
}


def assert_same_as_a_pass(model: keras.Model, x: np.ndarray, rtol: float = 1e-4) -> None:
    expected = list(DenseGradients(model, training=True).mean((x, Y), batch_size=8).values())
    collect = Collect()
    model.fit(x, Y, batch_size=8, epochs=2, callbacks=[collect], verbose=0, shuffle=False)
    for actual, wanted, kernel in zip(
        collect.mean, expected, hl.masked_kernels(model), strict=True
    ):
        assert np.any(wanted[~kernel.mask.numpy()])  # dormant places have a gradient
        scale = np.abs(wanted).max()
        np.testing.assert_allclose(actual, wanted, rtol=rtol, atol=rtol * scale)


@pytest.mark.compiled
@pytest.mark.representatives("lstm", "convolution")
@pytest.mark.parametrize("kind", LAYERS)
def test_where_weights_stand_still_it_is_the_gradient_of_a_pass(kind: str) -> None:
    assert_same_as_a_pass(sparse(*LAYERS[kind]()), X)


def test_of_embeddings_too() -> None:
    layers = [hl.MaskedEmbedding(7, 4), keras.layers.Flatten()]
    assert_same_as_a_pass(sparse(*layers, shape=(5,)), IDS)


@pytest.mark.parametrize("compiled", [{"jit_compile": True}, {"run_eagerly": True}])
def test_however_the_step_is_compiled(compiled: dict) -> None:
    assert_same_as_a_pass(sparse(*convolution(), **compiled), X)


def test_with_several_steps_an_execution() -> None:
    assert_same_as_a_pass(sparse(*convolution(), steps_per_execution=3), X)


def test_under_loss_scaling() -> None:
    keras.config.set_dtype_policy("mixed_float16")
    try:
        optimizer = keras.optimizers.LossScaleOptimizer(keras.optimizers.SGD(0.0), 1024.0)
        model = sparse(*convolution(), optimizer=optimizer)
        assert_same_as_a_pass(model, X, rtol=2e-2)
    finally:
        keras.config.set_dtype_policy("float32")


def test_under_a_mirrored_strategy() -> None:
    # Collectives of two strategies in one process would take each other's shapes.
    strategy = tf.distribute.MirroredStrategy(
        ["CPU:0", "CPU:1"], cross_device_ops=tf.distribute.ReductionToOneDevice()
    )
    with strategy.scope():
        model = sparse(*convolution())
    collect = Collect()
    model.fit(X, Y, batch_size=8, callbacks=[collect], verbose=0, shuffle=False)
    alone = sparse(*convolution())
    alone.set_weights(model.get_weights())
    expected = DenseGradients(alone).mean((X, Y), batch_size=8).values()
    for actual, wanted in zip(collect.mean, expected, strict=True):
        np.testing.assert_allclose(actual, wanted, rtol=1e-4, atol=1e-6)


def test_where_weights_move_it_differs_and_points_the_same_way() -> None:
    model = sparse(*convolution(), optimizer=keras.optimizers.SGD(0.1))
    exact = DenseGradients(model, training=True).mean((X, Y), batch_size=8)
    collect = Collect()
    model.fit(X, Y, batch_size=8, callbacks=[collect], verbose=0, shuffle=False)
    for actual, wanted in zip(collect.mean, exact.values(), strict=True):
        assert not np.allclose(actual, wanted, rtol=1e-3)
        cosine = np.vdot(actual, wanted) / np.linalg.norm(actual) / np.linalg.norm(wanted)
        assert cosine > 0.8


def test_training_itself_stays_the_same() -> None:
    results = []
    for callbacks in ([], [Collect()]):
        keras.utils.set_random_seed(1)
        model = sparse(*convolution(), optimizer=keras.optimizers.Adam(0.01))
        model.fit(X, Y, batch_size=8, epochs=2, callbacks=callbacks, verbose=0, shuffle=False)
        results.append(model.get_weights())
    for collected, alone in zip(*results, strict=True):
        np.testing.assert_array_equal(collected, alone)


def test_a_cell_in_a_plain_loop_is_refused() -> None:
    model = sparse(keras.layers.RNN(hl.HLSTMCell(4), name="plain"))
    growth = hl.GradientGrowth((X, Y), during="epoch", verbose=0)
    with pytest.raises(ValueError, match="cannot collect from the cell in layer 'plain'"):
        model.fit(X, Y, callbacks=[growth], verbose=0)


def test_growth_goes_by_it_without_a_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(DenseGradients, "mean", None)  # not to be called
    model = sparse(*convolution(), optimizer=keras.optimizers.SGD(0.1))
    growth = hl.GradientGrowth((X, Y), epochs=[1, 2], during="epoch", verbose=0)
    model.fit(X, Y, epochs=4, callbacks=[growth], verbose=0)
    assert [record["epoch"] for record in growth.history] == [1, 2]
    assert all(record["grown"] > 0 for record in growth.history)
    assert not any(kernel.layer.__dict__.get("_watches") for kernel in hl.masked_kernels(model))


class Stop(Exception):
    pass


class Interrupt(keras.callbacks.Callback):
    """Fails in the middle of an epoch."""

    def __init__(self, epoch: int) -> None:
        super().__init__()
        self.epoch, self.now = epoch, -1

    def on_epoch_begin(self, epoch, logs=None):
        self.now = epoch

    def on_train_batch_end(self, batch, logs=None):
        if self.now == self.epoch and batch == 1:
            raise Stop


def test_grow_and_prune_grows_by_it_and_resumes_to_the_same_end(tmp_path) -> None:
    train = hl.EpochData(
        lambda epoch: tf.data.Dataset.from_tensor_slices((X, Y)).shuffle(24, seed=epoch).batch(8)
    )

    def run(folder, *more):
        keras.utils.set_random_seed(1)
        model = sparse(*convolution(), optimizer=keras.optimizers.Adam(0.01))
        gp = hl.GrowAndPrune(
            train,
            growth=hl.Growth(epochs=2, during="epoch"),
            pruning=hl.Pruning(retrain_epochs=1, max_iterations=1),
            threshold=1e9, train_epochs=1, monitor="loss", directory=folder, verbose=0,
        )  # fmt: skip
        model.fit(train, epochs=9, callbacks=[gp, *more], verbose=0)
        return model

    whole = run(tmp_path / "whole")
    with pytest.raises(Stop):
        run(tmp_path / "again", Interrupt(1))
    resumed = run(tmp_path / "again")
    for left, right in zip(whole.get_weights(), resumed.get_weights(), strict=True):
        np.testing.assert_array_equal(left, right)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"during": "night"}, "during must be 'pass' or 'epoch'; got 'night'"),
        ({"score": "momentum"}, "score must be 'gradient' or 'saliency', got 'momentum'"),
        ({"score": "random"}, "score must be 'gradient' or 'saliency', got 'random'"),
        ({"share": 0.5}, "training and share are about a pass"),
        ({"training": True}, "training and share are about a pass"),
    ],
)
def test_what_does_not_go_together_is_refused(arguments: dict, message: str) -> None:
    arguments = {"during": "epoch", **arguments}
    with pytest.raises(ValueError, match=message):
        hl.Growth(**arguments)
    with pytest.raises(ValueError, match=message):
        hl.GradientGrowth((X, Y), **arguments)


class OwnSteps(keras.Model):
    """Trains by one optimizer and a step that `kind` names."""

    kind = "plain"

    def loss_of(self, x, y):
        return tf.reduce_mean(tf.square(self(x, training=True) - y))

    def gradient_of(self, x, y):
        with tf.GradientTape() as tape:
            loss = self.loss_of(x, y)
        return tape.gradient(loss, self.trainable_weights), loss

    def train_step(self, data):
        gradients, loss = getattr(self, self.kind)(*data)
        self.optimizer.apply(gradients, self.trainable_weights)
        return {"loss": loss}

    def plain(self, x, y):
        return self.gradient_of(x, y)

    def siamese(self, x, y):
        with tf.GradientTape() as tape:
            loss = self.loss_of(x, y) + self.loss_of(-x, y)
        return tape.gradient(loss, self.trainable_weights), loss

    def measured(self, x, y):
        gradients, loss = self.gradient_of(x, y)
        return gradients, loss + 0 * self.loss_of(x, y)  # a forward pass alone

    def sharpness_aware(self, x, y):
        gradients, _ = self.gradient_of(x, y)
        steps = [0.05 * g / (tf.norm(g) + 1e-9) for g in gradients]
        for weight, step in zip(self.trainable_weights, steps, strict=True):
            weight.assign_add(step)
        result = self.gradient_of(x, y)
        for weight, step in zip(self.trainable_weights, steps, strict=True):
            weight.assign_sub(step)
        return result

    def gradient_penalty(self, x, y):
        with tf.GradientTape() as tape:
            with tf.GradientTape() as inner:
                inner.watch(x)
                loss = self.loss_of(x, y)
            loss += tf.reduce_mean(tf.square(inner.gradient(loss, x)))
        return tape.gradient(loss, self.trainable_weights), loss

    def adversarial(self, x, y):
        with tf.GradientTape() as tape:
            tape.watch(x)
            loss = self.loss_of(x, y)
        return self.gradient_of(x + 0.01 * tf.sign(tape.gradient(loss, x)), y)

    def persistent(self, x, y):
        with tf.GradientTape(persistent=True) as tape:
            loss = self.loss_of(x, y)
        gradients = tape.gradient(loss, self.trainable_weights)
        assert tape.gradient(loss, self.trainable_weights) is not None
        return gradients, loss


def own_steps(kind: str, **compiled) -> keras.Model:
    keras.utils.set_random_seed(1)
    inputs = keras.Input((6,))
    model = OwnSteps(inputs, hl.MaskedDense(3)(hl.MaskedDense(4, activation="tanh")(inputs)))
    model.kind = kind
    for number, kernel in enumerate(hl.masked_kernels(model)):
        rng = np.random.default_rng(number)
        hl.edit_masks({kernel: rng.random(kernel.variable.shape) < 0.5})
    model.compile(**{"optimizer": keras.optimizers.SGD(0.0)} | compiled)
    return model


@pytest.mark.representatives(
    "sharpness_aware-False", "gradient_penalty-True", "adversarial-True", "persistent-False"
)
@pytest.mark.parametrize("eager", [False, True])
@pytest.mark.parametrize(
    "kind", ["sharpness_aware", "gradient_penalty", "adversarial", "persistent"]
)
def test_steps_with_several_backward_passes_are_refused_in_one_line(kind, eager) -> None:
    model = own_steps(kind, run_eagerly=eager)
    growth = hl.GradientGrowth((X[:, 0], Y), during="epoch", verbose=0)
    with pytest.raises(ValueError, match=r"has several through kernel .*; use during='pass'") as no:
        model.fit(X[:, 0], Y, batch_size=8, verbose=0, callbacks=[growth])
    assert "\n" not in str(no.value)
    during_pass = hl.GradientGrowth((X[:, 0], Y), during="pass", epochs=1, ratio=0.5, verbose=0)
    before = sum(kernel.mask.numpy().sum() for kernel in hl.masked_kernels(model))
    model.fit(X[:, 0], Y, batch_size=8, verbose=0, callbacks=[during_pass])
    assert sum(kernel.mask.numpy().sum() for kernel in hl.masked_kernels(model)) > before


@pytest.mark.compiled
@pytest.mark.representatives(
    "plain-compiled0", "siamese-compiled0", "siamese-compiled1", "measured-compiled2"
)
@pytest.mark.parametrize("compiled", [{}, {"run_eagerly": True}, {"steps_per_execution": 3}])
@pytest.mark.parametrize("kind", ["plain", "siamese", "measured"])
def test_steps_with_one_backward_pass_collect_what_a_pass_gives(kind, compiled) -> None:
    model = own_steps(kind, **compiled)
    expected = list(DenseGradients(model).mean((X[:, 0], Y), batch_size=8).values())
    collect = Collect()
    # The last batch is smaller, which traces the step once more.
    x, y = np.concatenate([X[:, 0], X[:4, 0]]), np.concatenate([Y, Y[:4]])
    model.fit(x, y, batch_size=8, epochs=1, callbacks=[collect], verbose=0, shuffle=False)
    model.fit(X[:, 0], Y, batch_size=8, callbacks=[collect], verbose=0, shuffle=False)
    for actual, wanted in zip(collect.mean, expected, strict=True):
        np.testing.assert_allclose(actual, wanted, rtol=1e-4, atol=1e-6)


def test_a_gradient_penalty_in_compute_loss_is_refused() -> None:
    class Penalized(keras.Model):
        def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
            with tf.GradientTape() as tape:
                tape.watch(x)
                out = self(x)
            return tf.reduce_mean(out**2) + tf.reduce_mean(tape.gradient(out, x) ** 2)

    inputs = keras.Input((6,))
    model = Penalized(inputs, hl.MaskedDense(3)(inputs))
    model.compile("sgd")
    growth = hl.GradientGrowth((X[:, 0], Y), during="epoch", verbose=0)
    with pytest.raises(ValueError, match="several through kernel"):
        model.fit(X[:, 0], Y, verbose=0, callbacks=[growth])
