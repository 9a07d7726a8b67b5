"""The loop over time, plain and as the hand-written passes run it.

`scan` is the loop of `keras.layers.RNN` over inputs that are projected already. The rest is what
recurrences with a hand-written backward pass share: compilation, arrays over time, and chunks.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import tensorflow as tf

Pass = Callable[..., Any]

XLA_WEIGHTS = 100_000
"""Up to this many weights in the loop XLA compiles the passes, whose operations are then so small
that starting each costs more than its work. Measured in processor time (batch 16, 150 steps, one
and two threads): an H-LSTM takes 0.6 to 0.75 of the time at 64 units, 0.8 to 0.9 at 96 and 1.1 at
128; an LSTM 0.75 at 128 and 0.9 at 256. Each new shape is compiled anew, in a second or two."""

CHUNK = 32
"""Steps whose intermediate tensors are recomputed at once."""


class Settings(NamedTuple):
    """How the passes compute.

    Attributes:
        matmul_dtype: Dtype of matrix products' operands; `None` for float32.
        recompute: Whether the forward pass keeps states only.
    """

    matmul_dtype: str | None = None
    recompute: bool = False


def compiled(function: Pass, weights: int, settings: Settings) -> Pass:
    """Lets XLA compile a pass with so many weights in its loop, where that is faster."""
    # XLA would take the rounding of operands for waste and remove it.
    if weights > XLA_WEIGHTS or settings.recompute or settings.matmul_dtype == "bfloat16":
        return function
    return tf.function(function, jit_compile=True, reduce_retracing=True, autograph=False)


def flat(values: tf.Tensor) -> tf.Tensor:
    """`(time, batch, n)` as `(time * batch, n)`."""
    return tf.reshape(values, [-1, values.shape[2]])


def unflat(values: tf.Tensor, like: tf.Tensor) -> tf.Tensor:
    """`(time * batch, n)` as `(time, batch, n)`, where `like` is `(time, batch, ...)`."""
    shape, width = tf.shape(like), values.shape[1]
    return tf.ensure_shape(
        tf.reshape(values, [shape[0], shape[1], width]), [*like.shape[:2], width]
    )


def cut(structure: Any, start: Any, stop: Any) -> Any:
    """The steps from `start` to before `stop` of each tensor of a structure; `None` stays."""
    return tf.nest.map_structure(
        lambda values: None if values is None else values[start:stop], structure
    )


def steps_of(values: tf.Tensor) -> Any:
    """The length of the first axis, an int where it is known."""
    return tf.shape(values)[0] if values.shape[0] is None else values.shape[0]


def array(steps: Any, width: int) -> tf.TensorArray:
    """An array to write `(batch, width)` to at each step.

    One array of all that a step leaves: each further one costs a loop variable and a write.
    """
    return tf.TensorArray(tf.float32, size=steps, element_shape=tf.TensorShape([None, width]))


def shifted(first: tf.Tensor, values: tf.Tensor) -> tf.Tensor:
    """The states before each step: `first (batch, n)`, then all but the last of `values`."""
    return tf.concat([first[None], values[:-1]], axis=0)


def by_chunks(
    part: Callable[[Any, Any, list[tf.Tensor]], tuple[tf.Tensor, list[tf.Tensor], list[tf.Tensor]]],
    projected: tf.Tensor,
    carried: list[tf.Tensor],
    weights: Sequence[tf.Tensor],
) -> tuple[tf.Tensor, list[tf.Tensor], list[tf.Tensor]]:
    """Runs a backward pass chunk by chunk, so that only a chunk's intermediate tensors exist.

    Args:
        part: Takes a chunk's first step, the step after its last, and what the later chunk carries
            to it. It returns the gradient of the projected input at its steps, first axis time;
            what it carries to the earlier chunk; and its share of the weights' gradients.
        projected: The projected input `(time, batch, n)`.
        carried: What is carried to the last chunk.
        weights: The weights whose gradients `part` returns.

    Returns:
        The same for all steps.
    """
    steps = steps_of(projected)
    chunks = (steps + CHUNK - 1) // CHUNK

    def body(chunk: Any, rows: Any, carried: Any, sums: Any) -> tuple[Any, ...]:
        start = chunk * CHUNK
        gradient, carried, shares = part(start, tf.minimum(start + CHUNK, steps), carried)
        sums = [total + share for total, share in zip(sums, shares, strict=True)]
        return chunk - 1, rows.write(chunk, gradient), carried, sums

    rows = tf.TensorArray(
        tf.float32,
        size=chunks,
        infer_shape=False,  # the last may be shorter
        element_shape=[None, *projected.shape[1:]],
    )
    start = tf.convert_to_tensor(chunks) - 1, rows, carried, [*map(tf.zeros_like, weights)]
    _, rows, carried, sums = tf.while_loop(lambda chunk, *_: chunk >= 0, body, start)
    return tf.ensure_shape(rows.concat(), projected.shape), carried, sums


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
    output: tf.Tensor | None = None,
) -> tuple[tf.Tensor, tf.Tensor, list[tf.Tensor]]:
    """Runs `step` over the time axis, as `keras.layers.RNN` does.

    Where a mask is `False` the states stay as they were and the output is repeated (zero before
    the first valid step), or zero with `zero_output_for_mask`. With `go_backwards` the outputs come
    in the order in which they were computed.

    Args:
        step: `(input, states) -> (output, states)` on tensors of one time step.
        inputs: `(batch, time, ...)`.
        states: The initial states, each `(batch, units)`.
        mask: `(batch, time)` or `(batch, time, 1)`, `True` at valid steps; `None` for all.
        go_backwards: Whether time runs from the end.
        return_sequences: Whether all outputs are kept, or only the last.
        zero_output_for_mask: Whether outputs at masked steps are zero.
        output: Zeros in the shape of an output. Default: that of the first state.

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
    first = tf.zeros_like(states[0]) if output is None else output
    writes = tf.TensorArray(
        first.dtype,
        size=steps if return_sequences else 1,
        element_shape=first.shape,
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

    _, writes, last, *states = tf.while_loop(
        lambda time, *_: time < steps,
        body,
        (tf.constant(0), writes, first, *states),
        maximum_iterations=steps,
        parallel_iterations=32,
        swap_memory=True,
    )
    outputs = writes.stack()
    outputs.set_shape([length if return_sequences else 1, *first.shape])
    batch_major = tf.transpose(outputs, [1, 0, *range(2, len(outputs.shape))])
    return last, batch_major, list(states)


def time_major_mask(mask: Any) -> tf.Tensor:
    """`(batch, time)` or `(batch, time, 1)` as a boolean `(time, batch, 1)`."""
    mask = tf.cast(mask, tf.bool)
    if len(mask.shape) == 2:
        mask = mask[:, :, None]
    return tf.transpose(mask, [1, 0, 2])
