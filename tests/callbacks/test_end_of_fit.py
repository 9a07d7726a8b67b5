"""At the end of `fit` the promised masks are in the model, whoever else restored weights."""

import warnings
from collections.abc import Callable

import keras
import numpy as np
import pytest

import hlstm_tf as hl
from hlstm_tf.callbacks import GradientGrowth, GrowAndPrune, Growth, Pruning
from hlstm_tf.training_run.phases import Phase

X = np.random.default_rng(0).normal(size=(16, 6)).astype("float32")
Y = X[:, :5] - X[:, 1:]


class Rising(keras.callbacks.Callback):
    """Puts a value into the logs that gets worse, so that the first epoch is the best."""

    def on_epoch_end(self, epoch, logs=None):
        logs["worse"] = float(epoch)
        logs["quality"] = 0.5


class RestoresFirst(keras.callbacks.Callback):
    """Puts the weights of the first epoch back, at an event of a given epoch."""

    def __init__(self, at_epoch: int | None = None) -> None:
        super().__init__()
        self.at_epoch = at_epoch

    def on_epoch_end(self, epoch, logs=None):
        if epoch == 0:
            self.first = self.model.get_weights()
        if epoch == self.at_epoch:
            self.model.set_weights(self.first)

    def on_train_end(self, logs=None):
        if self.at_epoch is None:
            self.model.set_weights(self.first)


def model_of(optimizer: object = "adam", sparsity: float = 0.0) -> keras.Model:
    model = keras.Sequential([keras.Input((6,)), hl.MaskedDense(8), hl.MaskedDense(5)])
    if sparsity:
        for kernel in hl.masked_kernels(model):
            draw = np.random.default_rng(0).random(kernel.shape)
            hl.edit_masks({kernel: draw >= sparsity})
    model.compile(optimizer, "mse", run_eagerly=True)
    return model


def early() -> keras.callbacks.Callback:
    return keras.callbacks.EarlyStopping(
        "worse", mode="min", patience=99, restore_best_weights=True
    )


def sparsity_of(model: keras.Model) -> float:
    masks = [kernel.mask.numpy() for kernel in hl.masked_kernels(model)]
    for kernel, mask in zip(hl.masked_kernels(model), masks, strict=True):
        assert (kernel.variable.numpy()[~mask] == 0).all()
    return 1 - sum(mask.sum() for mask in masks) / sum(mask.size for mask in masks)


ORDERS = [lambda ours, theirs: [ours, theirs], lambda ours, theirs: [theirs, ours]]
RESTORERS = [early, RestoresFirst, lambda: RestoresFirst(2)]


@pytest.mark.representatives(
    "epoch-early-<lambda>0", "step-RestoresFirst-<lambda>1", "epoch-<lambda>-<lambda>1"
)
@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("restorer", RESTORERS)
@pytest.mark.parametrize("per", ["epoch", "step"])
def test_pruning_by_schedule_keeps_its_sparsity(order, restorer: Callable, per: str) -> None:
    model = model_of()
    last = 1 if per == "epoch" else 3
    pruning = hl.MagnitudePruning(lambda now: (now == last, 0.8), per=per)
    with pytest.warns(UserWarning, match="put back weights with other masks"):
        model.fit(X, Y, 8, epochs=3, verbose=0, callbacks=[Rising(), *order(pruning, restorer())])
    assert sparsity_of(model) == pytest.approx(pruning.history[-1]["sparsity"])
    assert sparsity_of(model) == pytest.approx(0.8, abs=0.02)


def test_the_weights_that_come_back_are_those_of_the_last_epoch() -> None:
    def run(*others) -> list[np.ndarray]:
        keras.utils.set_random_seed(0)
        model = model_of()
        pruning = hl.MagnitudePruning(0.5, begin=1)
        model.fit(X, Y, epochs=3, verbose=0, callbacks=[Rising(), pruning, *others])
        return model.get_weights()

    expected = run()
    with pytest.warns(UserWarning, match="EarlyStopping put back .* last epoch is in the model"):
        found = run(early())
    for weight, other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(weight, other)


@pytest.mark.representatives("early-<lambda>0", "RestoresFirst-<lambda>1")
@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("restorer", [early, RestoresFirst, lambda: RestoresFirst(3)])
def test_grow_and_prune_ends_with_its_last_complete_iteration(order, restorer) -> None:
    def run(*others) -> tuple[keras.Model, GrowAndPrune]:
        keras.utils.set_random_seed(0)
        model = model_of(sparsity=0.5)
        gp = GrowAndPrune(
            (X, Y),
            growth=Growth(epochs=1, score="random"),
            pruning=Pruning(step=0.5, retrain_epochs=2, max_iterations=1),
            monitor="quality",
            threshold=1.0,
            train_epochs=1,
            verbose=0,
        )
        model.fit(X, Y, epochs=9, verbose=0, callbacks=[Rising(), *order(gp, *others)])
        return model, gp

    keras.utils.set_random_seed(0)
    expected, gp = run(keras.callbacks.Callback())
    assert len(gp.history) == 4
    others = restorer()
    with pytest.warns(UserWarning, match="last complete iteration, 1|other masks"):
        model, gp = run(others)
    assert gp.progress.phase is Phase.FINISHED
    assert sparsity_of(model) == pytest.approx(gp.history[-1]["sparsity_after"])
    for ours, theirs in zip(hl.masked_kernels(model), hl.masked_kernels(expected), strict=True):
        # The masks at least, where other weights came into the model amid the run.
        np.testing.assert_array_equal(ours.mask.numpy(), theirs.mask.numpy())
        if getattr(others, "at_epoch", None) is None:
            np.testing.assert_array_equal(ours.variable.numpy(), theirs.variable.numpy())


@pytest.mark.parametrize("order", ORDERS)
def test_a_run_that_another_callback_stops_leaves_the_last_complete_iteration(order) -> None:
    model = model_of()
    gp = GrowAndPrune(
        (X, Y),
        growth=None,
        pruning=Pruning(step=0.3, retrain_epochs=2),
        monitor="quality",
        threshold=1.0,
        train_epochs=1,
        verbose=0,
    )
    stop = keras.callbacks.EarlyStopping("worse", patience=3, mode="min", restore_best_weights=True)
    with pytest.warns(
        UserWarning, match="another callback stopped fit during .* Leave out EarlySt"
    ):
        model.fit(X, Y, epochs=50, verbose=0, callbacks=[Rising(), *order(gp, stop)])
    complete = [r for r in gp.history if "complete" in r["events"]][-1]
    assert sparsity_of(model) == pytest.approx(complete["sparsity"])


@pytest.mark.parametrize("order", ORDERS)
def test_what_has_grown_stays(order) -> None:
    model = model_of(sparsity=0.8)
    growth = GradientGrowth((X, Y), 0.5, epochs=[1], score="random", verbose=0)
    with pytest.warns(UserWarning, match="other masks"):
        model.fit(X, Y, epochs=2, verbose=0, callbacks=[Rising(), *order(growth, early())])
    assert sparsity_of(model) == pytest.approx(growth.history[-1]["sparsity"])


@pytest.mark.parametrize("order", ORDERS)
def test_areas_that_were_dropped_stay_dropped(order) -> None:
    layers = [keras.Input((4, 4, 1)), hl.PartialAreaConv2D(2, 3), keras.layers.Flatten()]
    model = keras.Sequential([*layers, keras.layers.Dense(1)])
    model.compile("sgd", "mse", run_eagerly=True)
    x, y = np.random.default_rng(0).normal(size=(8, 4, 4, 1)), np.zeros(8)
    areas = hl.AreaPruning(0.25, (x, y), epochs=[1], verbose=0)
    with pytest.warns(UserWarning, match="other masks"):
        model.fit(x, y, epochs=3, verbose=0, callbacks=[Rising(), *order(areas, early())])
    assert int(model.layers[0].area.numpy().sum()) == areas.history[-1]["positions"] == 6


def test_the_best_epoch_among_those_with_the_last_masks_is_left_in_the_model() -> None:
    model = model_of()
    stop = keras.callbacks.EarlyStopping(
        "worse", mode="min", patience=99, restore_best_weights=True, start_from_epoch=2
    )
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        model.fit(
            X, Y, epochs=5, verbose=0, callbacks=[Rising(), hl.MagnitudePruning(0.8, 2), stop]
        )
    assert stop.best_epoch == 2
    assert sparsity_of(model) == pytest.approx(0.8, abs=0.02)
    for weight, best in zip(model.get_weights(), stop.best_weights, strict=True):
        np.testing.assert_array_equal(weight, best)


def test_masks_that_the_user_edits_at_the_end_are_the_users() -> None:
    class Edit(keras.callbacks.Callback):
        def on_train_end(self, logs=None):
            for kernel in hl.masked_kernels(self.model):
                hl.edit_masks({kernel: np.eye(*kernel.shape, dtype=bool)})

    model = model_of()
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        model.fit(X, Y, epochs=2, verbose=0, callbacks=[hl.MagnitudePruning(0.5), Edit()])
    assert [int(k.mask.numpy().sum()) for k in hl.masked_kernels(model)] == [6, 5]


@pytest.mark.parametrize("policy", ["keras", "tuner"])
def test_a_file_of_the_best_epoch_is_named_before_training(tmp_path, policy: str) -> None:
    class SaveBestEpoch(keras.callbacks.Callback):  # with the attributes of KerasTuner's
        best_value = 0.0
        filepath = "trial/checkpoint.weights.h5"

    file = str(tmp_path / "best.keras")
    saves = (
        keras.callbacks.ModelCheckpoint(file, monitor="loss", save_best_only=True)
        if policy == "keras"
        else SaveBestEpoch()
    )
    advice = "Save the model after fit" if policy == "keras" else "fit it once more"
    with pytest.warns(UserWarning, match=f"at the best epoch, which may be.*{advice}"):
        model_of().fit(X, Y, verbose=0, callbacks=[hl.MagnitudePruning(0.5), saves])


def test_a_list_of_callbacks_is_as_it_was_after_fit() -> None:
    model, pruning, stop = model_of(), hl.MagnitudePruning(0.5, begin=1), early()
    callbacks = keras.callbacks.CallbackList(
        [Rising(), pruning, stop], add_history=True, model=model, epochs=3
    )
    known = list(callbacks.callbacks)
    for _ in range(2):
        with pytest.warns(UserWarning, match="other masks"):
            model.fit(X, Y, epochs=3, verbose=0, callbacks=callbacks)
        assert callbacks.callbacks == known
        hl.edit_masks({k: np.ones(k.shape, bool) for k in hl.masked_kernels(model)})


def test_a_loop_without_a_list_of_callbacks_is_settled_too() -> None:
    model, pruning = model_of(), hl.MagnitudePruning(0.5)
    before = model.get_weights()
    pruning.set_model(model)
    pruning.on_train_begin()
    pruning.on_epoch_begin(0)
    model.train_on_batch(X, Y)
    model.set_weights(before)
    with pytest.warns(UserWarning, match="another callback put back"):
        pruning.on_train_end()
    assert sparsity_of(model) == pytest.approx(0.5, abs=0.02)
