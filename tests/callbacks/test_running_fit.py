"""What callbacks find out about the `fit` that they are in."""

import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

import hlstm_tf as hl

X = np.random.default_rng(0).normal(size=(16, 6)).astype("float32")
Y = X[:, :5] - X[:, 1:]


class Quality(keras.callbacks.Callback):
    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        logs["quality"] = 1.0


def dense_model() -> keras.Model:
    model = keras.Sequential([keras.Input((6,)), hl.MaskedDense(5)])
    model.compile("sgd", "mse", run_eagerly=True)
    return model


def run(directory: Path | None) -> hl.GrowAndPrune:
    pruning = hl.Pruning(step=0.4, retrain_epochs=1, max_iterations=1)
    return hl.GrowAndPrune(None, None, pruning, "quality", "min", 1.0, directory=directory)


class Batches(keras.utils.PyDataset):
    def __len__(self) -> int:
        return 2

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        return X[8 * index : 8 * index + 8], Y[8 * index : 8 * index + 8]


def generated() -> Iterator[tuple[np.ndarray, np.ndarray]]:
    while True:
        yield X, Y


# What `fit` gets beside a directory, and whether it draws the order of that.
ORDERS: dict[str, tuple[Callable[[], dict[str, Any]], bool]] = {
    "arrays": (lambda: {"x": X, "y": Y}, True),
    "arrays by batches": (lambda: {"x": X, "y": Y, "shuffle": "batch"}, True),
    "arrays in order": (lambda: {"x": X, "y": Y, "shuffle": False}, False),
    "part of arrays": (lambda: {"x": X, "y": Y, "validation_split": 0.5}, True),
    "tensors": (lambda: {"x": tf.constant(X), "y": tf.constant(Y)}, True),
    "PyDataset": (lambda: {"x": Batches()}, True),
    "PyDataset in order": (lambda: {"x": Batches(), "shuffle": False}, False),
    "dataset": (lambda: {"x": tf.data.Dataset.from_tensor_slices((X, Y)).batch(8)}, False),
    "generator": (lambda: {"x": generated(), "steps_per_epoch": 2}, False),
}


@pytest.mark.representatives("arrays", "arrays in order", "PyDataset", "generator")
@pytest.mark.parametrize("case", ORDERS)
def test_a_directory_where_fit_draws_the_order_says_that_resuming_is_not_exact(
    case: str, tmp_path: Path
) -> None:
    make, drawn = ORDERS[case]
    gp = run(tmp_path / "run")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        dense_model().fit(**make(), epochs=2, verbose=0, callbacks=[Quality(), gp])
    said = [str(each.message) for each in caught if "directory" in str(each.message)]
    assert len(said) == drawn
    assert all(
        "not bit for bit" in text and "shuffle=False, or an EpochData" in text for text in said
    )


def test_without_a_directory_or_a_fit_nobody_speaks_of_order(tmp_path: Path) -> None:
    gp = run(tmp_path)
    model = dense_model()
    by_hand = keras.callbacks.CallbackList([gp], model=model, epochs=2, verbose=0)
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message="directory")
        model_in_fit = dense_model()
        model_in_fit.fit(X, Y, epochs=2, verbose=0, callbacks=[Quality(), run(None)])
        by_hand.on_train_begin()


@pytest.mark.parametrize("inner", [False, True])
def test_a_fit_of_the_model_s_own_tells_its_order_too(inner: bool, tmp_path: Path) -> None:
    class Own(keras.Sequential):
        def fit(self, given: Any, **choices: Any) -> Any:
            return super().fit(*given, shuffle=inner, **choices)

    model = Own(dense_model().layers)
    model.compile("sgd", "mse")
    gp = run(tmp_path)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        model.fit((X, Y), epochs=2, verbose=0, callbacks=[Quality(), gp])
    assert any("not bit for bit" in str(each.message) for each in caught) == inner
