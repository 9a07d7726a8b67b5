"""The base of the masked twins of layers without a state."""

from collections.abc import Mapping
from typing import Any, ClassVar

from hlstm_tf.layers.masking import MaskedLayer
from hlstm_tf.layers.observers import is_noting, note_input, tapped

OutputAxes = tuple[int, ...]
"""The axes of a kernel that count its outputs, from the end; all others count inputs."""


class MaskedFeedForward(MaskedLayer):
    """Base of the twins whose Keras layer reads its kernels in `call(inputs)`.

    `_kernels` names them, each with the axes of it that count outputs.
    """

    _kernels: ClassVar[Mapping[str, OutputAxes]] = {"kernel": (-1,)}

    def build(self, input_shape: Any = None) -> None:
        if getattr(self, "quantization_mode", None) is not None:
            raise self._keeps_no_masks("a quantized dtype policy")
        super().build(input_shape)  # type: ignore[misc]
        if not self.own_masked_kernels():
            for name, axes in self._kernels.items():
                self._add_masks((name,), output_axes=axes)

    def call(self, inputs: Any) -> Any:
        if is_noting():
            self._note(inputs)
        with self.effective_kernels(), tapped(self, inputs):
            return super().call(inputs)  # type: ignore[misc]

    def _note(self, inputs: Any) -> None:
        note_input(self, "kernel", inputs)

    def enable_lora(self, *args: Any, **kwargs: Any) -> None:
        """Not on a masked layer: a low-rank update reaches dormant connections too."""
        raise self._keeps_no_masks("LoRA")

    def quantize(self, *args: Any, **kwargs: Any) -> None:
        """Not on a masked layer: Keras replaces the kernel that the mask belongs to."""
        raise self._keeps_no_masks("quantize")

    def _keeps_no_masks(self, what: str) -> NotImplementedError:
        return NotImplementedError(
            f"{type(self).__name__} '{self.name}' has masks, which {what} would not respect; "  # type: ignore[attr-defined]
            "make plain Keras layers of the model first, with hlstm_tf.strip(model)."
        )
