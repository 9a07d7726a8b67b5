"""The GRU's recurrence with a backward pass written by hand, as `recurrence` has the LSTM's.

With the gates z, r and the candidate g of `keras.layers.GRUCell`, and x its projected input,

    z, r = gate(x_zr + h U_zr),   g = state(x_g + r * (h U_g))   with `reset_after`,
                                  g = state(x_g + (r * h) U_g)   without,
    h = z * h + (1 - z) * g

so that, but for one product without `reset_after`, all gradients of a step are the gradient of its
output times numbers that are known for all steps before the loop backward begins. That loop stores
nothing but the gradient of each output.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import tensorflow as tf

from hlstm_tf.layers.activations import Activation, value_and_slope
from hlstm_tf.layers.operators import (
    Operator,
    as_operands,
    multiply_in,
    size_of,
    weights_of,
    with_all_weights,
)
from hlstm_tf.layers.passes import (
    Settings,
    array,
    by_chunks,
    compiled,
    cut,
    flat,
    shifted,
    steps_of,
    unflat,
)


class GRUWeights(NamedTuple):
    """What the recurrence multiplies with; gates in the order z, r, candidate.

    Attributes:
        kernels: With `reset_after` one matrix `(units, 3 * units)`; without, that of z and r
            `(units, 2 * units)` and that of the candidate `(units, units)`.
        bias: `(3 * units,)`: the recurrence's own; `None` for none, always without `reset_after`.
    """

    kernels: tuple[Operator, ...]
    bias: tf.Tensor | None = None

    @property
    def size(self) -> int:
        """How many weights the matrices have."""
        return size_of(self.kernels)

    @property
    def weights(self) -> list[tf.Tensor]:
        """All that has a gradient, flat."""
        matrices = weights_of(self.kernels)
        return matrices if self.bias is None else [*matrices, self.bias]

    def with_weights(self, weights: Sequence[tf.Tensor]) -> "GRUWeights":
        """The same with other `weights`."""
        kernels, bias = with_all_weights(self.kernels, weights)
        return GRUWeights(tuple(kernels), *bias)

    def operands(self, dtype: str | None) -> "GRUWeights":
        """The same with the matrices as operands of matrix products."""
        return self._replace(kernels=tuple(as_operands(self.kernels, dtype)))


class GRUEquations(NamedTuple):
    """What a GRU computes beside its weights.

    Attributes:
        gate: The elementwise function of z and r.
        state: The elementwise function of the candidate.
        reset_after: Whether r acts after the matrix product.
    """

    gate: Activation
    state: Activation
    reset_after: bool


class _Values(NamedTuple):
    """A step's values before activations, or all steps' with time first."""

    gates: tf.Tensor  # of z and r, (..., 2 * units)
    candidate: tf.Tensor  # (..., units)
    inner: tf.Tensor | None  # h U_g with `reset_after`, (..., units)


def recur_gru(
    projected: tf.Tensor,
    mask: tf.Tensor | None,
    h: tf.Tensor,
    weights: GRUWeights,
    form: GRUEquations,
    settings: Settings,
) -> tf.Tensor:
    """Runs the recurrence over all steps, with the backward pass written by hand.

    Args:
        projected: `(time, batch, 3 * units)`: the input's share, its biases included.
        mask: `(time, batch, 1)` boolean; the state stays where it is `False`. `None` for all valid.
        h: Initial state `(batch, units)`.
        weights: The recurrence's weights.
        form: What the cell computes.
        settings: How the passes compute.

    Returns:
        The states of all steps `(time, batch, units)`. All tensors are float32.
    """
    forward, backward = _passes(form, settings, weights.size)

    @tf.custom_gradient
    def run(projected: Any, h: Any, *flat_weights: Any) -> tuple[Any, Callable[..., Any]]:
        # A tape outside must not record a compiled loop, whose gradient XLA cannot make.
        projected, h = map(tf.stop_gradient, (projected, h))
        given = weights.with_weights([*map(tf.stop_gradient, flat_weights)])
        outputs, values = forward(projected, mask, h, given)
        again = projected if settings.recompute else None

        def grad(dh: tf.Tensor) -> list[tf.Tensor]:
            return backward(dh, mask, h, given, outputs, values, again)

        return outputs, grad

    return run(projected, h, *weights.weights)


@functools.cache
def _passes(form: GRUEquations, settings: Settings, size: int) -> tuple[Callable[..., Any], ...]:
    passes = (functools.partial(each, form, settings) for each in (_forward, _backward))
    return tuple(compiled(each, size, settings) for each in passes)


def _forward(
    form: GRUEquations,
    settings: Settings,
    projected: tf.Tensor,
    mask: tf.Tensor | None,
    h: tf.Tensor,
    weights: GRUWeights,
) -> tuple[tf.Tensor, _Values | None]:
    steps, units = steps_of(projected), h.shape[1]
    weights = weights.operands(settings.matmul_dtype)
    sizes = [] if settings.recompute else [2 * units, units, units][: 2 + form.reset_after]

    def body(time: Any, h: Any, record: Any) -> tuple[Any, ...]:
        values = _values(tf.gather(projected, time), h, weights, form, settings)
        z, _ = tf.split(form.gate(values.gates), 2, axis=1)
        new_h = z * h + (1.0 - z) * form.state(values.candidate)
        if mask is not None:
            new_h = tf.where(tf.gather(mask, time), new_h, h)
        left = [value for value in values if value is not None] if sizes else []
        return time + 1, new_h, record.write(time, tf.concat([*left, new_h], axis=1))

    record = array(steps, sum(sizes) + units)
    *_, record = tf.while_loop(lambda time, *_: time < steps, body, (tf.constant(0), h, record))
    *left, outputs = tf.split(record.stack(), [*sizes, units], axis=2)
    return outputs, _Values(*left, *[None] * (3 - len(left))) if left else None


def _values(
    projected: tf.Tensor,
    h: tf.Tensor,
    weights: GRUWeights,
    form: GRUEquations,
    settings: Settings,
) -> _Values:
    """The values before activations, from tensors `(rows, n)` and operands of products."""
    multiply, units = multiply_in(settings.matmul_dtype), h.shape[1]
    inner = weights.kernels[0].apply(h, multiply)
    inner = inner if weights.bias is None else inner + weights.bias
    x_gates, x_candidate = tf.split(projected, [2 * units, units], axis=1)
    if form.reset_after:
        h_gates, h_candidate = tf.split(inner, [2 * units, units], axis=1)
        gates = x_gates + h_gates
        _, r = tf.split(form.gate(gates), 2, axis=1)
        return _Values(gates, x_candidate + r * h_candidate, h_candidate)
    gates = x_gates + inner
    _, r = tf.split(form.gate(gates), 2, axis=1)
    return _Values(gates, x_candidate + weights.kernels[1].apply(r * h, multiply), None)


def _backward(
    form: GRUEquations,
    settings: Settings,
    dh_all: tf.Tensor,
    mask: tf.Tensor | None,
    h: tf.Tensor,
    weights: GRUWeights,
    outputs: tf.Tensor,
    values: _Values | None,
    projected: tf.Tensor | None,
) -> list[tf.Tensor]:
    """Returns the gradients of what `recur_gru` takes: projected, h and the weights."""
    trained = weights.weights
    weights = weights.operands(settings.matmul_dtype)
    before = shifted(h, outputs)

    def propagate(dh: Any, mask: Any, before: Any, values: Any, carried: Any) -> Any:
        slopes = _slopes(values, before, mask, form)
        loop = _after_loop if form.reset_after else _before_loop
        return loop(dh, before, slopes, weights, settings, carried)

    carried = [tf.zeros_like(h)]
    if projected is None:
        first, carried, gradients = propagate(dh_all, mask, before, values, carried)
        return [first, *carried, *gradients]

    def part(start: Any, stop: Any, carried: Any) -> Any:
        dh, valid, h, x = cut((dh_all, mask, before, projected), start, stop)
        again = _values(flat(x), flat(h), weights, form, settings)
        again = _Values(*(None if each is None else unflat(each, x) for each in again))
        return propagate(dh, valid, h, again, carried)

    first, carried, gradients = by_chunks(part, projected, carried, trained)
    return [first, *carried, *gradients]


class _Slopes(NamedTuple):
    """Derivatives for all steps, `(time, batch, units)`: nothing passes a masked step but h."""

    keep: tf.Tensor  # h_(t-1) from h_t, past the gates: z, or one at a masked step
    z: tf.Tensor  # of z's value before activation, by dh_t
    candidate: tf.Tensor  # of g's value before activation, by dh_t
    r: tf.Tensor  # of r's value before activation, by the gradient of what r multiplies
    reset: tf.Tensor  # r


def _slopes(
    values: _Values, before: tf.Tensor, mask: tf.Tensor | None, form: GRUEquations
) -> _Slopes:
    gates, slopes = value_and_slope(form.gate, values.gates)
    (z, r), (dz, dr) = tf.split(gates, 2, axis=2), tf.split(slopes, 2, axis=2)
    g, dg = value_and_slope(form.state, values.candidate)
    factor = before if values.inner is None else values.inner
    found = _Slopes(z, dz * (before - g), (1.0 - z) * dg, factor * dr, r)
    if mask is None:
        return found
    nothing = [tf.where(mask, each, 0.0) for each in found[1:]]
    return _Slopes(tf.where(mask, z, 1.0), *nothing)


Propagated = tuple[tf.Tensor, list[tf.Tensor], list[tf.Tensor]]
"""Gradients: of the projected input, of the first state, of the kernel and the bias."""


def _after_loop(
    dh_all: tf.Tensor,
    before: tf.Tensor,
    slopes: _Slopes,
    weights: GRUWeights,
    settings: Settings,
    carried: list[tf.Tensor],
) -> Propagated:
    """The loop backward with `reset_after`, and the weights' gradients after it."""
    [kernel], units = weights.kernels, before.shape[2]
    by_dh = tf.concat(
        [slopes.z, slopes.candidate * slopes.r, slopes.candidate * slopes.reset], axis=2
    )
    transposed, multiply = kernel.transposed(), multiply_in(settings.matmul_dtype)

    def body(time: Any, dh: Any, record: Any) -> tuple[Any, ...]:
        dh = dh + tf.gather(dh_all, time)
        delta = tf.tile(dh, [1, 3]) * tf.gather(by_dh, time)
        record = record.write(time, dh)
        past = dh * tf.gather(slopes.keep, time)
        return time - 1, past + transposed.apply(delta, multiply), record

    dh, record = _loop_backward(body, carried[0], steps_of(dh_all), units)
    dh_steps = record.stack()
    deltas = tf.tile(dh_steps, [1, 1, 3]) * by_dh
    z_and_r = deltas[:, :, : 2 * units]
    gradient = tf.concat([z_and_r, dh_steps * slopes.candidate], axis=2)
    shares = kernel.weight_gradients(flat(before), flat(deltas), settings.matmul_dtype)
    dbias = [] if weights.bias is None else [tf.reduce_sum(deltas, axis=[0, 1])]
    return gradient, [dh], [*shares, *dbias]


def _before_loop(
    dh_all: tf.Tensor,
    before: tf.Tensor,
    slopes: _Slopes,
    weights: GRUWeights,
    settings: Settings,
    carried: list[tf.Tensor],
) -> Propagated:
    """The loop backward without `reset_after`, and the weights' gradients after it."""
    dtype, units = settings.matmul_dtype, before.shape[2]
    multiply = multiply_in(dtype)
    of_gates, of_candidate = (kernel.transposed() for kernel in weights.kernels)

    def body(time: Any, dh: Any, record: Any) -> tuple[Any, ...]:
        keep, z, candidate, r, reset = (tf.gather(slope, time) for slope in slopes)
        dh = dh + tf.gather(dh_all, time)
        dcandidate = dh * candidate
        through_r = of_candidate.apply(dcandidate, multiply)
        gates = tf.concat([dh * z, through_r * r], axis=1)
        record = record.write(time, tf.concat([gates, dcandidate], axis=1))
        past = dh * keep + through_r * reset
        return time - 1, past + of_gates.apply(gates, multiply), record

    dh, record = _loop_backward(body, carried[0], steps_of(dh_all), 3 * units)
    gradient = record.stack()
    gates, dcandidate = tf.split(gradient, [2 * units, units], axis=2)
    by_gates, by_candidate = weights.kernels
    shares = [
        *by_gates.weight_gradients(flat(before), flat(gates), dtype),
        *by_candidate.weight_gradients(flat(slopes.reset * before), flat(dcandidate), dtype),
    ]
    return gradient, [dh], shares


def _loop_backward(
    body: Callable[..., Any], dh: tf.Tensor, steps: Any, width: int
) -> tuple[tf.Tensor, tf.TensorArray]:
    start = tf.convert_to_tensor(steps) - 1, dh, array(steps, width)
    _, dh, record = tf.while_loop(lambda time, *_: time >= 0, body, start)
    return dh, record
