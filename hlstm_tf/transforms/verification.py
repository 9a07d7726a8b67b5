"""Compares two models, and leaves no trace in them."""

import contextlib
from collections.abc import Iterator
from typing import Any

import keras
import numpy as np

from hlstm_tf.keras_internals import all_layers


@contextlib.contextmanager
def restored(*models: keras.Model) -> Iterator[None]:
    """Begins with the states of stateful layers at zero; puts all back that calls changed.

    Two models that compute the same then give the same, whatever either was called with before:
    the states of a `stateful=True` layer are zero at the start. At the end those states, random
    states and other non-trainable variables are as they were found.

    Example:

    >>> import keras, numpy as np
    >>> from hlstm_tf.transforms.verification import restored
    >>> model = keras.Sequential([
    ...     keras.Input(batch_shape=(1, 3, 2)), keras.layers.GRU(2, stateful=True)])
    >>> with restored(model):
    ...     _ = model(np.ones((1, 3, 2), "float32"))
    >>> float(np.abs(model.layers[0].states[0]).sum())
    0.0
    """
    states = [state for model in models for state in kept_states(model)]
    others = [variable for model in models for variable in model.non_trainable_variables]
    found = [(each, keras.ops.convert_to_numpy(each)) for each in (*states, *others)]
    try:
        reset(states)
        yield
    finally:
        for variable, value in found:
            variable.assign(value)


def kept_states(model: keras.Layer) -> list[Any]:
    """The variables in which stateful recurrent layers keep their states, each once."""
    layers = {id(layer): layer for layer in all_layers(model) if keeps_state(layer)}
    return [state for layer in layers.values() for state in keras.tree.flatten(layer.states)]


def keeps_state(layer: keras.Layer) -> bool:
    """Whether a layer is recurrent and begins a call with the states that the last one ended in."""
    return isinstance(layer, keras.layers.RNN) and bool(layer.stateful)


def reset(states: list[Any]) -> None:
    """Sets states to zero; `RNN.reset_state` cannot where cells are stacked."""
    for state in states:
        state.assign(keras.ops.zeros_like(state))


TOLERANCE = 1e-4
"""Largest difference allowed, relative to the largest output or to 1, in float32."""

_HALF_TOLERANCE = 2e-2


def check_same_function(
    before: keras.Model, after: keras.Model, batch: Any, what: str, tolerance: float | None = None
) -> float:
    """Compares the outputs of two models on a batch, in inference mode.

    Stateful layers begin at zero, and both models are left as they were found.

    Args:
        before: The model as it was.
        after: The model made from it.
        batch: Inputs as `model(batch)` takes them: an array, or a list or dict of arrays.
        what: What made `after`, for the message.
        tolerance: Largest difference allowed, relative to the largest absolute output or to 1,
            whichever is larger. Default `None`: `TOLERANCE`; 0.02 where layers compute in half
            precision.

    Returns:
        The largest relative difference found.

    Raises:
        ValueError: The model does not take the batch; an output differs by more, or has another
            shape.
    """
    allowed = _default_tolerance(before) if tolerance is None else tolerance
    worst = 0.0
    with restored(before, after):
        try:
            expected_outputs = _outputs(before, batch)
        except Exception as error:  # whatever layers and TensorFlow make of another shape or dtype
            reason = " ".join(str(error).split())[:200]
            raise ValueError(
                f"verify_with is not a batch that '{before.name}' takes: {reason}"
            ) from error
        outputs = list(zip(expected_outputs, _outputs(after, batch), strict=True))
    for index, (expected, found) in enumerate(outputs):
        if expected.shape != found.shape:
            raise ValueError(
                f"{what} changed the shape of output {index} of '{before.name}' from "
                f"{expected.shape} to {found.shape} on the batch given"
            )
        scale = max(1.0, float(np.max(np.abs(expected), initial=0.0)))
        difference = float(np.max(np.abs(expected - found), initial=0.0)) / scale
        if not difference <= allowed:  # NaN is a difference too
            raise ValueError(
                f"{what} changed the function of '{before.name}': output {index} differs by "
                f"{difference:.2g} of its largest value on the batch given, allowed is {allowed:g}"
            )
        worst = max(worst, difference)
    return worst


def _outputs(model: keras.Model, batch: Any) -> list[np.ndarray]:
    outputs = keras.tree.flatten(model(batch, training=False))
    return [keras.ops.convert_to_numpy(keras.ops.cast(y, "float64")) for y in outputs]


def _default_tolerance(model: keras.Model) -> float:
    halves = ("float16", "bfloat16")
    if any(layer.compute_dtype in halves for layer in all_layers(model)):
        return _HALF_TOLERANCE
    return TOLERANCE
