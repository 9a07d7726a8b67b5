"""A SavedModel with chosen signatures: traced with little inside its loops, and written."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from hlstm_tf.export.carried_states import cannot_carry, forward_pass
from hlstm_tf.export.layout import InputLayout
from hlstm_tf.export.recurrences import NotSteppableError, Recurrence
from hlstm_tf.layers import HLSTM, CompactGRU, CompactLSTM, CompactSimpleRNN, FastGRNN
from hlstm_tf.layers.cells import form_of
from hlstm_tf.layers.passes import scan

LARGEST_CONSTANTS = 2**30
"""Bytes of weights that a graph holds as constants; more stay variables."""

Traced = dict[str, tf.types.experimental.ConcreteFunction]


@dataclass(frozen=True)
class Endpoint:
    """A function of a SavedModel: its name, what it computes, and what it takes.

    Attributes:
        name: Name of the signature.
        function: Takes one argument in the structure of `signature`, returns a dictionary.
        signature: A `tf.TensorSpec`, or a structure of them; their names become the inputs' names.
    """

    name: str
    function: Callable[[Any], dict[str, Any]]
    signature: Any


def serve_endpoint(
    model: keras.Model, layout: InputLayout, batch_size: int | None, name: str = "serve"
) -> Endpoint:
    """The model's forward pass, with its outputs by name; a stateful model's states beside them.

    Args:
        model: The model.
        layout: Its inputs and states.
        batch_size: Size of the batch axis; `None` leaves it open.
        name: Name of the signature.
    """
    return Endpoint(name, forward_pass(model, layout), layout.with_batch(batch_size))


def trace(endpoints: list[Endpoint], frozen: keras.Model | None = None) -> Traced:
    """Traces each function once, by name.

    Args:
        endpoints: The functions.
        frozen: A model whose weights become constants of the graphs. A SavedModel is written, read
            and converted several times faster without variables; one that is to be more than
            1 GB keeps them, as a graph's file cannot hold 2 GB. Default: none.
    """
    constants = _constants(frozen) if frozen is not None else []
    return {
        endpoint.name: tf.function(
            _with_constants(endpoint.function, constants),
            input_signature=[endpoint.signature],
            autograph=False,
        ).get_concrete_function()
        for endpoint in endpoints
    }


def _constants(model: keras.Model) -> list[tuple[keras.Variable, tf.Tensor]]:
    """The variables of a model and their values, shared by all functions that use them."""
    size = sum(int(np.prod(each.shape)) * each.value.dtype.size for each in model.variables)
    if size > LARGEST_CONSTANTS:
        return []
    return [(each, tf.convert_to_tensor(each.value)) for each in model.variables]


def _with_constants(
    function: Callable[[Any], dict[str, Any]], constants: list[tuple[keras.Variable, tf.Tensor]]
) -> Callable[[Any], dict[str, Any]]:
    if not constants:
        return function

    def call(inputs: Any) -> dict[str, Any]:
        with keras.StatelessScope(state_mapping=constants):
            return function(inputs)

    return call


def write_archive(model: keras.Model, traced: Traced, folder: Path) -> None:
    """Writes a SavedModel whose signatures are `traced`; the first is `serving_default` too.

    `keras.export.ExportArchive` would do, but traces every function four times. What it is needed
    for is kept: the variables that the functions use belong to the module that is saved, without
    which a TFLite conversion silently leaves out the weights.

    Args:
        model: The model that the functions call.
        traced: The signatures.
        folder: An empty or new folder.

    Raises:
        OSError: It cannot be written.
    """
    module = tf.Module()
    for name, function in traced.items():
        setattr(module, name, function)
    # A tf.Module finds what it must save through its attributes.
    module.weights = list({id(v): v for f in traced.values() for v in f.variables}.values())
    if any(map(_captures_more_than_variables, traced.values())):
        module.model = model  # lookup tables and their files
    default = next(iter(traced.values()))
    try:
        tf.saved_model.save(module, str(folder), signatures={**traced, "serving_default": default})
    except tf.errors.OpError as error:  # how TensorFlow reports a full or read-only disk
        reason = error.message.split("; ")[-1].split(" [Op:")[0]
        raise OSError(f"cannot write a SavedModel to {folder}: {reason}") from error


def _captures_more_than_variables(function: Any) -> bool:
    handles = {id(variable.handle) for variable in function.variables}
    return any(
        outside.dtype == tf.resource and id(outside) not in handles
        for outside, _ in function.graph.captures
    )


_LAYERS = (
    keras.layers.RNN,
    keras.layers.LSTM,
    keras.layers.GRU,
    keras.layers.SimpleRNN,
    HLSTM,
    CompactGRU,
    CompactLSTM,
    CompactSimpleRNN,
    FastGRNN,
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
