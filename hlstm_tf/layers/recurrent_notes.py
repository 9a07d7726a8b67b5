"""Reports the inputs of a recurrent layer's kernels, over all steps of a sequence.

The loop over time runs first, for its outputs; with them at hand every kernel is applied to all
steps at once, outside the loop, and what it multiplies can be seen.
"""

import contextlib
from collections.abc import Iterator
from typing import Any

import keras
import tensorflow as tf

from hlstm_tf.layers.gate_networks import Gates, gate_layers
from hlstm_tf.layers.hlstm_cell import HLSTMCell
from hlstm_tf.layers.observers import note_input, noting_inputs


def note_recurrence(layer: Any, sequences: Any, initial_state: Any, mask: Any) -> None:
    """Tells what the kernels of a recurrent layer multiply; masked steps do not count.

    Args:
        layer: A recurrent layer of this package.
        sequences: `(batch, time, inputs)`.
        initial_state: As `inner_loop` gets it; the first state is h.
        mask: `(batch, time)`, or `None`.
    """
    mask = mask[0] if isinstance(mask, (list, tuple)) else mask
    with noting_inputs(None), _all_outputs(layer):
        _, outputs, _ = layer.inner_loop(sequences, initial_state, mask, training=False)
    valid = None if mask is None else tf.cast(tf.reshape(mask, tf.shape(sequences)[:2]), tf.float32)
    if layer.go_backwards:
        sequences = tf.reverse(sequences, [1])
        valid = None if valid is None else tf.reverse(valid, [1])
    first = tf.cast(keras.tree.flatten(initial_state)[0], outputs.dtype)
    before = tf.concat([first[:, None], outputs[:, :-1]], axis=1)
    cell = layer.cell
    note_input(cell, "kernel", sequences, valid)
    note_input(cell, "recurrent_kernel", before, valid)
    if isinstance(cell, HLSTMCell) and cell.hidden_units:
        _note_hidden_layers(cell, sequences, before, valid)


def _note_hidden_layers(cell: HLSTMCell, sequences: Any, before: Any, valid: Any) -> None:
    later = cell.form.layers[1:]

    def observe(layer: int, active: Gates, values: Gates) -> Gates:
        [(name, _)] = later[layer].kernels
        note_input(cell, name, active, valid)
        return values

    with cell.effective_kernels():
        weights = cell.gate_weights()
        networks = weights.networks
        first = cell.project(sequences, weights) + networks.recurrent.apply(before)
        gate_layers(first, networks, cell.hidden_activation, observe=observe)


@contextlib.contextmanager
def _all_outputs(layer: keras.layers.RNN) -> Iterator[None]:
    before = layer.return_sequences
    layer.return_sequences = True
    try:
        yield
    finally:
        layer.return_sequences = before
