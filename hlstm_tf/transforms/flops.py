"""FLOPs: how often each kernel is applied in one step.

The formula: 2 FLOPs (a multiplication and an addition) for each existing connection at each place
where the kernel is applied. Element-wise work (biases, activations, normalization) is not counted.

* A step is one step of the sequence in a recurrent model, one sample in any other.
* A recurrent layer applies its kernels once a step, and so does a dense layer on a sequence.
* A convolution applies its kernel at each output position of the image; an axis whose length is
  not fixed counts once, as does the time axis of a recurrent model.
* A partial-area convolution applies the slice of a pair of maps where its area is in use.
* An embedding looks up a row: no FLOPs; the reverse use of a reversible one counts once.
* A layer that a model calls several times counts once.
"""

import math
from typing import Any

import keras


def positions(layer: keras.Layer, recurrent_model: bool) -> int:
    """Returns at how many places of a step's data a layer applies its kernel.

    Args:
        layer: A built layer; of a recurrent layer, its cell.
        recurrent_model: Whether the model has recurrent layers, so that the first axis after the
            batch of a `(batch, time, features)` tensor is time.

    Example:

    >>> import keras
    >>> layer = keras.layers.Conv2D(3, 3)
    >>> layer.build((None, 10, 12, 1))
    >>> positions(layer, recurrent_model=False)
    80
    """
    if isinstance(layer, keras.layers.Embedding):
        return int(isinstance(layer, keras.layers.ReversibleEmbedding))
    shape: Any = (layer.get_build_config() or {}).get("input_shape")
    if not _is_shape(shape) or hasattr(layer, "state_size"):
        return 1
    if not _is_transposed(layer):
        shape = _output_shape(layer, shape)
    if not _is_shape(shape):
        return 1
    axes = shape[2:] if _channels_first(layer) else shape[1:-1]
    if recurrent_model and len(axes) == 1:
        return 1
    return math.prod(axis or 1 for axis in axes)


def _output_shape(layer: keras.Layer, shape: Any) -> Any:
    try:
        return layer.compute_output_shape(tuple(shape))
    except Exception:  # a custom layer need not know it; then a kernel is applied once
        return None


def _is_shape(shape: Any) -> bool:
    return isinstance(shape, (list, tuple)) and all(
        axis is None or isinstance(axis, int) for axis in shape
    )


def _is_transposed(layer: keras.Layer) -> bool:
    # A transposed convolution spreads each input position over a window of outputs.
    kinds = ("Conv1DTranspose", "Conv2DTranspose", "Conv3DTranspose")
    return isinstance(layer, tuple(getattr(keras.layers, kind) for kind in kinds))


def _channels_first(layer: keras.Layer) -> bool:
    return getattr(layer, "data_format", None) == "channels_first"
