"""A model's inputs by name: shapes and types, checked, and cut into batches."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from hlstm_tf.runtime.host_loop import Arrays


@dataclass(frozen=True)
class ArraySpec:
    """An input by name.

    Attributes:
        shape: Sizes of its axes, the batch first; an open one is `None`.
        dtype: Type of its numbers.
        name: Its name.

    Example:

    >>> import numpy as np
    >>> from hlstm_tf.runtime.inputs import ArraySpec
    >>> features = ArraySpec((1, None, 3), np.dtype("float32"), "features")
    >>> features.fitted(np.zeros((1, 7, 3)), "inputs").dtype
    dtype('float32')
    """

    shape: tuple[int | None, ...]
    dtype: np.dtype
    name: str

    @property
    def floating(self) -> bool:
        """Whether its numbers are floats, those of `ml_dtypes` (bfloat16) too."""
        return self.dtype.kind in "fV"

    @property
    def any_batch(self) -> "ArraySpec":
        """The same for any number of samples."""
        return replace(self, shape=(None, *self.shape[1:])) if self.shape else self

    def fitted(self, value: Any, argument: str) -> np.ndarray:
        """`value` as an array of this shape and type.

        Args:
            value: What a user gave.
            argument: The argument that it came in, for the error.

        Raises:
            ValueError: Its rank, a fixed axis or its kind of number is another.
        """
        try:
            array = np.asarray(value)
        except (ValueError, TypeError):
            raise ValueError(
                f"{argument}: input {self.name!r} must be an array of shape {self._shown()}; got "
                f"{described(value)}."
            ) from None
        if not self._fits(array.shape):
            raise ValueError(
                f"{argument}: input {self.name!r} must have the shape {self._shown()}; got "
                f"{tuple(array.shape)}."
            )
        if array.size == 0:
            raise ValueError(
                f"{argument}: input {self.name!r} is empty, of the shape {tuple(array.shape)}; "
                "give at least one sample of at least one frame."
            )
        if array.dtype == self.dtype and array.flags.c_contiguous:
            return array
        # ml_dtypes have a kind of their own: NumPy cannot say what casts to them.
        if self.dtype.kind != "V" and not np.can_cast(array.dtype, self.dtype, "same_kind"):
            raise ValueError(
                f"{argument}: input {self.name!r} must be of type {self.dtype}; got {array.dtype}."
            )
        cast = np.ascontiguousarray(array.astype(self.dtype, copy=False))
        return cast.reshape(array.shape)

    def _fits(self, given: tuple[int, ...]) -> bool:
        if len(given) != len(self.shape):
            return False
        for size, found in zip(self.shape, given, strict=True):  # a generator takes twice as long
            if size is not None and size != found:
                return False
        return True

    def _shown(self) -> str:
        sizes = ["samples", *("any" if size is None else str(size) for size in self.shape[1:])]
        return f"({', '.join(sizes)}{',' if len(sizes) == 1 else ''})"


def described(value: Any) -> str:
    """What a user gave instead of an array, in a few words."""
    if isinstance(value, Mapping):
        return f"a dictionary with {sorted(map(str, value))}"
    shape = getattr(value, "shape", None)
    return f"a {type(value).__name__}" + ("" if shape is None else f" of shape {tuple(shape)}")


class NamedInputs:
    """What a file takes, as a user may give it: any number of samples, and an array alone where
    there is one input.

    Args:
        path: The file, for errors.
        specs: Shape and type of each input by name.
    """

    def __init__(self, path: Path, specs: Mapping[str, ArraySpec]) -> None:
        self.path = path
        self.specs = dict(specs)
        # Any number of samples is taken: the batch axis is cut to the file's.
        self._given = {name: spec.any_batch for name, spec in specs.items()}
        self._sizes = {name: spec.shape[0] for name, spec in specs.items() if spec.shape}

    def named(self, inputs: Any, some: Iterable[str] | None = None) -> Arrays:
        """A user's batch by input name.

        Args:
            inputs: An array where one input is expected, or a dictionary by name.
            some: The inputs expected; all by default.

        Raises:
            ValueError: An input is missing or too many, or has another shape or type.
        """
        specs = self._given if some is None else {name: self._given[name] for name in some}
        if not isinstance(inputs, Mapping):
            if len(specs) != 1:
                raise ValueError(
                    f"{self.path} takes several inputs; give a dictionary with {list(specs)}."
                )
            inputs = {next(iter(specs)): inputs}
        if set(inputs) != set(specs):
            raise ValueError(f"{self.path} takes the inputs {list(specs)}; got {sorted(inputs)}.")
        return {name: spec.fitted(inputs[name], str(self.path)) for name, spec in specs.items()}

    def pieces(self, named: Arrays) -> list[Arrays]:
        """A batch cut into as many samples at a time as the file takes.

        Raises:
            ValueError: It cannot be cut so.
        """
        sizes = {name: size or len(named[name]) for name, size in self._sizes.items()}
        counts = {len(named[name]) / size for name, size in sizes.items()}
        if not sizes or counts == {1.0}:
            return [named]
        count = counts.pop()
        if counts or count != int(count) or count < 1:
            raise ValueError(
                f"{self.path} takes batches of {sizes}; got "
                f"{ {name: len(named[name]) for name in sizes} } samples."
            )
        return [
            {
                name: value[i * sizes[name] : (i + 1) * sizes[name]] if name in sizes else value
                for name, value in named.items()
            }
            for i in range(int(count))
        ]
