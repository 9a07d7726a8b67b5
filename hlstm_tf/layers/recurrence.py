"""The LSTM's and the H-LSTM's recurrence with a backward pass written by hand.

Automatic differentiation of a loop adds up every weight's gradient inside the loop, one outer
product a step, and keeps every intermediate tensor. Written by hand, the loop forward stores only
pre-activations and states; all derivatives of activations are then taken for all steps at once, the
loop backward carries only what really depends on the next step, and each weight's gradient is one
matrix product after it.
"""

import functools
from collections.abc import Callable
from typing import Any

import tensorflow as tf

from hlstm_tf.layers.cells import lstm_states
from hlstm_tf.layers.gate_networks import Activations, GateNetworks, pre_activations
from hlstm_tf.layers.passes import Settings, array, compiled, steps_of
from hlstm_tf.layers.recurrence_backward import Stored, backward


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
