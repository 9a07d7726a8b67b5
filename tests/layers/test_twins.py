"""Masked twins against the Keras layers that they are."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

import hlstm_tf as hl
from tests.layers.helpers import (
    assert_all_close,
    assert_all_equal,
    assert_dormant_are_zero,
    assert_gradients_close,
    gradients,
    masks_of,
    numpy,
    prune_at_random,
)

Make = Callable[[type], keras.Layer]


def of(**arguments: Any) -> Make:
    return lambda layer: layer(**arguments)


SEQUENCE, IMAGE = (4, 3), (5, 6, 2)
DROPOUT = {"dropout": 0.3, "seed": 5}
PAIRS: dict[str, tuple[type, type, dict[str, Any], tuple[int, ...]]] = {
    "dense": (hl.MaskedDense, keras.layers.Dense, {"units": 3, "activation": "tanh"}, SEQUENCE),
    "conv1d": (
        hl.MaskedConv1D,
        keras.layers.Conv1D,
        {"filters": 3, "kernel_size": 2, "padding": "causal", "dilation_rate": 2},
        SEQUENCE,
    ),
    "conv2d": (
        hl.MaskedConv2D,
        keras.layers.Conv2D,
        {"filters": 4, "kernel_size": (3, 2), "strides": 2, "groups": 2, "use_bias": False},
        IMAGE,
    ),
    "lstm": (
        hl.MaskedLSTM,
        keras.layers.LSTM,
        {"units": 3, "recurrent_dropout": 0.3, "return_sequences": True, **DROPOUT},
        SEQUENCE,
    ),
    "lstm_1": (
        hl.MaskedLSTM,
        keras.layers.LSTM,
        {"units": 3, "implementation": 1, "use_cudnn": False, **DROPOUT},
        SEQUENCE,
    ),
    "gru": (
        hl.MaskedGRU,
        keras.layers.GRU,
        {
            "units": 3,
            "return_state": True,
            "go_backwards": True,
            "recurrent_dropout": 0.3,
            **DROPOUT,
        },
        SEQUENCE,
    ),
    "gru_1": (
        hl.MaskedGRU,
        keras.layers.GRU,
        {"units": 3, "implementation": 1, "reset_after": False, "use_cudnn": False, **DROPOUT},
        SEQUENCE,
    ),
    "simple_rnn": (
        hl.MaskedSimpleRNN,
        keras.layers.SimpleRNN,
        {"units": 3, "unroll": True, "activation": "relu", **DROPOUT},
        SEQUENCE,
    ),
}


def pair(name: str) -> tuple[keras.Layer, keras.Layer, np.ndarray]:
    """A twin and its Keras layer, each made after the same global seed, and an input."""
    masked_class, plain_class, arguments, shape = PAIRS[name]
    layers = []
    for layer_class in (masked_class, plain_class):
        keras.utils.set_random_seed(4)
        layers.append(layer_class(**arguments))
        layers[-1].build((3, *shape))
    x = np.random.default_rng(0).standard_normal((3, *shape)).astype("float32")
    return layers[0], layers[1], x


@pytest.mark.representatives("dense", "conv2d", "lstm", "gru_1")
@pytest.mark.parametrize("name", PAIRS)
def test_full_masks_change_nothing(name: str) -> None:
    twin, plain, x = pair(name)
    count = len(plain.weights)
    assert [w.name for w in twin.weights[:count]] == [w.name for w in plain.weights]
    assert_all_equal(twin.get_weights()[:count], plain.get_weights())
    for training in (False, True):
        call = {"training": training} if isinstance(twin, keras.layers.RNN) else {}
        assert_all_equal(twin(x, **call), plain(x, **call))
        assert_all_equal(
            gradients(twin, x, twin.trainable_weights, **call),
            gradients(plain, x, plain.trainable_weights, **call),
        )


@pytest.mark.parametrize("name", PAIRS)
def test_masks_act_as_zero_weights_whatever_stands_under_them(name: str) -> None:
    twin, plain, x = pair(name)
    prune_at_random(twin)
    plain.set_weights(twin.get_weights()[: len(plain.weights)])
    expected = numpy(plain(x))
    assert_all_equal(twin(x), expected)
    for kernel in hl.masked_kernels(twin):
        kernel.variable.assign(np.where(kernel.mask.numpy(), kernel.variable.numpy(), np.nan))
    assert_all_equal(twin(x), expected)


@pytest.mark.representatives("dense", "conv2d", "lstm", "gru_1")
@pytest.mark.parametrize("name", PAIRS)
def test_dense_gradients_are_those_of_the_effective_weight(name: str) -> None:
    twin, plain, x = pair(name)
    prune_at_random(twin)
    plain.set_weights(twin.get_weights()[: len(plain.weights)])
    expected = gradients(plain, x, plain.trainable_weights)
    outputs = numpy(twin(x))
    sparse = gradients(twin, x, twin.trainable_weights)

    @tf.function
    def traced(inputs: tf.Tensor) -> tuple[Any, Any]:
        with hl.dense_gradients(), tf.GradientTape() as tape:
            found = keras.tree.flatten(twin(inputs))
            weighted = [tf.cos(tf.range(tf.size(f), dtype=f.dtype)) for f in found]
            loss = tf.add_n(
                [
                    tf.reduce_sum(tf.reshape(f, [-1]) * w)
                    for f, w in zip(found, weighted, strict=True)
                ]
            )
        return found, tape.gradient(loss, [w.value for w in twin.trainable_weights])

    with hl.dense_gradients():
        assert_all_equal(twin(x), outputs)
        eager = gradients(twin, x, twin.trainable_weights)
    assert_gradients_close(expected, eager, rtol=1e-6)
    in_graph, dense = traced(tf.constant(x))
    assert_all_close(in_graph, outputs)
    assert_gradients_close(expected[:-1], numpy([tf.convert_to_tensor(g) for g in dense]))
    assert_all_equal(gradients(twin, x, twin.trainable_weights), sparse)
    places = {id(variable): place for place, variable in enumerate(twin.trainable_weights)}
    for kernel in hl.masked_kernels(twin):
        dormant = ~kernel.mask.numpy()
        without, with_dense = (found[places[id(kernel.variable)]] for found in (sparse, eager))
        assert not without[dormant].any()
        assert np.count_nonzero(with_dense[dormant]) > 0.3 * dormant.sum(), kernel


def test_dense_gradients_agree_with_finite_differences() -> None:
    layer = hl.HLSTM(2, 3, hidden_activation="tanh", dtype="float64")
    layer.build((None, None, 2))
    prune_at_random(layer)
    x = np.random.default_rng(0).standard_normal((2, 3, 2))

    def loss() -> Any:
        return tf.reduce_sum(tf.square(layer(x) - 1.0))

    for kernel in hl.masked_kernels(layer):
        with hl.dense_gradients(), tf.GradientTape() as tape:
            value = loss()
        found = tape.gradient(value, kernel.variable.value).numpy()
        mask, weights = kernel.mask.numpy(), kernel.variable.numpy()
        place = tuple(np.argwhere(~mask)[0])
        for where in (place, tuple(np.argwhere(mask)[0])):
            ends = []
            for step in (1e-5, -1e-5):
                moved, opened = weights.copy(), mask.copy()
                moved[where] += step
                opened[where] = True
                kernel.mask.assign(opened)
                kernel.variable.assign(moved)
                ends.append(float(loss()))
            kernel.mask.assign(mask)
            kernel.variable.assign(weights)
            assert found[where] == pytest.approx((ends[0] - ends[1]) / 2e-5, rel=1e-5, abs=1e-9)


@pytest.mark.representatives("inference-lstm", "training-gru", "training-hlstm")
@pytest.mark.parametrize(
    "make",
    [
        lambda: hl.MaskedLSTM(4, return_sequences=True),
        lambda: hl.MaskedGRU(4, return_sequences=True),
        lambda: hl.MaskedSimpleRNN(4, return_sequences=True),
        lambda: hl.HLSTM(4, (5, 3), return_sequences=True),
        lambda: hl.HLSTM(4, (), masked=True, return_sequences=True),
    ],
    ids=["lstm", "gru", "simple_rnn", "hlstm", "hlstm_no_hidden"],
)
@pytest.mark.parametrize("training", [False, True], ids=["inference", "training"])
def test_masks_are_applied_once_a_call_and_not_in_the_loop(
    make: Callable[[], keras.Layer], training: bool
) -> None:
    layer = make()
    spec = tf.TensorSpec([2, 6, 3])
    run = tf.function(lambda x: layer(x, training=training), input_signature=[spec])
    graph = run.get_concrete_function().graph.as_graph_def()
    bodies = [node.op for function in graph.library.function for node in function.node_def]
    assert "MatMul" in bodies  # the loop is there
    assert "Select" not in bodies
    assert "SelectV2" not in bodies
    outside = [node.op for node in graph.node]
    assert outside.count("SelectV2") == len(hl.masked_kernels(layer))


@pytest.mark.parametrize("name", ["dense", "lstm", "gru_1", "simple_rnn"])
def test_a_plain_layer_s_weights_file_loads_under_the_masks_in_force(
    name: str, tmp_path: Path
) -> None:
    twin, plain, x = pair(name)
    plain.set_weights([w + 1 for w in plain.get_weights()])
    models = []
    for layer in (plain, twin):
        recurrent = isinstance(layer, keras.layers.RNN)
        wrapper = keras.layers.Bidirectional if recurrent else keras.layers.TimeDistributed
        inputs = keras.Input(x.shape[1:])
        models.append(keras.Model(inputs, wrapper(layer)(inputs)))
    theirs, ours = models
    prune_at_random(ours)
    masks = masks_of(ours)
    theirs.save_weights(tmp_path / "plain.weights.h5")
    ours.load_weights(tmp_path / "plain.weights.h5")
    assert_all_equal(masks_of(ours), masks)
    assert_dormant_are_zero(ours)
    loaded = dict(zip([v.path for v in theirs.weights], theirs.get_weights(), strict=True))
    kernels = [v for v in theirs.weights if v.name.endswith("kernel")]
    for kernel, plain_kernel in zip(hl.masked_kernels(ours), kernels, strict=True):
        expected = np.where(kernel.mask.numpy(), loaded[plain_kernel.path], 0)
        np.testing.assert_array_equal(kernel.variable.numpy(), expected)
    biases = [[v.value for v in m.weights if v.name == "bias"] for m in models]
    assert_all_equal(*biases)


@pytest.mark.parametrize("make", [hl.MaskedLSTM, hl.MaskedGRU, hl.HLSTM])
def test_a_clone_keeps_the_implementation_and_with_it_the_dropout(make: type) -> None:
    layer = make(3, implementation=1, dropout=0.5)
    assert type(layer).from_config(layer.get_config()).cell.implementation == 1
    assert keras.layers.Bidirectional(layer).backward_layer.cell.implementation == 1


def test_embedding_twin() -> None:
    table = np.arange(12, dtype="float32").reshape(4, 3) + 1
    ids = np.array([[0, 3, 1], [2, 2, 0]])
    twin = hl.MaskedEmbedding(4, 3, weights=table, mask_zero=True)
    plain = keras.layers.Embedding(4, 3, weights=table, mask_zero=True)
    assert_all_equal(twin(ids), plain(ids))
    assert_all_equal(twin.compute_mask(ids), plain.compute_mask(ids))
    twin.build()  # a second build, as Keras's Embedding takes it, adds no second mask
    assert len(twin.weights) == 2
    [kernel] = hl.masked_kernels(twin)
    mask = np.ones((4, 3), bool)
    mask[2] = mask[0, 1] = False
    hl.edit_masks({kernel: mask})
    assert_all_equal(twin(ids), (table * mask)[ids])


@pytest.mark.parametrize(
    "change",
    [
        lambda layer: layer.enable_lora(2),
        lambda layer: layer.quantize("int8"),
        lambda layer: type(layer).from_config({**layer.get_config(), "lora_rank": 2}).build((2, 3)),
        lambda layer: (
            type(layer).from_config({**layer.get_config(), "dtype": QUANTIZED}).build((2, 3))
        ),
    ],
    ids=["enable_lora", "quantize", "lora_rank", "quantized_dtype"],
)
@pytest.mark.parametrize("make", [lambda: hl.MaskedDense(4), lambda: hl.MaskedEmbedding(9, 4)])
def test_what_would_break_masks_says_what_to_do(
    change: Callable[[Any], Any], make: Callable[[], keras.Layer]
) -> None:
    layer = make()
    layer.build((2, 3))
    with pytest.raises(NotImplementedError, match=r"has masks, which .*strip\(model\)\.$"):
        change(layer)
    assert len(hl.masked_kernels(layer)) == 1


QUANTIZED = "int8_from_float32"
