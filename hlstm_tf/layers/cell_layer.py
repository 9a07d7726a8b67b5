"""What the recurrent layers here share: how they get their cell, and how they run it."""

import inspect
from typing import Any

import keras
import tensorflow as tf
from keras import ops

from hlstm_tf.keras_check import refuse_keras_2
from hlstm_tf.layers.input_notes import is_noting
from hlstm_tf.layers.masking import set_weights_under_masks
from hlstm_tf.layers.recurrent_notes import note_recurrence


def cell_in_place_of(
    cell: keras.layers.Layer, cell_class: type[keras.layers.Layer], **more: Any
) -> keras.layers.Layer:
    """Makes a cell of another class with the arguments, and the random seeds, of a plain one.

    `keras.layers.LSTM` and its like make their own cell; the layers here replace it before it is
    built. The seeds that the plain cell drew are handed on, so that after
    `keras.utils.set_random_seed` a masked twin has its Keras layer's weights and dropout.

    Args:
        cell: The plain, unbuilt cell.
        cell_class: The class to make.
        more: Further arguments, beside or instead of the plain cell's.
    """
    arguments = [
        name
        for name, parameter in inspect.signature(type(cell).__init__).parameters.items()
        if name != "self" and parameter.kind is not parameter.VAR_KEYWORD
    ]
    # The objects themselves and not their configurations: a lambda has none.
    config = {name: getattr(cell, name) for name in arguments}
    if hasattr(cell, "implementation"):
        config["implementation"] = cell.implementation
    with tf.init_scope():
        config["seed"] = int(ops.convert_to_numpy(cell.seed_generator.state)[0])
    config = {**config, "name": cell.name, "trainable": cell.trainable, "dtype": cell.dtype_policy}
    made = cell_class(**{**config, **more})
    made.seed = cell.seed
    return made


class CellLayer:
    """Mixin of the recurrent layers here, in front of their Keras layer.

    The cell's masks are applied once a call, outside the loop over time, and a call that fails
    leaves no dropout mask behind for the next one.
    """

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        refuse_keras_2(args, f"{type(self).__name__} '{self.name}'")  # type: ignore[attr-defined]
        return super().__call__(*args, **kwargs)  # type: ignore[misc]

    def call(
        self, sequences: Any, initial_state: Any = None, mask: Any = None, training: bool = False
    ) -> Any:
        try:
            return super().call(  # type: ignore[misc]
                sequences, initial_state=initial_state, mask=mask, training=training
            )
        finally:
            self.cell.reset_dropout_mask()  # type: ignore[attr-defined]
            self.cell.reset_recurrent_dropout_mask()  # type: ignore[attr-defined]

    def inner_loop(
        self, sequences: Any, initial_state: Any, mask: Any, training: bool = False
    ) -> Any:
        if is_noting():
            note_recurrence(self, sequences, initial_state, mask)
        with self.cell.effective_kernels():  # type: ignore[attr-defined]
            return self._run(sequences, initial_state, mask, training)

    def _run(self, sequences: Any, initial_state: Any, mask: Any, training: bool) -> Any:
        return super().inner_loop(sequences, initial_state, mask, training=training)  # type: ignore[misc]

    def set_weights(self, weights: Any) -> None:
        """Sets all weights, masks included, or those of the unmasked layer under the masks."""
        set_weights_under_masks(self, super().set_weights, weights)  # type: ignore[misc]

    def get_config(self) -> dict[str, Any]:
        config = super().get_config()  # type: ignore[misc]
        if hasattr(self.cell, "implementation"):  # type: ignore[attr-defined]
            # Keras leaves it out, so that a clone with dropout would draw other masks.
            config["implementation"] = self.cell.implementation  # type: ignore[attr-defined]
        return config
