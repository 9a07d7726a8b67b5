"""The H-LSTM layer: `HLSTMCell` over a whole sequence."""

from typing import Any

import keras

from hlstm_tf.layers.hlstm_cell import HLSTMCell
from hlstm_tf.layers.scan import scan


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
        config = {**cell.get_config(), "implementation": cell.implementation, "name": "hlstm_cell"}
        super().__init__(HLSTMCell.from_config({**config, **gate_networks}), **kwargs)


@keras.saving.register_keras_serializable(package="hlstm_tf")
class HLSTM(keras.layers.LSTM, _GateNetworkRNN):
    """LSTM layer whose gates are networks with hidden layers (arXiv 1805.11797).

    `HLSTM(units, hidden_units=())` is a drop-in for `keras.layers.LSTM`: the same weights, the same
    numbers. With hidden layers the effective kernels and the input's share of the first hidden
    layer are computed once a call, outside the loop over time.

    Args:
        units: Width of the state and the output.
        hidden_units: Width of the gates' hidden layers: an int, a tuple with an entry a layer, or
            `()` for none. Default `None`: one hidden layer as wide as `units`.
        hidden_activation: Activation of the hidden layers; ReLU by default.
        hidden_dropout: Fraction of each hidden layer dropped in training.
        *args: `keras.layers.LSTM`'s arguments after `units`, in its order.
        masked: Whether each kernel has a mask. Default `None`: yes with hidden layers, no without.
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
        ValueError: A width is not a positive integer, a dropout fraction is not in [0, 1], or
            `use_cudnn=True` with hidden layers.

    Example:

    >>> import numpy as np, hlstm_tf as hl
    >>> layer = hl.HLSTM(4, hidden_units=6, return_sequences=True)
    >>> layer(np.ones((2, 5, 3), "float32")).shape
    TensorShape([2, 5, 4])
    """

    def __init__(
        self,
        units: int,
        hidden_units: int | tuple[int, ...] | None = None,
        hidden_activation: Any = "relu",
        hidden_dropout: float = 0.0,
        *args: Any,
        masked: bool | None = None,
        **kwargs: Any,
    ) -> None:
        gate_networks = {
            "hidden_units": hidden_units,
            "hidden_activation": hidden_activation,
            "hidden_dropout": hidden_dropout,
            "masked": masked,
        }
        super().__init__(units, *args, gate_networks=gate_networks, **kwargs)
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
        self.supports_jit = True

    def inner_loop(
        self, sequences: Any, initial_state: Any, mask: Any, training: bool = False
    ) -> Any:
        mask = mask[0] if isinstance(mask, (list, tuple)) else mask
        with self.cell.effective_kernels():
            if not self.hidden_units or self.unroll:
                return super().inner_loop(sequences, initial_state, mask, training=training)
            return self._projected_loop(sequences, initial_state, mask, training)

    def _projected_loop(self, sequences: Any, initial_state: Any, mask: Any, training: bool) -> Any:
        weights = self.cell.gate_weights()
        return scan(
            lambda projected, states: self.cell.step(projected, states, weights, training),
            self.cell.project(sequences, weights, training),
            initial_state,
            mask,
            go_backwards=self.go_backwards,
            return_sequences=self.return_sequences,
            zero_output_for_mask=self.zero_output_for_mask,
        )

    @property
    def hidden_units(self) -> tuple[int, ...]:
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
    def masked(self) -> bool:
        """Whether each kernel has a mask."""
        return self.cell.masked

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "hidden_units": list(self.hidden_units),
            "hidden_activation": keras.activations.serialize(self.hidden_activation),
            "hidden_dropout": self.hidden_dropout,
            "masked": self.masked,
        }
