"""Neurons by the size of what they put out."""

from typing import Any

import keras
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import hlstm_tf as hl
from hlstm_tf.pruning.architecture import Rule, prune_model
from hlstm_tf.scoring.score_source import ScoreSource
from hlstm_tf.scoring.sizes import input_sizes, output_sizes
from tests.tiers import few

layers = keras.layers
RNG = np.random.default_rng(0)


def rms(values: Any) -> np.ndarray:
    array = keras.ops.convert_to_numpy(values)
    return np.sqrt(np.mean(np.square(array), axis=tuple(range(array.ndim - 1))))


def prune_by_output(model: keras.Model, x: Any, structure: Any, ratio: float) -> None:
    model.compile("sgd", "mse")
    rule = Rule.of("output", structure, "per_matrix")
    prune_model(ScoreSource(model, (x, np.zeros(len(x)))), rule, "a test", ratio=ratio)


def living(kernel: hl.MaskedKernel) -> list[int]:
    mask = kernel.mask.numpy()
    return np.flatnonzero(mask.any(axis=tuple(range(mask.ndim - 1)))).tolist()


@pytest.mark.parametrize("eager", [True, False])
def test_feed_forward_layers_by_their_own_outputs(eager: bool) -> None:
    inputs = keras.Input((6,), dtype="int32")
    table = hl.MaskedEmbedding(6, 3)(inputs)
    window = hl.MaskedConv1D(4, 2, activation="relu")(table)
    halved = layers.MaxPooling1D()(window)  # what the next layer reads is something else
    out = hl.MaskedDense(2, activation="tanh")(layers.Flatten()(halved))
    model = keras.Model(inputs, out)
    model.compile("sgd", "mse", run_eagerly=eager)
    for weight in model.trainable_variables:
        weight.assign(RNG.normal(size=weight.shape))
    ids = RNG.integers(0, 6, (5, 6)).astype("int32")
    found = list(output_sizes(model, (ids, np.zeros(5)), batch_size=2).values())
    expected = keras.Model(inputs, [table, window, out])(ids)
    for sizes, values in zip(found, expected, strict=True):
        np.testing.assert_allclose(sizes, rms(values)[None], rtol=1e-5)


@pytest.mark.representatives("hidden2")
@pytest.mark.parametrize("hidden", [(), (3, 2), ((3, 2, 4, 2),)])
def test_recurrent_layers_by_state_and_hidden_neurons(hidden: tuple) -> None:
    x = RNG.normal(size=(4, 5, 3)).astype("float32")
    layer = hl.HLSTM(2, hidden_units=hidden, masked=True)
    model = keras.Sequential([keras.Input((5, 3)), layer])
    outputs = output_sizes(model, (x, np.zeros(4)))
    inputs = {k.name: v for k, v in input_sizes(model, (x, np.zeros(4))).items()}
    after = {
        (): dict.fromkeys(["kernel", "recurrent_kernel"], "recurrent_kernel"),
        (3, 2): {
            "kernel": "hidden_kernel_2",
            "recurrent_kernel": "hidden_kernel_2",
            "hidden_kernel_2": "output_kernel",
            "output_kernel": "recurrent_kernel",
        },
        ((3, 2, 4, 2),): {
            "kernel_forget": "output_kernel_forget",
            "recurrent_kernel_forget": "output_kernel_forget",
            "output_kernel_forget": "recurrent_kernel_forget",
        },
    }[hidden]
    found = {kernel.name: sizes for kernel, sizes in outputs.items()}
    assert set(after) <= set(found)
    for name, following in after.items():
        np.testing.assert_array_equal(found[name], inputs[following])
    for kernel, sizes in outputs.items():
        assert sizes.shape == (kernel.gates, kernel.matrices_shape[2])


@few(3)
@given(st.permutations([0.2, 0.4, 0.6, 0.8, 1.0]), st.integers(0, 3))
def test_the_quietest_neurons_go_however_many_connections_they_have(
    sizes: list[float], seed: int
) -> None:
    keras.utils.set_random_seed(seed)
    model = keras.Sequential([keras.Input((4,)), hl.MaskedDense(5, activation="relu"),
                              hl.MaskedDense(3)])  # fmt: skip
    first, second = hl.masked_kernels(model)
    # The quieter a neuron, the more connections, and the larger the weights that read it.
    order = np.argsort(np.argsort(sizes))
    mask = np.arange(4)[:, None] <= 3 - np.minimum(order, 3)[None]
    hl.edit_masks({first: mask})
    weights = mask * np.array(sizes) / mask.sum(axis=0)
    first.variable.assign(weights)
    second.variable.assign(np.repeat(1 / np.array(sizes)[:, None], 3, axis=1))
    prune_by_output(model, np.ones((4, 4), "float32"), hl.Neuron(multiple=1, minimum=1), 0.4)
    assert living(first) == sorted(np.argsort(sizes)[2:].tolist())
    np.testing.assert_array_equal(second.mask.numpy().any(axis=1), first.mask.numpy().any(axis=0))


def test_feature_maps_and_units_and_gate_neurons_go_by_their_output() -> None:
    model = keras.Sequential(
        [
            keras.Input((6, 4)),
            hl.MaskedConv1D(4, 3, activation="relu", name="conv"),
            hl.HLSTM(4, hidden_units=4, return_sequences=True),
            hl.MaskedGRU(4),
            hl.MaskedDense(2),
        ]
    )
    for weight in model.trainable_variables:
        weight.assign(RNG.normal(scale=0.7, size=weight.shape))
    x = RNG.normal(size=(8, 6, 4)).astype("float32")
    sizes = {k.path: v for k, v in output_sizes(model, (x, np.zeros(8))).items()}
    narrow = {"multiple": 1, "minimum": 1}

    def strongest(path: str, number: int = 2) -> list[int]:
        [found] = [v for p, v in sizes.items() if p.endswith(path)]
        return sorted(np.argsort(-found[0])[:number].tolist())

    prune_by_output(model, x, hl.Neuron(**narrow), 0.5)
    kernels = {k.path: k for k in hl.masked_kernels(model)}
    conv = next(k for p, k in kernels.items() if p.endswith("conv/kernel"))
    assert living(conv) == strongest("conv/kernel")
    hidden = next(k for p, k in kernels.items() if p.endswith("hlstm_cell/kernel"))
    alive = hidden.to_matrices(hidden.mask)[0].any(axis=0)
    assert np.flatnonzero(alive).tolist() == strongest("hlstm_cell/kernel")

    sizes = {k.path: v for k, v in output_sizes(model, (x, np.zeros(8))).items()}
    expected = strongest("gru_cell/kernel")
    prune_by_output(model, x, hl.Unit(**narrow), 0.5)
    gru = next(k for p, k in kernels.items() if p.endswith("gru_cell/kernel"))
    assert np.flatnonzero(gru.to_matrices(gru.mask)[0].any(axis=0)).tolist() == expected


def test_grow_and_prune_prunes_by_neuron_output() -> None:
    x = RNG.normal(size=(16, 4)).astype("float32")
    model = keras.Sequential([keras.Input((4,)), hl.MaskedDense(8), hl.MaskedDense(1)])
    model.compile("sgd", "mse", run_eagerly=True)
    pruning = hl.Pruning(0.5, 1, structure=hl.Neuron(1, 1), score="output", max_iterations=1)
    gp = hl.GrowAndPrune(
        (x, x[:, :1]), None, pruning, "loss", threshold=1e6, train_epochs=0, verbose=0
    )
    model.fit(x, x[:, :1], epochs=3, callbacks=[gp], verbose=0)
    assert len(living(hl.masked_kernels(model)[0])) == 4
    with pytest.raises(TypeError, match="train must be the training set"):
        hl.GrowAndPrune(None, None, pruning, "loss", threshold=1.0)
