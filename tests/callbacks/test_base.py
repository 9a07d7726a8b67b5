"""Copies of callbacks, as tuners make them, share data and keep choices."""

import copy
from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

import hlstm_tf as hl
from hlstm_tf.callbacks import EpochData, GradientGrowth, GrowAndPrune, Pruning, SparsityBoard

X = np.random.default_rng(0).normal(size=(16, 6)).astype("float32")
Y = X[:, :5] - X[:, 1:]


def dataset() -> tf.data.Dataset:
    return tf.data.Dataset.from_tensor_slices((X, Y)).batch(8)


def epochs_of_data() -> EpochData:
    return EpochData(lambda epoch: dataset())


class Batches(keras.utils.PyDataset):
    def __len__(self) -> int:
        return 2

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        return X[8 * index : 8 * index + 8], Y[8 * index : 8 * index + 8]


def model_of() -> keras.Model:
    model = keras.Sequential([keras.Input((6,)), hl.MaskedDense(5)])
    [kernel] = hl.masked_kernels(model)
    hl.edit_masks({kernel: np.eye(6, 5, dtype=bool)})
    model.compile("sgd", "mse", run_eagerly=True)
    return model


def pruner(data: object, **choices) -> GrowAndPrune:
    pruning = Pruning(step=0.4, retrain_epochs=1, max_iterations=1)
    return GrowAndPrune(
        data, None, pruning, monitor="loss", threshold=99.0, train_epochs=1, verbose=0, **choices
    )


WITH_DATA: list[Callable[[object], keras.callbacks.Callback]] = [
    lambda data: GradientGrowth(data, 0.5, epochs=1, verbose=0),
    lambda data: hl.MagnitudePruning(0.9, score="saliency", data=data),
    lambda data: hl.NeuronGrowth(data),
    lambda data: hl.AreaPruning(0.1, data),
    pruner,
]


@pytest.mark.parametrize("make", WITH_DATA)
@pytest.mark.parametrize("data", [dataset, epochs_of_data, Batches, lambda: (X, Y)])
def test_a_copy_shares_the_data_and_nothing_else(make: Callable, data: Callable) -> None:
    given = data()
    original = make(given)
    twin = copy.deepcopy(original)
    held = [value for value in vars(twin).values() if value is given or value == (X, Y)]
    assert type(twin) is type(original)
    assert [id(v) for v in keras.tree.flatten(held[0])] == [
        id(v) for v in keras.tree.flatten(given)
    ]
    assert twin.history == original.history
    assert twin.history is not original.history
    original.history.append({"epoch": 9})
    assert twin.history == []


@pytest.mark.representatives("pruner")
@pytest.mark.parametrize("make", [WITH_DATA[0], WITH_DATA[1], pruner])
def test_a_copy_trains_as_a_fresh_callback_does(make: Callable) -> None:
    def run(callback: keras.callbacks.Callback) -> tuple[list[np.ndarray], list]:
        keras.utils.set_random_seed(0)
        model = model_of()
        model.fit(dataset(), epochs=3, verbose=0, callbacks=[callback])
        return model.get_weights(), callback.history

    used = make(dataset())
    run(used)
    for callback in (copy.deepcopy(used), copy.deepcopy(make(dataset()))):
        weights, history = run(callback)
        expected, known = run(make(dataset()))
        assert len(history) == len(known)
        for weight, other in zip(weights, expected, strict=True):
            np.testing.assert_array_equal(weight, other)


def test_a_copy_made_amid_fit_has_nothing_of_that_fit() -> None:
    twins = []

    class Copies(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            twins.append(copy.deepcopy(gp))

    gp, model = pruner(dataset()), model_of()
    model.fit(dataset(), epochs=3, verbose=0, callbacks=[Copies(), gp])
    assert twins[0].model is None
    assert twins[0].train is gp.train
    assert not {"_stage", "_state", "_end"} & set(vars(twins[0]))


def test_layers_named_in_a_callback_stay_the_models_own() -> None:
    layer = keras.layers.Dense(3, activation="tanh")
    shift = hl.ActivationShift("relu", layers=[layer])
    assert copy.deepcopy(shift).layers[0] is layer
    follow = epochs_of_data().follow()
    assert copy.deepcopy(follow).data is follow.data


def test_a_board_is_copied_after_a_fit_too(tmp_path: Path) -> None:
    board = SparsityBoard(tmp_path)
    model_of().fit(X, Y, verbose=0, callbacks=[board])
    assert copy.deepcopy(board).log_dir == board.log_dir


def test_what_a_subclass_holds_is_shared_where_it_cannot_be_copied(tmp_path: Path) -> None:
    class Mine(hl.MagnitudePruning):
        def __init__(self) -> None:
            super().__init__(0.5)
            self.log = open(tmp_path / "log", "w")  # noqa: SIM115
            self.both = {"train": dataset(), "names": ["a"]}

    mine = Mine()
    twin = copy.deepcopy(mine)
    assert twin.log is mine.log
    assert twin.both["train"] is mine.both["train"]
    assert twin.both["names"] is not mine.both["names"]
    mine.log.close()


def test_two_copies_of_a_callback_do_not_share_a_directory(tmp_path: Path) -> None:
    original = pruner(dataset(), directory=tmp_path)
    first, second = copy.deepcopy(original), copy.deepcopy(original)
    model_of().fit(X, Y, epochs=3, verbose=0, callbacks=[first])
    model_of().fit(X, Y, epochs=3, verbose=0, callbacks=[first])  # goes on with its own
    del first
    with pytest.raises(ValueError, match=r"another copy of this callback .*HyperModel\.fit"):
        model_of().fit(X, Y, epochs=3, verbose=0, callbacks=[second])
    # As said: made for each trial.
    gp = pruner(dataset(), directory=tmp_path / "trial-1")
    model_of().fit(X, Y, epochs=3, verbose=0, callbacks=[gp])
    assert len(gp.history) == 2
