"""Masked twins of Keras's dense, embedding and recurrent layers: one mask for each kernel."""

from collections.abc import Mapping
from typing import Any, ClassVar

import keras

from hlstm_tf.layers.cells import (
    FormOf,
    GRUForm,
    LSTMForm,
    SimpleRNNForm,
    form_of,
    has_form,
    register_form,
)
from hlstm_tf.layers.feed_forward import MaskedFeedForward, OutputAxes
from hlstm_tf.layers.kernels import EffectiveKernel
from hlstm_tf.layers.masking import MaskedLayer
from hlstm_tf.layers.observers import is_noting, note_ids, note_input
from hlstm_tf.layers.recurrent_layer import (
    CellLayer,
    GRURecurrence,
    LSTMRecurrence,
    cell_in_place_of,
)

_register = keras.saving.register_keras_serializable(package="hlstm_tf")


@_register
class MaskedDense(MaskedFeedForward, keras.layers.Dense):
    """`keras.layers.Dense` with a mask: takes its arguments, gives its numbers.

    `kernel_mask` is a boolean variable of the kernel's shape `(inputs, units)`, all `True` when
    built. Masks change through the callbacks or `hlstm_tf.sparsity.edit_masks`.

    Example:

    >>> import hlstm_tf as hl
    >>> layer = hl.MaskedDense(3)
    >>> layer.build((None, 2))
    >>> [weight.name for weight in layer.weights]
    ['kernel', 'bias', 'kernel_mask']
    """

    _kernel = EffectiveKernel()


@_register
class MaskedEmbedding(MaskedFeedForward, keras.layers.Embedding):
    """`keras.layers.Embedding` with a mask of the table's shape `(input_dim, output_dim)`.

    Example:

    >>> import hlstm_tf as hl
    >>> layer = hl.MaskedEmbedding(10, 4)
    >>> layer.build((None, 5))
    >>> layer.embeddings_mask.shape
    TensorShape([10, 4])
    """

    _kernels: ClassVar[Mapping[str, OutputAxes]] = {"embeddings": (-1,)}
    _embeddings = EffectiveKernel()

    def _note(self, inputs: Any) -> None:
        note_ids(self, "embeddings", inputs)


@_register
class MaskedReversibleEmbedding(MaskedFeedForward, keras.layers.ReversibleEmbedding):
    """`keras.layers.ReversibleEmbedding` with a mask of the table's shape.

    The table looks ids up and, with `reverse=True`, projects back onto them: one mask for both
    uses. With `tie_weights=False` the second use has a kernel `reverse_embeddings` of its own, with
    a mask of its own.

    Example:

    >>> import numpy as np, hlstm_tf as hl
    >>> layer = hl.MaskedReversibleEmbedding(10, 4)
    >>> layer(layer(np.array([[1, 2]])), reverse=True).shape
    TensorShape([1, 2, 10])
    >>> len(hl.masked_kernels(layer))
    1
    """

    _kernels: ClassVar[Mapping[str, OutputAxes]] = {"embeddings": (-1,)}
    _embeddings = EffectiveKernel()
    reverse_embeddings = EffectiveKernel()

    def build(self, input_shape: Any = None) -> None:
        super().build(input_shape)
        if not self.tie_weights and len(self.own_masked_kernels()) == 1:
            self._add_masks(("reverse_embeddings",))

    def call(self, inputs: Any, reverse: bool = False) -> Any:
        if is_noting() and not reverse:
            note_ids(self, "embeddings", inputs)
        elif is_noting() and not self.tie_weights:
            note_input(self, "reverse_embeddings", inputs)
        with self.effective_kernels():
            return keras.layers.ReversibleEmbedding.call(self, inputs, reverse=reverse)


class _MaskedCell(MaskedLayer):
    """A twin of a Keras recurrent cell, whose kernels hold the gates side by side."""

    def build(self, input_shape: Any) -> None:
        super().build(input_shape)  # type: ignore[misc]
        form = form_of(self)
        assert form is not None
        self._add_masks(form.kernels, gates=len(form.gates))

    def call(self, inputs: Any, states: Any, training: bool = False) -> Any:
        with self.effective_kernels():
            return super().call(inputs, states, training=training)  # type: ignore[misc]


@_register
class MaskedSimpleRNNCell(_MaskedCell, keras.layers.SimpleRNNCell):
    """`keras.layers.SimpleRNNCell` with masks for `kernel` and `recurrent_kernel`.

    Example:

    >>> import hlstm_tf as hl
    >>> cell = hl.MaskedSimpleRNNCell(4)
    >>> cell.build((None, 3))
    >>> cell.recurrent_kernel_mask.shape
    TensorShape([4, 4])
    """

    kernel = EffectiveKernel()
    recurrent_kernel = EffectiveKernel()

    def call(self, sequence: Any, states: Any, training: bool = False) -> Any:
        return super().call(sequence, states, training=training)


@_register
class MaskedLSTMCell(_MaskedCell, keras.layers.LSTMCell):
    """`keras.layers.LSTMCell` with masks for `kernel` and `recurrent_kernel`; four gates each.

    Example:

    >>> import hlstm_tf as hl
    >>> cell = hl.MaskedLSTMCell(4)
    >>> cell.build((None, 3))
    >>> [handle.gates for handle in hl.masked_kernels(cell)]
    [4, 4]
    """

    kernel = EffectiveKernel()
    recurrent_kernel = EffectiveKernel()


@_register
class MaskedGRUCell(_MaskedCell, keras.layers.GRUCell):
    """`keras.layers.GRUCell` with masks for `kernel` and `recurrent_kernel`; three gates each.

    Example:

    >>> import hlstm_tf as hl
    >>> cell = hl.MaskedGRUCell(4)
    >>> cell.build((None, 3))
    >>> [handle.gates for handle in hl.masked_kernels(cell)]
    [3, 3]
    """

    kernel = EffectiveKernel()
    recurrent_kernel = EffectiveKernel()


register_form(MaskedSimpleRNNCell, SimpleRNNForm)
register_form(MaskedLSTMCell, LSTMForm)
register_form(MaskedGRUCell, GRUForm)

_CELL_TWINS: dict[type, type] = {}


def register_cell(cell_class: type[keras.Layer], form: FormOf) -> type[keras.Layer]:
    """Makes a recurrent cell known: masks, growth, pruning, `shrink`, counts and exports take it.

    Args:
        cell_class: A Keras layer class with `units`, `use_bias`, `state_size` and
            `call(inputs, states)`, registered with `keras.saving.register_keras_serializable` and
            used in `keras.layers.RNN`. Its `call` reads the kernels as attributes. Subclasses of it
            are not registered with it.
        form: A `CellForm` subclass, or a function of a cell that returns a `CellForm`.

    Returns:
        The cell's masked twin, which `sparsify` puts in its place: a subclass named `Masked...`.

    Raises:
        TypeError: `cell_class` is no Keras layer class.
        ValueError: A cell of that class is registered already.

    Example:

    `hl.CellForm` shows how a cell's form is written.

    >>> import keras, hlstm_tf as hl
    >>> from hlstm_tf.layers.cells import SimpleRNNForm
    >>> @keras.saving.register_keras_serializable(package="example")
    ... class PlainCell(keras.layers.SimpleRNNCell):
    ...     pass
    >>> hl.register_cell(PlainCell, SimpleRNNForm).__name__
    'MaskedPlainCell'
    """
    if not isinstance(cell_class, type) or not issubclass(cell_class, keras.Layer):
        raise TypeError(f"cell_class must be a Keras layer class; got {cell_class!r}.")
    if has_form(cell_class):
        raise ValueError(f"{cell_class.__name__} is registered already.")
    body = {
        "__module__": cell_class.__module__,
        "__doc__": f"`{cell_class.__name__}` with a mask for each kernel.",
        "kernel": EffectiveKernel(),
        "recurrent_kernel": EffectiveKernel(),
    }
    twin = type(f"Masked{cell_class.__name__}", (_MaskedCell, cell_class), body)
    _register(twin)
    register_form(cell_class, form)
    register_form(twin, form)
    _CELL_TWINS[cell_class] = twin
    return twin


def registered_cells() -> dict[type, type]:
    """The masked twin of each cell class that `register_cell` was given."""
    return dict(_CELL_TWINS)


class _MaskedCellRNN(keras.layers.RNN):
    """Takes the plain cell that the Keras layer made, and runs its masked twin instead.

    It stands between e.g. `keras.layers.LSTM` and `keras.layers.RNN` in the order of base classes,
    so that the Keras layer's own constructor, with all its arguments, stays the only one.
    """

    _cell_class: ClassVar[type[keras.Layer]]

    def __init__(self, cell: keras.Layer, **kwargs: Any) -> None:
        super().__init__(cell_in_place_of(cell, self._cell_class), **kwargs)


@_register
class MaskedSimpleRNN(CellLayer, keras.layers.SimpleRNN, _MaskedCellRNN):
    """`keras.layers.SimpleRNN` whose cell is a `MaskedSimpleRNNCell`.

    Example:

    >>> import numpy as np, hlstm_tf as hl
    >>> hl.MaskedSimpleRNN(4)(np.zeros((2, 5, 3), "float32")).shape
    TensorShape([2, 4])
    """

    _cell_class = MaskedSimpleRNNCell


@_register
class MaskedLSTM(LSTMRecurrence, keras.layers.LSTM, _MaskedCellRNN):
    """`keras.layers.LSTM` whose cell is a `MaskedLSTMCell`.

    On a CPU it trains through the recurrence whose backward pass is written by hand, under the
    conditions that `HLSTM` has, with the same numbers to rounding. It takes two arguments more
    than `keras.layers.LSTM`, by name: `matmul_dtype` and `recompute`, which mean what they do for
    `HLSTM`.

    Example:

    >>> import numpy as np, hlstm_tf as hl
    >>> hl.MaskedLSTM(4)(np.zeros((2, 5, 3), "float32")).shape
    TensorShape([2, 4])
    """

    _cell_class = MaskedLSTMCell


@_register
class MaskedGRU(GRURecurrence, keras.layers.GRU, _MaskedCellRNN):
    """`keras.layers.GRU` whose cell is a `MaskedGRUCell`.

    It trains as `MaskedLSTM` does, and takes the same two arguments more.

    Example:

    >>> import numpy as np, hlstm_tf as hl
    >>> hl.MaskedGRU(4)(np.zeros((2, 5, 3), "float32")).shape
    TensorShape([2, 4])
    """

    _cell_class = MaskedGRUCell
