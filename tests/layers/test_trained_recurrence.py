"""Layers that train through a recurrence written by hand, against the loops of Keras."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

import hlstm_tf as hl
from hlstm_tf.layers import gru_recurrence, lstm_recurrence, operators, passes, recurrent_layer
from hlstm_tf.layers.recurrent_layer import TRAINING_ARGUMENTS
from tests.layers.helpers import (
    assert_all_close,
    assert_all_equal,
    assert_gradients_close,
    gradients,
    numpy,
    prune_at_random,
)

BATCH, TIME, INPUTS, UNITS = 3, 5, 2, 4
# One padded at the end, one at the start and in the middle, one with no valid step at all.
PADDING = np.array([[1, 1, 1, 0, 0], [0, 1, 0, 1, 1], [0, 0, 0, 0, 0]], bool)
STATE = np.random.default_rng(5).standard_normal((BATCH, UNITS)).astype("float32")
X = 2 * np.random.default_rng(0).standard_normal((BATCH, TIME, INPUTS)).astype("float32")
VARIANTS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "plain": ({}, {}),
    "no_bias": ({"use_bias": False}, {"mask": PADDING}),
    "reset_before": ({"reset_after": False}, {"mask": PADDING}),
    "reset_before_no_bias": ({"reset_after": False, "use_bias": False}, {}),
    "padded_zero_output": ({"zero_output_for_mask": True}, {"mask": PADDING}),
    "backwards_padded": ({"go_backwards": True}, {"mask": PADDING}),
    "initial_state": ({}, {"mask": PADDING, "initial_state": STATE}),
    "dropout": ({"dropout": 0.4}, {"mask": PADDING}),
    "activations": ({"activation": "relu", "recurrent_activation": "hard_sigmoid"}, {}),
    "last_output": ({"return_sequences": False}, {"mask": PADDING}),
}


@pytest.fixture
def _loops_as_they_are(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Nothing is compiled, and recomputing takes two chunks, the last one shorter."""
    monkeypatch.setattr(passes, "XLA_WEIGHTS", 0)
    monkeypatch.setattr(passes, "CHUNK", 3)
    lstm_recurrence._passes.cache_clear()
    gru_recurrence._passes.cache_clear()
    yield
    lstm_recurrence._passes.cache_clear()
    gru_recurrence._passes.cache_clear()


def gru_pair(**arguments: Any) -> tuple[hl.MaskedGRU, keras.layers.GRU]:
    """A masked GRU with dormant connections and the GRU with its weights, and its dropout."""
    ours = {name: arguments.pop(name) for name in TRAINING_ARGUMENTS if name in arguments}
    arguments = {"return_sequences": True, "return_state": True, "seed": 3, **arguments}
    keras.utils.set_random_seed(2)
    bias = keras.initializers.RandomNormal(seed=1)
    layers = [
        layer_class(UNITS, bias_initializer=bias, **arguments, **more)
        for layer_class, more in ((hl.MaskedGRU, ours), (keras.layers.GRU, {}))
    ]
    for layer in layers:
        layer.build((None, None, INPUTS))
    masked, plain = layers
    prune_at_random(masked)
    plain.set_weights(masked.get_weights()[: len(plain.weights)])
    return masked, plain


def assert_same_step(masked: Any, plain: Any, call: dict[str, Any]) -> None:
    assert_all_close(plain(X, **call), masked(X, **call), atol=1e-6)
    # Each second call draws further dropout masks, of both layers alike.
    expected = gradients(plain, X, plain.trainable_weights, **call)
    found = gradients(masked, X, masked.trainable_weights, **call)
    kernels = {kernel.name: kernel.mask.numpy() for kernel in hl.masked_kernels(masked)}
    for place, weight in enumerate(masked.trainable_weights):
        expected[place] = expected[place] * kernels.get(weight.name, 1)
    assert_gradients_close(expected, found)
    assert all(np.abs(gradient).max() > 1e-3 for gradient in expected)


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The recurrences written by hand that were run."""
    run: list[str] = []
    for name in ("recur", "recur_gru"):
        original = getattr(recurrent_layer, name)

        def counted(*args: Any, name: str = name, original: Any = original, **kwargs: Any) -> Any:
            run.append(name)
            return original(*args, **kwargs)

        monkeypatch.setattr(recurrent_layer, name, counted)
    return run


@pytest.mark.representatives(
    "plain-False",
    "backwards_padded-False",
    "initial_state-False",
    "activations-False",
    "reset_before-True",
    "dropout-True",
)
@pytest.mark.usefixtures("_loops_as_they_are")
@pytest.mark.parametrize(
    ("variant", "recompute"),
    [*((v, False) for v in VARIANTS), ("no_bias", True), ("reset_before", True), ("dropout", True)],
)
def test_a_masked_gru_takes_the_gru_s_step(variant: str, recompute: bool, calls: list[str]) -> None:
    arguments, call = VARIANTS[variant]
    masked, plain = gru_pair(**arguments, recompute=recompute)
    assert_same_step(masked, plain, {**call, "training": True})
    assert set(calls) == {"recur_gru"}


@pytest.mark.compiled
def test_a_masked_gru_takes_the_gru_s_step_when_xla_compiles_it() -> None:
    masked, plain = gru_pair()
    assert_same_step(masked, plain, {"mask": PADDING, "training": True})


@pytest.mark.parametrize(
    "arguments",
    [
        {"recurrent_dropout": 0.3},
        {"implementation": 1},
        {"unroll": True},
        {"activation": "softmax"},
    ],
    ids=str,
)
def test_what_the_recurrence_does_not_cover_takes_keras_s_loop(
    arguments: dict[str, Any], calls: list[str]
) -> None:
    masked, plain = gru_pair(**arguments)
    assert_all_equal(plain(X, training=True), masked(X, training=True))
    assert not calls


def test_dense_gradients_of_a_gru_reach_dormant_connections() -> None:
    masked, plain = gru_pair()
    expected = gradients(plain, X, plain.trainable_weights, mask=PADDING)
    with hl.dense_gradients():
        found = gradients(masked, X, masked.trainable_weights, mask=PADDING, training=True)
    assert_gradients_close(expected, found)


def make_hlstm(**arguments: Any) -> hl.HLSTM:
    keras.utils.set_random_seed(2)
    layer = hl.HLSTM(UNITS, (6, 5), return_sequences=True, return_state=True, **arguments)
    layer.build((None, None, INPUTS))
    prune_at_random(layer)
    return layer


def make_lstm(**arguments: Any) -> hl.MaskedLSTM:
    keras.utils.set_random_seed(2)
    layer = hl.MaskedLSTM(UNITS, return_sequences=True, return_state=True, **arguments)
    layer.build((None, None, INPUTS))
    prune_at_random(layer)
    return layer


def make_gru(**arguments: Any) -> hl.MaskedGRU:
    return gru_pair(**arguments)[0]


MAKERS = [make_hlstm, make_lstm, make_gru]


@pytest.mark.usefixtures("_loops_as_they_are")
@pytest.mark.parametrize("make", MAKERS)
def test_recomputing_changes_no_number(make: Any) -> None:
    call = {"mask": PADDING, "training": True}
    stored, recomputed = make(dropout=0.3), make(dropout=0.3, recompute=True)
    assert_all_close(stored(X, **call), recomputed(X, **call))
    expected = gradients(stored, X, stored.trainable_weights, **call)
    found = gradients(recomputed, X, recomputed.trainable_weights, **call)
    assert_gradients_close(expected, found)


@pytest.mark.representatives("make_hlstm-rounded", "make_lstm-rounded", "make_gru-native")
@pytest.mark.usefixtures("_loops_as_they_are")
@pytest.mark.parametrize("native", [False, True], ids=["rounded", "native"])
@pytest.mark.parametrize("make", MAKERS)
def test_bfloat16_products_stay_near_float32(
    make: Any, native: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(operators, "multiplies_bfloat16", lambda: native)
    exact, rounded = make(), make(matmul_dtype="bfloat16")

    def step(layer: keras.Layer) -> tuple[list[Any], list[Any]]:
        with tf.GradientTape() as tape:
            outputs = layer(X, mask=PADDING, training=True)
            loss = tf.reduce_sum(tf.square(outputs[0] - 0.5))
        return outputs, tape.gradient(loss, [v.value for v in layer.trainable_weights])

    expected, found = tf.function(step)(exact), tf.function(step)(rounded)
    assert {tensor.dtype for tensor in tf.nest.flatten(found)} == {tf.float32}
    for one, other in zip(numpy(expected), numpy(found), strict=True):
        # Eight bits of mantissa; a rounding of each operand and, natively, of the result.
        error = np.abs(one - other).max() / np.abs(one).max()
        assert error < 2**-5
    assert np.abs(numpy(expected)[0] - numpy(found)[0]).max() > 1e-5  # it does round
    assert_all_equal(exact(X), rounded(X))  # not in inference


@pytest.mark.usefixtures("_loops_as_they_are")
@pytest.mark.parametrize("make", MAKERS)
def test_a_mixed_bfloat16_policy_keeps_the_states_in_float32(make: Any, calls: list[str]) -> None:
    exact, mixed = make(), make(dtype="mixed_bfloat16")
    outputs = mixed(X, mask=PADDING, training=True)
    assert calls
    assert {output.dtype for output in outputs} == {tf.bfloat16}
    for one, other in zip(numpy(exact(X, mask=PADDING)), outputs, strict=True):
        np.testing.assert_allclose(one, tf.cast(other, tf.float32), atol=2**-5)
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(mixed(X, training=True)[0])
    found = tape.gradient(loss, [v.value for v in mixed.trainable_weights])
    assert {gradient.dtype for gradient in found} == {tf.float32}
    assert all(np.isfinite(gradient).all() for gradient in numpy(found))


@pytest.mark.parametrize("layer_class", [hl.HLSTM, hl.MaskedLSTM, hl.MaskedGRU])
def test_how_a_layer_trains_is_saved_with_it(layer_class: Any, tmp_path: Path) -> None:
    layer = layer_class(UNITS, matmul_dtype="bfloat16", recompute=True)
    model = keras.Sequential([keras.Input((None, INPUTS)), layer])
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert loaded.layers[0].matmul_dtype == "bfloat16"
    assert loaded.layers[0].recompute is True
    assert_all_equal(model(X), loaded(X))
    assert_all_equal(model(X), hl.strip(model)(X))


def test_bfloat16_products_and_recomputing_train_a_model() -> None:
    layer = hl.HLSTM(UNITS, matmul_dtype="bfloat16", recompute=True)
    model = keras.Sequential([keras.Input((None, INPUTS)), layer, keras.layers.Dense(1)])
    model.compile(keras.optimizers.Adam(0.02), "mse")
    targets = np.sin(np.arange(BATCH, dtype="float32"))[:, None]
    losses = model.fit(X, targets, epochs=15, verbose=0).history["loss"]
    assert losses[-1] < 0.5 * losses[0]


@pytest.mark.parametrize("layer_class", [hl.HLSTM, hl.MaskedLSTM, hl.MaskedGRU])
def test_a_matmul_dtype_that_there_is_none_of_is_named(layer_class: Any) -> None:
    with pytest.raises(ValueError, match=r"matmul_dtype must be 'bfloat16', .*; got 'int8'\.$"):
        layer_class(UNITS, matmul_dtype="int8")
