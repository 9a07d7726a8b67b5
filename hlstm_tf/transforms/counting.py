"""Counts the parts of a model: its kernels, gate by gate, all its other weights, and its FLOPs."""

import gzip
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from hlstm_tf.keras_internals import (
    all_layers,
    child_layers,
    own_trainable_variables,
    own_variables,
)
from hlstm_tf.layers import MaskedLayer, PartialAreaConv2D
from hlstm_tf.layers.cells import compact_kernels, form_of


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


Times = float | np.ndarray
"""At how many positions connections are used: all, or by a kernel's last axes."""


@dataclass(frozen=True)
class Part:
    """A gate, a kernel, a layer or a model, counted.

    Attributes:
        name: What it is called.
        kind: "gate", "kernel", "layer" or "model".
        detail: The class of a layer or model; empty for others.
        shape: Of a kernel, or of a gate's matrix `(inputs, outputs)`; empty for others.
        connections: Connections that exist: the mask's, or where there is no mask the weights
            that are not zero.
        nonzero: Those of them whose weight is not zero.
        places: Connections that the dense shape has room for.
        biases: All other weights: biases, and the vectors of normalization layers.
        flops: 2 a connection at each place where the kernel is applied in a step.
        bytes: Of all weights as dense float32.
        gzipped_bytes: The same, each variable compressed with gzip; `None` for a gate.
        parts: What it consists of.
    """

    name: str
    kind: str
    detail: str
    shape: tuple[int, ...]
    connections: int
    nonzero: int
    places: int
    biases: int
    flops: int
    bytes: int
    gzipped_bytes: int | None
    parts: tuple["Part", ...] = ()

    @property
    def parameters(self) -> int:
        """Connections and biases together."""
        return self.connections + self.biases

    @property
    def sparsity(self) -> float:
        """Fraction of the places without a connection; 0 where there are none."""
        return 1.0 - self.connections / self.places if self.places else 0.0

    def to_dict(self) -> dict[str, Any]:
        """Returns all that is counted, as plain JSON data."""
        counts: dict[str, Any] = {
            "connections": self.connections,
            "nonzero": self.nonzero,
            "places": self.places,
            "biases": self.biases,
            "parameters": self.parameters,
            "sparsity": self.sparsity,
            "flops": self.flops,
            "bytes": self.bytes,
        }
        if self.gzipped_bytes is not None:
            counts["gzipped_bytes"] = self.gzipped_bytes
        named: dict[str, Any] = {"name": self.name, "kind": self.kind}
        if self.detail:
            named["class"] = self.detail
        if self.shape:
            named["shape"] = list(self.shape)
        if self.parts:
            counts["parts"] = [part.to_dict() for part in self.parts]
        return {**named, **counts}


def count_model(model: keras.Model) -> Part:
    """Counts a built model: its layers with weights, their kernels, and the kernels' gates."""
    recurrent = any(isinstance(layer, keras.layers.RNN) for layer in all_layers(model))
    layers = tuple(
        _count_layer(owner, name, detail, recurrent) for owner, name, detail in _owners(model)
    )
    return _sum(model.name, "model", type(model).__name__, layers)


def _owners(model: keras.Model) -> Iterator[tuple[keras.Layer, str, str]]:
    """Yields each layer that has weights of its own, once, with its path and its class."""
    seen: set[int] = set()

    def walk(layer: keras.Layer, path: tuple[str, ...], detail: str) -> Iterator[Any]:
        if id(layer) in seen:
            return
        seen.add(id(layer))
        if own_variables(layer):
            yield layer, "/".join(path), detail
        for child in child_layers(layer):
            # The cell of a recurrent layer goes by that layer's name.
            if isinstance(layer, keras.layers.RNN) and child is layer.cell:
                yield from walk(child, path, detail)
            else:
                yield from walk(child, (*path, child.name), type(child).__name__)

    yield from walk(model, (), type(model).__name__)


def _count_layer(layer: keras.Layer, name: str, detail: str, recurrent: bool) -> Part:
    masks = _masks(layer)
    area = layer.area if isinstance(layer, PartialAreaConv2D) else None
    # By pair of maps, where each is used in a part of the picture.
    times = layer.positions_in_use() if area is not None else positions(layer, recurrent)
    hidden = {id(mask) for mask in masks.values()}
    parts = []
    for variable in own_variables(layer):
        if id(variable) in hidden:
            continue
        if variable is area:
            parts.append(_count_area(variable))
            continue
        if _is_kernel(layer, variable):
            uses = times * _uses_of_factor(layer, variable.name)
            parts.append(_count_kernel(layer, variable, masks.get(variable.name), uses))
        else:
            parts.append(_count_other(variable))
    return _sum(name or layer.name, "layer", detail, tuple(parts))


def _uses_of_factor(layer: keras.Layer, name: str) -> float:
    """In how many products each weight of a factor takes part where its kernel is applied."""
    for kernel in compact_kernels(layer).values():
        for factor, own in zip(kernel.factors, kernel.names, strict=True):
            if own == name:
                return factor.uses
    return 1


def _masks(layer: keras.Layer) -> dict[str, keras.Variable]:
    kernels = layer.own_masked_kernels() if isinstance(layer, MaskedLayer) else []
    return {kernel.name: kernel.mask for kernel in kernels}


def _is_kernel(layer: keras.Layer, variable: keras.Variable) -> bool:
    # A PReLU's slopes have the shape of a feature map; Keras's states are not trainable.
    return (
        len(variable.shape) > 1
        and "bias" not in variable.name
        and not isinstance(layer, keras.layers.PReLU)
        and any(variable is own for own in own_trainable_variables(layer))
    )


def _count_kernel(
    layer: keras.Layer, variable: keras.Variable, mask: keras.Variable | None, times: Times
) -> Part:
    weights = keras.ops.convert_to_numpy(variable).astype(np.float32)
    exists = weights != 0 if mask is None else keras.ops.convert_to_numpy(mask)
    gates = tuple(
        _Counted(f"{gate} gate", "gate", exists_in, weights_in, times)
        for gate, exists_in, weights_in in _by_gate(layer, variable.name, exists, weights)
    )
    counted = _Counted(variable.name, "kernel", exists, weights, times)
    return counted.part(_gzipped(weights), tuple(gate.part(None) for gate in gates))


@dataclass(frozen=True)
class _Counted:
    name: str
    kind: str
    exists: np.ndarray
    weights: np.ndarray
    times: Times

    def part(self, gzipped: int | None, parts: tuple[Part, ...] = ()) -> Part:
        connections = int(np.count_nonzero(self.exists))
        return Part(
            self.name,
            self.kind,
            "",
            self.weights.shape,
            connections=connections,
            nonzero=int(np.count_nonzero(self.weights)),
            places=self.weights.size,
            biases=0,
            flops=2 * round(float((self.exists * self.times).sum())),
            bytes=4 * self.weights.size,
            gzipped_bytes=gzipped,
            parts=parts,
        )


def _count_area(variable: keras.Variable) -> Part:
    # No parameter, but the products it is multiplied with need it, as they are computed.
    values = keras.ops.convert_to_numpy(variable).astype(np.float32)
    gzipped = _gzipped(values)
    return Part(variable.name, "area", "", values.shape, 0, 0, 0, 0, 0, 4 * values.size, gzipped)


def _count_other(variable: keras.Variable) -> Part:
    values = keras.ops.convert_to_numpy(variable).astype(np.float32)
    size = values.size
    return Part(
        variable.name, "bias", "", values.shape, 0, 0, 0, size, 0, 4 * size, _gzipped(values)
    )


def _by_gate(
    layer: keras.Layer, name: str, *arrays: np.ndarray
) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
    """Yields each gate's name and its matrix of every array; nothing where there are no gates.

    A kernel that belongs to one gate has its gate in its name.
    """
    form = form_of(layer)
    if form is None or len(form.gates) == 1 or name not in form.kernels:
        return
    split = [form.by_gate(name, array) for array in arrays]
    for index, gate in enumerate(form.gates):
        exists, weights = (parts[index] for parts in split)
        yield gate, exists, weights


def _gzipped(values: np.ndarray) -> int:
    return len(gzip.compress(np.ascontiguousarray(values).tobytes(), compresslevel=6, mtime=0))


def _sum(name: str, kind: str, detail: str, parts: tuple[Part, ...]) -> Part:
    def total(field: str) -> int:
        return sum(getattr(part, field) or 0 for part in parts)

    return Part(
        name,
        kind,
        detail,
        (),
        connections=total("connections"),
        nonzero=total("nonzero"),
        places=total("places"),
        biases=total("biases"),
        flops=total("flops"),
        bytes=total("bytes"),
        gzipped_bytes=total("gzipped_bytes"),
        parts=parts,
    )
