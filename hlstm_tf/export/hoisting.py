"""A model's forward pass with as little as possible inside its loops over time.

Keras multiplies a step's input by its kernel inside the loop, and its layers read their weights
there. Here the input's share of all frames is one product before the loop, and the weights are made
ready before it, as `HLSTM` does by itself: two to three times as fast for `keras.layers.LSTM`.
"""

from collections.abc import Callable
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
    layer, cell = recurrence.layer, recurrence.cell
    zeros = recurrence.zeros(tf.shape(frames)[0])
    first = zeros if given is None else recurrence.named(given)
    return scan(
        cell.prepare(),
        cell.project(frames),
        list(first.values()),
        mask,
        go_backwards=layer.go_backwards,
        return_sequences=layer.return_sequences,
        zero_output_for_mask=layer.zero_output_for_mask,
    )


def _compiled(function: Callable[..., Any], jit_compile: bool) -> Callable[..., Any]:
    # Around it the signature stays an ordinary function, which any TensorFlow loads.
    return tf.function(function, jit_compile=True, autograph=False) if jit_compile else function
