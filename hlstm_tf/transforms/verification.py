"""Checks that a transformed model still computes what it did."""

from typing import Any

import keras
import numpy as np

from hlstm_tf.keras_internals import all_layers
from hlstm_tf.transforms.kept_states import restored

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
