"""The recurrent layers of a model, and how to put something else in the place of their loops."""

import contextlib
import operator
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import keras
import tensorflow as tf

from hlstm_tf.export.layout import clean_name, unique_name
from hlstm_tf.keras_internals import all_layers
from hlstm_tf.layers.cells import SplitCell, form_of, split_cell


class NotSteppableError(ValueError):
    """A model that cannot be run step by step; the message says why."""


A_FRAME = "its layers do not take a single frame"
"""What is wrong with a model that fails where it is given a sequence of one frame."""


@contextlib.contextmanager
def refusing(what: str) -> Iterator[None]:
    """Turns whatever Keras, TensorFlow or a layer raises into a `NotSteppableError`.

    For the calls of a model's layers alone: a fault of what is around them is none of the model's.

    Args:
        what: What is wrong with the model.
    """
    try:
        yield
    except NotSteppableError:
        raise
    except Exception as error:
        raise NotSteppableError(f"{what}: {_reason(error)}") from error


_AROUND = re.compile(
    r"\x1b\[\d*m|Graph execution error:|Detected at node .*|  File .*|Arguments received by(?s:.*)"
    r"| for '\{\{node(?s:.*)|\[\[\{\{node(?s:.*)|\[Op:.*\]"
)
"""What Keras and TensorFlow write around the message of an error."""


def _reason(error: Exception) -> str:
    """An error's own message in one line."""
    text = _AROUND.sub("", str(error))
    text = re.sub(r"Exception encountered when calling (.*)\.\n", r"\1 raised", text)
    return " ".join(text.split())[:200].rstrip(".") or type(error).__name__


@dataclass(frozen=True)
class Recurrence:
    """A recurrent layer, one direction of it where it is bidirectional.

    Attributes:
        name: The layer's name as signatures take it.
        layer: The layer; `Bidirectional` has two.
        cell: Its cell in two parts.
        states: Spec of each state by name, `(batch, ...)`: `NAME_h`, `NAME_c`.
        wrapper: The name of the `Bidirectional` layer around it, if there is one.
    """

    name: str
    layer: keras.layers.RNN
    cell: SplitCell
    states: dict[str, tf.TensorSpec]
    wrapper: str | None = None

    def states_of(self, batch_size: int | None) -> dict[str, tf.TensorSpec]:
        """Spec of each state of so many samples by name, `(batch_size, ...)`; `None`: of any."""
        return {
            name: tf.TensorSpec((batch_size, *spec.shape[1:]), spec.dtype, name)
            for name, spec in self.states.items()
        }

    def pack(self, states: Mapping[str, Any]) -> list[Any]:
        """The cell's states in its own structure, from all states by name."""
        flat = [states[name] for name in self.states]
        return keras.tree.pack_sequence_as(_zeros(self.layer, 1), flat)

    def named(self, states: Any) -> dict[str, Any]:
        """The cell's states by name."""
        return dict(zip(self.states, keras.tree.flatten(states), strict=True))

    def zeros(self, batch_size: Any) -> dict[str, Any]:
        """The states before the first frame, by name."""
        return self.named(_zeros(self.layer, batch_size))


Loop = Callable[[Recurrence, Any, Any, Any], tuple[Any, Any, Any]]
"""What takes the place of a recurrent layer's loop: the recurrence, its sequence, its mask (or
`None`) and its first states as the model gives them (`None` where they are zero), to the last
output, all outputs and the last states."""


def recurrences_of(model: keras.Model, taken: set[str] | None = None) -> list[Recurrence]:
    """Finds the recurrent layers of a built model and of the models in it, in the model's order.

    One inside another layer, such as `TimeDistributed`, runs over that layer's time: it is not
    among them, and its loop stays a loop.

    Args:
        model: A model without masks.
        taken: Names that no state may have.
    """
    taken = set(taken or ())
    names: set[str] = set()
    return [
        _recurrence(layer, wrapper, unique_name(clean_name(layer.name), names), taken)
        for layer, wrapper in recurrent_layers(model)
    ]


@contextlib.contextmanager
def replaced_loops(recurrences: list[Recurrence], loop: Loop) -> Iterator[None]:
    """While it is open, calls of the model run `loop` in place of the recurrent layers' loops.

    What a recurrent layer does around its loop stays: which outputs and states it returns, and how
    two directions are merged.

    Raises:
        NotSteppableError: When called, a layer is used twice.
        Exception: Whatever `loop` raises, as it raised it.
    """
    used: set[str] = set()
    raised: list[Exception] = []
    with contextlib.ExitStack() as stack:
        for recurrence in recurrences:
            layer, own = recurrence.layer, _OwnStates(recurrence.layer)
            stack.enter_context(_attribute(layer, "get_initial_state", own.make))
            stack.enter_context(
                _attribute(layer, "inner_loop", partial(_run, recurrence, loop, own, used, raised))
            )
            if getattr(layer, "use_cudnn", False):  # its kernels would not come by here
                stack.enter_context(_attribute(layer, "use_cudnn", False))
        try:
            yield
        except Exception:
            # Keras wraps an error in many lines about the layer's arguments.
            if raised:
                raise raised[0] from None
            raise


@contextlib.contextmanager
def any_length(model: keras.Model) -> Iterator[None]:
    """While it is open, the model and those in it do not check the shapes of their inputs, so that
    one built for 50 frames takes a single one."""
    with contextlib.ExitStack() as stack:
        for each in all_layers(model):
            if isinstance(each, keras.Model):
                stack.enter_context(_attribute(each, "_manual_input_spec", None))
        yield


class _OwnStates:
    """The initial states that a layer made itself, to tell them from those it is given."""

    def __init__(self, layer: keras.layers.RNN) -> None:
        self._make = layer.get_initial_state
        self._made: list[Any] = []

    def make(self, batch_size: Any) -> Any:
        states = self._make(batch_size=batch_size)
        self._made = keras.tree.flatten(states)
        return states

    def are(self, states: Any) -> bool:
        flat = keras.tree.flatten(states)
        return len(flat) == len(self._made) and all(map(operator.is_, flat, self._made))


def _run(
    recurrence: Recurrence,
    loop: Loop,
    own: _OwnStates,
    used: set[str],
    raised: list[Exception],
    sequences: Any,
    initial_state: Any,
    mask: Any,
    training: bool = False,
) -> tuple[Any, Any, Any]:
    name = recurrence.layer.name
    if recurrence.name in used:
        raised.append(
            NotSteppableError(
                f"its layer {name!r} is used more than once; call a layer of its own at each place "
                "(set_weights copies the weights)"
            )
        )
    if raised:
        raise raised[0]
    used.add(recurrence.name)
    mask = mask[0] if isinstance(mask, (list, tuple)) else mask
    given = None if own.are(initial_state) else initial_state
    try:
        return loop(recurrence, sequences, mask, given)
    except Exception as error:
        raised.append(error)
        raise


@contextlib.contextmanager
def _attribute(thing: Any, name: str, value: Any) -> Iterator[None]:
    """An object's attribute, changed for a while; past Keras, which would track the value."""
    attributes = vars(thing)
    absent = object()
    before = attributes.get(name, absent)
    attributes[name] = value
    try:
        yield
    finally:
        if before is absent:
            del attributes[name]
        else:
            attributes[name] = before


def recurrent_layers(layer: keras.Layer) -> Iterator[tuple[keras.layers.RNN, str | None]]:
    """The layers of `recurrences_of`, each with the name of the `Bidirectional` layer around it."""
    if isinstance(layer, keras.layers.RNN):
        yield layer, None
    elif isinstance(layer, keras.layers.Bidirectional):
        yield layer.forward_layer, layer.name
        yield layer.backward_layer, layer.name
    elif isinstance(layer, keras.Model):
        for inner in layer.layers:
            yield from recurrent_layers(inner)


def _recurrence(
    layer: keras.layers.RNN, wrapper: str | None, name: str, taken: set[str]
) -> Recurrence:
    zeros = keras.tree.flatten(_zeros(layer, 1))
    states = {}
    for state, value in zip(_state_names(layer.cell, name, len(zeros)), zeros, strict=True):
        unique = unique_name(state, taken)
        dtype = keras.backend.standardize_dtype(value.dtype)
        states[unique] = tf.TensorSpec((None, *value.shape[1:]), dtype, unique)
    return Recurrence(name, layer, split_cell(layer.cell), states, wrapper)


def _zeros(layer: keras.layers.RNN, batch_size: Any) -> list[Any]:
    states = type(layer).get_initial_state(layer, batch_size=batch_size)
    states = list(states) if keras.tree.is_nested(states) else [states]
    dtype = layer.cell.compute_dtype
    return keras.tree.map_structure(lambda state: keras.ops.cast(state, dtype), states)


def _state_names(cell: Any, prefix: str, count: int) -> list[str]:
    """`LAYER_h` and `LAYER_c`; stacked cells are numbered, unknown ones have `LAYER_state_0`..."""
    if isinstance(cell, keras.layers.StackedRNNCells):
        return [
            name
            for number, inner in enumerate(cell.cells)
            for name in _state_names(
                inner, f"{prefix}_{number}", len(keras.tree.flatten(inner.state_size))
            )
        ]
    form = form_of(cell)
    if form is not None and len(form.states) == count:
        return [f"{prefix}_{state}" for state in form.states]
    if count == 1:
        return [f"{prefix}_h"]
    return [f"{prefix}_state_{number}" for number in range(count)]
