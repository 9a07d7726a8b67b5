"""Trained models made compact: what replaces what, how near it is, and what is refused."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

import hlstm_tf as hl

RNG = np.random.default_rng(2)
# Ten features that are mixtures of three, and a little noise.
MIXED = RNG.standard_normal((48, 12, 3)) @ RNG.standard_normal((3, 10))
X = (MIXED + 0.05 * RNG.standard_normal(MIXED.shape)).astype("float32")
layers = keras.layers


def sequential(*inner: keras.layers.Layer) -> keras.Model:
    keras.utils.set_random_seed(1)
    return keras.Sequential([keras.Input((None, 10)), *inner])


def nested() -> keras.Model:
    inside = keras.Sequential([keras.Input((20,)), layers.Dense(30, "relu"), layers.Dense(12)])
    return sequential(layers.LSTM(20), inside)


MODELS: dict[str, Callable[[], keras.Model]] = {
    "LSTM": lambda: sequential(layers.LSTM(20, return_sequences=True), layers.LSTM(20)),
    "GRU": lambda: sequential(layers.GRU(20, reset_after=False, dropout=0.1), layers.Dense(15)),
    "SimpleRNN": lambda: sequential(layers.SimpleRNN(24), layers.Dense(16, "relu")),
    "bidirectional": lambda: sequential(
        layers.Bidirectional(layers.LSTM(20, return_sequences=True)),
        layers.Bidirectional(layers.GRU(16), merge_mode="sum"),
    ),
    "cells": lambda: sequential(layers.RNN([layers.LSTMCell(20), layers.GRUCell(20)])),
    "H-LSTM": lambda: sequential(
        hl.HLSTM(20, hidden_units=24, return_sequences=True),
        hl.HLSTM(20, hidden_units=((16, 12, 20, 8),)),
    ),
    "masked": lambda: hl.sparsify(MODELS["LSTM"](), sparsity=0.5, seed=0),
    "nested": nested,
}
each_model = pytest.mark.parametrize("kind", MODELS)


def made(kind: str) -> keras.Model:
    model = MODELS[kind]()
    for variable in model.trainable_variables:
        if "bias" in variable.name:  # so that one that is not carried over shows
            variable.assign(0.1 * RNG.standard_normal(variable.shape))
    return model


def relative(expected: Any, found: Any) -> float:
    expected, found = np.asarray(expected), np.asarray(found)
    return float(np.linalg.norm(expected - found) / np.linalg.norm(expected))


@pytest.mark.representatives("LSTM", "bidirectional", "H-LSTM")
@pytest.mark.parametrize("kind", [kind for kind in MODELS if kind != "masked"])
def test_with_nearly_all_of_the_energy_a_model_of_that_rank_computes_the_same(kind: str) -> None:
    model = made(kind)
    # Its kernels have a low rank to begin with; then the factors are exact.
    for layer in model._flatten_layers():
        for variable in layer._trainable_variables:
            if len(variable.shape) == 2 and min(variable.shape) > 4:
                u, s, vt = np.linalg.svd(variable, full_matrices=False)
                variable.assign(u[:, :3] * s[:3] @ vt[:3])
    compact = hl.factorize(model, energy=0.999999, print_fn=None)
    assert relative(model(X), compact(X)) < 1e-2
    assert kind == "H-LSTM" or compact.count_params() < 0.7 * model.count_params()


@pytest.mark.representatives("LSTM", "bidirectional", "H-LSTM", "masked")
@each_model
def test_data_make_the_outputs_nearer_at_the_same_size(kind: str) -> None:
    model = made(kind)
    plain = hl.factorize(model, parameters=0.4, print_fn=None)
    seen = hl.factorize(model, parameters=0.4, data=X, print_fn=None)
    assert seen.count_params() == plain.count_params() < model.count_params()
    if kind == "cells":  # what they multiply cannot be seen
        assert relative(plain(X), seen(X)) == 0
    else:
        assert relative(model(X), seen(X)) < relative(model(X), plain(X))


def test_the_result_is_trained_saved_sparsified_and_exported(tmp_path: Path) -> None:
    model = made("LSTM")
    compact = hl.factorize(model, parameters=0.4, data=X, print_fn=None)
    assert [type(layer).__name__ for layer in compact.layers] == ["CompactLSTM", "CompactLSTM"]
    assert [layer.name for layer in compact.layers] == [layer.name for layer in model.layers]
    before = relative(model(X), compact(X))
    compact.compile(keras.optimizers.Adam(3e-3), "mse")
    compact.fit(X, np.asarray(model(X)), epochs=30, verbose=0)
    assert relative(model(X), compact(X)) < 0.75 * before
    compact.save(tmp_path / "m.keras")
    np.testing.assert_array_equal(keras.models.load_model(tmp_path / "m.keras")(X), compact(X))
    sparse = hl.sparsify(compact, sparsity=0.5)
    assert {kernel.name for kernel in hl.masked_kernels(sparse)} == {
        f"{kernel}_{side}"
        for kernel in ("kernel", "recurrent_kernel")
        for side in ("left", "right")
    }
    dense_file = hl.export_tflite(model, tmp_path / "dense.tflite", form="step")
    file = hl.export_tflite(compact, tmp_path / "compact.tflite", form="step")
    assert file.path.stat().st_size < 0.75 * dense_file.path.stat().st_size
    runner = hl.StepRunner(tmp_path / "compact.tflite")
    [found] = runner.run(X[:2]).values()
    np.testing.assert_allclose(found, compact(X[:2]), rtol=1e-3, atol=1e-4)


def test_the_table_says_form_weights_and_error_of_each_kernel() -> None:
    lines: list[str] = []
    hl.factorize(made("GRU"), hl.LowRank(3), data=X, print_fn=lines.append)
    [table] = lines
    head, _, kernel, recurrent, dense, total = table.splitlines()
    assert head.split() == ["kernel", "form", "weights", "of", "error", "of", "what"]
    assert kernel.split()[:4] == ["gru/kernel", "LowRank(rank=3)", "270", "600"]
    assert recurrent.split()[:4] == ["gru/recurrent_kernel", "LowRank(rank=3)", "360", "1,200"]
    assert dense.split()[:4] == ["dense/kernel", "LowRank(rank=3)", "105", "300"]
    assert total.split() == ["all", "kernels", "735", "2,100"]
    assert kernel.endswith("its outputs")
    assert 0 < float(recurrent.split()[4].rstrip("%")) < 100


def test_ranks_by_name_leave_the_other_kernels_dense() -> None:
    compact = hl.factorize(made("LSTM"), ranks={"lstm/recurrent_kernel": 4}, print_fn=None)
    first, second = compact.layers
    assert first.kernel_form == {"recurrent_kernel": hl.SharedLowRank(4)}
    assert type(second) is keras.layers.LSTM


def test_a_matrix_smaller_than_the_rank_of_all_stays_dense() -> None:
    model = sequential(layers.LSTM(20), layers.Dense(3))
    compact = hl.factorize(model, ranks=4, print_fn=None)
    assert [type(layer).__name__ for layer in compact.layers] == ["CompactLSTM", "Dense"]


def test_a_shared_layer_and_several_inputs_are_carried_over() -> None:
    a, b = keras.Input((None, 10), name="a"), keras.Input((None, 10), name="b")
    shared = layers.GRU(20)
    model = keras.Model([a, b], layers.Dense(16)(layers.Concatenate()([shared(a), shared(b)])))
    inputs = {"a": X, "b": X[::-1].copy()}
    compact = hl.factorize(model, parameters=0.5, data=inputs, print_fn=None)
    assert len([layer for layer in compact.layers if isinstance(layer, hl.CompactGRU)]) == 1
    assert relative(model(inputs), compact(inputs)) < 0.5


def test_a_tf_data_set_and_masked_steps_count_as_fit_has_them() -> None:
    ids = RNG.integers(1, 30, (48, 12))
    ids[:, 6:] = 0
    keras.utils.set_random_seed(1)
    model = keras.Sequential(
        [keras.Input((None,)), layers.Embedding(30, 10, mask_zero=True), layers.LSTM(20)]
    )
    data = tf.data.Dataset.from_tensor_slices((ids, np.zeros(48))).batch(8)
    seen = hl.factorize(model, parameters=0.5, data=data, print_fn=None)
    cut = hl.factorize(model, parameters=0.5, data=ids[:, :6], print_fn=None)
    np.testing.assert_allclose(seen(ids), cut(ids), rtol=1e-3, atol=1e-4)


REFUSED: dict[str, tuple[dict[str, Any], type[Exception], str]] = {
    "no size": ({}, ValueError, "give exactly one of ranks=32, parameters=0.25 and energy=0.95"),
    "two sizes": ({"ranks": 3, "energy": 0.9}, ValueError, "got ranks, energy"),
    "a size twice": ({"form": hl.LowRank(3), "ranks": 3}, ValueError, "has its size already"),
    "no form": ({"form": "low_rank", "ranks": 3}, TypeError, "form must be hl.SharedLowRank"),
    "Toeplitz": ({"form": hl.ToeplitzLike(1)}, TypeError, "form must be hl.SharedLowRank"),
    "energy of Kronecker": ({"form": hl.Kronecker, "energy": 0.9}, ValueError, "got energy"),
    "no number": ({"energy": "0.9"}, ValueError, "energy must be above 0 and below 1; got '0.9'"),
    "a generator": (
        {"ranks": 3, "data": (batch for batch in [X])},
        TypeError,
        "data must be arrays of inputs, a tf.data.Dataset or a .*; got generator",
    ),
    "data of NaN": (
        {"ranks": 3, "data": np.full_like(X, np.nan)},
        ValueError,
        r"the data give lstm/\S*kernel inputs that are NaN or too large",
    ),
    "all of it": ({"parameters": 1.0}, ValueError, "parameters must be above 0 and below 1"),
    "a name": ({"ranks": {"lstm/x": 3}}, ValueError, r"ranks names \['lstm/x'\]; the kernels are"),
    "a rank": (
        {"ranks": {"lstm/kernel": 11}},
        ValueError,
        r"lstm/kernel: SharedLowRank\(rank=11\): a matrix 4 x \(10, 20\) has no rank above 10",
    ),
    "too little": ({"parameters": 0.01}, ValueError, "no kernel gets smaller by these factors"),
    "few rows": (
        {"ranks": 3, "data": X[:1, :5]},
        ValueError,
        "has 10 inputs, and the data give 5 rows of them, so their covariance is singular",
    ),
}


@pytest.mark.parametrize("what", REFUSED)
def test_bad_arguments_are_refused_in_one_line(what: str) -> None:
    arguments, kind, message = REFUSED[what]
    with pytest.raises(kind, match=message) as caught:
        hl.factorize(made("LSTM"), **{"print_fn": None, **arguments})
    assert "\n" not in str(caught.value)


def test_a_model_without_such_kernels_is_refused() -> None:
    model = keras.Sequential([keras.Input((8, 8, 1)), layers.Conv2D(3, 3)])
    with pytest.raises(ValueError, match="no dense or recurrent layer whose kernels can be"):
        hl.factorize(model, ranks=2)


def test_ranks_that_died_are_taken_out_by_shrink() -> None:
    model = hl.sparsify(hl.factorize(made("LSTM"), hl.LowRank(4), print_fn=None))
    edits = {}
    for kernel in hl.masked_kernels(model):
        mask = np.ones(kernel.shape, bool)
        if kernel.name == "recurrent_kernel_left":  # (units, gates * rank)
            mask.reshape(20, 4, 4)[:, :, 1] = False
            mask.reshape(20, 4, 4)[:, 0, 2] = False  # one gate loses one more
        edits[kernel] = mask
    hl.edit_masks(edits)
    small = hl.shrink(model, verify_with=X)
    for layer in small.layers:
        assert layer.kernel_form == {"kernel": hl.LowRank(4), "recurrent_kernel": hl.LowRank(3)}
        assert layer.cell.recurrent_kernel_left.shape == (20, 4 * 3)
        assert layer.cell.recurrent_kernel_right.shape == (4, 3, 20)


def test_weights_that_are_not_finite_are_named() -> None:
    model = made("LSTM")
    model.layers[1].cell.kernel.assign(np.full((20, 80), np.nan))
    with pytest.raises(ValueError, match="lstm_1/kernel has weights that are NaN or infinite"):
        hl.factorize(model, ranks=3, print_fn=None)


@pytest.mark.parametrize("data", [None, np.ones((20, 10), "float32")], ids=["weights", "outputs"])
def test_a_matrix_of_zeros_keeps_its_energy_with_one_rank(data: Any) -> None:
    model = keras.Sequential(
        [keras.Input((10,)), layers.Dense(20, kernel_initializer="zeros"), layers.Dense(20)]
    )
    compact = hl.factorize(model, energy=0.5, data=data, print_fn=None)
    assert compact.layers[0].kernel_form == {"kernel": hl.SharedLowRank(1)}
    np.testing.assert_array_equal(compact(np.ones((2, 10))), np.zeros((2, 20)))


def test_only_the_fraction_of_a_sparse_part_exists() -> None:
    model = keras.Sequential([keras.Input((10,)), layers.Dense(20)])
    compact = hl.factorize(model, hl.Kronecker(doped=0.1), print_fn=None)
    [sparse] = [k for k in hl.masked_kernels(compact) if k.name == "kernel_sparse"]
    assert int(np.sum(sparse.mask)) == 20
    assert hl.summary(compact, print_fn=None).sparsity > 0


def test_kernels_of_one_name_in_two_nested_models_are_told_apart() -> None:
    inner = [
        keras.Sequential([keras.Input((20,)), layers.Dense(20, name="d")], name=name)
        for name in "ab"
    ]
    model = keras.Sequential([keras.Input((20,)), *inner])
    compact = hl.factorize(model, ranks={"d/kernel_2": 3}, print_fn=None)
    kinds = [type(nested.layers[0]).__name__ for nested in compact.layers]
    assert kinds == ["Dense", "CompactDense"]


def test_gates_too_narrow_for_the_rank_that_keeps_the_energy_stay_dense() -> None:
    model = sequential(hl.HLSTM(16, hidden_units=((16, 3, 16, 12),)), layers.Dense(16))
    model.layers[1].kernel.assign(np.ones((16, 16)))
    compact = hl.factorize(model, energy=0.9, print_fn=None)
    assert compact.layers[1].kernel_form == {"kernel": hl.SharedLowRank(1)}
    assert "kernel" not in getattr(compact.layers[0], "kernel_form", {})


def test_gates_of_different_widths_keep_as_many_ranks_as_the_gate_with_the_most() -> None:
    model = sequential(hl.HLSTM(8, hidden_units=((10, 12, 14, 16),), kernel_form=hl.LowRank(4)))
    model = hl.sparsify(model)
    edits = {}
    for kernel in hl.masked_kernels(model):
        mask = np.ones(kernel.shape, bool)
        if kernel.name.startswith("kernel") and kernel.name.endswith("right"):  # (rank, units)
            mask[: 2 if "input" in kernel.name else 1] = False
        if kernel.name == "recurrent_kernel_cell_right":
            mask[0] = False
        edits[kernel] = mask
    hl.edit_masks(edits)
    small = hl.shrink(model, verify_with=X)
    forms = small.layers[0].kernel_form
    assert forms["kernel"] == hl.LowRank(3)
    assert forms["recurrent_kernel"] == hl.LowRank(4)


def test_kernels_of_gates_of_different_widths_are_no_kronecker_products() -> None:
    model = made("H-LSTM")
    for form in ({"form": hl.Kronecker, "parameters": 0.3}, {"form": hl.Kronecker((2, 2))}):
        compact = hl.factorize(model, **form, print_fn=None)
        equal, unequal = compact.layers
        assert all(isinstance(each, hl.Kronecker) for each in equal.kernel_form.values())
        assert unequal.kernel_form == {}


def test_data_of_other_inputs_than_the_model_s_are_said_in_one_line() -> None:
    a, b = keras.Input((None, 10), name="a"), keras.Input((None, 10), name="b")
    model = keras.Model([a, b], layers.GRU(20)(layers.Concatenate()([a, b])))
    for data, message in (
        ((X, X), "data give 1 input where the model takes 2; a tuple is read as"),
        ([X[..., :9], X], r"got inputs of shape \(32, 12, 9\) where the model takes"),
    ):
        with pytest.raises(ValueError, match=message) as caught:
            hl.factorize(model, ranks=3, data=data, print_fn=None)
        assert "\n" not in str(caught.value)


def test_a_form_that_does_not_fit_names_the_kernel() -> None:
    with pytest.raises(ValueError, match=r"lstm/kernel: Kronecker\(left=\(3, 7\)\): a matrix 4 x"):
        hl.factorize(made("LSTM"), hl.Kronecker((3, 7)), print_fn=None)
