"""The H-LSTM layer: `HLSTMCell` over a whole sequence."""

from typing import Any

import keras

from hlstm_tf.layers.compact_kernels import KernelForm
from hlstm_tf.layers.gates import FourWidths, HiddenUnits, widths_config
from hlstm_tf.layers.hlstm_cell import HLSTMCell
from hlstm_tf.layers.matrix_forms import MatrixForm, forms_config
from hlstm_tf.layers.observers import bridges_of
from hlstm_tf.layers.passes import scan
from hlstm_tf.layers.recurrent_layer import RecurrenceLayer, cell_in_place_of, project, run_lstm


class _GateNetworkRNN(keras.layers.RNN):
    """Turns the plain cell that `keras.layers.LSTM` made into an `HLSTMCell`.

    It stands between `keras.layers.LSTM` and `keras.layers.RNN` in the order of base classes, and
    the arguments of the gates' networks reach it through the constructor of the former.
    """

    def __init__(
        self,
        cell: keras.layers.LSTMCell,
        *,
        gate_networks: dict[str, Any],
        **kwargs: Any,
    ) -> None:
        cell = cell_in_place_of(cell, HLSTMCell, name="hlstm_cell", **gate_networks)
        super().__init__(cell, **kwargs)


@keras.saving.register_keras_serializable(package="hlstm_tf")
class HLSTM(RecurrenceLayer, keras.layers.LSTM, _GateNetworkRNN):
    """LSTM layer whose gates are networks with hidden layers (arXiv 1805.11797).

    `HLSTM(units, hidden_units=())` is a drop-in for `keras.layers.LSTM`: the same weights, the same
    numbers. With hidden layers the effective kernels and the input's share of the first hidden
    layer are computed once a call, outside the loop over time; and in training the backward pass
    through the loop is written by hand (`hlstm_tf.layers.lstm_recurrence`) wherever the compute
    dtype is float32 or bfloat16, the activations are elementwise and there is no recurrent dropout.
    Other cases take plain loops; in float32 all give the same numbers.

    A `mixed_bfloat16` policy multiplies in bfloat16 in training, as `matmul_dtype="bfloat16"` does,
    and keeps the states between steps in float32, where Keras's loops round them at every step;
    outputs are bfloat16. Inference is Keras's: all in bfloat16.

    Args:
        units: Width of the state and the output.
        hidden_units: Width of the gates' hidden layers: an int, a tuple with an entry a layer, or
            `()` for none. An entry is an int or, for gates of different widths, four of them:
            input, forget, cell and output gate. Default `None`: one hidden layer as wide as
            `units`.
        hidden_activation: Activation of the hidden layers; ReLU by default.
        hidden_dropout: Fraction of each hidden layer dropped in training.
        *args: `keras.layers.LSTM`'s arguments after `units`, in its order.
        masked: Whether each kernel has a mask. Default `None`: yes with hidden layers, no without.
        kernel_form: A form of few weights, such as `hl.LowRank(32)`, for all kernels, or a
            dictionary of forms by kernel (`kernel`, `recurrent_kernel`, `hidden_kernel_2`...,
            `output_kernel`), in which `None` or no entry leaves a kernel dense. Default `None`: all
            dense. See `HLSTMCell`; without hidden layers take `CompactLSTM`.
        matmul_dtype: Dtype of the operands of matrix products in training, `None` for the compute
            dtype. With `"bfloat16"` weights are rounded once a call and activations at each
            product; states, sums, outputs and gradients stay float32. It is faster than float32 on
            processors with bfloat16 instructions (AVX512_BF16, AMX) and on GPUs, where each
            product's result is rounded to bfloat16 as well, and about as fast as float32 on others.
            Only the hand-written recurrence knows it: plain loops, inference and exported models
            multiply in the compute dtype. An XLA-compiled training step may leave out roundings.
        recompute: Whether training keeps the states only and computes all else again, 32 steps at
            once, while it goes backward. The more and wider the hidden layers, the more memory it
            saves; the projected input and its gradient stay. A step of 800 units with one hidden
            layer of 800, batch 16, 1,000 steps, takes 1.29 GB instead of 1.54
            (`benchmarks/train_memory.py`) and about a tenth more time; a `MaskedLSTM` as much as
            before, a `MaskedGRU` 0.71 GB instead of 0.77. Numbers are the same to rounding. Such
            a layer is not compiled by XLA.
        **kwargs: `keras.layers.LSTM`'s arguments. There is no cuDNN form of a gate with hidden
            layers, so `use_cudnn=True` is an error with them.

    Call arguments:
        sequences: `(batch, time, inputs)`.
        initial_state: `[h, c]`, each `(batch, units)`; zeros by default.
        mask: `(batch, time)`, `True` at valid steps.
        training: Whether dropout acts.

    Returns:
        `(batch, units)`, or `(batch, time, units)` with `return_sequences`; with `return_state` h
        and c after it.

    Raises:
        ValueError: A width is not a positive integer, `hidden_dropout` is not in [0, 1),
            `matmul_dtype` is none of the three, or `use_cudnn=True` with hidden layers.

    Example:

    >>> import numpy as np, hlstm_tf as hl
    >>> layer = hl.HLSTM(4, hidden_units=6, return_sequences=True)
    >>> layer(np.ones((2, 5, 3), "float32")).shape
    TensorShape([2, 5, 4])
    """

    def __init__(
        self,
        units: int,
        hidden_units: int | tuple[int | FourWidths, ...] | None = None,
        hidden_activation: Any = "relu",
        hidden_dropout: float = 0.0,
        *args: Any,
        masked: bool | None = None,
        kernel_form: KernelForm = None,
        matmul_dtype: str | None = None,
        recompute: bool = False,
        **kwargs: Any,
    ) -> None:
        gate_networks = {
            "hidden_units": hidden_units,
            "hidden_activation": hidden_activation,
            "hidden_dropout": hidden_dropout,
            "masked": masked,
            "kernel_form": kernel_form,
        }
        super().__init__(
            units,
            *args,
            matmul_dtype=matmul_dtype,
            recompute=recompute,
            gate_networks=gate_networks,
            **kwargs,
        )
        if self.hidden_units:
            self._leave_cudnn()

    use_cudnn: bool | str

    def _leave_cudnn(self) -> None:
        if self.use_cudnn is True:
            raise ValueError(
                f"use_cudnn=True was given with hidden_units={self.hidden_units}; cuDNN has no "
                "LSTM whose gates have hidden layers. Use use_cudnn='auto' or hidden_units=()."
            )
        self.use_cudnn = False
        # `keras.layers.LSTM` turns XLA off wherever cuDNN could take over; here it never does.
        self.supports_jit = not self.recompute

    def _fits_recurrence(self) -> bool:
        # A bridge has to see what goes into each step; Keras's loop calls the cell.
        return bool(self.hidden_units) and not self.unroll and bridges_of(self.cell) is None

    def _run_recurrence(self, sequences: Any, states: list[Any], mask: Any, training: bool) -> Any:
        weights, how = self.cell.gate_weights(), self._how()
        gates = self.cell.with_dropout(weights.networks, sequences, training)
        projected = project(
            self.cell, sequences, weights.kernel, weights.bias, training, *how, gates.gate_widths[0]
        )
        return run_lstm(self.cell, gates, projected, states, mask, *how)

    def _run_plain(self, sequences: Any, initial_state: Any, mask: Any, training: bool) -> Any:
        if not self._fits_recurrence():
            # Keras's own loop; unrolled there is nothing to hoist out of it.
            return super()._run_plain(sequences, initial_state, mask, training)
        weights = self.cell.gate_weights()
        networks = self.cell.with_dropout(weights.networks, sequences, training)
        return scan(
            lambda inputs, states: self.cell.step(inputs, states, networks, training),
            self.cell.project(sequences, weights, training),
            initial_state,
            mask,
            **self._how()[0]._asdict(),
        )

    @property
    def hidden_units(self) -> HiddenUnits:
        """Widths of the gates' hidden layers."""
        return self.cell.hidden_units

    @property
    def hidden_activation(self) -> Any:
        """Activation of the gates' hidden layers; may be assigned on a built layer."""
        return self.cell.hidden_activation

    @hidden_activation.setter
    def hidden_activation(self, activation: Any) -> None:
        self.cell.hidden_activation = activation

    @property
    def hidden_dropout(self) -> float:
        """Fraction of each hidden layer dropped in training."""
        return self.cell.hidden_dropout

    @property
    def kernel_form(self) -> dict[str, MatrixForm]:
        """The forms of the kernels that are not dense, by name."""
        return self.cell.kernel_form

    @property
    def masked(self) -> bool:
        """Whether each kernel has a mask."""
        return self.cell.masked

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "hidden_units": widths_config(self.hidden_units),
            "hidden_activation": keras.activations.serialize(self.hidden_activation),
            "hidden_dropout": self.hidden_dropout,
            "masked": self.masked,
            "kernel_form": forms_config(self.kernel_form),
        }
