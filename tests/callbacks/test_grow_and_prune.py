"""GP training in `fit`: what it leaves in the model, and what it says when it cannot go on."""

import contextlib
import csv
import os
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

import hlstm_tf as hl
from hlstm_tf.callbacks import EpochData, GrowAndPrune, Growth, Pruning
from hlstm_tf.layers import LeakyReLU
from hlstm_tf.training_run.phases import Phase

X = np.random.default_rng(0).normal(size=(16, 6)).astype("float32")
Y = X[:, :5] - X[:, 1:]


class Quality(keras.callbacks.Callback):
    """Puts given values into the logs, and notes the state at the end of each epoch."""

    def __init__(self, values: list[float]) -> None:
        super().__init__()
        self.values = values
        self.rates: list[float] = []
        self.states: list[list[np.ndarray]] = []

    def on_epoch_end(self, epoch, logs=None):
        logs["quality"] = self.values[epoch]
        self.rates.append(float(self.model.optimizer.learning_rate))
        self.states.append(state(self.model))


def state(model: keras.Model) -> list[np.ndarray]:
    return [v.numpy().copy() for v in [*model.variables, *model.optimizer.variables]]


def assert_same(first: list[np.ndarray], second: list[np.ndarray]) -> None:
    for a, b in zip(first, second, strict=True):
        np.testing.assert_array_equal(a, b)


def dense_model(optimizer: object = "adam", **arguments) -> keras.Model:
    model = keras.Sequential([keras.Input((6,)), hl.MaskedDense(5)])
    arguments.setdefault("run_eagerly", True)
    model.compile(optimizer, "mse", **arguments)
    return model


def pruner(**choices) -> GrowAndPrune:
    pruning = choices.pop("pruning", Pruning(step=0.4, min_step=0.2, retrain_epochs=2))
    defaults = {"growth": None, "monitor": "quality", "threshold": 1.0, "verbose": 0}
    return GrowAndPrune((X, Y), pruning=pruning, **{**defaults, **choices})


def fit(model: keras.Model, *callbacks, epochs: int = 20, **arguments) -> None:
    model.fit(X, Y, epochs=epochs, callbacks=list(callbacks), verbose=0, **arguments)


def test_the_model_ends_with_weights_masks_and_optimizer_of_the_last_complete_iteration() -> None:
    model = dense_model()
    quality = Quality([1.0, 0.9, 0.8, 5, 5, 5, 5])
    gp = pruner()
    fit(model, quality, gp)
    # Epoch 0 trains; 1 and 2 complete an iteration; 3-4 fail, 5-6 fail at half the step.
    assert gp.progress.phase is Phase.FINISHED
    assert len(gp.history) == 7
    assert_same(state(model), quality.states[2])
    assert int(model.optimizer.iterations) == 3
    [kernel] = hl.masked_kernels(model)
    assert int(kernel.mask.numpy().sum()) == gp.history[1]["connections"] == 18


def test_the_best_epoch_of_an_iteration_is_the_one_that_goes_on() -> None:
    model = dense_model()
    quality = Quality([1.0, 0.5, 0.9])
    gp = pruner(pruning=Pruning(step=0.4, retrain_epochs=2, max_iterations=1))
    fit(model, quality, gp)
    assert_same(state(model), quality.states[1])
    assert gp.history[-1]["events"] == ["restore_best", "complete", "finish"]


def test_a_retry_starts_from_the_state_that_was_rolled_back_to() -> None:
    model = dense_model(keras.optimizers.SGD(0.0))  # weights move by pruning alone
    quality = Quality([1.0, 5, 5, 0.5, 0.5])
    gp = pruner(pruning=Pruning(step=0.4, min_step=0.2, retrain_epochs=2, max_iterations=1))
    fit(model, quality, gp)
    assert [r["connections_after"] for r in gp.history] == [18, 18, 24, 24, 24]


def test_leaky_relu_while_growing_and_relu_after() -> None:
    model = keras.Sequential([keras.Input((2, 3)), hl.HLSTM(5)])
    model.compile("sgd", "mse", run_eagerly=True)
    seen = []

    class Watch(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            seen.append(self.model.layers[0].hidden_activation)

    x = X.reshape(16, 2, 3)
    gp = GrowAndPrune((x, Y), growth=Growth(epochs=2), pruning=None, train_epochs=1, verbose=0)
    model.fit(x, Y, epochs=9, callbacks=[Watch(), gp], validation_data=(x, Y), verbose=0)
    assert seen == [LeakyReLU(), LeakyReLU(), keras.activations.relu]


def test_the_fit_that_ends_amid_retraining_leaves_the_last_complete_iteration() -> None:
    model = dense_model()
    quality = Quality([1.0, 0.9, 0.8, 5])
    with pytest.warns(UserWarning, match="during retraining of pruning iteration 2"):
        fit(model, quality, pruner(), epochs=4)
    assert_same(state(model), quality.states[2])


def test_more_epochs_with_the_same_directory_go_on_amid_retraining(tmp_path: Path) -> None:
    values = [1.0, 0.9, 0.8, 5, 0.7, 5, 5, 5, 5]
    whole, whole_gp = dense_model(), pruner()
    fit(whole, Quality(values), whole_gp)
    keras.utils.set_random_seed(0)
    model = dense_model()
    with pytest.warns(UserWarning, match="during retraining"):
        fit(model, Quality(values), pruner(directory=tmp_path), epochs=4)
    keras.utils.set_random_seed(1)
    again = dense_model()  # other weights: all has to come from the directory
    gp = pruner(directory=tmp_path)
    fit(again, Quality(values), gp)
    assert [r["epoch"] for r in gp.history] == list(range(9))
    assert gp.progress == whole_gp.progress


def test_a_finished_run_loads_its_result_and_trains_no_more(tmp_path: Path) -> None:
    values = [1.0, 0.9, 0.8, 5, 5, 5, 5]
    model = dense_model()
    fit(model, Quality(values), pruner(directory=tmp_path))
    again, quality = dense_model(), Quality([])
    fit(again, quality, pruner(directory=tmp_path))
    assert quality.states == []
    assert_same(state(again), state(model))
    assert len(again.history.history["loss"]) == 7
    fit(again, epochs=1)  # a later fit starts where it says itself
    assert again.history.epoch == [0]


def test_the_history_is_on_disk_as_a_table(tmp_path: Path) -> None:
    gp = pruner(directory=tmp_path)
    fit(dense_model(), Quality([1.0, 0.9, 0.8, 5, 5, 5, 5]), gp)
    with open(tmp_path / "history.csv", newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [row["phase"] for row in rows] == ["training"] + ["retraining"] * 6
    assert rows[2]["events"] == "complete prune"
    assert [int(row["connections"]) for row in rows] == [r["connections"] for r in gp.history]
    assert float(rows[2]["quality"]) == float(rows[2]["value"]) == 0.8
    assert "loss" in rows[0]


@pytest.mark.parametrize(
    ("rate", "expected"),
    [
        (0.01, [0.5, 0.01, 0.01, 0.01, 0.01]),
        (lambda epoch: 0.1 / (1 + epoch), [0.5, 0.1, 0.05, 0.1, 0.05]),
        (keras.optimizers.schedules.CosineDecay(0.1, 2), [0.5, 0.1, 0.05, 0.1, 0.05]),
    ],
)
def test_the_learning_rate_of_retraining_rewinds_with_each_iteration(rate, expected) -> None:
    quality = Quality([1.0, 0.9, 0.8, 0.7, 0.6])
    pruning = Pruning(step=0.2, retrain_epochs=2, max_iterations=2, learning_rate=rate)
    fit(dense_model(keras.optimizers.SGD(0.5)), quality, pruner(pruning=pruning))
    np.testing.assert_allclose(quality.rates, expected, rtol=1e-6)


def test_the_line_an_epoch_tells_phase_sparsity_and_time(capsys: pytest.CaptureFixture) -> None:
    gp = pruner(verbose=1, pruning=Pruning(step=0.4, retrain_epochs=2, max_iterations=1))
    fit(dense_model(), Quality([1.0, 0.9, 0.8]), gp)
    lines = [line for line in capsys.readouterr().out.splitlines() if line]
    assert "training 1: quality 1; threshold 1; sparsity 0.0% (30 connections)" in lines[0]
    assert "now 40.0% (18)" in lines[0]
    assert "retraining 1/2 of iteration 1 (step 40.0%)" in lines[1]
    assert "left" in lines[1]
    assert lines[-1] == "grow-and-prune: finished: 1 iterations are complete"


# What cannot go on.


def test_a_monitor_that_does_not_exist_names_those_that_do() -> None:
    with pytest.raises(ValueError, match=r"monitor='val_wer'.*there are: loss.*validation_data"):
        fit(dense_model(), pruner(monitor="val_wer"))


def test_too_few_epochs_are_an_error_before_the_first() -> None:
    model, quality = dense_model(), Quality([1.0] * 9)
    with pytest.raises(ValueError, match="epochs=5 of fit are too few: 3 of growth, 2 of training"):
        fit(model, quality, pruner(growth=Growth(), train_epochs=2), epochs=5)
    assert quality.states == []


def test_a_threshold_never_met_is_a_warning() -> None:
    with pytest.warns(UserWarning, match="before the first pruning"):
        fit(dense_model(), Quality([2.0] * 3), pruner(), epochs=3)


def test_a_model_without_masks_is_told_to_sparsify() -> None:
    model = keras.Sequential([keras.Input((6,)), keras.layers.Dense(5)])
    model.compile("sgd", "mse")
    with pytest.raises(ValueError, match=r"hl\.sparsify"):
        fit(model, pruner())


def test_a_rate_for_an_optimizer_that_follows_a_schedule_is_an_error() -> None:
    model = dense_model(keras.optimizers.SGD(keras.optimizers.schedules.CosineDecay(0.1, 9)))
    with pytest.raises(ValueError, match=r"pruning\.learning_rate"):
        fit(model, pruner(pruning=Pruning(learning_rate=0.1)))


class Poison(keras.callbacks.Callback):
    """Makes the weights NaN in an epoch, so that its loss is."""

    def __init__(self, epoch: int) -> None:
        super().__init__()
        self.epoch = epoch

    def on_epoch_begin(self, epoch, logs=None):
        if epoch == self.epoch:
            bias = self.model.layers[-1].bias
            bias.assign(np.full(bias.shape, np.nan))


@pytest.mark.parametrize(
    ("epoch", "phase"),
    [(0, "growth phase"), (1, "training phase"), (2, "retraining of pruning iteration 1")],
)
def test_a_nan_loss_stops_any_phase_and_the_state_before_it_is_intact(
    tmp_path: Path, epoch: int, phase: str
) -> None:
    values = [9, 1.0, 0.9, 0.8]
    choices = {"growth": Growth(epochs=1), "directory": tmp_path}
    choices["pruning"] = Pruning(retrain_epochs=2, max_iterations=1)
    with pytest.raises(FloatingPointError, match=rf"epoch {epoch}, .*{phase}.*after {epoch} ep"):
        fit(dense_model(), Quality(values), pruner(**choices), Poison(epoch))
    # The same command without the poison goes on from there, to the end.
    resumed = dense_model()
    gp = pruner(**choices)
    fit(resumed, Quality(values), gp)
    assert len(gp.history) == 4
    assert gp.progress.phase is Phase.FINISHED
    assert np.isfinite(resumed.layers[-1].bias.numpy()).all()


def test_a_directory_of_another_run_is_refused_and_the_difference_named(tmp_path: Path) -> None:
    fit(dense_model(), Quality([1.0] * 20), pruner(directory=tmp_path), epochs=20)
    before = (tmp_path / "state.json").read_bytes()
    other = pruner(directory=tmp_path, pruning=Pruning(step=0.3, min_step=0.2, retrain_epochs=2))
    with pytest.raises(ValueError, match=r"another run.*pruning\.step \(0\.4 there, 0\.3 here\)"):
        fit(dense_model(), other)
    with pytest.raises(ValueError, match=r"optimizer \('Adam' there, 'SGD' here\)"):
        fit(dense_model("sgd"), pruner(directory=tmp_path))
    wider = keras.Sequential([keras.Input((6,)), hl.MaskedDense(7), hl.MaskedDense(5)])
    wider.compile("adam", "mse")
    with pytest.raises(ValueError, match="the model's and optimizer's variables"):
        fit(wider, pruner(directory=tmp_path))
    assert (tmp_path / "state.json").read_bytes() == before


def test_a_disk_that_fills_up_ends_the_run_with_the_earlier_state_intact(tmp_path: Path) -> None:
    if not os.path.exists("/dev/full"):
        pytest.skip("this system has no /dev/full")
    values = [1.0, 0.9, 0.8, 5, 5, 5, 5]

    class FillDisk(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            if epoch == 2:
                (tmp_path / "snapshot-00003-best.npz.partial").symlink_to("/dev/full")

    with pytest.raises(OSError, match=r"No space left on device.*intact"):
        fit(dense_model(), Quality(values), pruner(directory=tmp_path), FillDisk())
    gp = pruner(directory=tmp_path)
    fit(dense_model(), Quality(values), gp)
    assert [r["epoch"] for r in gp.history] == list(range(7))


def test_training_data_that_gives_no_batch_is_an_error_of_growth() -> None:
    empty = tf.data.Dataset.from_tensor_slices((X, Y)).take(0).batch(4)
    gp = GrowAndPrune(empty, monitor="loss", verbose=0)
    with pytest.raises(ValueError, match="growth after epoch 0: the training data gave no batch"):
        fit(dense_model(), gp)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Growth(ratio=1.2), "ratio"),
        (lambda: Growth(epochs=0), "epochs"),
        (lambda: Growth(score="best"), "score"),
        (lambda: Growth(activation="no_such"), "activation"),
        (lambda: Pruning(step=-0.1), "step"),
        (lambda: Pruning(step=0), "step"),
        (lambda: Pruning(min_step=0.5), "min_step"),
        (lambda: Pruning(retrain_epochs=0), "retrain_epochs"),
        (lambda: Pruning(retrain="a bit"), "retrain"),
        (lambda: Pruning(learning_rate=0), "learning_rate"),
        (lambda: Pruning(target_sparsity=95), "target_sparsity"),
        (lambda: Pruning(max_iterations=0), "max_iterations"),
        (lambda: pruner(mode="maximum"), "mode"),
        (lambda: pruner(tolerance=-1), "tolerance"),
        (lambda: pruner(train_epochs=-1), "train_epochs"),
        (lambda: pruner(pruning=None), "nothing to do"),
        (lambda: pruner(threshold=None, train_epochs=0), "threshold"),
    ],
)
def test_wrong_choices_are_named(make, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


def test_growth_by_gradient_without_data_is_an_error() -> None:
    with pytest.raises(TypeError, match="train must be the training set"):
        GrowAndPrune(None, growth=Growth())
    GrowAndPrune(None, growth=Growth(score="random"))


# Where else it has to work.


def whole_run(model: keras.Model, train: object) -> GrowAndPrune:
    gp = GrowAndPrune(
        train,
        growth=Growth(epochs=1, ratio=0.6),
        pruning=Pruning(step=0.5, retrain_epochs=1, max_iterations=1, learning_rate=0.005),
        monitor="loss",
        threshold=100.0,
        verbose=0,
    )
    model.fit(train, epochs=6, callbacks=[gp], verbose=0)
    assert gp.progress.phase is Phase.FINISHED
    events = [event for record in gp.history for event in record["events"]]
    assert events == ["grow", "shift", "complete", "prune", "complete", "finish"]
    assert gp.history[-1]["learning_rate"] == pytest.approx(0.005)
    for kernel in hl.masked_kernels(model):
        weights, mask = kernel.variable.numpy(), kernel.mask.numpy()
        assert (weights[~mask] == 0).all()
        assert 0 < mask.sum() < mask.size
    return gp


def two_layers(policy: str = "float32") -> keras.Model:
    layers = [keras.Input((6,)), hl.MaskedDense(8, "relu", dtype=policy), hl.MaskedDense(5)]
    model = keras.Sequential(layers)
    for number, kernel in enumerate(hl.masked_kernels(model)):
        mask = np.random.default_rng(number).random(kernel.mask.shape) < 0.5
        hl.edit_masks({kernel: mask})
    return model


def data() -> EpochData:
    return EpochData(
        lambda epoch: tf.data.Dataset.from_tensor_slices((X, Y)).shuffle(16, seed=epoch).batch(4)
    )


def test_it_runs_under_steps_per_execution_and_jit_compile() -> None:
    model = two_layers()
    model.compile("adam", "mse", steps_per_execution=2, jit_compile=True)
    whole_run(model, data())


def test_it_runs_under_mixed_float16() -> None:
    model = two_layers("mixed_float16")
    optimizer = keras.optimizers.LossScaleOptimizer(keras.optimizers.Adam(), initial_scale=1024)
    model.compile(optimizer, "mse", run_eagerly=True)
    whole_run(model, data())


def test_it_runs_under_mirrored_strategy_as_on_one_device() -> None:
    # Collectives of two strategies in one process would take each other's shapes.
    strategy = tf.distribute.MirroredStrategy(
        ["CPU:0", "CPU:1"], cross_device_ops=tf.distribute.ReductionToOneDevice()
    )

    def run(scope, **choices) -> list[np.ndarray]:
        keras.utils.set_random_seed(0)
        with scope:
            model = two_layers()
            model.compile(keras.optimizers.SGD(0.01), "mse", **choices)
        whole_run(model, data())
        return [k.mask.numpy() for k in hl.masked_kernels(model)]

    mirrored = run(strategy.scope())
    single = run(contextlib.nullcontext(), run_eagerly=True)
    for mask, expected in zip(mirrored, single, strict=True):
        np.testing.assert_array_equal(mask, expected)


def test_averaged_weights_stay_under_the_mask() -> None:
    model = two_layers()
    model.compile(keras.optimizers.Adam(use_ema=True), "mse", run_eagerly=True)
    whole_run(model, data())


@pytest.mark.parametrize("threshold", ["0.1", float("nan"), float("inf")])
def test_a_threshold_that_is_no_number_is_refused_before_training(threshold: object) -> None:
    with pytest.raises(ValueError, match="threshold must be a finite number, or None; got"):
        GrowAndPrune((np.ones((1, 2)), np.ones((1, 1))), threshold=threshold)
