"""Verifies that an exported file computes what the model does, within a tolerance."""

from collections.abc import Callable, Mapping
from numbers import Real
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from hlstm_tf.export.carried_states import carried_variables
from hlstm_tf.export.layout import InputLayout, named_outputs
from hlstm_tf.keras_internals import all_layers
from hlstm_tf.transforms.verification import restored

TOLERANCES: dict[str | None, float] = {
    None: 1e-4,
    "float16": 2e-2,
    "dynamic": 1e-1,
    "int8": 2e-1,
    "sparse": 1e-1,
    "sparse_float32": 1e-4,
}
"""Largest error allowed for each quantization, as a fraction of the output's range.

float32 differs by the order of sums alone, sparse or not. float16 keeps 11 bits of each weight,
int8 eight, and a recurrent model carries their errors from step to step. An engine that computes
something else, as LiteRT did with some sparse encodings, is off by most of the range.
"""

CONVERSION_SHARE = 0.1
"""Fraction of a tolerance that a user gives which the float32 file of a quantized one may use up.

Without one that file must be as exact as float32 is: quantization explains nothing of its error.
"""

HALF_TOLERANCES = {"float16": 2e-2, "bfloat16": 5e-2}
"""The same for models whose layers compute in half precision themselves; bfloat16 keeps 8 bits."""


class VerificationError(ValueError):
    """An exported file does not compute what the model does; no file was left."""


def check_tolerance(tolerance: float | None) -> None:
    """Raises a `ValueError` for a tolerance that no file could meet."""
    if tolerance is not None and not (isinstance(tolerance, Real) and tolerance >= 0):
        raise ValueError(f"tolerance must be 0 or more, or None; got {tolerance!r}.")


def reference_outputs(
    model: keras.Model, layout: InputLayout, inputs: Mapping[str, np.ndarray]
) -> dict[str, np.ndarray]:
    """What the model gives for `inputs`, by output name.

    A stateful layer begins with the states in `inputs`, or at zero, and the model is left as it was
    found. Where its inputs fix the size of a batch, the samples are given in such batches, the last
    one filled up.

    Args:
        model: The model.
        layout: Its inputs; with states, what they end in is among the outputs.
        inputs: Any number of samples.

    Raises:
        ValueError: The model cannot take the inputs, or its outputs are not finite.
    """
    samples = len(next(iter(inputs.values())))
    size = layout.batch_size or samples
    variables = {}
    if layout.states:
        variables = dict(zip(layout.states, carried_variables(model), strict=True))
    pieces: list[dict[str, np.ndarray]] = []
    forward = None
    for start in range(0, samples, size):
        chosen = np.arange(start, start + size) % samples
        piece = {name: value[chosen] for name, value in inputs.items()}
        batch = keras.tree.map_structure(tf.convert_to_tensor, layout.pack(piece))
        forward = forward or _callable(model, batch)
        with restored(model):
            for name, variable in variables.items():
                variable.assign(piece[name])
            outputs = {**named_outputs(forward(batch)), **variables}
            pieces.append({k: keras.ops.convert_to_numpy(v) for k, v in outputs.items()})
    named = pieces[0]
    if len(pieces) > 1 or size > samples:
        named = {
            name: np.concatenate([each[name] for each in pieces])[:samples] if value.ndim else value
            for name, value in named.items()
        }
    for name, value in named.items():
        if not np.all(np.isfinite(np.asarray(value, np.float64))):
            raise ValueError(
                f"model {model.name!r} itself gives NaN or infinity in {name!r} for the inputs it "
                "was to be verified with; look into its weights, or give other inputs as "
                "verify_with."
            )
    return named


def _callable(model: keras.Model, batch: Any) -> Callable[[Any], Any]:
    """The model for batches of that shape, traced where it may hold a loop over time.

    Such a loop takes seconds where it runs eagerly; without one, tracing a model of many layers
    takes longer than running it. One traced graph, as TensorFlow takes functions that are traced
    anew at each call for a mistake and warns of them.
    """

    def call(given: Any) -> Any:
        return model(given, training=False)

    may_loop = any(
        isinstance(layer, keras.layers.RNN)
        or type(layer).__module__.split(".")[0] not in ("keras", "hlstm_tf")
        for layer in model._flatten_layers()
    )
    return tf.function(call, autograph=False).get_concrete_function(batch) if may_loop else call


def compute_tolerance(model: keras.Model) -> float:
    """Largest error allowed of an unquantized export, by the precision the layers compute in."""
    dtypes = {layer.compute_dtype for layer in all_layers(model)}
    return max([TOLERANCES[None], *(HALF_TOLERANCES[d] for d in dtypes & set(HALF_TOLERANCES))])


def largest_error(
    expected: Mapping[str, np.ndarray], actual: Mapping[str, np.ndarray]
) -> tuple[float, str]:
    """The largest error over all outputs, and the output it is in.

    Of a float output: the largest difference as a fraction of the range of what is expected
    (largest value less smallest); what is not finite is infinitely wrong. Of integers and booleans:
    the fraction that differs. A missing output or another shape is infinitely wrong.

    Example:

    >>> import numpy as np
    >>> from hlstm_tf.export.verification import largest_error
    >>> largest_error({"y": np.array([0.0, 2.0])}, {"y": np.array([0.0, 1.9])})
    (0.05..., 'y')
    """
    errors = {
        name: _error(value, actual[name]) if name in actual else float("inf")
        for name, value in expected.items()
    }
    worst = max(errors, key=lambda name: errors[name])
    return errors[worst], worst


def difference(
    expected: Mapping[str, np.ndarray], actual: Mapping[str, np.ndarray], limit: float
) -> str:
    """Says in words what is wrong with the outputs of a file, where something is.

    >>> from hlstm_tf.export.verification import difference
    >>> difference({"y": np.zeros((1, 9, 3))}, {"y": np.zeros((1, 1, 3))}, 0.1)
    "gives 'y' the shape (1, 1, 3) in place of (1, 9, 3)..."
    """
    error, name = largest_error(expected, actual)
    if name not in actual:
        return f"has no output {name!r}"
    if expected[name].shape != actual[name].shape:
        return (
            f"gives {name!r} the shape {actual[name].shape} in place of {expected[name].shape}, as "
            "a layer does that reads a length from x.shape while it is traced: take it from "
            "keras.ops.shape(x) in that layer, or give the input a fixed length"
        )
    if not np.isfinite(error):
        return f"gives NaN or infinity in {name!r}"
    return f"is off by {error:.3g} of the range of {name!r}, and {limit:g} is allowed"


def too_fine_for_int8(output: np.ndarray, limit: float) -> bool:
    """Whether an output is a softmax that int8 rounds by more than `limit` of its range.

    LiteRT gives every int8 softmax in steps of 1/256; other outputs have a step by their own range.

    >>> from hlstm_tf.export.verification import too_fine_for_int8
    >>> logits = np.linspace(0, 1, 500)
    >>> too_fine_for_int8(np.exp(logits) / np.exp(logits).sum(), 0.2)
    True
    >>> too_fine_for_int8(np.array([[0.1, 0.9]]), 0.2), too_fine_for_int8(logits, 1e-3)
    (False, False)
    """
    if output.dtype.kind != "f" or output.ndim == 0 or not np.all(output >= 0):
        return False
    sums_to_one = np.allclose(np.sum(output, axis=-1, dtype=np.float64), 1.0, atol=1e-3)
    return bool(sums_to_one and float(np.ptp(output)) * limit < 1 / 256)


def _error(expected: np.ndarray, actual: np.ndarray) -> float:
    if expected.shape != actual.shape:
        return float("inf")
    if expected.size == 0:
        return 0.0
    if expected.dtype.kind in "biu":
        return float(np.mean(expected != actual))
    expected, actual = np.asarray(expected, np.float64), np.asarray(actual, np.float64)
    if not np.all(np.isfinite(actual)):
        return float("inf")
    # Outputs that hardly vary are judged by their size: their range is rounding itself.
    scale = max(float(np.ptp(expected)), 1e-3 * float(np.max(np.abs(expected))), 1e-12)
    return float(np.max(np.abs(expected - actual))) / scale
