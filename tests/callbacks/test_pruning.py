"""Pruning follows its schedule, whoever wrote it."""

import keras
import numpy as np
import pytest

import hlstm_tf as hl
from hlstm_tf.callbacks import MagnitudePruning
from hlstm_tf.sparsity import Polynomial, prune_to

X = np.random.default_rng(0).normal(size=(32, 8)).astype("float32")
Y = X[:, :5]


def dense_model(**compile_arguments) -> keras.Model:
    model = keras.Sequential([keras.Input((8,)), hl.MaskedDense(5)])
    compile_arguments.setdefault("run_eagerly", True)
    model.compile(keras.optimizers.SGD(1e-4, momentum=0.9), "mse", **compile_arguments)
    return model


def fit(model: keras.Model, pruning: MagnitudePruning, epochs: int = 1, **arguments) -> None:
    model.fit(X, Y, epochs=epochs, batch_size=8, callbacks=[pruning], verbose=0, **arguments)


def connections(model: keras.Model) -> int:
    return int(hl.masked_kernels(model)[0].mask.numpy().sum())


def test_a_number_is_a_sparsity_reached_at_once_by_the_smallest_weights() -> None:
    model = dense_model()
    [kernel] = hl.masked_kernels(model)
    weights = kernel.variable.numpy()
    fit(model, MagnitudePruning(0.75))
    expected = prune_to(np.ones((8, 5), bool), np.abs(weights), 0.75)
    np.testing.assert_array_equal(kernel.mask.numpy(), expected)
    assert (kernel.variable.numpy()[~expected] == 0).all()


def test_a_schedule_by_epochs_is_followed() -> None:
    pruning = MagnitudePruning(Polynomial(0.0, 0.8, begin=1, end=3, power=1))
    fit(dense_model(), pruning, epochs=5)
    assert [(r["step"], r["connections"]) for r in pruning.history] == [(2, 24), (3, 8)]


def test_a_number_with_an_end_rises_along_a_cubic_from_where_the_model_is() -> None:
    model = dense_model()
    [kernel] = hl.masked_kernels(model)
    hl.edit_masks({kernel: np.arange(40).reshape(8, 5) < 20})
    pruning = MagnitudePruning(0.9, begin=0, end=2)
    fit(model, pruning, epochs=3)
    # 0.9 - 0.4 (1 - t/2)^3 at t = 1 and 2
    assert [r["connections"] for r in pruning.history] == [round(40 * 0.15), 4]


@pytest.mark.parametrize("steps_per_execution", [1, 3])
def test_a_schedule_by_steps_misses_no_turn(steps_per_execution: int) -> None:
    model = dense_model(steps_per_execution=steps_per_execution, run_eagerly=False)
    asked = []

    def schedule(step: int) -> tuple[bool, float]:
        asked.append(step)
        return step == 5, 0.5  # in the second epoch, and no turn of every third step

    pruning = MagnitudePruning(schedule, per="step")
    fit(model, pruning, epochs=2)
    assert connections(model) == 20
    assert asked == sorted(set(asked))
    assert [r["step"] for r in pruning.history] == [5]


def test_tfmot_schedules_serve_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TF_USE_LEGACY_KERAS", "1")  # tfmot sets it; this puts it back
    tfmot = pytest.importorskip("tensorflow_model_optimization")
    schedule = tfmot.sparsity.keras.PolynomialDecay(
        initial_sparsity=0.2, final_sparsity=0.8, begin_step=0, end_step=6, frequency=3
    )
    pruning = MagnitudePruning(schedule, per="step")
    fit(dense_model(), pruning, epochs=2)
    expected = [round(40 * (1 - s)) for s in (0.2, 0.8 - 0.6 * 0.5**3, 0.8)]
    assert [r["connections"] for r in pruning.history] == expected


def test_what_is_sparser_already_stays() -> None:
    model = dense_model()
    [kernel] = hl.masked_kernels(model)
    mask = np.eye(8, 5, dtype=bool)
    hl.edit_masks({kernel: mask})
    pruning = MagnitudePruning(0.5)
    fit(model, pruning)
    np.testing.assert_array_equal(kernel.mask.numpy(), mask)
    assert pruning.history == []


@pytest.mark.parametrize("score", ["gradient", "saliency", "momentum"])
def test_scores_of_the_gradient_take_the_data(score: str) -> None:
    model = dense_model()
    fit(model, MagnitudePruning(0.5, score=score, data=(X, Y)))
    assert connections(model) == 20
    with pytest.raises(TypeError, match="data"):
        MagnitudePruning(0.5, score=score)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"schedule": 1.5}, "between 0 and 1"),
        ({"schedule": "0.5"}, "between 0 and 1"),
        ({"schedule": 0.5, "per": "batch"}, '"epoch" or "step"'),
        ({"schedule": 0.5, "begin": 3, "end": 1}, "before"),
        ({"schedule": 0.5, "score": "size"}, "score"),
        ({"schedule": 0.5, "structure": "5by5"}, "structure"),
        ({"schedule": 0.5, "distribution": "even"}, "distribution"),
    ],
)
def test_wrong_arguments_are_named(arguments: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        MagnitudePruning(**arguments)


def test_a_schedule_that_answers_nonsense_is_named() -> None:
    with pytest.raises(ValueError, match="should_prune, sparsity"):
        fit(dense_model(), MagnitudePruning(lambda step: (True, 2.0)))
