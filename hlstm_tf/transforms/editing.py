"""Weights and arguments of layers while they are being worked on."""

import functools
import types
import warnings
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import keras
import numpy as np

from hlstm_tf.layers import MaskedKernel, MaskedLayer

_PROBE = np.array([[-3.0, -1.0, -0.3, 0.0, 0.2, 1.5, 4.0]], dtype=np.float32)


class Edited:
    """A layer's weights as float64 arrays, and the constructor arguments that will change.

    Attributes:
        layer: The layer, which is left as it is.
        arrays: Its weights by attribute name; a missing bias has no entry.
        arguments: New values of constructor arguments.
    """

    def __init__(self, layer: keras.Layer, arrays: dict[str, np.ndarray]) -> None:
        self.layer = layer
        self.arrays = arrays
        self.arguments: dict[str, Any] = {}

    def select(self, name: str, axis: int, indices: np.ndarray) -> None:
        """Keeps only `indices` along an axis of a weight, where the layer has that weight."""
        if name in self.arrays:
            self.arrays[name] = np.take(self.arrays[name], indices, axis=axis)

    def result(self) -> dict[str, np.ndarray]:
        """The new weights by attribute name."""
        return self.arrays

    def new_arguments(self) -> dict[str, Any]:
        """The constructor arguments that have changed."""
        return self.arguments


AnyEdited = TypeVar("AnyEdited", bound=Edited)

Values = Callable[[keras.Layer, str], np.ndarray | None]
"""What to work on in place of a layer's variable of that name; `None` where there is nothing."""


def weight(layer: keras.Layer, name: str) -> np.ndarray | None:
    """A layer's weight by attribute name, in float64, under its mask; `None` where it has none."""
    variable = getattr(layer, name, None)
    if variable is None:
        return None
    array = keras.ops.convert_to_numpy(variable).astype(np.float64)
    if isinstance(layer, MaskedLayer):
        for kernel in layer.own_masked_kernels():
            if kernel.name == name:  # an optimizer's averages may have been written into it
                array[~keras.ops.convert_to_numpy(kernel.mask)] = 0
    return array


def in_place_of(arrays: Mapping[MaskedKernel, np.ndarray]) -> Values:
    """Has a store work on arrays in place of the kernels.

    A kernel without a mask is all NaN: a sum that it is part of says so. Biases are left out.
    """
    by_place = {(id(kernel.layer), kernel.name): array for kernel, array in arrays.items()}

    def value(layer: keras.Layer, name: str) -> np.ndarray | None:
        known = by_place.get((id(layer), name))
        if known is not None:
            return known
        own = weight(layer, name)
        is_bias = "bias" in name
        return None if own is None or is_bias else np.full_like(own, np.nan)

    return value


class WeightStore:
    """The layers being worked on, each once, however many neuron groups it belongs to.

    Args:
        values: What is worked on: the weights, or other arrays of their shapes. Zeroes are written
            into them in place; only taking neurons out makes new arrays.
    """

    def __init__(self, values: Values = weight) -> None:
        self.value = values
        self._edited: dict[int, Edited] = {}
        self.touched: set[int] = set()

    def open(self, layer: keras.Layer, *names: str) -> Edited:
        """Returns the working copy of a layer; the first call says which weights it has."""

        def opened(values: Values) -> Edited:
            found = {name: values(layer, name) for name in names}
            arrays = {name: array for name, array in found.items() if array is not None}
            return Edited(layer, arrays)

        return self.open_as(layer, opened)

    def open_as(self, layer: keras.Layer, opened: Callable[[Values], AnyEdited]) -> AnyEdited:
        """Returns the working copy of a layer, at the first call the one that `opened` makes."""
        self.touched.add(id(layer))
        if id(layer) not in self._edited:
            self._edited[id(layer)] = opened(self.value)
        return self._edited[id(layer)]  # type: ignore[return-value]

    def arguments(self, layer: keras.Layer) -> dict[str, Any]:
        """The new constructor arguments of a layer."""
        edited = self._edited.get(id(layer))
        return edited.new_arguments() if edited else {}

    def arrays(self) -> dict[int, dict[str, np.ndarray]]:
        """The new weights, by `id` of the layer."""
        return {key: edited.result() for key, edited in self._edited.items()}


def is_elementwise(function: Callable[[Any], Any]) -> bool:
    """Whether a function treats each value by itself, as a ReLU does and a softmax does not."""
    of_keras = isinstance(function, types.FunctionType) and function.__module__.startswith("keras.")
    return _probed_once(function) if of_keras else _probed(function)


def _probed(function: Callable[[Any], Any]) -> bool:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Keras warns of a softmax over one value
            return _is_elementwise(function)
    except Exception:  # a user's function; whatever it cannot do with these values, we leave it
        return False


_probed_once = functools.cache(_probed)
"""Of Keras's own activations, which keep nothing between calls."""


def _is_elementwise(function: Callable[[Any], Any]) -> bool:
    together = apply(function, _PROBE[0])
    alone = [apply(function, _PROBE[0, i : i + 1])[0] for i in range(_PROBE.shape[1])]
    return together.shape == _PROBE[0].shape and np.allclose(together, alone, rtol=1e-5, atol=1e-6)


def apply(function: Callable[[Any], Any], values: np.ndarray) -> np.ndarray:
    """Applies an element-wise function to a vector, in float32 as a layer would; NaN stays NaN."""
    if not np.isfinite(values).any():
        return np.full(values.shape, np.nan)
    known = np.nan_to_num(values, nan=0.0, posinf=0.0, neginf=0.0).astype(np.float32)
    result = keras.ops.convert_to_numpy(function(keras.ops.convert_to_tensor(known[None])))
    return np.where(np.isfinite(values), result[0].astype(np.float64), np.nan)


def zero(array: np.ndarray, place: Any) -> bool:
    """Zeroes a part of an array; tells whether it was not zero before."""
    changed = bool(np.any(array[place] != 0))
    array[place] = 0
    return changed
