"""A model's inputs and outputs by name: what signatures, samples and comparisons agree on."""

import dataclasses
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from hlstm_tf.keras_check import check_keras
from hlstm_tf.keras_internals import inner_layers
from hlstm_tf.runtime.inputs import ArraySpec, described


@dataclass(frozen=True)
class InputLayout:
    """The inputs of a model: their structure, and a stable name for each.

    Attributes:
        structure: What the model is called with, a `tf.TensorSpec` in each place: one, a list, or a
            dictionary. The specs' names are unique.
        id_limit: One more than the largest id that every `Embedding` of the model knows, or `None`.
        batch_size: The samples that the model takes at a time, where its inputs fix that.
        states: Spec of each state, by name, that a signature takes beside the inputs and returns
            beside the outputs; of a stateful model.
    """

    structure: Any
    id_limit: int | None = None
    batch_size: int | None = None
    states: dict[str, tf.TensorSpec] = field(default_factory=dict)

    @property
    def specs(self) -> dict[str, tf.TensorSpec]:
        """The inputs' specs by name, in the model's order, and behind them the states'."""
        return {spec.name: spec for spec in keras.tree.flatten(self.structure)} | self.states

    def with_batch(self, batch_size: int | None) -> Any:
        """What a signature takes, with every batch axis set to `batch_size`.

        The structure; where there are states, a dictionary of everything by name.
        """
        return keras.tree.map_structure(
            lambda spec: tf.TensorSpec((batch_size, *spec.shape[1:]), spec.dtype, spec.name),
            self.specs if self.states else self.structure,
        )

    def argument(self, named: Mapping[str, Any]) -> Any:
        """What a signature's function is called with, in the structure of `with_batch`."""
        return {name: named[name] for name in self.specs} if self.states else self.pack(named)

    def without_states(self) -> "InputLayout":
        """The inputs alone."""
        return dataclasses.replace(self, states={})

    def opened(self, names: Iterable[str]) -> "InputLayout":
        """The same with the lengths of the inputs of these names left open."""
        chosen = set(names)

        def opened(spec: tf.TensorSpec) -> tf.TensorSpec:
            if spec.name not in chosen:
                return spec
            return tf.TensorSpec((None, None, *spec.shape[2:]), spec.dtype, spec.name)

        structure = keras.tree.map_structure(opened, self.structure)
        return dataclasses.replace(self, structure=structure)

    def with_some_states(self, named: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """A batch with states that are not zero, so that a comparison sees what becomes of them."""
        samples = len(next(iter(named.values())))
        rng = np.random.default_rng(1)
        return {
            **{
                name: rng.uniform(-0.5, 0.5, (samples, *spec.shape[1:])).astype(
                    spec.dtype.as_numpy_dtype
                )
                for name, spec in self.states.items()
            },
            **named,
        }

    def pack(self, named: Mapping[str, Any]) -> Any:
        """The model's argument from its parts by name."""
        return keras.tree.map_structure(lambda spec: named[spec.name], self.structure)

    def named(self, values: Any, argument: str) -> dict[str, np.ndarray]:
        """Checks a batch that a user gave, and returns it by input name in the model's dtypes.

        Args:
            values: A batch in the model's structure, or a dictionary by input name.
            argument: The argument that it came in, for the error.

        Raises:
            ValueError: A part is missing, or has a shape or dtype that the model does not take.
        """
        specs = self.without_states().specs
        by_name = isinstance(values, Mapping) and set(values) == set(specs)
        parts = dict(values) if by_name else _parts(self.structure, values)
        if parts is None:
            raise ValueError(
                f"{argument} must hold a batch for each of the model's inputs {list(specs)}; got "
                f"{described(values)}."
            )
        arrays = {
            name: array_spec(spec).fitted(parts[name], argument) for name, spec in specs.items()
        }
        sizes = {name: len(array) for name, array in arrays.items()}
        if len(set(sizes.values())) > 1 or 0 in sizes.values():
            raise ValueError(
                f"{argument}: every input must have the same number of samples, at least one; "
                f"got {sizes}."
            )
        return arrays

    def random(self, samples: int = 1, steps: int = 24, seed: int = 0) -> dict[str, np.ndarray]:
        """Random inputs by name: standard normal floats, and integers the model can take.

        Axes of unknown length get `steps` entries. Integers of one axis are taken for lengths, of
        the whole sequence; others are ids below `id_limit`, or ones where no limit is known.
        Strings are letters.
        """
        rng = np.random.default_rng(seed)
        inputs = {
            name: self._random(rng, spec, samples, steps)
            for name, spec in self.without_states().specs.items()
        }
        return self.with_some_states(inputs)

    def _random(
        self, rng: np.random.Generator, spec: tf.TensorSpec, samples: int, steps: int
    ) -> np.ndarray:
        shape = (samples, *(size or steps for size in spec.shape[1:]))
        dtype = spec.dtype.as_numpy_dtype
        if spec.dtype.is_floating:
            return rng.normal(size=shape).astype(dtype)
        if spec.dtype == tf.bool:
            return rng.random(shape) < 0.5
        if spec.dtype == tf.string:
            return rng.choice(np.array([b"a", b"b", b"c"], object), shape)
        if spec.dtype.is_complex:
            return (rng.normal(size=shape) + 1j * rng.normal(size=shape)).astype(dtype)
        if len(shape) == 1:
            return np.full(shape, self._steps(steps), dtype)
        if self.id_limit is None or self.id_limit < 2:
            return np.ones(shape, dtype)
        return rng.integers(1, self.id_limit, shape).astype(dtype)

    def _steps(self, unknown: int) -> int:
        for spec in self.specs.values():
            if len(spec.shape) > 1:
                return spec.shape[1] or unknown
        return 1


def input_layout(model: keras.Model) -> InputLayout:
    """Reads the inputs of a functional or sequential model.

    A name comes from the dictionary's key or from `keras.Input(name=...)`; an input without a name
    is called `inputs`.

    Raises:
        TypeError: `model` is no Keras model.
        ValueError: The model is not built, or its inputs are not known.
    """
    check_keras(model, keras.Model, "model")
    structure = _declared_inputs(model)
    if structure is None:
        raise ValueError(
            f"model {model.name!r} does not say what its inputs are; build it from keras.Input, "
            "as a Sequential or functional model, to export it."
        )
    taken: set[str] = set()

    def spec(path: tuple[Any, ...], tensor: Any) -> tf.TensorSpec:
        name = unique_name(_input_name(path, tensor), taken)
        return tf.TensorSpec((None, *tensor.shape[1:]), tensor.dtype, name)

    flat = [spec(path, tensor) for path, tensor in keras.tree.flatten_with_path(structure)]
    fixed = {tensor.shape[0] for tensor in keras.tree.flatten(structure)} - {None}
    return InputLayout(
        keras.tree.pack_sequence_as(structure, flat), _id_limit(model), min(fixed, default=None)
    )


def named_outputs(outputs: Any) -> dict[str, Any]:
    """Outputs by name: `outputs` for a single tensor, keys of a dictionary, else `output_0`..."""
    if isinstance(outputs, Mapping):
        named: dict[str, Any] = {}
        for path, value in keras.tree.flatten_with_path(dict(outputs)):
            named[unique_name(clean_name("_".join(map(str, path))), set(named))] = value
        return named
    flat = keras.tree.flatten(outputs)
    if len(flat) == 1:
        return {"outputs": flat[0]}
    return {f"output_{number}": value for number, value in enumerate(flat)}


def output_names(model: keras.Model) -> list[str]:
    """The names that `named_outputs` gives a model's outputs."""
    if isinstance(model, keras.Sequential):
        return list(named_outputs(model.outputs))
    return list(named_outputs(model.output))


def array_spec(spec: tf.TensorSpec) -> ArraySpec:
    """The same without TensorFlow."""
    return ArraySpec(tuple(spec.shape), np.dtype(spec.dtype.as_numpy_dtype), spec.name)


def _parts(structure: Any, values: Any) -> dict[str, Any] | None:
    """The parts of `values` by the names in `structure`; `None` where the two do not match."""
    if isinstance(structure, tf.TensorSpec):
        return None if isinstance(values, Mapping) else {structure.name: values}
    if isinstance(structure, Mapping):
        if not isinstance(values, Mapping) or set(values) != set(structure):
            return None
        pairs = [(structure[key], values[key]) for key in structure]
    else:
        if not isinstance(values, (list, tuple)) or len(values) != len(structure):
            return None
        pairs = list(zip(structure, values, strict=True))
    parts: dict[str, Any] = {}
    for inner, value in pairs:
        found = _parts(inner, value)
        if found is None:
            return None
        parts |= found
    return parts


def _declared_inputs(model: keras.Model) -> Any:
    try:
        return model.inputs[0] if isinstance(model, keras.Sequential) else model.input
    except (AttributeError, ValueError):
        return None


def _input_name(path: tuple[Any, ...], tensor: Any) -> str:
    if path and isinstance(path[-1], str):
        return clean_name("_".join(map(str, path)))
    # Keras numbers the tensors of a process: such a name would change from run to run.
    automatic = re.fullmatch(r"(keras_tensor|input_layer|input)(_\d+)?(CLONE)?", tensor.name)
    return "inputs" if automatic else clean_name(tensor.name.removesuffix("CLONE"))


def clean_name(name: str) -> str:
    """`name` with only letters, digits and underscores, as graphs and signatures take it."""
    return re.sub(r"[^A-Za-z0-9_]", "_", name)


def unique_name(name: str, taken: set[str]) -> str:
    """`name`, with a number if it is in `taken`; adds the result to `taken`."""
    count, unique = 1, name
    while unique in taken:
        count += 1
        unique = f"{name}_{count}"
    taken.add(unique)
    return unique


def _id_limit(model: keras.Model) -> int | None:
    layers = inner_layers(model)
    limits = [layer.input_dim for layer in layers if isinstance(layer, keras.layers.Embedding)]
    return min(limits, default=None)
