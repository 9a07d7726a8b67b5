"""The H-LSTM recurrence with a backward pass written by hand.

Automatic differentiation of a loop adds up every weight's gradient inside the loop, one outer
product a step, and keeps every intermediate tensor. Written by hand, the loop forward stores only
pre-activations and states; all derivatives of activations are then taken for all steps at once, the
loop backward carries only what really depends on the next step, and each weight's gradient is one
matrix product after it.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import keras
import tensorflow as tf

Activation = Callable[[Any], Any]


class GateNetworks(NamedTuple):
    """What the recurrence multiplies with; the four gates lie side by side in the last axis.

    A gate's hidden layers may be as wide as they like; `sum(Hk)` is over the gates of a layer.

    Attributes:
        recurrent: `(units, sum(H1))`.
        kernels: For each layer after the first the four gates' `(fan_in, fan_out)`, one after the
            other; the last layer gives the gates before their activation, all `units` wide.
        biases: For each of them `(sum(fan_out),)`; empty where the cell has no biases.
        dropped: For each hidden layer a dropout mask `(batch, sum(Hk))`; empty without dropout.
    """

    recurrent: tf.Tensor
    kernels: tuple[tuple[tf.Tensor, ...], ...]
    biases: tuple[tf.Tensor, ...]
    dropped: tuple[tf.Tensor, ...]

    @property
    def gate_widths(self) -> tuple[tuple[int, ...], ...]:
        """Each gate's width in all layers: hidden layers, then the gates themselves."""
        units = self.recurrent.shape[0]
        hidden = (tuple(gate.shape[0] for gate in kernel) for kernel in self.kernels)
        return *hidden, (units,) * 4

    @property
    def widths(self) -> tuple[int, ...]:
        """Widths of all layers, the four gates together."""
        return tuple(map(sum, self.gate_widths))


class Activations(NamedTuple):
    """The elementwise functions of a cell: of the hidden layers, the gates and the state."""

    hidden: Activation
    gate: Activation
    state: Activation


class _Stored(NamedTuple):
    """What the forward loop leaves for the backward loop, time first."""

    hidden: tuple[tf.Tensor, ...]  # pre-activations of the hidden layers, (time, batch, sum(Hk))
    gates: tf.Tensor  # pre-activations of the gates, (time, batch, 4 * units)
    h: tf.Tensor  # outputs, (time, batch, units)
    c: tf.Tensor  # cell states, (time, batch, units)


XLA_UNITS = 256
"""Up to this many units XLA compiles the two loops, whose operations are so small that starting
each costs more than its work: a third of the time at 64 units (batch 8, one thread, 50 steps), 0.7
at 128 and 0.8 at 256 (batch 16). Each new shape is compiled anew, in a second or two."""

_ELEMENTWISE: set[Any] = {
    getattr(keras.activations, name)
    for name in (
        "linear relu relu6 leaky_relu elu selu celu gelu silu softplus softsign tanh tanh_shrink "
        "sigmoid hard_sigmoid hard_silu hard_tanh log_sigmoid exponential mish"
    ).split()
    if hasattr(keras.activations, name)
}


def declare_elementwise(activation: Any) -> Any:
    """Lets the fast backward pass take `activation`: each output depends on its own input alone.

    `activation` is a function, or a class whose objects are activations.

    Activations of `keras.activations` that work so are known. A layer with any other activation
    trains through the plain loop, which is slower and assumes nothing. Usable as a decorator.

    Example:

    >>> import keras, hlstm_tf as hl
    >>> @hl.declare_elementwise
    ... def cube(x):
    ...     return x * x * x
    >>> hl.HLSTM(4, hidden_activation=cube).hidden_activation is cube
    True
    """
    _ELEMENTWISE.add(activation)
    return activation


def is_elementwise(activation: Any) -> bool:
    """Whether `activation` is known to act on each element alone."""
    try:
        return activation in _ELEMENTWISE or type(activation) in _ELEMENTWISE
    except TypeError:  # unhashable
        return False


def recur(
    projected: tf.Tensor,
    mask: tf.Tensor | None,
    h: tf.Tensor,
    c: tf.Tensor,
    networks: GateNetworks,
    activations: Activations,
) -> tuple[tf.Tensor, tf.Tensor]:
    """Runs the recurrence over all steps, with the backward pass written by hand.

    Args:
        projected: `(time, batch, sum(H1))`: the input's share of the first hidden layer.
        mask: `(time, batch, 1)` boolean; the states stay where it is `False`. `None` for all valid.
        h: Initial output `(batch, units)`.
        c: Initial cell state `(batch, units)`.
        networks: The gates' weights.
        activations: Elementwise functions.

    Returns:
        The outputs h of all steps `(time, batch, units)`, and the last cell state
        `(batch, units)`.
    """
    layers = len(networks.kernels)

    forward, backward = _passes(activations, networks.gate_widths)

    @tf.custom_gradient
    def run(
        projected: Any, h: Any, c: Any, recurrent: Any, *weights: Any
    ) -> tuple[Any, Callable[..., Any]]:
        # A tape outside must not record a compiled loop, whose gradient XLA cannot make.
        projected, h, c, recurrent = map(tf.stop_gradient, (projected, h, c, recurrent))
        weights = tuple(map(tf.stop_gradient, weights))
        kernels = tuple(tuple(weights[4 * k : 4 * k + 4]) for k in range(layers))
        given = GateNetworks(recurrent, kernels, weights[4 * layers :], networks.dropped)
        stored = forward(projected, mask, h, c, given)

        def grad(dh: tf.Tensor, dc: tf.Tensor) -> list[tf.Tensor]:
            return backward(dh, dc, mask, h, c, given, stored)

        return (stored.h, stored.c[-1]), grad

    flat = [gate for kernel in networks.kernels for gate in kernel]
    outputs, last_c = run(projected, h, c, networks.recurrent, *flat, *networks.biases)
    return outputs, last_c


@functools.cache
def _passes(
    activations: Activations, gate_widths: tuple[tuple[int, ...], ...]
) -> tuple[Callable[..., Any], ...]:
    """The forward and the backward pass of all layers with these activations and gates' widths.

    Layers of other widths have functions of their own: a traced function that is given other shapes
    forgets which sizes are fixed, and only batch and time may vary.
    """
    forward = functools.partial(_forward, activations)
    backward = functools.partial(_backward, activations)
    if gate_widths[-1][0] > XLA_UNITS:
        return forward, backward
    return (
        tf.function(forward, jit_compile=True, reduce_retracing=True, autograph=False),
        tf.function(backward, jit_compile=True, reduce_retracing=True, autograph=False),
    )


def _forward(
    activations: Activations,
    projected: tf.Tensor,
    mask: tf.Tensor | None,
    h: tf.Tensor,
    c: tf.Tensor,
    networks: GateNetworks,
) -> _Stored:
    steps = _steps(projected)
    reads = _unstacked(projected)
    masks = None if mask is None else _unstacked(mask)
    sizes = [*networks.widths, h.shape[1], c.shape[1]]
    record = _array(h, steps, sum(sizes))

    def body(time: Any, h: Any, c: Any, record: Any) -> tuple[Any, ...]:
        values = reads.read(time) + tf.matmul(h, networks.recurrent)
        pre_activations = [values]
        for layer, kernel in enumerate(networks.kernels):
            active = activations.hidden(values)
            if networks.dropped:
                active = active * networks.dropped[layer]
            values = _gate_matmul(active, kernel)
            if networks.biases:
                values = values + networks.biases[layer]
            pre_activations.append(values)
        i, f, g, o = tf.split(values, 4, axis=1)
        new_c = activations.gate(f) * c + activations.gate(i) * activations.state(g)
        new_h = activations.gate(o) * activations.state(new_c)
        if masks is not None:
            here = masks.read(time)
            new_h, new_c = tf.where(here, new_h, h), tf.where(here, new_c, c)
        record = record.write(time, tf.concat([*pre_activations, new_h, new_c], axis=1))
        return time + 1, new_h, new_c, record

    *_, record = tf.while_loop(lambda time, *_: time < steps, body, (tf.constant(0), h, c, record))
    *hidden, gates, outputs, states = tf.split(record.stack(), sizes, axis=2)
    return _Stored(tuple(hidden), gates, outputs, states)


class _Slopes(NamedTuple):
    """Derivatives that the backward loop multiplies with, for all steps, time first."""

    hidden: tuple[tf.Tensor, ...]  # of each hidden layer, dropout included
    gates: tf.Tensor  # (time, batch, 4 * units): of i, f, g by dc and of o by dh
    c_by_h: tf.Tensor  # (time, batch, units): dc_t from dh_t
    forget: tf.Tensor  # (time, batch, units): dc_(t-1) from dc_t


def _slopes(
    stored: _Stored, c: tf.Tensor, networks: GateNetworks, activations: Activations
) -> tuple[_Slopes, tuple[tf.Tensor, ...]]:
    """Returns the slopes and the hidden layers' outputs `(time, batch, sum(Hk))`, dropped."""
    hidden, outputs = [], []
    for layer, pre_activation in enumerate(stored.hidden):
        value, slope = _value_and_slope(activations.hidden, pre_activation)
        if networks.dropped:
            value, slope = value * networks.dropped[layer], slope * networks.dropped[layer]
        hidden.append(slope)
        outputs.append(value)
    i, f, g, o = tf.split(stored.gates, 4, axis=2)
    (i, di), (f, df), (o, do) = (_value_and_slope(activations.gate, gate) for gate in (i, f, o))
    g, dg = _value_and_slope(activations.state, g)
    # Where a step is masked the stored c is the previous one; those steps are not propagated.
    squashed, dsquashed = _value_and_slope(activations.state, stored.c)
    before = tf.concat([c[None], stored.c[:-1]], axis=0)
    gates = tf.concat([di * g, df * before, dg * i, do * squashed], axis=2)
    return _Slopes(tuple(hidden), gates, o * dsquashed, f), tuple(outputs)


def _backward(
    activations: Activations,
    dh_all: tf.Tensor,
    dc: tf.Tensor,
    mask: tf.Tensor | None,
    h: tf.Tensor,
    c: tf.Tensor,
    networks: GateNetworks,
    stored: _Stored,
) -> list[tf.Tensor]:
    slopes, outputs = _slopes(stored, c, networks, activations)
    deltas, dh, dc = _backward_loop(dh_all, dc, mask, h, networks, slopes)
    before = tf.concat([h[None], stored.h[:-1]], axis=0)
    drecurrent = tf.matmul(_flat(before), _flat(deltas[0]), transpose_a=True)
    of_gates = [*map(_gates, outputs, networks.gate_widths)]
    deltas_of_gates = [*map(_gates, deltas, networks.gate_widths)][1:]
    dkernels = [
        tf.matmul(_flat(value), _flat(delta), transpose_a=True)
        for values, their_deltas in zip(of_gates, deltas_of_gates, strict=True)
        for value, delta in zip(values, their_deltas, strict=True)
    ]
    dbiases = [tf.reduce_sum(delta, axis=[0, 1]) for delta in deltas[1:]]
    return [deltas[0], dh, dc, drecurrent, *dkernels, *dbiases[: len(networks.biases)]]


def _backward_loop(
    dh_all: tf.Tensor,
    dc: tf.Tensor,
    mask: tf.Tensor | None,
    h: tf.Tensor,
    networks: GateNetworks,
    slopes: _Slopes,
) -> tuple[list[tf.Tensor], tf.Tensor, tf.Tensor]:
    """Returns each layer's pre-activation gradients, first to last, and the first states'."""
    steps = _steps(dh_all)
    given = [dh_all, slopes.gates, slopes.c_by_h, slopes.forget, *slopes.hidden]
    sizes = [value.shape[2] for value in given]
    reads = _unstacked(tf.concat(given, axis=2))
    masks = None if mask is None else _unstacked(mask)
    transposed = [tuple(map(tf.transpose, kernel)) for kernel in networks.kernels]
    recurrent = tf.transpose(networks.recurrent)
    record = _array(h, steps, sum(networks.widths))

    def body(time: Any, dh: Any, dc: Any, record: Any) -> tuple[Any, ...]:
        here, gates, c_by_h, forget, *hidden = tf.split(reads.read(time), sizes, axis=1)
        here = here + dh
        if masks is not None:
            # A masked step hands its states' gradients on as they are.
            valid = masks.read(time)
            stay_h, stay_c = tf.where(valid, 0.0, here), tf.where(valid, 0.0, dc)
            here, dc = tf.where(valid, here, 0.0), tf.where(valid, dc, 0.0)
        dc = dc + here * c_by_h
        delta = tf.concat([dc, dc, dc, here], axis=1) * gates
        deltas = [delta]
        for layer in reversed(range(len(transposed))):
            delta = _gate_matmul(delta, transposed[layer]) * hidden[layer]
            deltas.append(delta)
        record = record.write(time, tf.concat(deltas[::-1], axis=1))
        dh, dc = tf.matmul(delta, recurrent), dc * forget
        if masks is not None:
            dh, dc = dh + stay_h, dc + stay_c
        return time - 1, dh, dc, record

    start = tf.convert_to_tensor(steps) - 1
    _, dh, dc, record = tf.while_loop(
        lambda time, *_: time >= 0, body, (start, tf.zeros_like(h), dc, record)
    )
    return tf.split(record.stack(), networks.widths, axis=2), dh, dc


def _value_and_slope(activation: Activation, x: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    # The sum's gradient is each element's own derivative because the activation is elementwise.
    with tf.GradientTape() as tape:
        tape.watch(x)
        value = activation(x)
    slope = tape.gradient(value, x)
    return value, tf.zeros_like(x) if slope is None else slope


def _gate_matmul(values: tf.Tensor, kernels: Sequence[tf.Tensor]) -> tf.Tensor:
    # Four products beat one batched product on CPUs, and need no transposition.
    gates = zip(_gates(values, [kernel.shape[0] for kernel in kernels]), kernels, strict=True)
    return tf.concat([tf.matmul(value, kernel) for value, kernel in gates], axis=1)


def _gates(values: tf.Tensor, widths: Sequence[int]) -> list[tf.Tensor]:
    """Splits the last axis by gate."""
    equal = len(set(widths)) == 1
    return tf.split(values, len(widths) if equal else list(widths), axis=-1)


def _flat(values: tf.Tensor) -> tf.Tensor:
    return tf.reshape(values, [-1, values.shape[2]])


def _steps(values: tf.Tensor) -> Any:
    return tf.shape(values)[0] if values.shape[0] is None else values.shape[0]


def _unstacked(values: tf.Tensor) -> tf.TensorArray:
    return tf.TensorArray(values.dtype, size=_steps(values)).unstack(values)


def _array(like: tf.Tensor, steps: Any, width: int) -> tf.TensorArray:
    # One array of all that a step leaves: each further one costs a loop variable and a write.
    return tf.TensorArray(like.dtype, size=steps, element_shape=tf.TensorShape([None, width]))
