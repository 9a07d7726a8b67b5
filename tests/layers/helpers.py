"""What the tests of layers share: cases, random masks, comparisons and a NumPy oracle."""

from collections.abc import Callable, Iterable
from typing import Any

import keras
import numpy as np
import tensorflow as tf

import hlstm_tf as hl

GATES = ("input", "forget", "cell", "output")


def prune_at_random(model: keras.Layer, seed: int = 0, keep: float = 0.5) -> dict[str, np.ndarray]:
    """Makes about half of all connections dormant; returns the masks by path."""
    rng = np.random.default_rng(seed)
    kernels = hl.masked_kernels(model)
    masks = {kernel: rng.random(kernel.shape) < keep for kernel in kernels}
    hl.edit_masks(masks)
    return {kernel.path: mask for kernel, mask in masks.items()}


def masks_of(model: keras.Layer) -> list[np.ndarray]:
    return [kernel.mask.numpy() for kernel in hl.masked_kernels(model)]


def assert_dormant_are_zero(model: keras.Layer) -> None:
    for kernel in hl.masked_kernels(model):
        weights = kernel.variable.numpy()
        assert np.isfinite(weights).all(), kernel
        dormant = np.count_nonzero(weights[~kernel.mask.numpy()])
        assert dormant == 0, f"{kernel}: {dormant} dormant weights are not zero"


def assert_same_masks(first: Iterable[np.ndarray], second: Iterable[np.ndarray]) -> None:
    for one, other in zip(first, second, strict=True):
        np.testing.assert_array_equal(one, other)


def numpy(tensors: Any) -> list[np.ndarray]:
    return [np.asarray(keras.ops.convert_to_numpy(t)) for t in keras.tree.flatten(tensors)]


def assert_all_close(first: Any, second: Any, rtol: float = 1e-6, atol: float = 1e-6) -> None:
    for one, other in zip(numpy(first), numpy(second), strict=True):
        np.testing.assert_allclose(one, other, rtol=rtol, atol=atol)


def assert_all_equal(first: Any, second: Any) -> None:
    for one, other in zip(numpy(first), numpy(second), strict=True):
        np.testing.assert_array_equal(one, other)


def gradients(
    layer: Callable[..., Any], inputs: np.ndarray, variables: list[keras.Variable], **call: Any
) -> list[np.ndarray]:
    """Gradients of a weighted sum of all outputs, with respect to the variables and the inputs."""
    x = tf.constant(inputs)
    with tf.GradientTape() as tape:
        tape.watch(x)
        outputs = keras.tree.flatten(layer(x, **call))
        loss = tf.add_n([_weighted_sum(output) for output in outputs])
    sources = [variable.value for variable in variables]
    return numpy([tf.convert_to_tensor(g) for g in tape.gradient(loss, [*sources, x])])


def _weighted_sum(output: tf.Tensor) -> tf.Tensor:
    # Different weights, so that no two outputs can be exchanged unseen.
    weights = tf.cos(tf.range(tf.size(output), dtype=output.dtype))
    return tf.reduce_sum(tf.reshape(output, [-1]) * weights)


def assert_gradients_close(
    first: list[np.ndarray], second: list[np.ndarray], rtol: float = 1e-5
) -> None:
    """Relative to the largest entry of each gradient, as rounding errors are."""
    for one, other in zip(first, second, strict=True):
        scale = max(np.abs(one).max(), 1e-3)
        np.testing.assert_allclose(one, other, rtol=0, atol=rtol * scale)


def run_layer_test(
    make: Callable[[], keras.Layer],
    input_shape: tuple[int, ...],
    expected_output_shape: tuple[int, ...],
    expected_num_trainable_weights: int,
    expected_num_non_trainable_weights: int = 0,
    expected_num_losses: int = 0,
    supports_masking: bool = True,
    **call: Any,
) -> None:
    """The checks that Keras's own `run_layer_test` makes, over its public API."""
    x = np.random.default_rng(0).standard_normal(input_shape).astype("float32")
    layer = make()
    config = layer.get_config()
    revived = type(layer).from_config(layer.get_config())
    assert revived.get_config() == config

    layer.build(input_shape)
    assert len(layer.trainable_weights) == expected_num_trainable_weights
    assert len(layer.non_trainable_weights) == expected_num_non_trainable_weights
    assert layer.supports_masking == supports_masking

    symbolic = make()(keras.KerasTensor(input_shape), **call)
    assert tuple(symbolic.shape) == expected_output_shape

    output = layer(x, **call)
    assert tuple(output.shape) == expected_output_shape
    assert tuple(layer.compute_output_shape(input_shape)) == expected_output_shape
    assert len(layer.losses) == expected_num_losses

    model = keras.Sequential([keras.Input(input_shape[1:]), make()])
    model.compile("sgd", "mse", run_eagerly=True)
    assert np.isfinite(model.train_on_batch(x, np.zeros(expected_output_shape, "float32")))

    mixed = type(layer).from_config({**config, "dtype": "mixed_float16"})
    # Not in training: Keras makes the dropout masks of cells in the dtype of the layer around.
    assert mixed(x).dtype == "float16"
    assert all(weight.dtype == "float32" for weight in mixed.trainable_weights)


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def hlstm_oracle(
    layer: Any,
    inputs: np.ndarray,
    mask: np.ndarray | None = None,
    initial_state: list[np.ndarray] | None = None,
    hidden_activation: Callable[[np.ndarray], np.ndarray] = lambda x: np.maximum(x, 0),
    dropped: tuple[np.ndarray, np.ndarray, list[np.ndarray]] | None = None,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The H-LSTM's equations in float64, gate by gate and step by step.

    Args:
        layer: A built `HLSTM`, whose weights, masks and arguments are used.
        inputs: `(batch, time, inputs)`.
        mask: `(batch, time)`.
        initial_state: `[h, c]`.
        hidden_activation: The hidden layers' activation.
        dropped: Dropout masks of the inputs, the recurrence (broadcast over gates:
            `(4, batch, n)`) and of each hidden layer (one `(batch, Hk)` a gate).

    Returns:
        All outputs `(batch, time, units)` in the order computed, and the last h and c.
    """
    weights = [_gate_stack(layer.cell, gate) for gate in range(4)]
    x = np.asarray(inputs, "float64")
    valid = np.ones(x.shape[:2], bool) if mask is None else np.asarray(mask, bool)
    if layer.go_backwards:
        x, valid = x[:, ::-1], valid[:, ::-1]
    batch, units = x.shape[0], layer.units
    start = initial_state or [np.zeros((batch, units))] * 2
    h, c = (np.asarray(s, "float64") for s in start)
    output, outputs = np.zeros((batch, units)), []
    for t in range(x.shape[1]):
        z = []
        for gate, (kernel, recurrent, bias, deeper) in enumerate(weights):
            x_t, h_t = x[:, t], h
            if dropped is not None:
                x_t, h_t = x_t * dropped[0][gate], h_t * dropped[1][gate]
            value = x_t @ kernel + h_t @ recurrent + bias
            for k, (w, b) in enumerate(deeper):
                value = hidden_activation(value)
                if dropped is not None and dropped[2]:
                    value = value * dropped[2][k][gate]
                value = value @ w + b
            z.append(value)
        i, f, g, o = sigmoid(z[0]), sigmoid(z[1]), np.tanh(z[2]), sigmoid(z[3])
        c_new = f * c + i * g
        h_new = o * np.tanh(c_new)
        here = valid[:, t, None]
        output = np.where(here, h_new, 0 if layer.zero_output_for_mask else output)
        h, c = np.where(here, h_new, h), np.where(here, c_new, c)
        outputs.append(output)
    return np.stack(outputs, 1), h, c


def _gate_stack(cell: Any, gate: int) -> tuple[Any, Any, Any, list[tuple[Any, Any]]]:
    def of_gate(name: str, axis: int) -> np.ndarray:
        own = f"{name}_{GATES[gate]}"
        name, is_own = (own, True) if hasattr(cell, own) else (name, False)
        variable = getattr(cell, name)
        mask = getattr(cell, f"{name}_mask", None)
        value = variable.numpy().astype("float64")
        value = value if mask is None else value * mask.numpy()
        if is_own:
            return value
        if value.ndim == 2 and axis == 1:  # a Keras LSTM's fused gates
            return np.split(value, 4, axis=1)[gate]
        return value.take(gate, axis)

    def bias_of_gate(name: str) -> np.ndarray | float:
        if not cell.use_bias:
            return 0.0
        own = getattr(cell, f"{name}_{GATES[gate]}", None)
        if own is not None:
            return own.numpy().astype("float64")
        return getattr(cell, name).numpy().astype("float64").reshape(4, -1)[gate]

    layers = len(cell.hidden_units)
    names = [*(f"hidden_kernel_{k}" for k in range(2, layers + 1)), *["output_kernel"][:layers]]
    deeper = [(of_gate(name, 0), bias_of_gate(name.replace("kernel", "bias"))) for name in names]
    return of_gate("kernel", 1), of_gate("recurrent_kernel", 1), bias_of_gate("bias"), deeper
