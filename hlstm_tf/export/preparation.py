"""What is done to a model before it is exported: masks applied and gone, nothing that an export
cannot hold."""

import keras

from hlstm_tf.layers import MaskedLayer, masked_kernels
from hlstm_tf.transforms import strip

HALF_DTYPES = ("float16", "bfloat16")


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


def full_precision(model: keras.Model) -> keras.Model:
    """The model with every layer computing in float32, which engines for phones expect.

    Args:
        model: A model that is no longer trained; layers that compute in half precision over float32
            weights (`mixed_bfloat16`, `mixed_float16`) are copied.

    Raises:
        ValueError: A layer has its weights themselves in half precision.
    """
    halves = [layer for layer in model._flatten_layers() if layer.compute_dtype in HALF_DTYPES]
    if not halves:
        return model
    for layer in halves:
        if layer.variable_dtype in HALF_DTYPES and layer.weights:
            raise ValueError(
                f"layer {layer.name!r} has its weights in {layer.variable_dtype}; a TFLite file "
                "needs float32 weights. Build the model with the policy 'mixed_bfloat16' or "
                "'float32'."
            )
    copy = strip(model)
    for layer in copy._flatten_layers():
        if layer.compute_dtype in HALF_DTYPES:
            layer.dtype_policy = "float32"
    return copy
