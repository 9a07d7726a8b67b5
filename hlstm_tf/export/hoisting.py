"""A model's forward pass with as little as possible inside its loops over time.

Keras multiplies a step's input by its kernel inside the loop, and its layers read their weights
there. Here the input's share of all frames is one product before the loop, and the weights are made
ready before it, as `HLSTM` does by itself: two to three times as fast for `keras.layers.LSTM`.
"""

from collections.abc import Callable, Mapping
from typing import Any

import keras
import tensorflow as tf

from hlstm_tf.export.archive import Endpoint, Traced, serve_endpoint, trace
from hlstm_tf.export.carried_states import cannot_carry, forward_pass
from hlstm_tf.export.layout import InputLayout
from hlstm_tf.export.recurrences import NotSteppableError, Recurrence
from hlstm_tf.layers import HLSTM
from hlstm_tf.layers.cells import form_of
from hlstm_tf.layers.passes import scan

_LAYERS = (
    keras.layers.RNN,
    keras.layers.LSTM,
    keras.layers.GRU,
    keras.layers.SimpleRNN,
    HLSTM,
)


def trace_serving(
    model: keras.Model, layout: InputLayout, name: str = "serve", jit_compile: bool = False
) -> Traced:
    """Traces a model's forward pass with its loops hoisted, as a signature for any batch size.

    A layer of another class than those that are known keeps its own loop; so do all layers of a
    model that uses one twice.

    Args:
        model: A Sequential or functional model without masks.
        layout: Its inputs and states.
        name: The signature's name.
        jit_compile: Whether XLA compiles it when it is called, once for each batch size.
    """
    serve = forward_pass(model, layout, hoisted_loop, _can_be_hoisted)
    signature = layout.with_batch(None)
    try:
        return trace([Endpoint(name, _compiled(serve, jit_compile), signature)])
    except NotSteppableError:
        plain = serve_endpoint(model, layout, None, name)
    try:
        return trace([Endpoint(name, _compiled(plain.function, jit_compile), signature)])
    except NotSteppableError as error:
        raise cannot_carry(error, model.name) from error


def _can_be_hoisted(recurrence: Recurrence) -> bool:
    return type(recurrence.layer) in _LAYERS and form_of(recurrence.layer.cell) is not None


def hoisted_loop(
    recurrence: Recurrence, frames: Any, mask: Any, given: Any
) -> tuple[Any, Any, Any]:
    """A recurrent layer's loop with its input's share computed before it; see `Loop`."""
    layer = recurrence.layer
    zeros = recurrence.zeros(tf.shape(frames)[0])
    first = zeros if given is None else recurrence.named(given)
    return scanned(
        recurrence,
        recurrence.cell.project(frames),
        mask,
        first,
        go_backwards=layer.go_backwards,
        return_sequences=layer.return_sequences,
        zero_output_for_mask=layer.zero_output_for_mask,
    )


def scanned(
    recurrence: Recurrence, frames: Any, mask: Any, first: Mapping[str, Any], **options: bool
) -> tuple[Any, Any, Any]:
    """A cell of any structure over frames that it has projected.

    Args:
        recurrence: The cell's.
        frames: `(batch, time, ...)`.
        mask: `(batch, time)`, or `None`.
        first: The states before the first frame, by name.
        options: As `layers.scan.scan` takes them.

    Returns:
        The last output, all outputs, and the last states in the cell's structure.
    """
    cell = recurrence.cell.prepare()

    def packed(states: list[Any]) -> list[Any]:
        return recurrence.pack(dict(zip(recurrence.states, states, strict=True)))

    def step(frame: Any, states: list[Any]) -> tuple[Any, list[Any]]:
        output, new = cell(frame, packed(states))
        return output, keras.tree.flatten(new)

    states = [first[name] for name in recurrence.states]
    output = None
    if form_of(recurrence.layer.cell) is None:  # its output may have any shape
        frame = tf.zeros([tf.shape(frames)[0], *frames.shape[2:]], frames.dtype)
        output = tf.zeros_like(step(frame, states)[0])
    last, outputs, states = scan(step, frames, states, mask, output=output, **options)
    return last, outputs, packed(states)


def _compiled(function: Callable[..., Any], jit_compile: bool) -> Callable[..., Any]:
    # Around it the signature stays an ordinary function, which any TensorFlow loads.
    return tf.function(function, jit_compile=True, autograph=False) if jit_compile else function
