"""The states of a stateful model as inputs and outputs of its signatures.

A `stateful` layer begins a call with the states that the last one ended in. A file keeps nothing:
its signatures take those states beside the inputs and return them beside the outputs, and whoever
calls them hands them on.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf

from hlstm_tf.export.layout import InputLayout, named_outputs, output_names
from hlstm_tf.export.recurrences import (
    Loop,
    NotSteppableError,
    Recurrence,
    recurrences_of,
    recurrent_layers,
    replaced_loops,
)
from hlstm_tf.transforms.verification import keeps_state


def with_states(layout: InputLayout, model: keras.Model, plain: keras.Model) -> InputLayout:
    """The layout with the states of a stateful model; the same for any other.

    Args:
        layout: The model's inputs.
        model: The model as it was given.
        plain: Its stateless form.
    """
    if not carried_variables(model):
        return layout
    stateful = [keeps_state(layer) for layer, _ in recurrent_layers(model)]
    found = recurrences_of(plain, {*layout.specs, "batch_size", *output_names(plain)})
    carried = [each for each, keeps in zip(found, stateful, strict=True) if keeps]
    states = {name: spec for each in carried for name, spec in each.states.items()}
    return dataclasses.replace(layout, states=states)


def carried_variables(model: keras.Model) -> list[Any]:
    """The variables of a stateful model's states, in the order of the layout's."""
    layers = [layer for layer, _ in recurrent_layers(model) if keeps_state(layer)]
    return [state for layer in layers for state in keras.tree.flatten(layer.states)]


def forward_pass(
    model: keras.Model,
    layout: InputLayout,
    loop: Loop | None = None,
    replaces: Callable[[Recurrence], bool] = lambda each: False,
) -> Callable[[Any], dict[str, Any]]:
    """The function of a signature: a model's outputs by name, and its states where it has some.

    Args:
        model: A model without masks, whose layers keep no state.
        layout: Its inputs, and the states.
        loop: What runs in place of the recurrent layers' own loops; default: those.
        replaces: Whether it does for a layer.
    """
    chosen = []
    if loop is not None or layout.states:
        taken = {*layout.without_states().specs, "batch_size", *output_names(model)}
        found = recurrences_of(model, taken)
        chosen = [each for each in found if _is_carried(each, layout) or replaces(each)]

    def forward(inputs: Any) -> dict[str, Any]:
        after: dict[str, Any] = {}

        def run(each: Recurrence, sequence: Any, mask: Any, given: Any) -> tuple[Any, Any, Any]:
            own = loop if loop is not None and replaces(each) else _layers_own_loop
            if not _is_carried(each, layout):
                return own(each, sequence, mask, given)
            first = each.pack(inputs) if given is None else given
            last, outputs, states = own(each, sequence, mask, first)
            after.update(each.named(states))
            return last, outputs, states

        with replaced_loops(chosen, run):
            packed = layout.pack(inputs) if layout.states else inputs
            outputs = named_outputs(model(packed, training=False))
        return {**outputs, **{name: after[name] for name in layout.states}}

    return forward


def from_zero_states(function: Callable[..., Any], layout: InputLayout) -> Callable[[Any], Any]:
    """A signature's function of the inputs alone: states begin at zero, and are not returned."""
    if not layout.states:
        return function

    def call(inputs: Any) -> dict[str, Any]:
        packed = keras.tree.flatten(inputs)
        names = layout.without_states().specs
        zeros = {
            name: tf.zeros((len(packed[0]), *spec.shape[1:]), spec.dtype)
            for name, spec in layout.states.items()
        }
        outputs = function({**dict(zip(names, packed, strict=True)), **zeros})
        return {name: value for name, value in outputs.items() if name not in layout.states}

    return call


def _is_carried(each: Recurrence, layout: InputLayout) -> bool:
    return any(name in layout.states for name in each.states)


def _layers_own_loop(
    each: Recurrence, sequence: Any, mask: Any, states: list[Any]
) -> tuple[Any, Any, Any]:
    layer = each.layer
    return type(layer).inner_loop(layer, sequence, states, mask, training=False)


def cannot_carry(error: NotSteppableError, model: str) -> ValueError:
    """What to raise where the states of a model cannot be handed over."""
    return ValueError(
        f"model {model!r} is stateful, and its states cannot be taken in and given out: {error}."
    )
