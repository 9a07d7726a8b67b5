"""Runs recurrent layers through the recurrences whose backward pass is written by hand."""

import math
from typing import Any, NamedTuple

import keras
import tensorflow as tf

from hlstm_tf.layers.elementwise import is_elementwise
from hlstm_tf.layers.gate_networks import Activations, GateNetworks
from hlstm_tf.layers.gru_recurrence import GRUForm, GRUWeights, recur_gru
from hlstm_tf.layers.hlstm_cell import GateWeights, HLSTMCell
from hlstm_tf.layers.passes import Settings
from hlstm_tf.layers.recurrence import recur
from hlstm_tf.layers.scan import time_major_mask

Ran = tuple[tf.Tensor, tf.Tensor, list[tf.Tensor]]
"""The last output, all outputs (one, without `return_sequences`), and the last states."""


class Flags(NamedTuple):
    """How a layer runs over time: its arguments of the same names."""

    go_backwards: bool = False
    return_sequences: bool = True
    zero_output_for_mask: bool = False

    @classmethod
    def of(cls, layer: keras.layers.RNN) -> "Flags":
        return cls(*(getattr(layer, name) for name in cls._fields))


def has_fast_gradient(cell: keras.layers.Layer) -> bool:
    """Whether a recurrence covers the LSTM, H-LSTM or GRU cell.

    It does not cover recurrent dropout, whose masks differ from gate to gate; activations that are
    not known to be elementwise; and compute dtypes other than float32 and bfloat16.
    """
    return (
        cell.compute_dtype in ("float32", "bfloat16")
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


def run_lstm(
    cell: keras.layers.LSTMCell,
    networks: GateNetworks,
    projected: tf.Tensor,
    states: list[tf.Tensor],
    mask: Any,
    flags: Flags,
    settings: Settings,
) -> Ran:
    """Does what `scan` does with `cell.step`, with the same results.

    The states and all sums are float32; outputs and states come back in the compute dtype.

    Args:
        cell: A cell for which `has_fast_gradient` is true; its activations are used.
        networks: The cell's gates; without kernels they are a plain LSTM's.
        projected: `(batch, time, sum(H1))`, or in more axes, e.g. `(batch, time, 4, H1)`: the
            input's share of the first layer of the gates, biases included; H1 is `units` for a
            plain LSTM.
        states: `[h, c]`, each `(batch, units)`.
        mask: `(batch, time)` or `(batch, time, 1)`, or `None`.
        flags: How the layer runs over time.
        settings: How the passes compute.
    """
    networks, projected, states = _float32((networks, projected, states))
    time_major, valid = _time_major(projected, mask, flags)
    settings = _settings(cell, settings)
    activations = Activations(*_activations(cell))
    h, c = recur(time_major, valid, states[0], states[1], networks, activations, settings)
    return _layer_results(cell, h, [h[-1], c], valid, flags)


def run_gru(
    cell: keras.layers.GRUCell,
    projected: tf.Tensor,
    h: tf.Tensor,
    mask: Any,
    flags: Flags,
    settings: Settings,
) -> Ran:
    """`run_lstm` for a GRU cell; `projected` is `(batch, time, 3 * units)`, biases included."""
    own_bias = cell.use_bias and cell.reset_after
    bias = tf.convert_to_tensor(cell.bias)[1] if own_bias else None
    weights = GRUWeights(tf.convert_to_tensor(cell.recurrent_kernel), bias)
    weights, projected, h = _float32((weights, projected, h))
    time_major, valid = _time_major(projected, mask, flags)
    form = GRUForm(cell.recurrent_activation, cell.activation, bool(cell.reset_after))
    outputs = recur_gru(time_major, valid, h, weights, form, _settings(cell, settings))
    return _layer_results(cell, outputs, [outputs[-1]], valid, flags)


def project(cell: keras.layers.Layer, sequences: Any, training: bool) -> tf.Tensor:
    """The input's share of an LSTM or GRU cell's gates, biases included, for all steps at once."""
    dropped = cell.get_dropout_mask(sequences[:, 0]) if training else None
    if dropped is not None:
        sequences = sequences * dropped[:, None]
    gates = keras.ops.matmul(sequences, cell.kernel)
    if cell.bias is None:
        return gates
    bias = keras.ops.convert_to_tensor(cell.bias)
    return gates + (bias if len(bias.shape) == 1 else bias[0])


def _activations(cell: keras.layers.Layer) -> tuple[Any, Any, Any]:
    hidden = getattr(cell, "hidden_activation", keras.activations.linear)
    return hidden, cell.recurrent_activation, cell.activation


def _settings(cell: keras.layers.Layer, settings: Settings) -> Settings:
    """The settings with the matrix products' dtype resolved: the compute dtype by default."""
    return settings._replace(matmul_dtype=settings.matmul_dtype or cell.compute_dtype)


def _float32(structure: Any) -> Any:
    return tf.nest.map_structure(
        lambda value: None if value is None else tf.cast(value, tf.float32), structure
    )


def _side_by_side(mask: tf.Tensor) -> tf.Tensor:
    return tf.reshape(mask, [-1, math.prod(mask.shape[1:])])


def _time_major(
    projected: tf.Tensor, mask: Any, flags: Flags
) -> tuple[tf.Tensor, tf.Tensor | None]:
    """`(time, batch, n)` in the order of the loop, and the mask `(time, batch, 1)`."""
    batch, length = tf.shape(projected)[0], projected.shape[1]
    time_major = tf.transpose(projected, [1, 0, *range(2, len(projected.shape))])
    width = math.prod(projected.shape[2:])
    steps = tf.shape(projected)[1] if length is None else length
    time_major = tf.reshape(time_major, [steps, batch, width])
    time_major.set_shape([length, projected.shape[0], width])
    valid = None if mask is None else time_major_mask(mask)
    if flags.go_backwards:
        time_major = tf.reverse(time_major, [0])
        valid = None if valid is None else tf.reverse(valid, [0])
    return time_major, valid


def _layer_results(
    cell: keras.layers.Layer,
    h: tf.Tensor,
    states: list[tf.Tensor],
    valid: tf.Tensor | None,
    flags: Flags,
) -> Ran:
    outputs = h if valid is None else _mask_outputs(h, valid, flags.zero_output_for_mask)
    kept = outputs if flags.return_sequences else outputs[-1:]
    ran = outputs[-1], tf.transpose(kept, [1, 0, 2]), states
    return tf.nest.map_structure(lambda value: tf.cast(value, cell.compute_dtype), ran)


def _mask_outputs(h: tf.Tensor, valid: tf.Tensor, zero_output_for_mask: bool) -> tf.Tensor:
    if zero_output_for_mask:
        return tf.where(valid, h, 0.0)
    # A masked step repeats the output before it, which the state does too; but before the first
    # valid step the output is zero, whatever the initial state.
    begun = tf.cumsum(tf.cast(valid, tf.int32), axis=0) > 0
    return tf.where(begun, h, 0.0)
