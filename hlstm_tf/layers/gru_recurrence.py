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
from collections.abc import Callable
from typing import Any, NamedTuple

import tensorflow as tf

from hlstm_tf.layers.elementwise import Activation, value_and_slope
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
    weight_gradient,
)
from hlstm_tf.layers.products import matmul, operand


class GRUWeights(NamedTuple):
    """What the recurrence multiplies with; gates in the order z, r, candidate.

    Attributes:
        kernel: `(units, 3 * units)`.
        bias: `(3 * units,)`: the recurrence's own; `None` for none, always without `reset_after`.
    """

    kernel: tf.Tensor
    bias: tf.Tensor | None


class GRUForm(NamedTuple):
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
    form: GRUForm,
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
    forward, backward = _passes(form, settings, h.shape[1])

    @tf.custom_gradient
    def run(projected: Any, h: Any, *given: Any) -> tuple[Any, Callable[..., Any]]:
        # A tape outside must not record a compiled loop, whose gradient XLA cannot make.
        projected, h, kernel, *bias = map(tf.stop_gradient, (projected, h, *given))
        weights = GRUWeights(kernel, bias[0] if bias else None)
        outputs, values = forward(projected, mask, h, weights)
        again = projected if settings.recompute else None

        def grad(dh: tf.Tensor) -> list[tf.Tensor]:
            return backward(dh, mask, h, weights, outputs, values, again)

        return outputs, grad

    return run(projected, h, *(weight for weight in weights if weight is not None))


@functools.cache
def _passes(form: GRUForm, settings: Settings, units: int) -> tuple[Callable[..., Any], ...]:
    passes = (functools.partial(each, form, settings) for each in (_forward, _backward))
    return tuple(compiled(each, 3 * units * units, settings) for each in passes)


def _forward(
    form: GRUForm,
    settings: Settings,
    projected: tf.Tensor,
    mask: tf.Tensor | None,
    h: tf.Tensor,
    weights: GRUWeights,
) -> tuple[tf.Tensor, _Values | None]:
    steps, units = steps_of(projected), h.shape[1]
    kernels = _kernels(weights, form, settings)
    sizes = [] if settings.recompute else [2 * units, units, units][: 2 + form.reset_after]

    def body(time: Any, h: Any, record: Any) -> tuple[Any, ...]:
        values = _values(tf.gather(projected, time), h, kernels, weights.bias, form, settings)
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


def _kernels(weights: GRUWeights, form: GRUForm, settings: Settings) -> list[tf.Tensor]:
    """The kernel as operands: whole with `reset_after`, else that of z and r and that of g."""
    kernel = operand(weights.kernel, settings.matmul_dtype)
    units = kernel.shape[0]
    return [kernel] if form.reset_after else tf.split(kernel, [2 * units, units], axis=1)


def _values(
    projected: tf.Tensor,
    h: tf.Tensor,
    kernels: list[tf.Tensor],
    bias: tf.Tensor | None,
    form: GRUForm,
    settings: Settings,
) -> _Values:
    """The values before activations, from tensors `(rows, n)`."""
    dtype, units = settings.matmul_dtype, h.shape[1]
    inner = matmul(operand(h, dtype), kernels[0])
    inner = inner if bias is None else inner + bias
    x_gates, x_candidate = tf.split(projected, [2 * units, units], axis=1)
    if form.reset_after:
        h_gates, h_candidate = tf.split(inner, [2 * units, units], axis=1)
        gates = x_gates + h_gates
        _, r = tf.split(form.gate(gates), 2, axis=1)
        return _Values(gates, x_candidate + r * h_candidate, h_candidate)
    gates = x_gates + inner
    _, r = tf.split(form.gate(gates), 2, axis=1)
    return _Values(gates, x_candidate + matmul(operand(r * h, dtype), kernels[1]), None)


def _backward(
    form: GRUForm,
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
    kernels = _kernels(weights, form, settings)
    before = shifted(h, outputs)
    trained = [weight for weight in weights if weight is not None]

    def propagate(dh: Any, mask: Any, before: Any, values: Any, carried: Any) -> Any:
        slopes = _slopes(values, before, mask, form)
        loop = _after_loop if form.reset_after else _before_loop
        gradient, carried, shares = loop(dh, before, slopes, kernels, settings, carried)
        return gradient, carried, shares[: len(trained)]

    carried = [tf.zeros_like(h)]
    if projected is None:
        first, carried, gradients = propagate(dh_all, mask, before, values, carried)
        return [first, *carried, *gradients]

    def part(start: Any, stop: Any, carried: Any) -> Any:
        dh, valid, h, x = cut((dh_all, mask, before, projected), start, stop)
        again = _values(flat(x), flat(h), kernels, weights.bias, form, settings)
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


def _slopes(values: _Values, before: tf.Tensor, mask: tf.Tensor | None, form: GRUForm) -> _Slopes:
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
    kernels: list[tf.Tensor],
    settings: Settings,
    carried: list[tf.Tensor],
) -> Propagated:
    """The loop backward with `reset_after`, and the weights' gradients after it."""
    dtype, units = settings.matmul_dtype, before.shape[2]
    by_dh = tf.concat(
        [slopes.z, slopes.candidate * slopes.r, slopes.candidate * slopes.reset], axis=2
    )
    transposed = tf.transpose(kernels[0])

    def body(time: Any, dh: Any, record: Any) -> tuple[Any, ...]:
        dh = dh + tf.gather(dh_all, time)
        delta = tf.tile(dh, [1, 3]) * tf.gather(by_dh, time)
        record = record.write(time, dh)
        past = dh * tf.gather(slopes.keep, time)
        return time - 1, past + matmul(operand(delta, dtype), transposed), record

    dh, record = _loop_backward(body, carried[0], steps_of(dh_all), units)
    dh_steps = record.stack()
    deltas = tf.tile(dh_steps, [1, 1, 3]) * by_dh
    z_and_r = deltas[:, :, : 2 * units]
    gradient = tf.concat([z_and_r, dh_steps * slopes.candidate], axis=2)
    shares = [weight_gradient(before, deltas, dtype), tf.reduce_sum(deltas, axis=[0, 1])]
    return gradient, [dh], shares


def _before_loop(
    dh_all: tf.Tensor,
    before: tf.Tensor,
    slopes: _Slopes,
    kernels: list[tf.Tensor],
    settings: Settings,
    carried: list[tf.Tensor],
) -> Propagated:
    """The loop backward without `reset_after`, and the weights' gradients after it."""
    dtype, units = settings.matmul_dtype, before.shape[2]
    of_gates, of_candidate = map(tf.transpose, kernels)

    def body(time: Any, dh: Any, record: Any) -> tuple[Any, ...]:
        keep, z, candidate, r, reset = (tf.gather(slope, time) for slope in slopes)
        dh = dh + tf.gather(dh_all, time)
        dcandidate = dh * candidate
        through_r = matmul(operand(dcandidate, dtype), of_candidate)
        gates = tf.concat([dh * z, through_r * r], axis=1)
        record = record.write(time, tf.concat([gates, dcandidate], axis=1))
        past = dh * keep + through_r * reset
        return time - 1, past + matmul(operand(gates, dtype), of_gates), record

    dh, record = _loop_backward(body, carried[0], steps_of(dh_all), 3 * units)
    gradient = record.stack()
    gates, dcandidate = tf.split(gradient, [2 * units, units], axis=2)
    share = tf.concat(
        [
            weight_gradient(before, gates, dtype),
            weight_gradient(slopes.reset * before, dcandidate, dtype),
        ],
        axis=1,
    )
    return gradient, [dh], [share]


def _loop_backward(
    body: Callable[..., Any], dh: tf.Tensor, steps: Any, width: int
) -> tuple[tf.Tensor, tf.TensorArray]:
    start = tf.convert_to_tensor(steps) - 1, dh, array(steps, width)
    _, dh, record = tf.while_loop(lambda time, *_: time >= 0, body, start)
    return dh, record
