"""What a pruning of whole neurons could not narrow, or by groups could not reach, is said."""

import warnings
from collections.abc import Callable

import keras
import numpy as np
import pytest

import hlstm_tf as hl


def recurrent(units: int = 8, count: int = 4) -> keras.Model:
    layers = [hl.MaskedLSTM(units, return_sequences=True, name=f"lstm{n}") for n in range(count)]
    return keras.Sequential([keras.Input((3, 4)), *layers, hl.MaskedDense(2)])


def dense(width: int, last: keras.layers.Layer | None = None) -> keras.Model:
    first = hl.MaskedDense(width, activation="relu", name="first")
    return keras.Sequential([keras.Input((4,)), first, last or hl.MaskedDense(2)])


def both_ways() -> keras.Model:
    layer = keras.layers.Bidirectional(hl.HLSTM(8, hidden_units=8), name="both")
    return keras.Sequential([keras.Input((3, 4)), layer, hl.MaskedDense(2)])


def fixed() -> keras.Model:
    second = hl.MaskedDense(64, name="second")
    layers = [hl.MaskedDense(64, name="first"), second, keras.layers.Dense(2)]
    return keras.Sequential([keras.Input((4,)), *layers])


def fit(model: keras.Model, *callbacks: keras.callbacks.Callback, epochs: int = 1) -> list[str]:
    """Fits in silence; returns what was warned of."""
    model.compile("sgd", "mse", run_eagerly=True)
    x = np.ones((4, *model.input_shape[1:]), "float32")
    y = np.zeros((4, *model.output_shape[1:]), "float32")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        model.fit(x, y, epochs=epochs, verbose=0, callbacks=list(callbacks))
    return [str(each.message) for each in caught if issubclass(each.category, UserWarning)]


NOT_REACHED: list[tuple[str, Callable[[], keras.Model], hl.MagnitudePruning, str]] = [
    ("four layers of units", recurrent, hl.MagnitudePruning(0.5, structure="unit"),
     "50.0% was asked for with structure='unit'; units of 'lstm0' stay at 8 of 8, asked for are 4 "
     "(minimum 8, multiples of 2); units of 'lstm1'"),
    ("and more layers", recurrent, hl.MagnitudePruning(0.5, structure="unit"), "; 1 layers more."),
    ("less than half a multiple", lambda: dense(32), hl.MagnitudePruning(0.1, structure="neuron"),
     "neurons of 'first' stay at 32 of 32, asked for are 28.8 (minimum 8, multiples of 8)"),
    ("the minimum", lambda: dense(12), hl.MagnitudePruning(0.8, structure="neuron"),
     "neurons of 'first' stay at 8 of 12, asked for are 2.4 (minimum 8, multiples of 2)"),
    ("gates", both_ways, hl.MagnitudePruning(0.5, structure=hl.Neuron(of="gates")),
     "hidden neurons of 'forward_hlstm' stay at 8 of 8, asked for are 4"),
    ("units of two directions", both_ways, hl.MagnitudePruning(0.5, structure="unit"),
     "units of 'both' stay at 8 of 8, asked for are 4"),
    ("no mask behind", fixed, hl.MagnitudePruning(0.5, structure="neuron"),
     "neurons of 'second' stay (a kernel without a mask makes or reads them)."),
    ("a large minimum", lambda: dense(96),
     hl.MagnitudePruning(0.5, structure=hl.Neuron(minimum=96)), "stay at 96 of 96"),
    ("blocks", lambda: dense(16), hl.MagnitudePruning(0.4, structure="16x16"),
     "0.0% is there, which is as near as it comes by whole groups of connections"),
    ("rows kept", lambda: dense(16), hl.MagnitudePruning(0.5, structure=hl.Row(minimum=99)),
     "0.0% is there"),
    ("a tiny share", lambda: dense(2), hl.MagnitudePruning(0.02), "0.0% is there"),
    ("by steps", recurrent, hl.MagnitudePruning(0.5, structure="unit", per="step"), "units of '"),
    ("by a schedule", recurrent,
     hl.MagnitudePruning(hl.Polynomial(0.1, 0.5, 0, 1), structure="unit"), "50.0% was asked for"),
]  # fmt: skip


@pytest.mark.representatives(
    "four layers of units", "the minimum", "gates", "no mask behind", "blocks", "by steps"
)
@pytest.mark.parametrize(
    ("make", "pruning", "words"),
    [case[1:] for case in NOT_REACHED],
    ids=[c[0] for c in NOT_REACHED],
)
def test_a_sparsity_that_rounding_keeps_away_is_said_in_one_line(
    make: Callable[[], keras.Model], pruning: hl.MagnitudePruning, words: str
) -> None:
    [said] = fit(make(), pruning, epochs=2)
    assert said.startswith("MagnitudePruning: a sparsity of ")
    assert words in said
    assert "\n" not in said


REACHED: list[tuple[str, Callable[[], keras.Model], hl.MagnitudePruning]] = [
    ("units", lambda: recurrent(32, 1), hl.MagnitudePruning(0.5, structure="unit")),
    ("rounded up", lambda: dense(64), hl.MagnitudePruning(0.55, structure="neuron")),
    ("rounded by one", lambda: dense(10), hl.MagnitudePruning(0.3, structure="neuron")),
    ("any width", lambda: recurrent(8), hl.MagnitudePruning(0.5, structure=hl.Unit(1, 1))),
    ("at the minimum as asked", lambda: dense(16), hl.MagnitudePruning(0.5, structure="neuron")),
    ("connections", lambda: dense(16), hl.MagnitudePruning(0.5)),
    ("blocks", lambda: dense(64), hl.MagnitudePruning(0.5, structure="1x4")),
    ("nothing asked for", recurrent, hl.MagnitudePruning(0.0, structure="unit")),
    ("not due yet", recurrent, hl.MagnitudePruning(0.5, begin=5, structure="unit")),
    ("on its way", lambda: recurrent(64, 1), hl.MagnitudePruning(0.5, end=9, structure="unit")),
    ("everything", lambda: dense(16), hl.MagnitudePruning(1.0)),
]


@pytest.mark.representatives(
    "rounded up", "any width", "nothing asked for", "on its way", "everything"
)
@pytest.mark.parametrize(
    ("make", "pruning"), [case[1:] for case in REACHED], ids=[case[0] for case in REACHED]
)
def test_a_sparsity_that_is_reached_is_not_spoken_of(
    make: Callable[[], keras.Model], pruning: hl.MagnitudePruning
) -> None:
    assert fit(make(), pruning, epochs=3) == []


def gp(structure: object, **choices: object) -> hl.GrowAndPrune:
    pruning = hl.Pruning(0.5, 1, structure=structure, **choices)
    return hl.GrowAndPrune(None, None, pruning, "loss", threshold=1e9, train_epochs=0, verbose=1)


@pytest.mark.parametrize("structure", [("unit", "connection"), None])
def test_a_run_says_once_that_no_unit_is_left_and_what_it_prunes_instead(
    structure: object, capsys: pytest.CaptureFixture
) -> None:
    assert fit(recurrent(8, 1), gp(structure, max_iterations=3), epochs=9) == []
    printed = capsys.readouterr().out
    assert printed.count("no unit is left that a step of 50.0% could remove") == 1
    line = "remove (units of 'lstm0' stay at 8 (minimum 8)), so it prunes by connection"
    assert line in printed.replace("no neuron", "")


def test_a_run_that_ends_because_of_minimum_widths_names_them() -> None:
    run = gp("unit")
    fit(recurrent(16, 1), run, epochs=9)
    assert run.progress.iteration == 1
    assert run.progress.reason == (
        "nothing is left that a step of 50.0% could remove (units of 'lstm0' stay at 8 (minimum 8))"
    )
