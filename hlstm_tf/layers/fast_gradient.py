"""Runs LSTM and H-LSTM layers through the recurrence whose backward pass is written by hand."""

import math
from typing import Any

import keras
import tensorflow as tf

from hlstm_tf.layers.hlstm_cell import GateWeights, HLSTMCell
from hlstm_tf.layers.recurrence import Activations, GateNetworks, is_elementwise, recur
from hlstm_tf.layers.scan import time_major_mask


def has_fast_gradient(cell: keras.layers.LSTMCell) -> bool:
    """Whether the recurrence covers the cell.

    It does not cover recurrent dropout, whose masks differ from gate to gate; activations that are
    not known to be elementwise; and compute dtypes other than float32.
    """
    return (
        cell.compute_dtype == "float32"
        and cell.recurrent_dropout == 0
        and all(map(is_elementwise, _activations(cell)))
    )


def gate_networks(
    cell: HLSTMCell, weights: GateWeights, projected: tf.Tensor, training: bool
) -> GateNetworks:
    """The gates of an H-LSTM cell with hidden layers, as the recurrence takes them.

    Args:
        cell: The cell.
        weights: Its `gate_weights()`.
        projected: `cell.project` of the sequence; its batch size and dtype are used.
        training: Whether the gates' dropout acts.
    """
    dropped = cell.get_hidden_dropout_masks(projected) if training else None
    return GateNetworks(
        recurrent=tf.reshape(weights.recurrent_kernel, [cell.units, -1]),
        kernels=tuple(tuple(kernels) for kernels, _ in weights.deeper),
        biases=tuple(tf.concat(biases, axis=0) for _, biases in weights.deeper if biases),
        dropped=tuple(_side_by_side(mask) for mask in dropped or ()),
    )


def run_with_fast_gradient(
    cell: keras.layers.LSTMCell,
    networks: GateNetworks,
    projected: tf.Tensor,
    states: list[tf.Tensor],
    mask: Any = None,
    *,
    go_backwards: bool = False,
    return_sequences: bool = True,
    zero_output_for_mask: bool = False,
) -> tuple[tf.Tensor, tf.Tensor, list[tf.Tensor]]:
    """Does what `scan` does with `cell.step`, for the same arguments and with the same results.

    Args:
        cell: A cell for which `has_fast_gradient` is true; its activations are used.
        networks: The cell's gates; without kernels they are a plain LSTM's.
        projected: `(batch, time, sum(H1))`, or in more axes, e.g. `(batch, time, 4, H1)`: the
            input's share of the first layer of the gates, biases included; H1 is `units` for a
            plain LSTM.
        states: `[h, c]`, each `(batch, units)`.
        mask: `(batch, time)` or `(batch, time, 1)`, or `None`.
        go_backwards: Whether time runs from the end.
        return_sequences: Whether all outputs are kept, or only the last.
        zero_output_for_mask: Whether outputs at masked steps are zero.

    Returns:
        The last output, all outputs (one, without `return_sequences`), and the last states.
    """
    batch, length = tf.shape(projected)[0], projected.shape[1]
    time_major = tf.transpose(projected, [1, 0, *range(2, len(projected.shape))])
    width = math.prod(projected.shape[2:])
    steps = tf.shape(projected)[1] if length is None else length
    time_major = tf.reshape(time_major, [steps, batch, width])
    time_major.set_shape([length, projected.shape[0], width])
    valid = None if mask is None else time_major_mask(mask)
    if go_backwards:
        time_major = tf.reverse(time_major, [0])
        valid = None if valid is None else tf.reverse(valid, [0])
    h, c = recur(time_major, valid, states[0], states[1], networks, _activations(cell))
    outputs = h if valid is None else _mask_outputs(h, valid, zero_output_for_mask)
    kept = outputs if return_sequences else outputs[-1:]
    return outputs[-1], tf.transpose(kept, [1, 0, 2]), [h[-1], c]


def _activations(cell: keras.layers.LSTMCell) -> Activations:
    hidden = getattr(cell, "hidden_activation", keras.activations.linear)
    return Activations(hidden, cell.recurrent_activation, cell.activation)


def _side_by_side(mask: tf.Tensor) -> tf.Tensor:
    return tf.reshape(mask, [-1, math.prod(mask.shape[1:])])


def _mask_outputs(h: tf.Tensor, valid: tf.Tensor, zero_output_for_mask: bool) -> tf.Tensor:
    if zero_output_for_mask:
        return tf.where(valid, h, 0.0)
    # A masked step repeats the output before it, which the state does too; but before the first
    # valid step the output is zero, whatever the initial state.
    begun = tf.cumsum(tf.cast(valid, tf.int32), axis=0) > 0
    return tf.where(begun, h, 0.0)
