"""How large kernels' inputs are, against what the layers' outputs say."""

from typing import Any

import keras
import numpy as np
import pytest

import hlstm_tf as hl
from hlstm_tf.pruning.architecture import Rule, prune_model
from hlstm_tf.scoring.score_source import ScoreSource
from hlstm_tf.scoring.sizes import input_sizes

layers = keras.layers
RNG = np.random.default_rng(0)
X = RNG.normal(size=(5, 4, 3)).astype("float32")
LENGTHS = np.array([4, 2, 3, 1, 4])
VALID = np.arange(4) < LENGTHS[:, None]


def rms(values: np.ndarray, valid: np.ndarray | None = None) -> np.ndarray:
    """Over all axes but the last, of valid places only."""
    rows = values.reshape(-1, values.shape[-1]) if valid is None else values[valid]
    return np.sqrt(np.mean(np.square(rows), axis=0))


def sizes_of(model: keras.Model, x: Any) -> dict[str, np.ndarray]:
    for weight in model.trainable_variables:
        weight.assign(RNG.normal(scale=0.5, size=weight.shape))
    found = input_sizes(model, (x, np.zeros(len(X))), batch_size=2)
    return {kernel.name: sizes for kernel, sizes in found.items()}


def test_feed_forward_layers() -> None:
    inputs = keras.Input((4,), dtype="int32")
    table = hl.MaskedEmbedding(6, 3)(inputs)
    window = hl.MaskedConv1D(2, 2, activation="relu")(table)
    model = keras.Model(inputs, hl.MaskedDense(1)(window))
    for weight in model.trainable_variables:
        weight.assign(RNG.normal(size=weight.shape))
    ids = RNG.integers(0, 6, (5, 4)).astype("int32")
    found = list(input_sizes(model, (ids, np.zeros(5)), batch_size=2).values())
    frequency = np.bincount(ids.ravel(), minlength=6) / ids.size
    read = keras.Model(inputs, [table, window])(ids)
    expected = [np.sqrt(frequency), np.tile(rms(read[0].numpy()), 2), rms(read[1].numpy())]
    for sizes, value in zip(found, expected, strict=True):
        np.testing.assert_allclose(sizes, value[None], rtol=1e-5)


@pytest.mark.representatives("MaskedLSTM-True", "MaskedGRU-False")
@pytest.mark.parametrize("backwards", [False, True])
@pytest.mark.parametrize("cell", [hl.MaskedLSTM, hl.MaskedGRU, hl.MaskedSimpleRNN])
def test_recurrent_layers_by_their_valid_steps(cell: Any, backwards: bool) -> None:
    inputs, mask = keras.Input((4, 3)), keras.Input((4,), dtype="bool")
    layer = cell(2, return_sequences=False, go_backwards=backwards)
    model = keras.Model([inputs, mask], layer(inputs, mask=mask))
    found = sizes_of(model, (X, VALID))
    layer.return_sequences = True
    outputs = keras.ops.convert_to_numpy(layer(X, mask=VALID))
    layer.return_sequences = False
    before = np.concatenate([np.zeros((5, 1, 2)), outputs[:, :-1]], axis=1)
    valid = VALID[:, ::-1] if backwards else VALID
    gates = found["kernel"].shape[0]
    np.testing.assert_allclose(found["kernel"], [rms(X, VALID)] * gates, rtol=1e-5)
    np.testing.assert_allclose(found["recurrent_kernel"], [rms(before, valid)] * gates, rtol=1e-4)
    assert not layer.return_sequences


@pytest.mark.representatives("hidden1")
@pytest.mark.parametrize("hidden", [(3, 2), ((3, 2, 1, 4), 2)])
def test_hidden_layers_of_gates(hidden: Any) -> None:
    layer = hl.HLSTM(2, hidden_units=hidden, return_sequences=True)
    model = keras.Sequential([keras.Input((4, 3)), layer])
    found = sizes_of(model, X)
    outputs = layer(X).numpy()
    before = np.concatenate([np.zeros((5, 1, 2)), outputs[:, :-1]], axis=1).astype("float32")
    weights = {v.name: v.numpy() for v in layer.trainable_variables}
    for gate, name in enumerate(("input", "forget", "cell", "output")):

        def of(kind: str, axis: int, gate: int = gate, name: str = name) -> np.ndarray:
            own = weights.get(f"{kind}_{name}")
            return own if own is not None else np.take(weights[kind], gate, axis=axis)

        def size(kind: str, gate: int = gate, name: str = name) -> np.ndarray:
            own = found.get(f"{kind}_{name}")
            return own[0] if own is not None else found[kind][gate]

        first = X @ of("kernel", 1) + before @ of("recurrent_kernel", 1) + of("bias", 0)
        first = np.maximum(first, 0)
        second = np.maximum(first @ of("hidden_kernel_2", 0) + of("hidden_bias_2", 0), 0)
        np.testing.assert_allclose(size("kernel"), rms(X), rtol=1e-5)
        np.testing.assert_allclose(size("recurrent_kernel"), rms(before), rtol=1e-4)
        np.testing.assert_allclose(size("hidden_kernel_2"), rms(first), rtol=1e-4)
        np.testing.assert_allclose(size("output_kernel"), rms(second), rtol=1e-4)


def test_a_large_input_keeps_a_small_weight() -> None:
    model = keras.Sequential([keras.Input((2,)), hl.MaskedDense(1, use_bias=False)])
    model.compile("sgd", "mse")
    model.layers[0].set_weights([np.array([[2.0], [1.0]])])
    x = np.array([[0.1, 3.0], [0.2, -4.0]])
    source = ScoreSource(model, (x, np.zeros(2)))
    prune_model(source, Rule.of("activation", "connection", "per_matrix"), "a test", ratio=0.5)
    np.testing.assert_array_equal(hl.masked_kernels(model)[0].mask, [[False], [True]])


def test_what_cannot_be_seen_says_so() -> None:
    cells = keras.layers.RNN(hl.HLSTMCell(2))
    model = keras.Sequential([keras.Input((4, 3)), cells])
    with pytest.raises(ValueError, match=r"cannot see the inputs of .*kernel"):
        input_sizes(model, (X, np.zeros(5)))
    rule = Rule.of("activation", "connection", "per_matrix")
    with pytest.raises(ValueError, match="needs the training data; pass it"):
        ScoreSource(model).scores(rule.score, 0, "a test")
    with pytest.raises(TypeError, match="data"):
        hl.MagnitudePruning(0.5, score="activation")


def test_pass_after_pass_warns_of_no_retracing(tensorflow_lines: list[str]) -> None:
    model = keras.Sequential([keras.Input((3,)), hl.MaskedDense(2)])
    for samples in range(2, 10):
        input_sizes(model, (np.ones((samples, 3), "float32"), np.zeros(samples)))
    assert tensorflow_lines == []
