"""Sizes of the inputs and outputs of a model's kernels over the training data."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from hlstm_tf.layers.cells import HIDDEN, STATE, CellForm, compact_kernels, form_of
from hlstm_tf.layers.kernels import GateKernels
from hlstm_tf.layers.masking import MaskedKernel, require_masked_kernels
from hlstm_tf.layers.observers import noting_inputs, tapping
from hlstm_tf.scoring.data import check_data, input_totals


def input_sizes(
    model: keras.Model,
    data: Any,
    batch_size: int = 32,
    where: str = "the activation score",
    share: float = 1.0,
) -> dict[MaskedKernel, np.ndarray]:
    """Passes the training set once and returns the root mean square of each kernel's inputs.

    What a connection adds to its neuron is its weight times its input, so |w| times this is how
    much goes with it (Wanda, arXiv 2306.11695, equation 1). In recurrent layers masked steps do not
    count; an embedding's inputs are one-hot, so that frequent rows are large.

    Args:
        model: A built model with masked kernels.
        data: See `DenseGradients.mean`; targets are not used.
        batch_size: How arrays are batched.
        where: What the pass is for, to name it in an error.
        share: Share of the batches that count, evenly spread.

    Returns:
        For each kernel `(gates, inputs)`, float32; a convolution's inputs are window times
        channels.

    Raises:
        ValueError: There is not one batch; or a kernel's inputs cannot be seen, as inside
            `keras.layers.RNN`.

    Example:

    >>> import keras, numpy as np, hlstm_tf as hl
    >>> model = keras.Sequential([keras.Input((2,)), hl.MaskedDense(1)])
    >>> [sizes] = input_sizes(model, (np.array([[3.0, 0.0], [4.0, 1.0]]), np.zeros(2))).values()
    >>> [round(float(size), 3) for size in sizes[0]]
    [3.536, 0.707]
    """
    check_data(data, "data")
    kernels = require_masked_kernels(model)

    def forward(x: Any) -> list[tuple[tf.Tensor, tf.Tensor]]:
        return _squares(model, kernels, x)

    sums = input_totals(model, forward, data, batch_size, share, where)
    return {
        kernel: _root_mean(squares, count, kernel.gates)
        for kernel, (squares, count) in zip(kernels, sums, strict=True)
    }


def _squares(
    model: keras.Model, kernels: list[MaskedKernel], x: Any
) -> list[tuple[tf.Tensor, tf.Tensor]]:
    """Of one batch and each kernel: the sum of its inputs' squares, and over how many."""
    found: dict[MaskedKernel, tuple[tf.Tensor, tf.Tensor]] = {}

    def note(kernel: MaskedKernel, squares: tf.Tensor, count: tf.Tensor) -> None:
        before = found.get(kernel, (0.0, 0.0))  # a layer that is called twice
        found[kernel] = (before[0] + squares, before[1] + count)

    with noting_inputs(note):
        model(x, training=False)
    unseen = [kernel.path for kernel in kernels if kernel not in found]
    if unseen:
        raise ValueError(
            f"a score by activations cannot see the inputs of {unseen[0]}: cells inside "
            "keras.layers.RNN run in a loop of Keras's, and a layer that the model does not call "
            "has none. Use HLSTM, MaskedLSTM and so on as layers, or another score."
        )
    return [found[kernel] for kernel in kernels]


def _root_mean(squares: tf.Tensor, count: tf.Tensor, gates: int) -> np.ndarray:
    mean = keras.ops.convert_to_numpy(squares) / max(float(count), 1.0)
    return np.sqrt(np.broadcast_to(mean, (gates, mean.shape[1])))


_READ_BY = {"depthwise_kernel": "pointwise_kernel"}
"""Which kernel of a feed-forward layer reads what another puts out."""

Sizes = dict[MaskedKernel, np.ndarray]


def output_sizes(
    model: keras.Model,
    data: Any,
    batch_size: int = 32,
    where: str = "the output score",
    share: float = 1.0,
) -> Sizes:
    """Passes the training set and returns the root mean square of the outputs of kernels' neurons.

    What a neuron puts out, after its activation, is all that the rest of the model knows of it
    (NeST, arXiv 1711.02017, prunes neurons by their output). It is that of the units of dense
    layers, of the filters of convolutions over all positions, of the hidden neurons of H-LSTM
    gates, of a recurrent layer's state h for all kernels that lead to it, and of the columns of
    embeddings. In recurrent layers masked steps do not count.

    Args:
        model: A built model with masked kernels.
        data: See `DenseGradients.mean`; targets are not used.
        batch_size: How arrays are batched.
        where: What the pass is for, to name it in an error.
        share: Share of the batches that count, evenly spread.

    Returns:
        For each kernel `(gates, outputs)`, float32.

    Raises:
        ValueError: There is not one batch; or a kernel's outputs cannot be seen, as inside
            `keras.layers.RNN`.

    Example:

    >>> import keras, numpy as np, hlstm_tf as hl
    >>> model = keras.Sequential([keras.Input((1,)), hl.MaskedDense(2, activation="relu")])
    >>> model.set_weights([np.array([[1.0, -1.0]]), np.zeros(2), np.ones((1, 2), bool)])
    >>> [sizes] = output_sizes(model, (np.array([[3.0], [4.0]]), np.zeros(2))).values()
    >>> [round(float(size), 3) for size in sizes[0]]
    [3.536, 0.0]
    """
    check_data(data, "data")
    kernels = require_masked_kernels(model)
    found = _feed_forward(model, kernels, data, batch_size, where, share)
    rest = [kernel for kernel in kernels if kernel not in found]
    if rest:
        found |= _recurrent(rest, input_sizes(model, data, batch_size, where, share))
    return {kernel: found[kernel] for kernel in kernels}


def _feed_forward(
    model: keras.Model,
    kernels: Sequence[MaskedKernel],
    data: Any,
    batch_size: int,
    where: str,
    share: float,
) -> Sizes:
    """Of dense layers and convolutions: their own outputs."""
    order = {id(kernel.layer): number for number, kernel in enumerate(kernels)}
    seen: list[int] = []  # filled while the pass is traced

    def forward(x: Any) -> list[tf.Tensor]:
        totals: dict[int, tuple[Any, Any]] = {}

        def tap(layer: keras.Layer, inputs: Any, value: Any, output: Any) -> None:
            rows = tf.reshape(tf.cast(output, tf.float32), [-1, output.shape[-1]])
            squares, count = totals.get(order[id(layer)], (0.0, 0.0))  # a layer called twice
            squares += tf.reduce_sum(tf.square(rows), axis=0)
            totals[order[id(layer)]] = squares, count + tf.cast(tf.shape(rows)[0], tf.float32)

        with tapping(tap):
            model(x, training=False)
        seen[:] = sorted(totals)
        return [part for number in seen for part in totals[number]]

    sums = input_totals(model, forward, data, batch_size, share, where)
    numbers = [keras.ops.convert_to_numpy(part) for part in sums]
    pairs = zip(seen, numbers[::2], numbers[1::2], strict=True)
    return {kernels[i]: np.sqrt(squares / max(count, 1.0))[None] for i, squares, count in pairs}


def _recurrent(kernels: Sequence[MaskedKernel], inputs: Mapping[MaskedKernel, np.ndarray]) -> Sizes:
    """Of all other layers: what a neuron puts out is what the kernel after it takes in."""
    found: Sizes = {}
    for form, own in _cells(kernels):
        found |= _outputs_of_cell(form, own, inputs)
    for kernel in kernels:
        if kernel.name == "embeddings":
            table = keras.ops.convert_to_numpy(kernel.variable)
            # One row at a time, as often as `inputs` says.
            found[kernel] = np.sqrt(np.square(inputs[kernel]) @ np.square(table))
        elif kernel not in found:
            siblings = {k.name: k for k in inputs if k.layer is kernel.layer}
            after = siblings.get(_READ_BY.get(kernel.name, ""))
            if after is None:
                raise ValueError(f"the output score cannot see what {kernel.path} puts out.")
            found[kernel] = inputs[after]
    return found


def _cells(kernels: Sequence[MaskedKernel]) -> Iterator[tuple[CellForm, list[MaskedKernel]]]:
    """Yields each recurrent cell by its form, with its kernels."""
    for layer in {id(kernel.layer): kernel.layer for kernel in kernels}.values():
        form = form_of(layer)
        if form is not None and not compact_kernels(layer):
            yield form, [kernel for kernel in kernels if kernel.layer is layer]


def _outputs_of_cell(
    form: CellForm, kernels: Sequence[MaskedKernel], inputs: Mapping[MaskedKernel, np.ndarray]
) -> Sizes:
    places = GateKernels(form, kernels)
    parts: dict[tuple[MaskedKernel, int], np.ndarray] = {}
    for gate in range(len(form.gates)):
        for number, layer in enumerate(form.layers):
            # The last layer leads to the state, which the first layer's recurrent kernel reads.
            is_last = number + 1 == len(form.layers)
            after = form.layers[0 if is_last else number + 1]
            [consumer] = after.reading(STATE if is_last else HIDDEN)
            kernel, place = places.place(consumer, gate)
            sizes = inputs[kernel][min(place, len(inputs[kernel]) - 1)]
            parts |= {places.place(name, gate): sizes for name, _ in layer.kernels}
    return {
        kernel: np.stack([parts[kernel, gate] for gate in range(kernel.gates)])
        for kernel in kernels
    }
