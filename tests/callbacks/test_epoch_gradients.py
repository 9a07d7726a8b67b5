"""Gradients that training steps leave for growth, beside those of a pass of its own."""

from collections.abc import Callable

import keras
import numpy as np
import pytest
import tensorflow as tf

import hlstm_tf as hl
from hlstm_tf.callbacks.epoch_gradients import EpochGradients
from hlstm_tf.callbacks.growth_score import DenseGradients

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
