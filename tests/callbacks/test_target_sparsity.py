"""`Pruning.target_sparsity`: the last iteration removes no more than it takes to get there."""

from typing import Any

import keras
import numpy as np
import pytest

import hlstm_tf as hl


def pruned(model: keras.Model, x: np.ndarray, y: np.ndarray, **pruning: Any) -> hl.GrowAndPrune:
    model.compile("adam", "mse")
    run = hl.GrowAndPrune(
        (x, y),
        growth=None,
        pruning=hl.Pruning(**{"retrain_epochs": 1, "structure": "connection", **pruning}),
        monitor="loss",
        threshold=1e9,
        train_epochs=0,
        verbose=0,
    )
    model.fit(x, y, epochs=30, verbose=0, callbacks=[run])
    return run


def dense(*widths: int) -> tuple[keras.Model, np.ndarray, np.ndarray]:
    model = keras.Sequential(
        [keras.Input((widths[0],)), *(hl.MaskedDense(width) for width in widths[1:])]
    )
    return model, np.ones((4, widths[0]), "float32"), np.ones((4, widths[-1]), "float32")


def recurrent(layer: keras.layers.Layer) -> tuple[keras.Model, np.ndarray, np.ndarray]:
    model = keras.Sequential([keras.Input((5, 8)), layer, hl.MaskedDense(2)])
    return model, np.ones((4, 5, 8), "float32"), np.ones((4, 2), "float32")


def sparsity(model: keras.Model) -> float:
    return float(
        1 - np.mean(np.concatenate([k.mask.numpy().ravel() for k in hl.masked_kernels(model)]))
    )


@pytest.mark.representatives("per_matrix-0.3", "global-0.9", "erk-0.5", "erk-1.0")
@pytest.mark.parametrize("step", [0.5, 0.3, 0.9, 1.0])
@pytest.mark.parametrize("distribution", ["per_matrix", "global", "erk"])
def test_the_last_step_stops_at_the_target(step: float, distribution: str) -> None:
    model, x, y = dense(20, 40, 10)
    run = pruned(model, x, y, step=step, target_sparsity=0.8, distribution=distribution)
    assert sparsity(model) == pytest.approx(0.8, abs=2 / 1200)
    assert sparsity(model) >= 0.8 - 1e-9
    assert run.progress.reason == "the target sparsity 80.0%"


@pytest.mark.representatives("MaskedGRU")
@pytest.mark.parametrize("layer", [hl.MaskedLSTM, hl.MaskedGRU, hl.MaskedSimpleRNN])
def test_a_recurrent_model_stops_at_the_target(layer: type) -> None:
    model, x, y = recurrent(layer(24))
    pruned(model, x, y, step=0.5, target_sparsity=0.8)
    assert sparsity(model) == pytest.approx(0.8, abs=0.003)


def test_what_dies_with_a_gates_neurons_counts_toward_the_target() -> None:
    model, x, y = recurrent(hl.HLSTM(12, hidden_units=12))
    pruned(model, x, y, step=0.5, target_sparsity=0.9)
    assert sparsity(model) == pytest.approx(0.9, abs=0.005)


def test_of_blocks_and_whole_neurons_it_takes_as_few_as_reach_the_target() -> None:
    model, x, y = dense(16, 64, 16)
    pruned(model, x, y, step=0.9, target_sparsity=0.5, structure="1x4")
    assert 0.5 <= sparsity(model) <= 0.5 + 2 * 4 / 2048
    model, x, y = dense(16, 64, 16)
    pruned(model, x, y, step=0.9, target_sparsity=0.4, structure="neuron")
    assert sparsity(model) == 0.5  # widths are multiples of 8: 40 of 64 would be 0.375


def test_a_target_that_is_there_already_removes_nothing() -> None:
    model, x, y = dense(20, 40, 10)
    hl.edit_masks(
        {
            k: np.arange(k.mask.shape[1]) % 5 == 0 * np.ones(k.mask.shape, int)
            for k in hl.masked_kernels(model)
        }
    )
    run = pruned(model, x, y, step=0.5, target_sparsity=0.8)
    assert sparsity(model) == pytest.approx(0.8)
    assert run.progress.reason == "the target sparsity 80.0% is there already"
    assert run.history == []


def test_a_target_of_a_tenth_is_met_by_nine_tenths() -> None:
    model, x, y = dense(10, 10)
    run = pruned(model, x, y, step=0.1, target_sparsity=0.1)
    assert (sparsity(model), run.progress.iteration) == (pytest.approx(0.1), 1)
