"""What is done to a model before it is exported: masks applied and gone, nothing that an export
cannot hold."""

import keras

from hlstm_tf.layers import MaskedLayer, masked_kernels
from hlstm_tf.transforms import strip


def plain_model(model: keras.Model) -> keras.Model:
    """The same function as plain layers; the model itself where nothing in it is masked.

    Raises:
        ValueError: A layer keeps its state from call to call, or a masked model cannot be stripped.
    """
    for layer in model._flatten_layers():
        if isinstance(layer, keras.layers.RNN) and layer.stateful:
            raise ValueError(
                f"layer {layer.name!r} is stateful=True, and an exported file is a pure function. "
                "Build the model with stateful=False; the `step` signature of export_saved_model "
                "takes the state and returns it."
            )
    has_twins = any(isinstance(layer, MaskedLayer) for layer in model._flatten_layers())
    return strip(model) if has_twins and masked_kernels(model) else model
