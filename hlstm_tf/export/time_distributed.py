"""`TimeDistributed` for graphs that are exported: its layer runs once, on all steps together."""

from typing import Any

import keras

from hlstm_tf.keras_internals import takes_mask, takes_training


@keras.saving.register_keras_serializable(package="hlstm_tf")
class ReshapedTimeDistributed(keras.layers.TimeDistributed):
    """Runs the inner layer on `(batch * time, ...)`, and gives `(batch, time, ...)`.

    In inference a layer treats every sample by itself, so this is what `TimeDistributed` computes
    step by step. Keras writes the steps of a known length out one after the other, and with an open
    length runs as many steps as there are samples in the batch (3.15).
    """

    def call(self, inputs: Any, training: bool | None = None, mask: Any = None) -> Any:
        """Applies the layer to every step; a mask goes to it where it takes one."""
        arguments: dict[str, Any] = {}
        if mask is not None and takes_mask(self.layer):
            arguments["mask"] = _steps_as_samples(mask)
        if takes_training(self.layer):
            arguments["training"] = training
        outputs = self.layer.call(_steps_as_samples(inputs), **arguments)
        batch, time = keras.ops.shape(inputs)[:2]
        return keras.ops.reshape(outputs, (batch, time, *keras.ops.shape(outputs)[1:]))


def _steps_as_samples(values: Any) -> Any:
    batch, time, *features = keras.ops.shape(values)
    return keras.ops.reshape(values, (batch * time, *features))
