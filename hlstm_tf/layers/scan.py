"""The loop over time: `keras.layers.RNN`'s semantics over inputs that are projected already."""

from collections.abc import Callable
from typing import Any

import tensorflow as tf

Step = Callable[[Any, list[Any]], tuple[Any, list[Any]]]


def scan(
    step: Step,
    inputs: tf.Tensor,
    states: list[tf.Tensor],
    mask: tf.Tensor | None = None,
    *,
    go_backwards: bool = False,
    return_sequences: bool = True,
    zero_output_for_mask: bool = False,
) -> tuple[tf.Tensor, tf.Tensor, list[tf.Tensor]]:
    """Runs `step` over the time axis, as `keras.layers.RNN` does.

    Where a mask is `False` the states stay as they were and the output is repeated (zero before
    the first valid step), or zero with `zero_output_for_mask`. With `go_backwards` the outputs come
    in the order in which they were computed.

    Args:
        step: `(input, states) -> (output, states)` on tensors of one time step.
        inputs: `(batch, time, ...)`.
        states: The initial states, each `(batch, units)`; the output has the first one's shape.
        mask: `(batch, time)` or `(batch, time, 1)`, `True` at valid steps; `None` for all.
        go_backwards: Whether time runs from the end.
        return_sequences: Whether all outputs are kept, or only the last.
        zero_output_for_mask: Whether outputs at masked steps are zero.

    Returns:
        The last output `(batch, units)`; all outputs `(batch, time, units)`, or `(batch, 1, units)`
        without `return_sequences`; and the last states.
    """
    sequence = tf.convert_to_tensor(inputs)
    time_major = tf.transpose(sequence, [1, 0, *range(2, len(sequence.shape))])
    length = time_major.shape[0]
    steps = tf.shape(time_major)[0] if length is None else length
    valid = None if mask is None else time_major_mask(mask)
    if go_backwards:
        time_major = tf.reverse(time_major, [0])
        valid = None if valid is None else tf.reverse(valid, [0])

    reads = tf.TensorArray(time_major.dtype, size=steps).unstack(time_major)
    masks = None if valid is None else tf.TensorArray(tf.bool, size=steps).unstack(valid)
    writes = tf.TensorArray(
        states[0].dtype,
        size=steps if return_sequences else 1,
        element_shape=states[0].shape,
    )

    def body(time: Any, writes: Any, previous: Any, *states: Any) -> tuple[Any, ...]:
        output, new_states = step(reads.read(time), list(states))
        if masks is not None:
            here = masks.read(time)
            output = tf.where(
                here, output, tf.zeros_like(output) if zero_output_for_mask else previous
            )
            new_states = [tf.where(here, n, s) for n, s in zip(new_states, states, strict=True)]
        writes = writes.write(time if return_sequences else 0, output)
        return (time + 1, writes, output, *new_states)

    first = tf.zeros_like(states[0])
    _, writes, last, *states = tf.while_loop(
        lambda time, *_: time < steps,
        body,
        (tf.constant(0), writes, first, *states),
        maximum_iterations=steps,
        parallel_iterations=32,
        swap_memory=True,
    )
    outputs = writes.stack()
    outputs.set_shape([length if return_sequences else 1, *states[0].shape])
    return last, tf.transpose(outputs, [1, 0, 2]), list(states)


def time_major_mask(mask: Any) -> tf.Tensor:
    """`(batch, time)` or `(batch, time, 1)` as a boolean `(time, batch, 1)`."""
    mask = tf.cast(mask, tf.bool)
    if len(mask.shape) == 2:
        mask = mask[:, :, None]
    return tf.transpose(mask, [1, 0, 2])
