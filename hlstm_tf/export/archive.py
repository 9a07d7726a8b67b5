"""A SavedModel with chosen signatures, and nothing of Keras inside."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

from hlstm_tf.export.carried_states import forward_pass
from hlstm_tf.export.layout import InputLayout

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


def trace(endpoints: list[Endpoint]) -> Traced:
    """Traces each function once, by name."""
    return {
        endpoint.name: tf.function(
            endpoint.function, input_signature=[endpoint.signature], autograph=False
        ).get_concrete_function()
        for endpoint in endpoints
    }


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
