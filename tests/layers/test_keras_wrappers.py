"""Keras's own cases for Bidirectional, StackedRNNCells and TimeDistributed, on our layers.

The cases and expected numbers are those of Keras 3.15's `bidirectional_test.py`,
`stacked_rnn_cells_test.py` and `time_distributed_test.py` in `keras/src/layers/rnn`, copyright the
Keras authors, Apache-2.0; LSTM stands as `HLSTM(hidden_units=())`, GRU, SimpleRNN and Dense as
their masked twins.
"""

from typing import Any

import keras
import numpy as np
import pytest
from keras.layers import RNN, Bidirectional, TimeDistributed

import hlstm_tf as hl
from tests.layers.helpers import run_layer_test


def constant(
    layer: type, *units: Any, weights: tuple[float, ...] = (0.01, 0.02, 0.03), **more: Any
):  # type: ignore[no-untyped-def]
    names = ("kernel_initializer", "recurrent_initializer", "bias_initializer")
    values = [keras.initializers.Constant(weight) for weight in weights]
    return layer(*units, **dict(zip(names, values, strict=True)), **more)


def close(outputs: Any, expected: Any, **tolerance: float) -> None:
    tolerance = tolerance or {"atol": 1e-5, "rtol": 1e-5}
    for output, values in zip(keras.tree.flatten(outputs), expected, strict=True):
        np.testing.assert_allclose(output, np.asarray(values), **tolerance)


def sequence(*shape: int) -> np.ndarray:
    return np.arange(24).reshape(shape).astype("float32")


@pytest.mark.parametrize(
    ("make", "output", "trainable", "masks"),
    [
        (lambda: Bidirectional(hl.MaskedSimpleRNN(4)), (3, 8), 6, 4),
        (
            lambda: Bidirectional(
                hl.MaskedSimpleRNN(4),
                backward_layer=hl.MaskedSimpleRNN(4, go_backwards=True),
                merge_mode="sum",
            ),
            (3, 4),
            6,
            4,
        ),
        (lambda: Bidirectional(hl.HLSTM(4, ())), (3, 8), 6, 0),
        (lambda: Bidirectional(hl.HLSTM(4, 3)), (3, 8), 10, 6),
    ],
)
def test_bidirectional_basics(
    make: Any, output: tuple[int, ...], trainable: int, masks: int
) -> None:
    run_layer_test(make, (3, 2, 4), output, trainable, masks)


SIMPLE_FORWARD = [[0.39687276] * 2, [0.7237238] * 2]
SIMPLE_BACKWARD = [[0.10004295] * 2, [0.53391594] * 2]


@pytest.mark.parametrize(
    ("merge_mode", "expected"),
    [
        ("concat", [np.concatenate([SIMPLE_FORWARD, SIMPLE_BACKWARD], axis=1)]),
        ("ave", [[[0.24845785] * 2, [0.6288199] * 2]]),
        (None, [SIMPLE_FORWARD, SIMPLE_BACKWARD]),
    ],
)
def test_bidirectional_correctness(merge_mode: str | None, expected: Any) -> None:
    layer = Bidirectional(constant(hl.MaskedSimpleRNN, 2), merge_mode=merge_mode)
    close(layer(sequence(2, 3, 4)), expected)


def test_bidirectional_takes_a_backward_layer() -> None:
    backward = constant(hl.MaskedSimpleRNN, 2, weights=(0.03, 0.02, 0.01), go_backwards=True)
    layer = Bidirectional(
        constant(hl.MaskedSimpleRNN, 2), backward_layer=backward, merge_mode="mul"
    )
    close(layer(sequence(2, 3, 4)), [[[0.08374989] * 2, [0.6740834] * 2]])


def test_bidirectional_gru_correctness() -> None:
    forward = constant(hl.MaskedGRU, 2, return_sequences=True)
    first, second = (0.20937867, 0.34462988, 0.40290534), (0.59829646, 0.6734641, 0.6479671)
    expected = np.repeat(np.array([first, second])[:, :, None], 2, axis=2)
    close(Bidirectional(forward, merge_mode="sum")(sequence(2, 3, 4)), [expected])


def test_bidirectional_statefulness() -> None:
    layer = Bidirectional(constant(hl.HLSTM, 2, (), stateful=True))
    expected = [
        [0.26234663, 0.26234663, 0.16959146, 0.16959146],
        [0.6137073, 0.6137073, 0.5381646, 0.5381646],
    ]
    for _ in range(2):
        layer(sequence(2, 4, 3))
        close(layer(sequence(2, 4, 3)), [expected])
        layer.reset_state()


def test_bidirectional_pass_initial_state() -> None:
    states = [np.arange(4).reshape((2, 2)).astype("float32") * n for n in (1, 2, 3, 4)]
    layer = Bidirectional(constant(hl.HLSTM, 2, ()))
    expected = [
        [0.20794602, 0.4577124, 0.14046375, 0.48191673],
        [0.6682636, 0.6711909, 0.60943645, 0.60950446],
    ]
    close(layer(sequence(2, 4, 3), initial_state=states), [expected])


def test_bidirectional_masking() -> None:
    mask = np.array([[True, True, False, True], [True, False, False, True]])
    layer = Bidirectional(constant(hl.MaskedGRU, 2))
    expected = [
        [0.19393763, 0.19393763, 0.11669192, 0.11669192],
        [0.30818558, 0.30818558, 0.28380975, 0.28380975],
    ]
    close(layer(sequence(2, 4, 3), mask=mask), [expected])


def test_bidirectional_return_state() -> None:
    layer = Bidirectional(constant(hl.HLSTM, 2, (), return_state=True))
    h1, c1 = [[0.1990008] * 2, [0.52335435] * 2], [[0.35567185] * 2, [1.0492687] * 2]
    h2, c2 = [[0.12659755] * 2, [0.44717982] * 2], [[0.2501858] * 2, [0.941473] * 2]
    output = np.concatenate([h1, h2], axis=1)
    close(layer(sequence(2, 4, 3)), [output, h1, c1, h2, c2])


@pytest.mark.parametrize("merge_mode", ["ave", "concat", "mul", "sum", None])
@pytest.mark.parametrize("return_state", [False, True])
def test_bidirectional_output_shape(merge_mode: str | None, return_state: bool) -> None:
    x = np.array([[[101, 202], [303, 404]]])
    layer = Bidirectional(hl.HLSTM(2, (), return_state=return_state), merge_mode=merge_mode)
    outputs, shapes = layer(x), layer.compute_output_shape(x.shape)
    if isinstance(outputs, (list, tuple)):
        assert [tuple(output.shape) for output in outputs] == [tuple(shape) for shape in shapes]
    else:
        assert tuple(outputs.shape) == tuple(shapes)


@pytest.mark.parametrize("use_cudnn", [True, False, "auto"])
@pytest.mark.parametrize(
    "make", [lambda **a: hl.HLSTM(1, (), **a), lambda **a: hl.MaskedGRU(1, **a)]
)
def test_bidirectional_keeps_use_cudnn(make: Any, use_cudnn: bool | str) -> None:
    both = Bidirectional(make(use_cudnn=use_cudnn))
    assert both.forward_layer.use_cudnn == both.backward_layer.use_cudnn == use_cudnn


def test_bidirectional_never_hands_gate_networks_to_a_fused_lstm() -> None:
    both = Bidirectional(hl.HLSTM(2, 3))
    assert both.forward_layer.use_cudnn is both.backward_layer.use_cudnn is False


@pytest.mark.representatives("0.0-False", "0.1-True")
@pytest.mark.parametrize("return_sequences", [False, True])
@pytest.mark.parametrize("dropout", [0.0, 0.1])
def test_stacked_cells_basics(return_sequences: bool, dropout: float) -> None:
    def make() -> RNN:
        rates = {"dropout": dropout, "recurrent_dropout": dropout}
        cells = [
            hl.HLSTMCell(3, (), **rates),
            hl.HLSTMCell(4, 2, hidden_dropout=dropout, **rates),
            hl.MaskedSimpleRNNCell(5, **rates),
        ]
        return RNN(cells, return_sequences=return_sequences)

    output = (2, 3, 5) if return_sequences else (2, 5)
    run_layer_test(make, (2, 3, 4), output, 3 + 5 + 3, 3 + 2, training=True)


def test_return_state_of_stacked_cells() -> None:
    layer = RNN([hl.HLSTMCell(10, ()), hl.HLSTMCell(10, ())], return_state=True)
    output, *states = layer(np.zeros((2, 3, 5)))
    shape, *state_shapes = layer.compute_output_shape((2, 3, 5))
    assert tuple(output.shape) == shape == (2, 10)
    assert len(states) == len(state_shapes) == 2
    for state, of_state in zip(states, state_shapes, strict=True):
        assert [tuple(s.shape) for s in state] == list(of_state) == [(2, 10), (2, 10)]


def test_stacked_cells_mask() -> None:
    mask = np.array([[True, True, True], [True, True, False]])
    ones = {"kernel_initializer": "ones", "recurrent_initializer": "ones"}
    layer = RNN([hl.HLSTMCell(1, (), **ones) for _ in range(2)])
    close(layer(np.ones((2, 3, 4)), mask=mask), [[[0.7793], [0.5998]]], atol=1e-4)


def dense(units: int, **more: Any) -> hl.MaskedDense:
    weight = keras.initializers.Constant(0.01)
    return hl.MaskedDense(units, kernel_initializer=weight, use_bias=False, **more)


def test_time_distributed_basics() -> None:
    run_layer_test(lambda: TimeDistributed(dense(1)), (3, 2, 4), (3, 2, 1), 1, 1)


def test_time_distributed_correctness() -> None:
    expected = [[[0.06], [0.22]], [[0.38], [0.53999996]], [[0.7], [0.86]]]
    close(TimeDistributed(dense(1))(sequence(3, 2, 4)), [expected])


def test_time_distributed_convolution_shape() -> None:
    inputs = keras.Input((10, 16, 16, 3), batch_size=32)
    outputs = TimeDistributed(hl.MaskedConv2D(6, (3, 3)))(inputs)
    assert outputs.shape == (32, 10, 14, 14, 6)


def test_time_distributed_after_an_embedding_with_a_mask() -> None:
    model = keras.Sequential(
        [
            keras.Input((20,)),
            hl.MaskedEmbedding(10, 5, mask_zero=True),
            TimeDistributed(hl.MaskedDense(5, activation="softmax")),
        ]
    )
    model.compile("adam", "sparse_categorical_crossentropy", run_eagerly=True)
    rng = np.random.default_rng(0)
    x, y = rng.uniform(0, 10, (22, 20)), rng.integers(1, 2, (22, 20))
    assert np.isfinite(model.train_on_batch(x, y))


@pytest.mark.parametrize("shape", [(4, 6), (5, 5), (5, 6), (4, 6, 2)])
def test_time_distributed_rejects_a_mask_of_another_shape(shape: tuple[int, ...]) -> None:
    layer, inputs = TimeDistributed(hl.MaskedDense(5)), np.zeros((4, 5, 3))
    for valid in (None, np.ones((4, 5), bool), np.ones((4, 5, 1), bool), np.ones((4, 5, 2), bool)):
        assert tuple(layer(inputs, mask=valid).shape) == (4, 5, 5)
    with pytest.raises(ValueError, match="The `mask` passed to the `TimeDistributed` layer has"):
        layer(inputs, mask=np.ones(shape, bool))
