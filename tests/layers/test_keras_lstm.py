"""Keras's own cases for LSTM, on `HLSTM(hidden_units=())`.

The cases and expected numbers are those of Keras 3.15's `keras/src/layers/rnn/lstm_test.py`,
copyright the Keras authors, Apache-2.0.
"""

from typing import Any

import keras
import numpy as np
import pytest

import hlstm_tf as hl
from tests.layers.helpers import run_layer_test


def make(units: int, **arguments: Any) -> hl.HLSTM:
    constant = keras.initializers.Constant
    return hl.HLSTM(
        units,
        hidden_units=(),
        kernel_initializer=constant(0.01),
        recurrent_initializer=constant(0.02),
        bias_initializer=constant(0.03),
        **arguments,
    )


def close(output: Any, expected: Any) -> None:
    np.testing.assert_allclose(output, np.asarray(expected), atol=1e-5, rtol=1e-5)


def rows(*values: float, width: int) -> np.ndarray:
    """Units are interchangeable when every weight is constant: each row holds one number."""
    return np.repeat(np.array(values)[:, None], width, axis=1)


@pytest.mark.parametrize(
    ("arguments", "call", "output", "losses"),
    [
        ({"dropout": 0.5}, {"training": True}, (3, 3), 0),
        ({"dropout": 0.5, "recurrent_dropout": 0.5}, {"training": True}, (3, 3), 0),
        (
            {
                "return_sequences": True,
                "bias_regularizer": "l1",
                "kernel_regularizer": "l2",
                "recurrent_regularizer": "l2",
            },
            {},
            (3, 2, 3),
            3,
        ),
    ],
)
def test_basics(
    arguments: dict[str, Any], call: dict[str, Any], output: tuple[int, ...], losses: int
) -> None:
    run_layer_test(
        lambda: hl.HLSTM(3, hidden_units=(), **arguments),
        input_shape=(3, 2, 4),
        expected_output_shape=output,
        expected_num_trainable_weights=3,
        expected_num_losses=losses,
        **call,
    )


@pytest.mark.parametrize("implementation", [1, 2])
@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({}, (0.6288687, 0.86899155, 0.9460773)),
        ({"go_backwards": True}, (0.35622165, 0.74789524, 0.8872726)),
        ({"unroll": True}, (0.6288687, 0.86899155, 0.9460773)),
        ({"unit_forget_bias": False}, (0.57019705, 0.8661914, 0.9459622)),
        ({"use_bias": False}, (0.54986924, 0.86226785, 0.9443936)),
    ],
)
def test_correctness(
    implementation: int, arguments: dict[str, Any], expected: tuple[float, ...]
) -> None:
    sequence = np.arange(72).reshape((3, 6, 4)).astype("float32")
    layer = make(3, implementation=implementation, **arguments)
    close(layer(sequence), rows(*expected, width=3))


def test_statefulness() -> None:
    sequence = np.arange(24).reshape((2, 3, 4)).astype("float32")
    layer = make(4, stateful=True)
    for _ in range(2):
        layer(sequence)
        close(layer(sequence), rows(0.3124785, 0.6863672, width=4))
        layer.reset_state()


@pytest.mark.parametrize(
    ("go_backwards", "expected"),
    [
        (False, [[0.20574439, 0.3558822], [0.64930826, 0.66276]]),
        (True, [[0.13281618, 0.2790356], [0.5839337, 0.5992567]]),
    ],
)
def test_pass_initial_state(go_backwards: bool, expected: list[list[float]]) -> None:
    sequence = np.arange(24).reshape((2, 4, 3)).astype("float32")
    initial_state = [np.arange(4).reshape((2, 2)).astype("float32") for _ in range(2)]
    layer = make(2, go_backwards=go_backwards)
    close(layer(sequence, initial_state=initial_state), expected)


MASK = np.array([[True, True, True, False], [True, True, False, False]])
FIRST = (0.01588910, 0.05552048, 0.11755939)
SECOND = (0.14185596, 0.28556206)


@pytest.mark.parametrize(
    ("arguments", "mask", "expected"),
    [
        ({"unroll": True}, MASK, rows(0.11755939, 0.28556206, width=2)),
        (
            {"return_sequences": True},
            MASK,
            [
                rows(*FIRST, FIRST[2], width=2),
                rows(*SECOND, SECOND[1], SECOND[1], width=2),
            ],
        ),
        (
            {"return_sequences": True, "zero_output_for_mask": True},
            MASK,
            [rows(*FIRST, 0, width=2), rows(*SECOND, 0, 0, width=2)],
        ),
        (
            {"go_backwards": True},
            np.array([[False, True, True, True], [False, False, True, True]]),
            rows(0.15341201, 0.3844719, width=2),
        ),
    ],
)
def test_masking(arguments: dict[str, Any], mask: np.ndarray, expected: Any) -> None:
    sequence = np.arange(24).reshape((2, 4, 3)).astype("float32")
    close(make(2, **arguments)(sequence, mask=mask), expected)
