"""Whole neurons go with all their connections, and shrink takes them out."""

from typing import Any

import keras
import numpy as np
import pytest

import hlstm_tf as hl
from hlstm_tf.pruning.architecture import Rule, prune_model
from hlstm_tf.scoring.score_source import ScoreSource

layers = keras.layers


def prune(model: keras.Model, structure: Any, ratio: float | None = None, **more: Any) -> int:
    rule = Rule.of("magnitude", structure, "per_matrix")
    model.compile("sgd", "mse")
    return prune_model(ScoreSource(model), rule, "a test", ratio=ratio, **more)


def mask_of(model: keras.Model, path: str) -> np.ndarray:
    [kernel] = [k for k in hl.masked_kernels(model) if k.path.endswith(path)]
    return kernel.mask.numpy().astype(int)


def dense_net() -> keras.Model:
    model = keras.Sequential(
        [
            keras.Input((2,)),
            hl.MaskedDense(3, activation="relu", name="a"),
            layers.Dropout(0.5),
            hl.MaskedDense(2, name="b"),
        ]
    )
    # By incoming and outgoing magnitude the neurons weigh 3 + 1, 2 + 6 and 1 + 5.
    model.get_layer("a").set_weights([np.array([[1.0, -1, 0.5], [2, 1, -0.5]]), np.ones(3)])
    model.get_layer("b").set_weights([np.array([[0.5, 0.5], [-3, 3], [5, 0]]), np.ones(2)])
    return model


def test_the_neuron_of_the_smallest_sum_goes_at_both_ends() -> None:
    model = dense_net()
    removed = prune(model, hl.Neuron(multiple=1, minimum=1), ratio=0.34)
    assert removed == 4
    np.testing.assert_array_equal(mask_of(model, "a/kernel"), [[0, 1, 1], [0, 1, 1]])
    np.testing.assert_array_equal(mask_of(model, "b/kernel"), [[0, 0], [1, 1], [1, 1]])
    assert hl.shrink(model, verify_with=np.ones((3, 2), "float32")).layers[0].units == 2


def test_connections_that_are_gone_do_not_count() -> None:
    model = dense_net()
    kernel = hl.masked_kernels(model)[1]
    # Without its outputs neuron 1 weighs 2, less than neuron 0.
    hl.edit_masks({kernel: np.array([[True, True], [False, False], [True, True]])})
    prune(model, hl.Neuron(multiple=1, minimum=1), ratio=0.34)
    np.testing.assert_array_equal(mask_of(model, "a/kernel"), [[1, 0, 1], [1, 0, 1]])


def test_the_output_of_the_model_keeps_its_width() -> None:
    model = dense_net()
    prune(model, hl.Neuron(multiple=1, minimum=1), sparsity=0.67)
    np.testing.assert_array_equal(mask_of(model, "b/kernel"), [[0, 0], [1, 1], [0, 0]])


def test_neurons_that_a_kernel_without_a_mask_reads_stay() -> None:
    model = keras.Sequential(
        [keras.Input((2,)), hl.MaskedDense(16), hl.MaskedDense(16), layers.Dense(2)]
    )
    prune(model, "neuron", ratio=0.5)
    shapes = [layer.units for layer in hl.shrink(model).layers]
    assert shapes == [8, 16, 2]
    with pytest.raises(ValueError, match="found nothing to prune"):
        prune(keras.Sequential([keras.Input((2,)), hl.MaskedDense(16), layers.Dense(2)]), "neuron")


def recurrent_net() -> keras.Model:
    """Filters, units of every kind of state, hidden neurons: all of them 16 wide."""
    keras.utils.set_random_seed(1)
    plain = keras.Sequential(
        [
            keras.Input((None, 3)),
            layers.Conv1D(16, 3, activation="relu"),
            layers.Bidirectional(hl.HLSTM(16, hidden_units=16, return_sequences=True)),
            layers.BatchNormalization(),
            layers.LSTM(16, return_sequences=True),
            layers.GRU(16, return_sequences=True),
            layers.Dense(2),
        ]
    )
    return hl.sparsify(plain, sparsity=0.2, seed=0)


def widths(model: keras.Model) -> dict[str, Any]:
    """What shrink makes of a model, its function checked."""
    batch = np.random.default_rng(0).normal(size=(2, 6, 3)).astype("float32")
    conv, both, _, lstm, gru, _ = hl.shrink(model, verify_with=batch).layers
    return {
        "filters": conv.filters,
        "hidden": both.forward_layer.hidden_units + both.backward_layer.hidden_units,
        "units": [both.forward_layer.units, both.backward_layer.units, lstm.units, gru.units],
    }


@pytest.mark.representatives("structure0-expected0", "neuron-expected1")
@pytest.mark.parametrize(
    ("structure", "expected"),
    [
        (hl.Unit(), {"filters": 16, "hidden": (16, 16), "units": [8, 8, 8, 8]}),
        ("neuron", {"filters": 8, "hidden": (8, 8), "units": [16] * 4}),
        (hl.Neuron(of="gates"), {"filters": 16, "hidden": (8, 8), "units": [16] * 4}),
        (hl.Neuron(of="layers"), {"filters": 8, "hidden": (16, 16), "units": [16] * 4}),
        (hl.Unit(multiple=2, minimum=12), {"filters": 16, "hidden": (16, 16), "units": [12] * 4}),
    ],
)
def test_each_layer_loses_half(structure: Any, expected: dict[str, Any]) -> None:
    model = recurrent_net()
    assert prune(model, structure, ratio=0.5) > 0
    assert widths(model) == expected
    before = [kernel.mask.numpy() for kernel in hl.masked_kernels(model)]
    assert prune(model, structure, sparsity=0.25) == 0  # they are sparser already
    for kernel, mask in zip(hl.masked_kernels(model), before, strict=True):
        np.testing.assert_array_equal(kernel.mask.numpy(), mask)


def test_units_then_neurons_then_connections() -> None:
    model = recurrent_net()
    model.compile("sgd", "mse")
    data = np.ones((4, 6, 3), "float32"), np.zeros((4, 4, 2), "float32")
    pruning = hl.Pruning(
        structure=("unit", "neuron", "connection"), step=0.5, retrain_epochs=1, max_iterations=3
    )
    callback = hl.GrowAndPrune(
        data, growth=None, pruning=pruning, monitor="loss", threshold=1e9, train_epochs=0, verbose=0
    )
    model.fit(*data, epochs=5, callbacks=[callback], verbose=0)
    found = widths(model)
    assert found["filters"] <= 8
    assert max(found["units"]) <= 8
    assert max(np.max(entry) for entry in found["hidden"]) <= 8
    assert callback.history[-1]["sparsity_after"] > 0.85


@pytest.mark.parametrize("structure", ["neuron", "unit"])
def test_they_do_not_grow_and_are_not_shared_out(structure: str) -> None:
    with pytest.raises(ValueError, match=f"cannot be '{structure}'"):
        hl.Growth(structure=structure)
    with pytest.raises(ValueError, match="narrows each layer by itself"):
        hl.Pruning(structure=structure, distribution="global")
