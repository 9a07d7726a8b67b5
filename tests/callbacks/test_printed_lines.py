"""What callbacks print: as `fit` does by its `verbose`, or as they are told themselves."""

import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

import hlstm_tf as hl
from hlstm_tf import callbacks

RNG = np.random.default_rng(0)
X = RNG.normal(size=(16, 4, 4, 1)).astype("float32")
Y = X[:, 0, :2, 0]
DATA = (X, Y)


def model() -> keras.Model:
    keras.utils.set_random_seed(0)
    hidden = hl.MaskedDense(32, activation="relu", name="hidden")
    layers = [hl.PartialAreaConv2D(3, 3), keras.layers.Flatten(), hidden, hl.MaskedDense(2)]
    made = keras.Sequential([keras.Input((4, 4, 1)), *layers])
    made = hl.sparsify(made, sparsity=0.2, seed=0, neurons={"hidden": 0.5})
    made.compile("sgd", "mse")
    return made


def every_epoch(epoch: tf.Tensor) -> tf.data.Dataset:
    return tf.data.Dataset.from_tensor_slices(DATA).batch(8)


def run(**choices: Any) -> keras.callbacks.Callback:
    pruning = hl.Pruning(0.2, 1, max_iterations=1)
    return hl.GrowAndPrune(DATA, hl.Growth(epochs=1), pruning, "loss", tolerance=9.0, **choices)


# What prints, and a word of the line that it prints for an epoch.
PRINTING: dict[str, tuple[Callable[..., keras.callbacks.Callback], str]] = {
    "growth": (lambda **v: hl.GradientGrowth(DATA, epochs=1, **v), "connections grown"),
    "growth during": (
        lambda **v: hl.GradientGrowth(DATA, epochs=1, during="epoch", **v),
        "connections grown",
    ),
    "births": (lambda **v: hl.NeuronGrowth(DATA, epochs=1, **v), "neurons born ("),
    "areas": (lambda **v: hl.AreaPruning(0.2, DATA, **v), "positions dropped"),
    "pruning": (lambda **v: hl.MagnitudePruning(0.5, **v), "connections removed"),
    "pruning by steps": (
        lambda **v: hl.MagnitudePruning(0.5, end=3, per="step", **v),
        "connections removed",
    ),
    "run": (run, "grow-and-prune: growth 1/1"),
}
SILENT: dict[str, Callable[[Path], keras.callbacks.Callback]] = {
    "shift": lambda folder: hl.ActivationShift(),
    "board": lambda folder: hl.SparsityBoard(folder),
    "follow": lambda folder: hl.EpochData(every_epoch).follow(),
}


@pytest.fixture(autouse=True)
def _no_warnings() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        yield


def printed(made: list[keras.callbacks.Callback], capfd: Any, verbose: Any) -> str:
    capfd.readouterr()
    model().fit(X, Y, batch_size=8, epochs=5, verbose=verbose, callbacks=made)
    return "".join(capfd.readouterr())


def printing(**choices: Any) -> list[keras.callbacks.Callback]:
    return [make(**choices) for make, _ in PRINTING.values()]


def lines_by_name(text: str) -> dict[str, list[str]]:
    lines = text.splitlines()
    return {name: [x for x in lines if words in x] for name, (_, words) in PRINTING.items()}


@pytest.mark.parametrize("choices", [{}, {"verbose": None}])
def test_a_silent_fit_silences_every_callback(choices: dict, capfd: Any) -> None:
    assert printed(printing(**choices), capfd, verbose=0) == ""


def test_callbacks_told_to_print_do_so_in_a_silent_fit(capfd: Any) -> None:
    text = printed(printing(verbose=1), capfd, verbose=0)
    assert all(lines_by_name(text).values())
    assert all(text.splitlines())  # no empty line: there is no progress bar


def test_callbacks_told_to_be_silent_are_so_in_a_fit_that_prints(capfd: Any) -> None:
    text = printed(printing(verbose=0), capfd, verbose=2)
    assert not any(lines_by_name(text).values())


@pytest.mark.representatives("2")
@pytest.mark.parametrize("verbose", [1, 2, "auto"])
def test_lines_stand_by_themselves_beside_what_fit_prints(verbose: Any, capfd: Any) -> None:
    text = printed(printing(), capfd, verbose)
    for lines in lines_by_name(text).values():
        assert lines
        assert all(line.startswith(("epoch ", "grow-and-prune: ")) for line in lines)
    if verbose == 2:
        assert all(text.splitlines())


def test_the_others_print_nothing(capfd: Any, tmp_path: Path) -> None:
    text = printed([make(tmp_path) for make in SILENT.values()], capfd, verbose=2)
    assert "Epoch 1/5" in text
    assert [line for line in text.splitlines() if "loss" not in line and "Epoch" not in line] == []


def test_every_public_callback_is_tried(tmp_path: Path) -> None:
    public = [getattr(callbacks, name) for name in callbacks.__all__]
    expected = {
        c for c in public if isinstance(c, type) and issubclass(c, keras.callbacks.Callback)
    }
    tried = {type(make()) for make, _ in PRINTING.values()}
    assert expected <= tried | {type(make(tmp_path)) for make in SILENT.values()}


def test_a_resumed_run_is_silent_too(capfd: Any, tmp_path: Path) -> None:
    data = hl.EpochData(every_epoch)

    def again(verbose: Any) -> str:
        gp = hl.GrowAndPrune(data, hl.Growth(epochs=1), hl.Pruning(0.2, 1, max_iterations=1),
                             "loss", tolerance=9.0, directory=tmp_path)  # fmt: skip
        capfd.readouterr()
        model().fit(data, epochs=9, verbose=verbose, callbacks=[gp], shuffle=False)
        return "".join(capfd.readouterr())

    assert again(0) == ""
    assert "grow-and-prune: " in again(2)
    assert again(0) == ""


def test_a_loop_of_ones_own_prints_where_it_does_not_say_otherwise(capfd: Any) -> None:
    for params, words in [({}, "connections removed"), ({"verbose": 0, "epochs": 1}, "")]:
        pruning = hl.MagnitudePruning(0.5)
        called = keras.callbacks.CallbackList([pruning], model=model(), **params)
        capfd.readouterr()
        called.on_train_begin()
        called.on_epoch_begin(0)
        called.on_epoch_end(0)
        called.on_train_end()
        text = capfd.readouterr().out
        assert (words in text) if words else text == ""
        assert not text.startswith("\n")


@pytest.mark.parametrize("verbose", ["yes", 3, -1, "1", [1], np.ones(2), 1.0])
def test_another_verbose_is_refused(verbose: Any) -> None:
    for make, _ in PRINTING.values():
        with pytest.raises(ValueError, match='verbose must be 0, 1 or "auto", as fit has it; got'):
            make(verbose=verbose)
