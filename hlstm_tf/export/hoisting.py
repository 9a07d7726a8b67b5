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
from hlstm_tf.export.layout import InputLayout, named_outputs
from hlstm_tf.export.recurrences import (
    NotSteppableError,
    Recurrence,
    recurrences_of,
    replaced_loops,
)
from hlstm_tf.layers import HLSTM
from hlstm_tf.layers.cells import form_of
from hlstm_tf.layers.scan import scan

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
        layout: Its inputs.
        name: The signature's name.
        jit_compile: Whether XLA compiles it when it is called, once for each batch size.
    """
    recurrences = [
        each
        for each in recurrences_of(model)
        if type(each.layer) in _LAYERS and form_of(each.layer.cell) is not None
    ]

    def serve(inputs: Any) -> dict[str, Any]:
        with replaced_loops(recurrences, hoisted_loop):
            return named_outputs(model(inputs, training=False))

    signature = layout.with_batch(None)
    try:
        return trace([Endpoint(name, _compiled(serve, jit_compile), signature)])
    except NotSteppableError:
        plain = serve_endpoint(model, layout, None, name)
        return trace([Endpoint(name, _compiled(plain.function, jit_compile), signature)])


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
