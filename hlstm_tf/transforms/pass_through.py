"""Pass-through layers, between producer and consumer, which treat every neuron by itself."""

from typing import Any

import keras
import numpy as np

from hlstm_tf.transforms.editing import Edited, WeightStore, apply, is_elementwise
from hlstm_tf.transforms.groups import PassThrough, merged
from hlstm_tf.transforms.kernel_ends import DEPTHWISE, channel_filter_of
from hlstm_tf.transforms.twins import keras_class

# Layers whose output, where the input is one constant everywhere, is that constant everywhere:
# the identity in inference, or a mean or maximum over positions, or a choice of positions.
_CONSTANT_STAYS = (
    "ActivityRegularization AlphaDropout Dropout GaussianDropout GaussianNoise Identity "
    "SpatialDropout1D SpatialDropout2D SpatialDropout3D "
    "AveragePooling1D AveragePooling2D AveragePooling3D MaxPooling1D MaxPooling2D MaxPooling3D "
    "GlobalAveragePooling1D GlobalAveragePooling2D GlobalAveragePooling3D "
    "GlobalMaxPooling1D GlobalMaxPooling2D GlobalMaxPooling3D "
    "Cropping1D Cropping2D Cropping3D UpSampling1D UpSampling2D UpSampling3D RepeatVector"
).split()
_ACTIVATIONS = ("Activation", "ELU", "LeakyReLU", "ReLU")
_PADDINGS = ("ZeroPadding1D", "ZeroPadding2D", "ZeroPadding3D")


def pass_through_of(layer: keras.Layer, width: int, store: WeightStore) -> PassThrough | None:
    """Returns what a layer does to each of `width` neurons; `None` where it mixes them.

    Args:
        layer: The layer that the neurons' values go through.
        width: How many neurons the producer has.
        store: Where weights and arguments are worked on.
    """
    store.touched.add(id(layer))
    if type(layer) is keras.layers.TimeDistributed:
        return pass_through_of(layer.layer, width, store)
    if getattr(layer, "neuronwise", False):
        return Padding()
    name = type(layer).__name__
    if keras_class(layer) in DEPTHWISE:
        return channel_filter_of(layer, width, store)
    if type(layer) is not getattr(keras.layers, name, None):
        return None
    if getattr(layer, "data_format", "channels_last") == "channels_first":
        return None
    if name in _CONSTANT_STAYS:
        return Unchanged()
    if name in _ACTIVATIONS:
        function = layer.activation if name == "Activation" else layer.call
        return Elementwise(layer) if is_elementwise(function) else None
    if name in _PADDINGS:
        return Padding()
    if name == "Flatten":
        return Merging(width)
    if name == "Reshape":
        return _reshape(layer, width, store)
    if name == "BatchNormalization":
        return _normalization(layer, width, store)
    return None


def why_not_through(layer: keras.Layer) -> str:
    """Why a layer does not let every neuron through by itself, where it is no pass-through."""
    inner = layer.layer if type(layer) is keras.layers.TimeDistributed else layer
    if getattr(inner, "groups", 1) > 1:
        return f"{described(layer)} reads its neurons in groups={inner.groups}"
    multiplier = getattr(inner, "depth_multiplier", 1)
    if multiplier > 1:
        return f"{described(layer)} makes {multiplier} channels of each of its neurons"
    if getattr(inner, "data_format", "channels_last") == "channels_first":
        return f"{described(layer)} has data_format='channels_first'"
    return f"{described(layer)} does not treat each of its neurons by itself"


def described(layer: keras.Layer) -> str:
    """A layer by class and name.

    >>> described(keras.layers.Add(name="sum"))
    "Add 'sum'"
    """
    return f"{type(layer).__name__} '{layer.name}'"


class Unchanged:
    """Leaves a constant as it is, and has nothing of its own for a neuron."""

    def constants(self, values: np.ndarray) -> np.ndarray:
        return values

    def zero(self, dead: np.ndarray) -> bool:
        return False

    def keep(self, indices: np.ndarray, width: int) -> None:
        pass


class Elementwise(Unchanged):
    """Applies a function to every value."""

    def __init__(self, layer: keras.Layer) -> None:
        self._layer = layer

    def constants(self, values: np.ndarray) -> np.ndarray:
        return apply(self._layer.call, values)


class Padding(Unchanged):
    """Puts zeros in some places: only the constant zero stays a constant."""

    def constants(self, values: np.ndarray) -> np.ndarray:
        return np.where(values == 0, values, np.nan)


class Merging(Unchanged):
    """Merges positions with neurons; the neurons stay the fastest to vary."""

    def __init__(self, width: int) -> None:
        self._width = width

    def constants(self, values: np.ndarray) -> np.ndarray:
        # Once positions have been given constants of their own, a second merge would have to
        # know how they are arranged.
        return values if len(values) == self._width else np.full(self._width, np.nan)


class Reshaping(Merging):
    """A `Reshape` whose last axis holds all neurons of one or several positions."""

    def __init__(self, width: int, edited: Edited) -> None:
        super().__init__(width)
        self._edited = edited

    def keep(self, indices: np.ndarray, width: int) -> None:
        *others, last = self._edited.layer.target_shape
        last = last if last == -1 else last // width * len(indices)
        self._edited.arguments["target_shape"] = (*others, last)


class Normalization(Unchanged):
    """Batch normalization in inference: an affine function of each channel."""

    def __init__(self, edited: Edited) -> None:
        self._edited = edited

    @property
    def layer(self) -> keras.Layer:
        """The batch normalization."""
        return self._edited.layer

    def constants(self, values: np.ndarray) -> np.ndarray:
        arrays = self._edited.arrays
        mean, variance = arrays["moving_mean"], arrays["moving_variance"]
        values = np.tile(values, len(mean) // len(values))
        normalized = (values - mean) / np.sqrt(variance + self._edited.layer.epsilon)
        return normalized * arrays.get("gamma", 1.0) + arrays.get("beta", 0.0)

    def keep(self, indices: np.ndarray, width: int) -> None:
        chosen = merged(indices, width, len(self._edited.arrays["moving_mean"]))
        for name in ("gamma", "beta", "moving_mean", "moving_variance"):
            self._edited.select(name, 0, chosen)


def _reshape(layer: Any, width: int, store: WeightStore) -> PassThrough | None:
    last = layer.target_shape[-1] if layer.target_shape else 0
    if last != -1 and (last == 0 or last % width):
        return None
    return Reshaping(width, store.open(layer))


def _normalization(layer: Any, width: int, store: WeightStore) -> PassThrough | None:
    edited = store.open(layer, "gamma", "beta", "moving_mean", "moving_variance")
    rank = len((layer.get_build_config() or {}).get("input_shape") or ())
    is_last = layer.axis in (-1, rank - 1)
    return Normalization(edited) if is_last and _fits(edited, width) else None


def _fits(edited: Edited, width: int) -> bool:
    return len(edited.arrays["moving_mean"]) % width == 0
