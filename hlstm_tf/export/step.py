"""A recurrent model as one step: a frame and the states go in, the output and the states come out.

Only a model that looks at one frame at a time beside its states has that form. Which models do is
found out by their numbers: the step is run frame by frame and compared with the whole sequence.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from hlstm_tf.export.archive import Endpoint
from hlstm_tf.export.layout import InputLayout, clean_name, named_outputs, unique_name
from hlstm_tf.export.verification import largest_error

_CHECKED_STEPS = 6


class NotSteppableError(ValueError):
    """A model that cannot be run step by step; the message says why."""


@dataclass(frozen=True)
class StepModel:
    """A model that takes one frame at a time.

    Attributes:
        frame: Spec of one frame, `(batch, ...)`.
        states: Spec of each state by name, `(batch, ...)`.
        function: Takes a dictionary of the frame and the states, returns one of the outputs and the
            new states, these under the names they came in with.
    """

    frame: tf.TensorSpec
    states: dict[str, tf.TensorSpec]
    function: Callable[[Mapping[str, Any]], dict[str, Any]]

    def zeros(self, batch_size: Any) -> dict[str, tf.Tensor]:
        """The states before the first frame."""
        return {
            name: tf.zeros([batch_size, *spec.shape[1:]], spec.dtype)
            for name, spec in self.states.items()
        }

    def endpoints(self) -> list[Endpoint]:
        """The signatures `step` and `initial_state`."""
        specs = {self.frame.name: self.frame, **self.states}
        batch_size = tf.TensorSpec((), tf.int32, "batch_size")
        return [
            Endpoint("step", self.function, specs),
            Endpoint("initial_state", self.zeros, batch_size),
        ]


def step_model(model: keras.Model, layout: InputLayout) -> StepModel:
    """Makes the step form of a model, whose layers and weights it shares.

    Args:
        model: A Sequential or functional model without masks.
        layout: Its inputs.

    Raises:
        NotSteppableError: The model has no recurrent layer, several inputs, a layer that runs
            backwards, or layers in between that look at more than one frame.
    """
    _check_layers(model)
    sequence = _only_sequence(layout)
    frame = tf.TensorSpec((None, *sequence.shape[2:]), sequence.dtype, sequence.name)
    carry = _Carry()
    try:
        stepped = keras.models.clone_model(
            model,
            input_tensors=_one_frame(model, sequence),
            clone_function=carry.replaced,
            recursive=True,
        )
    except NotSteppableError:
        raise
    except Exception as error:  # whatever a layer makes of a sequence of one frame
        raise NotSteppableError(
            f"its layers do not take a single frame: {' '.join(str(error).split())[:200]}"
        ) from error
    states = carry.specs({sequence.name, "batch_size"})
    keep_time = [
        not _is_time_axis(sequence, whole.shape, single.shape)
        for whole, single in zip(_outputs(model), _outputs(stepped), strict=True)
    ]

    def step(inputs: Mapping[str, Any]) -> dict[str, Any]:
        carry.states = {name: inputs[name] for name in states}
        outputs = stepped(layout.pack({frame.name: inputs[frame.name][:, None]}), training=False)
        flat = keras.tree.flatten(outputs)
        flat = [y if keep else y[:, 0] for y, keep in zip(flat, keep_time, strict=True)]
        return {**named_outputs(keras.tree.pack_sequence_as(outputs, flat)), **carry.new_states()}

    return StepModel(frame, states, step)


def check_step(
    serve: Callable[..., Any],
    step: Callable[..., Any],
    form: StepModel,
    layout: InputLayout,
    tolerance: float,
) -> float:
    """Compares the step, frame by frame, with the whole sequence on random inputs.

    Args:
        serve: The traced function of the whole sequence.
        step: The traced function of one step.
        form: What it was traced from.
        layout: The model's inputs.
        tolerance: Largest error allowed, as a fraction of the output's range.

    Returns:
        The largest error.

    Raises:
        NotSteppableError: They differ.
    """
    name = form.frame.name
    sequence = layout.random(samples=2, steps=_CHECKED_STEPS)[name]
    expected = {key: value.numpy() for key, value in serve(tf.constant(sequence)).items()}
    states: dict[str, Any] = form.zeros(len(sequence))
    frames: list[dict[str, np.ndarray]] = []
    for t in range(sequence.shape[1]):
        results = step({name: tf.constant(sequence[:, t]), **states})
        states = {key: results[key] for key in form.states}
        frames.append({key: results[key].numpy() for key in expected})
    actual = {
        key: np.stack([frame[key] for frame in frames], axis=1)
        if value.ndim > frames[0][key].ndim
        else frames[-1][key]
        for key, value in expected.items()
    }
    error, _ = largest_error(expected, actual)
    if not error <= tolerance:
        raise NotSteppableError(
            "a layer between the recurrent ones looks at more than one frame (a convolution over "
            "time, pooling, attention)"
        )
    return error


def is_recurrent(model: keras.Model) -> bool:
    """Whether a model has a recurrent layer anywhere."""
    return any(isinstance(layer, keras.layers.RNN) for layer in model._flatten_layers())


def _check_layers(model: keras.Model) -> None:
    if not is_recurrent(model):
        raise NotSteppableError("it has no recurrent layer")
    for layer in model._flatten_layers():
        if isinstance(layer, keras.layers.Bidirectional):
            raise NotSteppableError(f"its layer {layer.name!r} is bidirectional")
        if isinstance(layer, keras.layers.RNN) and layer.go_backwards:
            raise NotSteppableError(f"its layer {layer.name!r} runs backwards")


def _only_sequence(layout: InputLayout) -> tf.TensorSpec:
    specs = list(layout.specs.values())
    if len(specs) != 1:
        raise NotSteppableError(f"it has several inputs ({', '.join(layout.specs)})")
    if specs[0].shape.rank < 2:
        raise NotSteppableError(f"its input {specs[0].name!r} has no time axis")
    return specs[0]


def _one_frame(model: keras.Model, sequence: tf.TensorSpec) -> Any:
    shape = (None, 1, *sequence.shape[2:])
    tensor = keras.Input(batch_shape=shape, dtype=sequence.dtype.name, name=sequence.name)
    if isinstance(model, keras.Sequential):
        return tensor
    return keras.tree.map_structure(lambda _: tensor, model.input)


def _outputs(model: keras.Model) -> list[Any]:
    return keras.tree.flatten(model.outputs)


def _is_time_axis(sequence: tf.TensorSpec, whole: tuple[Any, ...], single: tuple[Any, ...]) -> bool:
    same_rank = len(whole) == len(single) and len(whole) > 1
    return same_rank and whole[1] == sequence.shape[1] and single[1] == 1


class _Carry:
    """Hands the states in and out of the recurrent layers while a step is traced."""

    def __init__(self) -> None:
        self.layers: list[_OneStep] = []
        self.states: dict[str, Any] = {}

    def replaced(self, layer: keras.Layer) -> keras.Layer:
        """The layer itself, or if it is recurrent its single step."""
        if not isinstance(layer, keras.layers.RNN):
            return layer
        if any(layer.name == other.name for other in self.layers):
            raise NotSteppableError(f"its layer {layer.name!r} is used more than once")
        self.layers.append(_OneStep(layer, self))
        return self.layers[-1]

    def specs(self, taken: set[str]) -> dict[str, tf.TensorSpec]:
        """Names the states, and says what each is."""
        found: dict[str, tf.TensorSpec] = {}
        for layer in self.layers:
            zeros = keras.tree.flatten(layer.initial_state(1))
            names = _state_names(layer.cell, layer.name, len(zeros))
            names = [unique_name(name, taken) for name in names]
            layer.state_names = names
            for name, value in zip(names, zeros, strict=True):
                dtype = keras.backend.standardize_dtype(value.dtype)
                found[name] = tf.TensorSpec((None, *value.shape[1:]), dtype, name)
        return found

    def new_states(self) -> dict[str, Any]:
        """The states after the step that was traced last, by name."""
        return {
            name: value
            for layer in self.layers
            for name, value in zip(layer.state_names, layer.new_states, strict=True)
        }


class _OneStep(keras.layers.Layer):
    """A recurrent layer on a sequence of one frame, its states kept by a `_Carry`.

    The cell is called without a loop. A step is a frame that counts: masks have no effect.
    """

    def __init__(self, layer: keras.layers.RNN, carry: _Carry) -> None:
        super().__init__(name=layer.name, dtype=layer.dtype_policy)
        self.cell = layer.cell
        self.return_sequences = layer.return_sequences
        self.return_state = layer.return_state
        self.supports_masking = True
        self.state_names: list[str] = []
        self._handover = _Handover(carry, layer.get_initial_state)

    def initial_state(self, batch_size: Any) -> Any:
        """The states before the first frame, as the cell takes them."""
        return self._handover.initial_state(batch_size=batch_size)

    @property
    def new_states(self) -> list[Any]:
        """The states after the last call."""
        return self._handover.new_states

    def call(self, sequence: Any, initial_state: Any = None, mask: Any = None) -> Any:
        if initial_state is not None:
            raise NotSteppableError(f"its layer {self.name!r} gets its state from another layer")
        empty = self.initial_state(keras.ops.shape(sequence)[0])
        given = self._handover.carry.states
        states = (
            keras.tree.pack_sequence_as(empty, [given[name] for name in self.state_names])
            if given
            else empty
        )
        output, new = self.cell(sequence[:, 0], states, training=False)
        self._handover.new_states = keras.tree.flatten(new)
        output = output[:, None] if self.return_sequences else output
        return [output, *self._handover.new_states] if self.return_state else output


@dataclass
class _Handover:
    """Keeps tensors out of the layer's own attributes, which Keras tracks."""

    carry: _Carry
    initial_state: Callable[..., Any]
    new_states: Any = None


def _state_names(cell: Any, prefix: str, count: int) -> list[str]:
    """`LAYER_h` and `LAYER_c`; stacked cells are numbered, unknown ones have `LAYER_state_0`..."""
    prefix = clean_name(prefix)
    if isinstance(cell, keras.layers.StackedRNNCells):
        return [
            name
            for number, inner in enumerate(cell.cells)
            for name in _state_names(
                inner, f"{prefix}_{number}", len(keras.tree.flatten(inner.state_size))
            )
        ]
    if count == 1:
        return [f"{prefix}_h"]
    if count == 2 and isinstance(cell, keras.layers.LSTMCell):
        return [f"{prefix}_h", f"{prefix}_c"]
    return [f"{prefix}_state_{number}" for number in range(count)]
