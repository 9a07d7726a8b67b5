"""Dense and recurrent layers whose kernels are products of few weights (arXiv 1604.02594)."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import keras
from keras import ops

from hlstm_tf.layers.cells import (
    GRUForm,
    LSTMForm,
    SimpleRNNForm,
    compact_kernels,
    form_of,
    register_form,
)
from hlstm_tf.layers.compact_kernels import CompactLayer, KernelForm
from hlstm_tf.layers.gates import as_flag
from hlstm_tf.layers.kernels import EffectiveKernel
from hlstm_tf.layers.matrix_forms import (
    KernelShape,
    MatrixForm,
    as_kernel_forms,
    forms_config,
)
from hlstm_tf.layers.observers import is_noting, note_input, tapped
from hlstm_tf.layers.passes import scan
from hlstm_tf.layers.recurrent_layer import (
    CellLayer,
    Flags,
    GRURecurrence,
    LSTMRecurrence,
    cell_in_place_of,
)

_register = keras.saving.register_keras_serializable(package="hlstm_tf")


@_register
class CompactDense(CompactLayer, keras.layers.Layer):
    """A dense layer whose kernel has a form of few weights: `activation(x @ W + b)`.

    Args:
        units: Width of the output.
        activation: Applied to the output; none by default.
        use_bias: Whether a bias is added.
        kernel_form: The form of the kernel, such as `hl.LowRank(16)`; by default dense.
        masked: Whether each factor has a mask. Default `None`: where the form has a sparse part.
        kernel_initializer: What the factors begin near to, and whose variance they have.
        bias_initializer: Of the bias.
        kernel_regularizer: Of each factor.
        bias_regularizer: Of the bias.
        kernel_constraint: Of each factor.
        bias_constraint: Of the bias.
        **kwargs: `keras.layers.Layer`'s arguments.

    Call arguments:
        inputs: `(..., inputs)`.

    Returns:
        `(..., units)`.

    Raises:
        ValueError: The form does not fit the kernel's shape.

    Example:

    >>> import numpy as np, hlstm_tf as hl
    >>> layer = hl.CompactDense(100, kernel_form=hl.LowRank(parameters=0.25))
    >>> layer(np.ones((2, 60), "float32")).shape
    TensorShape([2, 100])
    >>> layer.count_params() - 100, 60 * 100
    (1440, 6000)
    """

    kernel = EffectiveKernel()

    def __init__(
        self,
        units: int,
        activation: Any = None,
        use_bias: bool = True,
        kernel_form: KernelForm = None,
        masked: bool | None = None,
        kernel_initializer: Any = "glorot_uniform",
        bias_initializer: Any = "zeros",
        kernel_regularizer: Any = None,
        bias_regularizer: Any = None,
        kernel_constraint: Any = None,
        bias_constraint: Any = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if isinstance(units, bool) or not isinstance(units, int) or units <= 0:
            raise ValueError(f"units must be a positive integer; got {units!r}.")
        self.units = units
        self.activation = keras.activations.get(activation)
        self.use_bias = use_bias
        self._set_forms(as_kernel_forms(kernel_form, ("kernel",)))
        self.masked = _masked_by(self.kernel_form, masked)
        self.kernel_initializer = keras.initializers.get(kernel_initializer)
        self.bias_initializer = keras.initializers.get(bias_initializer)
        self.kernel_regularizer = keras.regularizers.get(kernel_regularizer)
        self.bias_regularizer = keras.regularizers.get(bias_regularizer)
        self.kernel_constraint = keras.constraints.get(kernel_constraint)
        self.bias_constraint = keras.constraints.get(bias_constraint)
        self.supports_masking = True

    def build(self, input_shape: Any) -> None:
        if input_shape[-1] is None:
            raise ValueError(
                f"{type(self).__name__} '{self.name}' needs a fixed number of inputs; got the "
                f"shape {tuple(input_shape)}."
            )
        self.kernel = self.add_weight(
            name="kernel",
            shape=(input_shape[-1], self.units),
            initializer=self.kernel_initializer,
            regularizer=self.kernel_regularizer,
            constraint=self.kernel_constraint,
        )
        self.bias = None
        if self.use_bias:
            self.bias = self.add_weight(
                name="bias",
                shape=(self.units,),
                initializer=self.bias_initializer,
                regularizer=self.bias_regularizer,
                constraint=self.bias_constraint,
            )
        self.input_spec = keras.layers.InputSpec(min_ndim=2, axes={-1: input_shape[-1]})
        if self.masked:
            _add_masks(self, ("kernel",))

    def call(self, inputs: Any) -> Any:
        with self.effective_kernels(), tapped(self, inputs):
            if is_noting():
                note_input(self, "kernel", inputs)
            compact = compact_kernels(self).get("kernel")
            if compact is None:
                outputs = ops.matmul(inputs, self.effective("kernel"))
            else:
                outputs = compact.operator().apply(inputs)
            outputs = outputs if self.bias is None else outputs + self.bias
            return self.activation(outputs)

    def compute_output_shape(self, input_shape: Any) -> tuple[int | None, ...]:
        return (*input_shape[:-1], self.units)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "units": self.units,
            "activation": keras.activations.serialize(self.activation),
            "use_bias": self.use_bias,
            "kernel_form": forms_config(self.kernel_form),
            "masked": self.masked,
            "kernel_initializer": keras.initializers.serialize(self.kernel_initializer),
            "bias_initializer": keras.initializers.serialize(self.bias_initializer),
            "kernel_regularizer": keras.regularizers.serialize(self.kernel_regularizer),
            "bias_regularizer": keras.regularizers.serialize(self.bias_regularizer),
            "kernel_constraint": keras.constraints.serialize(self.kernel_constraint),
            "bias_constraint": keras.constraints.serialize(self.bias_constraint),
        }


def _masked_by(forms: Mapping[str, MatrixForm], masked: bool | None) -> bool:
    if masked is None:
        return any(getattr(form, "doped", 0) > 0 for form in forms.values())
    return as_flag(masked, "masked")


def _add_masks(layer: CompactLayer, kernels: Sequence[str], gates: int = 1) -> None:
    """Masks of all factors, and of the kernels that stayed dense."""
    layer.add_factor_masks()
    dense = tuple(name for name in kernels if name not in compact_kernels(layer))
    layer._add_masks(dense, gates=gates)


class CompactCell(CompactLayer):
    """A Keras recurrent cell some of whose kernels have a form of few weights."""

    _gates: ClassVar[int]

    def __init__(
        self,
        units: int,
        *args: Any,
        kernel_form: KernelForm = None,
        masked: bool | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(units, *args, **kwargs)  # type: ignore[call-arg]
        kernels = ("kernel", "recurrent_kernel")
        self._set_forms(as_kernel_forms(kernel_form, kernels))
        self.masked = _masked_by(self.kernel_form, masked)
        if self.recurrent_dropout:  # type: ignore[attr-defined]
            raise ValueError(
                f"{type(self).__name__} has no recurrent_dropout; got "
                f"{self.recurrent_dropout}. Use dropout, which acts on the inputs."  # type: ignore[attr-defined]
            )
        # One product for all gates, and one choice of dropout for all of them.
        self.implementation = 2
        self.dropout_mask_count = None

    def kernel_shape(self, name: str, shape: Sequence[int]) -> KernelShape:
        inputs, outputs = shape
        return KernelShape(inputs, outputs // self._gates, self._gates)

    def build(self, input_shape: Any) -> None:
        super().build(input_shape)  # type: ignore[misc]
        if self.masked:
            _add_masks(self, ("kernel", "recurrent_kernel"), self._gates)

    def call(self, inputs: Any, states: Any, training: bool = False) -> Any:
        form = form_of(self)
        assert form is not None
        with self.effective_kernels():
            dropped = self.get_dropout_mask(inputs) if training else None  # type: ignore[attr-defined]
            frame = form.project(inputs if dropped is None else inputs * dropped)
            return form.prepare()(frame, list(keras.tree.flatten(states)))

    def get_config(self) -> dict[str, Any]:
        config = super().get_config()  # type: ignore[misc]
        config.pop("implementation", None)
        return {**config, "kernel_form": forms_config(self.kernel_form), "masked": self.masked}


@_register
class CompactSimpleRNNCell(CompactCell, keras.layers.SimpleRNNCell):
    """`keras.layers.SimpleRNNCell` with compact kernels; see `CompactSimpleRNN`.

    Example:

    >>> import hlstm_tf as hl
    >>> cell = hl.CompactSimpleRNNCell(4, kernel_form=hl.LowRank(2))
    >>> cell.build((None, 3))
    >>> cell.recurrent_kernel_left.shape
    TensorShape([4, 2])
    """

    _gates = 1
    kernel = EffectiveKernel()
    recurrent_kernel = EffectiveKernel()

    def call(self, sequence: Any, states: Any, training: bool = False) -> Any:
        return super().call(sequence, states, training=training)


@_register
class CompactLSTMCell(CompactCell, keras.layers.LSTMCell):
    """`keras.layers.LSTMCell` with compact kernels; see `CompactLSTM`.

    Example:

    >>> import hlstm_tf as hl
    >>> cell = hl.CompactLSTMCell(4, kernel_form=hl.LowRank(2))
    >>> cell.build((None, 3))
    >>> cell.kernel_left.shape, cell.kernel_right.shape
    (TensorShape([3, 8]), TensorShape([4, 2, 4]))
    """

    _gates = 4
    kernel = EffectiveKernel()
    recurrent_kernel = EffectiveKernel()


@_register
class CompactGRUCell(CompactCell, keras.layers.GRUCell):
    """`keras.layers.GRUCell` with compact kernels; see `CompactGRU`.

    Example:

    >>> import hlstm_tf as hl
    >>> cell = hl.CompactGRUCell(4, kernel_form=hl.SharedLowRank(2))
    >>> cell.build((None, 3))
    >>> cell.kernel_left.shape, cell.kernel_right.shape
    (TensorShape([3, 2]), TensorShape([2, 12]))
    """

    _gates = 3
    kernel = EffectiveKernel()
    recurrent_kernel = EffectiveKernel()


register_form(CompactSimpleRNNCell, SimpleRNNForm)
register_form(CompactLSTMCell, LSTMForm)
register_form(CompactGRUCell, GRUForm)


class CompactRNN(keras.layers.RNN):
    """Takes the plain cell that the Keras layer made, and runs its compact form instead.

    It stands between e.g. `keras.layers.LSTM` and `keras.layers.RNN` in the order of base classes.
    """

    _cell_class: ClassVar[type[keras.layers.Layer]]

    def __init__(self, cell: keras.layers.Layer, *, compact: dict[str, Any], **kwargs: Any) -> None:
        super().__init__(cell_in_place_of(cell, self._cell_class, **compact), **kwargs)


class CompactRecurrentLayer(CellLayer):
    """Mixin of the compact recurrent layers: their two arguments, and a loop without projections.

    What the inputs contribute is computed for all steps at once, outside the loop.
    """

    use_cudnn: bool | str
    supports_jit: bool

    def __init__(
        self,
        units: int,
        *args: Any,
        kernel_form: KernelForm = None,
        masked: bool | None = None,
        **kwargs: Any,
    ) -> None:
        compact = {"kernel_form": kernel_form, "masked": masked}
        super().__init__(units, *args, compact=compact, **kwargs)  # type: ignore[call-arg]
        if hasattr(self, "use_cudnn"):
            if self.use_cudnn is True:
                raise ValueError(
                    f"use_cudnn=True was given to {type(self).__name__}; cuDNN has no compact "
                    "kernels. Use use_cudnn='auto'."
                )
            self.use_cudnn = False
            # Keras turns XLA off wherever cuDNN could take over; here it never does.
            self.supports_jit = not getattr(self, "recompute", False)

    def _run_plain(self, sequences: Any, initial_state: Any, mask: Any, training: bool) -> Any:
        cell = self.cell  # type: ignore[attr-defined]
        if self.unroll or (training and cell.dropout):  # type: ignore[attr-defined]
            return CellLayer._run(self, sequences, initial_state, mask, training)  # Keras's own
        form = form_of(cell)
        assert form is not None
        frames, flags = form.project(sequences), Flags.of(self)
        return scan(form.prepare(), frames, initial_state, mask, **flags._asdict())

    def _fits_recurrence(self) -> bool:
        return not self.unroll  # type: ignore[attr-defined]

    @property
    def kernel_form(self) -> dict[str, MatrixForm]:
        """The forms of the cell's kernels that are not dense, by name."""
        return self.cell.kernel_form  # type: ignore[attr-defined]

    @property
    def masked(self) -> bool:
        """Whether each factor has a mask."""
        return self.cell.masked  # type: ignore[attr-defined]

    def get_config(self) -> dict[str, Any]:
        config = super().get_config()
        config.pop("implementation", None)
        return {**config, "kernel_form": forms_config(self.kernel_form), "masked": self.masked}


class PlainLoopLayer(CompactRecurrentLayer):
    """Mixin of those that train through differentiation of their loop, too."""

    def _run(self, sequences: Any, initial_state: Any, mask: Any, training: bool) -> Any:
        return self._run_plain(sequences, initial_state, mask, training)


@_register
class CompactSimpleRNN(PlainLoopLayer, keras.layers.SimpleRNN, CompactRNN):
    """`keras.layers.SimpleRNN` whose kernels have forms of few weights.

    Args:
        units: Width of the state and the output.
        *args: `keras.layers.SimpleRNN`'s arguments after `units`, in its order.
        kernel_form: As for `CompactLSTM`.
        masked: As for `CompactLSTM`.
        **kwargs: `keras.layers.SimpleRNN`'s arguments.

    Example:

    >>> import numpy as np, hlstm_tf as hl
    >>> layer = hl.CompactSimpleRNN(4, kernel_form={"recurrent_kernel": hl.LowRank(2)})
    >>> layer(np.zeros((2, 5, 3), "float32")).shape
    TensorShape([2, 4])
    """

    _cell_class = CompactSimpleRNNCell


@_register
class CompactLSTM(CompactRecurrentLayer, LSTMRecurrence, keras.layers.LSTM, CompactRNN):
    """`keras.layers.LSTM` whose kernels have forms of few weights (arXiv 1604.02594).

    `kernel`, all that reads the inputs, and `recurrent_kernel`, all that reads the state, are each
    dense or of a form: `hl.LowRank`, `hl.SharedLowRank`, `hl.Kronecker` or `hl.ToeplitzLike`. On a
    CPU it trains through the recurrence whose backward pass is written by hand, without ever
    writing a low-rank or Kronecker matrix down.

    Args:
        units: Width of the state and the output.
        *args: `keras.layers.LSTM`'s arguments after `units`, in its order.
        kernel_form: A form for both kernels, or a dictionary of forms by kernel, in which `None`
            or no entry leaves a kernel dense. Default `None`: both dense.
        masked: Whether each factor, and each dense kernel, has a mask for growth and pruning.
            Default `None`: where a form has a sparse part.
        **kwargs: `keras.layers.LSTM`'s arguments, and `matmul_dtype` and `recompute` as `HLSTM`
            takes them. `recurrent_dropout` and `use_cudnn=True` are errors; `dropout` makes one
            choice for all gates.

    Call arguments:
        sequences: `(batch, time, inputs)`.
        initial_state: `[h, c]`, each `(batch, units)`; zeros by default.
        mask: `(batch, time)`, `True` at valid steps.
        training: Whether dropout acts.

    Returns:
        `(batch, units)`, or `(batch, time, units)` with `return_sequences`; with `return_state` h
        and c after it.

    Raises:
        ValueError: A form does not fit the shape of its kernel, or names none of the two.

    Example:

    >>> import numpy as np, hlstm_tf as hl
    >>> layer = hl.CompactLSTM(64, kernel_form=hl.LowRank(8))
    >>> layer(np.zeros((2, 5, 32), "float32")).shape
    TensorShape([2, 64])
    >>> layer.count_params(), 4 * 64 * (32 + 64 + 1)
    (7424, 24832)
    """

    _cell_class = CompactLSTMCell


@_register
class CompactGRU(CompactRecurrentLayer, GRURecurrence, keras.layers.GRU, CompactRNN):
    """`keras.layers.GRU` whose kernels have forms of few weights.

    Args:
        units: Width of the state and the output.
        *args: `keras.layers.GRU`'s arguments after `units`, in its order.
        kernel_form: As for `CompactLSTM`.
        masked: As for `CompactLSTM`.
        **kwargs: `keras.layers.GRU`'s arguments, with the exceptions of `CompactLSTM`.

    Example:

    >>> import numpy as np, hlstm_tf as hl
    >>> layer = hl.CompactGRU(4, kernel_form=hl.SharedLowRank(2))
    >>> layer(np.zeros((2, 5, 3), "float32")).shape
    TensorShape([2, 4])
    """

    _cell_class = CompactGRUCell
