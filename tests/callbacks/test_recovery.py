"""Connections that retraining cannot do without come back amid it, with the weight they had."""

import keras
import numpy as np
import pytest

import hlstm_tf as hl
from hlstm_tf.scoring.score_source import ScoreSource
from hlstm_tf.training_run.recovery import recover_connections
from hlstm_tf.training_run.snapshot import take
from tests.callbacks.kills import Kill, Killed

RNG = np.random.default_rng(0)
X = RNG.normal(size=(32, 4)).astype("float32")
Y = X @ np.array([[2.0], [0.5], [-0.3], [0.0]], "float32")


def linear_model() -> keras.Model:
    model = keras.Sequential([keras.Input((4,)), hl.MaskedDense(1, use_bias=False)])
    model.compile(keras.optimizers.SGD(0.01, momentum=0.9), "mse", run_eagerly=True)
    model.optimizer.build(model.trainable_variables)
    [kernel] = hl.masked_kernels(model)
    hl.edit_masks({kernel: np.array([[True], [True], [True], [False]])})
    kernel.variable.assign([[2.0], [0.5], [0.4], [0.0]])
    return model


def test_what_comes_back_has_its_weight_and_no_past() -> None:
    model = linear_model()
    before = take(model, "before")
    [kernel] = hl.masked_kernels(model)
    hl.edit_masks({kernel: np.array([[True], [False], [False], [False]])})
    model.fit(X, Y, epochs=1, verbose=0, shuffle=False)
    grown = recover_connections(ScoreSource(model, (X, Y)), before, 1.0, "a test")
    # That of the wrong sign was rightly removed, and the last never existed.
    assert grown == 1
    assert kernel.mask.numpy().ravel().tolist() == [True, True, False, False]
    assert kernel.variable.numpy()[1:, 0].tolist() == [0.5, 0.0, 0.0]
    [momentum] = [v for v in model.optimizer.variables if v.shape == (4, 1)]
    assert momentum.numpy()[0, 0] != 0
    assert not momentum.numpy()[1:].any()


def test_connections_of_a_dead_hidden_neuron_stay_away() -> None:
    x = RNG.normal(size=(8, 3, 2)).astype("float32")
    model = keras.Sequential(
        [
            keras.Input((3, 2)),
            hl.HLSTM(2, hidden_units=3, hidden_activation="sigmoid"),
            hl.MaskedDense(1),
        ]
    )
    model.compile("sgd", "mse", run_eagerly=True)
    before = take(model, "before")
    kernels = {kernel.name: kernel for kernel in hl.masked_kernels(model)[:3]}
    masks = {kernel: kernel.mask.numpy().copy() for kernel in kernels.values()}
    for kernel in kernels.values():
        gates = kernel.to_matrices(masks[kernel])
        gates[:, 0] = False
        if kernel.name != "output_kernel":
            gates[:, :, 0] = False
        masks[kernel] = kernel.from_matrices(gates)
    hl.edit_masks(masks)
    recover_connections(ScoreSource(model, (x, np.ones((8, 1)))), before, 1.0, "a test")
    # The first neuron of each gate would put out a constant, and its readers hear of it.
    output = kernels["output_kernel"]
    assert not output.to_matrices(output.mask)[:, 0].any()
    for name in ("kernel", "recurrent_kernel"):
        gates = kernels[name].to_matrices(kernels[name].mask)
        assert not gates[:, :, 0].any()
        assert gates[:, 0, 1:].any()


def run(directory, kill: int | None = None, **pruning) -> tuple[keras.Model, list]:
    model = keras.Sequential(
        [keras.Input((4,)), hl.MaskedDense(6, activation="tanh"), hl.MaskedDense(1)]
    )
    model.compile(keras.optimizers.Adam(0.01), "mse", run_eagerly=True)
    for number, weight in enumerate(model.trainable_variables):
        weight.assign(np.random.default_rng(number).normal(size=weight.shape))
    plan = hl.Pruning(0.4, retrain_epochs=3, max_iterations=2, **pruning)
    gp = hl.GrowAndPrune(
        (X, Y), None, plan, "loss", threshold=1e6, train_epochs=0, directory=directory, verbose=0
    )
    model.fit(X, Y, epochs=9, callbacks=[gp, Kill(kill)], verbose=0, shuffle=False)
    return model, gp.history


def test_recovery_happens_amid_the_first_iterations_and_resumes_bit_for_bit(tmp_path) -> None:
    options = {"recover": 0.5, "recover_iterations": 1}
    whole, history = run(tmp_path / "whole", **options)
    assert [record["epoch"] for record in history if "recover" in record["events"]] == [0]
    assert history[0]["connections_after"] > history[0]["connections"]
    assert history[3]["connections_after"] == history[3]["connections"]
    for kill in (1, 2):
        with pytest.raises(Killed):
            run(tmp_path / "killed", kill, **options)
    resumed, again = run(tmp_path / "killed", **options)
    for one, other in zip(whole.get_weights(), resumed.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
    assert [r["connections_after"] for r in again] == [r["connections_after"] for r in history]


def test_mistakes_are_named() -> None:
    with pytest.raises(ValueError, match="`recover` gives back single connections"):
        hl.Pruning(structure=("neuron", "connection"), recover=0.5)
    with pytest.raises(ValueError, match="`retrain_epochs` must be at least 2; got 1"):
        hl.Pruning(retrain_epochs=1, recover=0.5)
    with pytest.raises(ValueError, match="`recover` must be a number between 0 and 1"):
        hl.Pruning(recover=2)
    with pytest.raises(ValueError, match="`recover_iterations` must be an integer"):
        hl.Pruning(recover=0.5, recover_iterations=-1)
    with pytest.raises(TypeError, match="train must be the training set"):
        hl.GrowAndPrune(None, None, hl.Pruning(recover=0.5), threshold=1.0)
