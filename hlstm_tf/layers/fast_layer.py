"""What the layers with a hand-written backward pass share: their arguments, and when it runs."""

from typing import Any

import keras

from hlstm_tf.layers.cell_layer import CellLayer
from hlstm_tf.layers.effective import gradients_are_dense
from hlstm_tf.layers.fast_gradient import Flags, Ran, has_fast_gradient
from hlstm_tf.layers.gate_widths import as_flag
from hlstm_tf.layers.passes import Settings
from hlstm_tf.layers.products import as_matmul_dtype

TRAINING_ARGUMENTS = ("matmul_dtype", "recompute")
"""Constructor arguments that Keras's own layers do not have."""


class FastLayer(CellLayer):
    """Mixin of the recurrent layers that train through a recurrence written by hand.

    A subclass has `_run_fast(sequences, initial_state, mask, training)`, which is called with the
    masks applied, and `_can_run_fast`.
    """

    supports_jit: bool

    def __init__(
        self,
        units: int,
        *args: Any,
        matmul_dtype: str | None = None,
        recompute: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(units, *args, **kwargs)  # type: ignore[call-arg]
        self.matmul_dtype = as_matmul_dtype(matmul_dtype)
        self.recompute = as_flag(recompute, "recompute")
        self._left_to_cudnn = not self.supports_jit
        if self.recompute:
            self.supports_jit = False  # XLA takes no chunks whose length is unknown

    def _run(self, sequences: Any, initial_state: Any, mask: Any, training: bool) -> Any:
        mask = mask[0] if isinstance(mask, (list, tuple)) else mask
        wants_gradients = training or gradients_are_dense()
        if wants_gradients and self._can_run_fast() and has_fast_gradient(self.cell):  # type: ignore[attr-defined]
            return self._run_fast(sequences, keras.tree.flatten(initial_state), mask, training)
        return self._run_plain(sequences, initial_state, mask, training)

    def _run_plain(self, sequences: Any, initial_state: Any, mask: Any, training: bool) -> Any:
        return super()._run(sequences, initial_state, mask, training)

    def _can_run_fast(self) -> bool:
        # One product for all gates, and no cuDNN, whose own loop is faster.
        return not self.unroll and self.cell.implementation == 2 and not self._left_to_cudnn  # type: ignore[attr-defined]

    def _run_fast(self, sequences: Any, states: list[Any], mask: Any, training: bool) -> Ran:
        raise NotImplementedError

    def _how(self) -> tuple[Flags, Settings]:
        return Flags.of(self), Settings(self.matmul_dtype, self.recompute)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "matmul_dtype": self.matmul_dtype,
            "recompute": self.recompute,
        }
