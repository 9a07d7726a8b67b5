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

from hlstm_tf.export.archive import Endpoint, trace
from hlstm_tf.export.layout import InputLayout, named_outputs, output_names
from hlstm_tf.export.recurrences import (
    NotSteppableError,
    Recurrence,
    recurrences_of,
    refusing_a_frame,
    replaced_loops,
)
from hlstm_tf.export.verification import largest_error

_CHECKED_STEPS = 6


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
    sequence = _only_sequence(layout)
    frame = tf.TensorSpec((None, *sequence.shape[2:]), sequence.dtype, sequence.name)
    recurrences = recurrences_of(model, {sequence.name, "batch_size", *output_names(model)})
    check_forward(recurrences)
    single = _for_one_frame(model, sequence)
    keep_time = [
        not _is_time_axis(sequence, whole.shape, one.shape)
        for whole, one in zip(_outputs(model), _outputs(single), strict=True)
    ]
    states = {name: spec for each in recurrences for name, spec in each.states.items()}

    def step(inputs: Mapping[str, Any]) -> dict[str, Any]:
        new_states: dict[str, Any] = {}

        def loop(
            recurrence: Recurrence, frames: Any, mask: Any, given: Any
        ) -> tuple[Any, Any, Any]:
            if given is not None:
                raise NotSteppableError(
                    f"its layer {recurrence.layer.name!r} gets its state from another layer"
                )
            projected = recurrence.cell.project(frames)[:, 0]
            output, new = recurrence.cell.step(projected, recurrence.pack(inputs))
            new_states.update(recurrence.named(new))
            return output, output[:, None], new

        with replaced_loops(recurrences, loop):
            outputs = single(layout.pack({frame.name: inputs[frame.name][:, None]}), training=False)
        flat = keras.tree.flatten(outputs)
        flat = [y if keep else y[:, 0] for y, keep in zip(flat, keep_time, strict=True)]
        return {**named_outputs(keras.tree.pack_sequence_as(outputs, flat)), **new_states}

    form = StepModel(frame, states, step)
    trace(form.endpoints()[:1])  # finds layers that are used twice or start from another's state
    return form


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


def check_forward(recurrences: list[Recurrence]) -> None:
    """Raises a `NotSteppableError` where there is no recurrence or one needs the end first."""
    if not recurrences:
        raise NotSteppableError("it has no recurrent layer")
    for recurrence in recurrences:
        if recurrence.wrapper:
            raise NotSteppableError(f"its layer {recurrence.wrapper!r} is bidirectional")
        if recurrence.layer.go_backwards:
            raise NotSteppableError(f"its layer {recurrence.layer.name!r} runs backwards")


def is_recurrent(model: keras.Model) -> bool:
    """Whether a model has a recurrent layer anywhere."""
    return any(isinstance(layer, keras.layers.RNN) for layer in model._flatten_layers())


def _only_sequence(layout: InputLayout) -> tf.TensorSpec:
    specs = list(layout.specs.values())
    if len(specs) != 1:
        raise NotSteppableError(f"it has several inputs ({', '.join(layout.specs)})")
    if specs[0].shape.rank < 2:
        raise NotSteppableError(f"its input {specs[0].name!r} has no time axis")
    return specs[0]


def _for_one_frame(model: keras.Model, sequence: tf.TensorSpec) -> keras.Model:
    """The model's layers around an input of one frame."""
    shape = (None, 1, *sequence.shape[2:])
    tensor = keras.Input(batch_shape=shape, dtype=sequence.dtype.name, name=sequence.name)
    inputs = (
        tensor
        if isinstance(model, keras.Sequential)
        else keras.tree.map_structure(lambda _: tensor, model.input)
    )
    with refusing_a_frame():
        return keras.models.clone_model(
            model, input_tensors=inputs, clone_function=lambda layer: layer, recursive=True
        )


def _outputs(model: keras.Model) -> list[Any]:
    return keras.tree.flatten(model.outputs)


def _is_time_axis(sequence: tf.TensorSpec, whole: tuple[Any, ...], single: tuple[Any, ...]) -> bool:
    same_rank = len(whole) == len(single) and len(whole) > 1
    return same_rank and whole[1] == sequence.shape[1] and single[1] == 1
