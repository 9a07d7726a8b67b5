"""The recurrence of the LSTM and the H-LSTM with a backward pass written by hand.

Automatic differentiation of a loop adds up the gradient of every weight inside the loop, one outer
product a step, and keeps every intermediate tensor. Written by hand, the loop forward stores only
pre-activations and states; all derivatives of activations are then taken for all steps at once, the
loop backward carries only what really depends on the next step, and the gradient of each weight is
one matrix product after it.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import tensorflow as tf

from hlstm_tf.layers.activations import value_and_slope
from hlstm_tf.layers.cells import lstm_states
from hlstm_tf.layers.gate_networks import (
    Activations,
    GateNetworks,
    gate_products,
    pre_activations,
)
from hlstm_tf.layers.operators import multiply_in, split_columns
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


class Stored(NamedTuple):
    """What the forward pass leaves for the backward pass, time first.

    Where it keeps states only there are no hidden layers and no gates.
    """

    hidden: tuple[tf.Tensor, ...]  # pre-activations of the hidden layers, (time, batch, sum(Hk))
    gates: tf.Tensor | None  # pre-activations of the gates, (time, batch, 4 * units)
    c: tf.Tensor  # cell states, (time, batch, units)


class _Span(NamedTuple):
    """A stretch of time in the backward pass, time first."""

    dh: tf.Tensor  # gradients of the outputs, (time, batch, units)
    mask: tf.Tensor | None  # (time, batch, 1)
    h: tf.Tensor  # the outputs before each step, (time, batch, units)
    c: tf.Tensor  # the cell states before each step, (time, batch, units)
    stored: Stored


def backward(
    activations: Activations,
    settings: Settings,
    dh_all: tf.Tensor,
    dc: tf.Tensor,
    mask: tf.Tensor | None,
    h: tf.Tensor,
    c: tf.Tensor,
    networks: GateNetworks,
    outputs: tf.Tensor,
    stored: Stored,
    projected: tf.Tensor | None,
) -> list[tf.Tensor]:
    """Returns the gradients of what `recur` takes: projected, h, c and the weights."""
    weights = networks.weights
    networks = networks.operands(settings.matmul_dtype)
    span = _Span(dh_all, mask, shifted(h, outputs), shifted(c, stored.c), stored)
    propagate = functools.partial(_propagate, networks, activations, settings)
    carried = [tf.zeros_like(h), dc]
    if projected is None:
        first, carried, gradients = propagate(span, carried)
        return [first, *carried, *gradients]

    def part(start: Any, stop: Any, carried: list[tf.Tensor]) -> Any:
        x, within = cut((projected, span), start, stop)
        again = _stored_again(x, within, networks, activations, settings)
        return propagate(within._replace(stored=again), carried)

    first, carried, gradients = by_chunks(part, projected, carried, weights)
    return [first, *carried, *gradients]


def _stored_again(
    projected: tf.Tensor,
    span: _Span,
    networks: GateNetworks,
    activations: Activations,
    settings: Settings,
) -> Stored:
    """What the forward loop would have stored, for all steps of `span` at once."""
    steps, dtype = tf.shape(projected)[0], settings.matmul_dtype
    dropped = tuple(tf.tile(mask, [steps, 1]) for mask in networks.dropped)
    values, _ = pre_activations(
        flat(projected), flat(span.h), networks._replace(dropped=dropped), activations, dtype
    )
    values = unflat(tf.concat(values, axis=1), projected)
    *hidden, gates = tf.split(values, networks.widths, axis=2)
    return Stored(tuple(hidden), gates, span.stored.c)


class _Slopes(NamedTuple):
    """Derivatives that the backward loop multiplies with, for all steps, time first."""

    hidden: tuple[tf.Tensor, ...]  # of each hidden layer, dropout included
    gates: tf.Tensor  # (time, batch, 4 * units): of i, f, g by dc and of o by dh
    c_by_h: tf.Tensor  # (time, batch, units): dc_t from dh_t
    forget: tf.Tensor  # (time, batch, units): dc_(t-1) from dc_t


def _slopes(
    span: _Span, networks: GateNetworks, activations: Activations
) -> tuple[_Slopes, tuple[tf.Tensor, ...]]:
    """Returns the slopes and the hidden layers' outputs `(time, batch, sum(Hk))`, dropped."""
    hidden, outputs = [], []
    for layer, pre_activation in enumerate(span.stored.hidden):
        value, slope = value_and_slope(activations.hidden_activation, pre_activation)
        if networks.dropped:
            value, slope = value * networks.dropped[layer], slope * networks.dropped[layer]
        hidden.append(slope)
        outputs.append(value)
    i, f, g, o = tf.split(span.stored.gates, 4, axis=2)
    (i, di), (f, df), (o, do) = (
        value_and_slope(activations.recurrent_activation, gate) for gate in (i, f, o)
    )
    g, dg = value_and_slope(activations.activation, g)
    # Where a step is masked the stored c is the previous one; those steps are not propagated.
    squashed, dsquashed = value_and_slope(activations.activation, span.stored.c)
    gates = tf.concat([di * g, df * span.c, dg * i, do * squashed], axis=2)
    return _Slopes(tuple(hidden), gates, o * dsquashed, f), tuple(outputs)


def _propagate(
    networks: GateNetworks,
    activations: Activations,
    settings: Settings,
    span: _Span,
    carried: list[tf.Tensor],
) -> tuple[tf.Tensor, list[tf.Tensor], list[tf.Tensor]]:
    """The backward pass over a stretch of time.

    Args:
        networks: The weights, as operands.
        activations: Elementwise functions.
        settings: How the passes compute.
        span: The stretch.
        carried: The gradients of the states after it.

    Returns:
        The gradient of the projected input; those of the states before; and those of the weights.
    """
    slopes, outputs = _slopes(span, networks, activations)
    deltas, carried = _backward_loop(span, carried, networks, slopes, settings)
    widths, dtype = networks.gate_widths, settings.matmul_dtype
    drecurrent = networks.recurrent.weight_gradients(flat(span.h), flat(deltas[0]), dtype)
    of_gates = [split_columns(*layer) for layer in zip(outputs, widths, strict=False)]
    deltas_of_gates = [split_columns(*layer) for layer in zip(deltas, widths, strict=True)][1:]
    dkernels = [
        gradient
        for layer in zip(networks.kernels, of_gates, deltas_of_gates, strict=True)
        for kernel, value, delta in zip(*layer, strict=True)
        for gradient in kernel.weight_gradients(flat(value), flat(delta), dtype)
    ]
    dbiases = [
        gate
        for delta, gates in zip(deltas[1:], widths[1:], strict=True)
        for gate in split_columns(tf.reduce_sum(delta, axis=[0, 1]), gates)
        if networks.biases
    ]
    return deltas[0], carried, [*drecurrent, *dkernels, *dbiases]


def _backward_loop(
    span: _Span,
    carried: list[tf.Tensor],
    networks: GateNetworks,
    slopes: _Slopes,
    settings: Settings,
) -> tuple[list[tf.Tensor], list[tf.Tensor]]:
    """Returns each layer's pre-activation gradients, first to last, and the first states'."""
    steps = steps_of(span.dh)
    given = [span.dh, slopes.gates, slopes.c_by_h, slopes.forget, *slopes.hidden]
    transposed = [tuple(gate.transposed() for gate in kernel) for kernel in networks.kernels]
    recurrent = networks.recurrent.transposed()
    dtype = settings.matmul_dtype

    def body(time: Any, dh: Any, dc: Any, record: Any) -> tuple[Any, ...]:
        here, gates, c_by_h, forget, *hidden = (tf.gather(each, time) for each in given)
        here = here + dh
        if span.mask is not None:
            # A masked step hands its states' gradients on as they are.
            valid = tf.gather(span.mask, time)
            stay_h, stay_c = tf.where(valid, 0.0, here), tf.where(valid, 0.0, dc)
            here, dc = tf.where(valid, here, 0.0), tf.where(valid, dc, 0.0)
        dc = dc + here * c_by_h
        delta = tf.concat([dc, dc, dc, here], axis=1) * gates
        deltas = [delta]
        for layer in reversed(range(len(transposed))):
            delta = gate_products(delta, transposed[layer], dtype) * hidden[layer]
            deltas.append(delta)
        record = record.write(time, tf.concat(deltas[::-1], axis=1))
        dh, dc = recurrent.apply(delta, multiply_in(dtype)), dc * forget
        if span.mask is not None:
            dh, dc = dh + stay_h, dc + stay_c
        return time - 1, dh, dc, record

    start = tf.convert_to_tensor(steps) - 1
    record = array(steps, sum(networks.widths))
    _, dh, dc, record = tf.while_loop(lambda time, *_: time >= 0, body, (start, *carried, record))
    return tf.split(record.stack(), networks.widths, axis=2), [dh, dc]


def recur(
    projected: tf.Tensor,
    mask: tf.Tensor | None,
    h: tf.Tensor,
    c: tf.Tensor,
    networks: GateNetworks,
    activations: Activations,
    settings: Settings,
) -> tuple[tf.Tensor, tf.Tensor]:
    """Runs the recurrence over all steps, with the backward pass written by hand.

    Args:
        projected: `(time, batch, sum(H1))`: the input's share of the first hidden layer.
        mask: `(time, batch, 1)` boolean; the states stay where it is `False`. `None` for all valid.
        h: Initial output `(batch, units)`.
        c: Initial cell state `(batch, units)`.
        networks: The gates' weights.
        activations: Elementwise functions.
        settings: How the passes compute.

    Returns:
        The outputs h of all steps `(time, batch, units)`, and the last cell state
        `(batch, units)`. All tensors are float32.
    """
    forward_pass, backward_pass = _passes(
        activations, settings, networks.gate_widths, networks.size
    )

    @tf.custom_gradient
    def run(projected: Any, h: Any, c: Any, *weights: Any) -> tuple[Any, Callable[..., Any]]:
        # A tape outside must not record a compiled loop, whose gradient XLA cannot make.
        projected, h, c = map(tf.stop_gradient, (projected, h, c))
        given = networks.with_weights([*map(tf.stop_gradient, weights)])
        outputs, stored = forward_pass(projected, mask, h, c, given)
        again = projected if settings.recompute else None

        def grad(dh: tf.Tensor, dc: tf.Tensor) -> list[tf.Tensor]:
            return backward_pass(dh, dc, mask, h, c, given, outputs, stored, again)

        return (outputs, stored.c[-1]), grad

    outputs, last_c = run(projected, h, c, *networks.weights)
    return outputs, last_c


@functools.cache
def _passes(
    activations: Activations,
    settings: Settings,
    gate_widths: tuple[tuple[int, ...], ...],
    weights: int,
) -> tuple[Callable[..., Any], ...]:
    """The forward and the backward pass of all layers with these activations and sizes.

    Layers of other widths have functions of their own: a traced function that is given other shapes
    forgets which sizes are fixed, and only batch and time may vary.
    """
    passes = (functools.partial(each, activations, settings) for each in (_forward, backward))
    return tuple(compiled(each, weights, settings) for each in passes)


def _forward(
    activations: Activations,
    settings: Settings,
    projected: tf.Tensor,
    mask: tf.Tensor | None,
    h: tf.Tensor,
    c: tf.Tensor,
    networks: GateNetworks,
) -> tuple[tf.Tensor, Stored]:
    steps = steps_of(projected)
    units = h.shape[1]
    sizes = [*(() if settings.recompute else networks.widths), units, units]
    dtype = settings.matmul_dtype
    networks = networks.operands(dtype)

    def body(time: Any, h: Any, c: Any, record: Any) -> tuple[Any, ...]:
        here = tf.gather(projected, time)
        values, gates = pre_activations(here, h, networks, activations, dtype)
        new_h, (_, new_c) = lstm_states(activations, gates, c)
        if mask is not None:
            valid = tf.gather(mask, time)
            new_h, new_c = tf.where(valid, new_h, h), tf.where(valid, new_c, c)
        left = [] if settings.recompute else values
        record = record.write(time, tf.concat([*left, new_h, new_c], axis=1))
        return time + 1, new_h, new_c, record

    record = array(steps, sum(sizes))
    *_, record = tf.while_loop(lambda time, *_: time < steps, body, (tf.constant(0), h, c, record))
    *values, outputs, states = tf.split(record.stack(), sizes, axis=2)
    *hidden, gates = values or [None]
    return outputs, Stored(tuple(hidden), gates, states)
