"""Every optimizer that a model holds goes back, and on, with the state of a run."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import hlstm_tf as hl
from hlstm_tf.training_run.snapshot import put, state_variables, take
from tests.callbacks.test_held_optimizers import GAN

X = np.random.default_rng(0).normal(size=(16, 3)).astype("float32")

OPTIMIZERS = {
    "adam": lambda: keras.optimizers.Adam(0.01),
    "ema": lambda: keras.optimizers.SGD(0.01, momentum=0.9, use_ema=True),
    "scaled": lambda: keras.optimizers.LossScaleOptimizer(
        keras.optimizers.Adam(0.01), dynamic_growth_steps=3
    ),
    "rows": lambda: keras.optimizers.Adafactor(0.01),
    "schedule": lambda: keras.optimizers.Nadam(
        keras.optimizers.schedules.ExponentialDecay(0.1, 3, 0.9)
    ),
    "accumulating": lambda: keras.optimizers.Adam(0.01, gradient_accumulation_steps=2),
}


class SteadyGAN(GAN):
    """Its noise comes from a generator that the model holds."""

    def __init__(self):
        super().__init__()
        self.seed = keras.random.SeedGenerator(3)

    def train_step(self, data):
        loss = keras.losses.BinaryCrossentropy(from_logits=True)
        logs = {}
        for name, part, optimizer, wanted in (
            ("d_loss", self.discriminator, self.d_optimizer, 0.0),
            ("g_loss", self.generator, self.g_optimizer, 1.0),
        ):
            noise = keras.random.normal(tf.shape(data), seed=self.seed)
            with tf.GradientTape() as tape:
                false = self.discriminator(self.generator(noise))
                value = loss(wanted * tf.ones_like(false), false)
                if part is self.discriminator:
                    real = self.discriminator(data)
                    value += loss(tf.ones_like(real), real)
                scaled = optimizer.scale_loss(value)
            weights = part.trainable_weights
            optimizer.apply(tape.gradient(scaled, weights), weights)
            logs[name] = value
        return logs


def gan(kind="adam"):
    keras.utils.set_random_seed(0)
    model = SteadyGAN()
    model.discriminator(model(X[:1]))
    model.compile(OPTIMIZERS[kind](), OPTIMIZERS[kind]())
    model.run_eagerly = True  # nothing is traced, which takes longer than all else
    return model


def values(model):
    return [np.array(variable) for variable in state_variables(model)]


def assert_same(found, wanted):
    assert len(found) == len(wanted) > 20
    for one, other in zip(found, wanted, strict=True):
        np.testing.assert_array_equal(one, other)


def train(model, epochs=1, callbacks=(), initial_epoch=0):
    model.fit(
        X,
        batch_size=8,
        epochs=epochs,
        initial_epoch=initial_epoch,
        shuffle=False,
        verbose=0,
        callbacks=list(callbacks),
    )


@pytest.mark.representatives("scaled", "schedule")
@pytest.mark.parametrize("kind", OPTIMIZERS)
def test_training_goes_on_from_a_snapshot_with_every_optimizer(kind) -> None:
    model = gan(kind)
    train(model)
    before = take(model, "before")
    train(model)
    expected = values(model)
    put(model, before)
    train(model)
    assert_same(values(model), expected)


@pytest.mark.representatives("rows", "accumulating")
@pytest.mark.parametrize("kind", OPTIMIZERS)
def test_an_optimizer_built_since_the_snapshot_starts_anew(kind) -> None:
    model = gan(kind)
    before = take(model, "before")
    train(model, epochs=2)
    expected = values(model)
    put(model, before)
    train(model, epochs=2)
    assert_same(values(model), expected)


@pytest.mark.representatives("adam", "ema")
@pytest.mark.parametrize("kind", OPTIMIZERS)
def test_an_optimizer_not_yet_built_is_built_for_what_it_trained(kind) -> None:
    model = gan(kind)
    train(model)
    middle = take(model, "middle")
    train(model)
    again = gan(kind)
    put(again, middle)
    train(again)
    assert_same(values(again), values(model))


class Killed(Exception):
    """In place of a signal."""


class KillAt(keras.callbacks.Callback):
    """Ends a run amid an epoch."""

    def __init__(self, epoch):
        super().__init__()
        self.at = epoch

    def on_train_batch_end(self, batch, logs=None):
        if batch == 0 and self._epoch == self.at:
            raise Killed

    def on_epoch_begin(self, epoch, logs=None):
        self._epoch = epoch


def run(directory=None, **changed):
    quality = [1.0, 2.0, 2.0, 0.9, 5.0, 6.0, 7.0, 7.0, 7.0]
    log = keras.callbacks.LambdaCallback(
        on_epoch_end=lambda epoch, logs: logs.update(quality=quality[epoch])
    )
    arguments = {
        "growth": None,
        "pruning": hl.Pruning(step=0.4, retrain_epochs=2, min_step=0.1, max_iterations=2),
        "monitor": "quality",
        "mode": "min",
        "threshold": 1.0,
        "directory": directory,
        "verbose": 0,
    }
    return [log, hl.GrowAndPrune(None, **arguments | changed)]


@pytest.mark.representatives("pruned at once")
@pytest.mark.parametrize(
    ("kind", "first", "kills"),
    [("adam", None, (0, 4)), ("scaled", 0, (0, 2))],
    ids=["trained first", "pruned at once"],
)
def test_a_run_that_is_killed_goes_on_with_every_optimizer(tmp_path, kind, first, kills) -> None:
    whole = gan(kind)
    train(whole, 9, run(train_epochs=first))
    for kill in kills:
        with pytest.raises(Killed):
            train(gan(kind), 9, [*run(tmp_path, train_epochs=first), KillAt(kill)])
    resumed = gan(kind)
    train(resumed, 9, run(tmp_path, train_epochs=first))
    assert_same(values(resumed), values(whole))


def test_a_run_with_another_optimizer_beside_that_of_compile_is_another_run(tmp_path) -> None:
    with pytest.raises(Killed):
        train(gan(), 9, [*run(tmp_path), KillAt(2)])
    other = gan()
    other.compile(keras.optimizers.Adam(0.01), keras.optimizers.SGD(0.01))
    with pytest.raises(
        ValueError, match=r"optimizer .*'RMSprop, Adam, Adam' there, 'RMSprop, Adam, SGD'"
    ):
        train(other, 9, run(tmp_path))


def test_an_optimizer_of_variables_that_the_model_does_not_hold_is_named() -> None:
    model = gan()
    outside = keras.Variable(np.ones(3, "float32"))
    model.more = keras.optimizers.SGD(0.1)
    model.more.build([outside])
    snapshot = take(model, "a")
    put(model, snapshot)
    other = gan()
    other.more = keras.optimizers.SGD(0.1)
    with pytest.raises(ValueError, match="trained variables that the model does not hold"):
        put(other, snapshot)


def test_fewer_optimizers_than_in_the_state_are_named() -> None:
    model = gan()
    model.more = keras.optimizers.SGD(0.1)
    snapshot = take(model, "a")
    with pytest.raises(ValueError, match="holds 3 optimizers, but the state to go on from has 4"):
        put(gan(), snapshot)


def test_an_optimizer_made_since_the_snapshot_starts_anew() -> None:
    model = gan()
    train(model)
    snapshot = take(model, "a")
    model.late = keras.optimizers.Adam(0.1)
    model.late.apply([np.ones((3, 8), "float32")], model.generator.trainable_weights[:1])
    put(model, snapshot)
    assert int(model.late.iterations) == 0
    assert not any(np.any(np.array(v)) for v in model.late.variables[2:])


def test_an_optimizer_that_its_config_does_not_make_again_starts_anew_too() -> None:
    class Own(keras.optimizers.SGD):
        def __init__(self, rate, momentum_of_it):
            super().__init__(rate, momentum=momentum_of_it)

    model = gan()
    model.more = Own(0.1, 0.9)
    snapshot = take(model, "a")
    weights = model.generator.trainable_weights
    model.more.apply([np.ones(weight.shape, "float32") for weight in weights], weights)
    assert any(np.any(np.array(v)) for v in model.more.variables[2:])
    put(model, snapshot)
    assert int(model.more.iterations) == 0
    assert not any(np.any(np.array(v)) for v in model.more.variables[2:])
