"""The names, shapes and types of a model's inputs."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np


@dataclass(frozen=True)
class ArraySpec:
    """An input by name.

    Attributes:
        shape: Sizes of its axes, the batch first; an open one is `None`.
        dtype: Type of its numbers.
        name: Its name.

    Example:

    >>> import numpy as np
    >>> from hlstm_tf.runtime.array_spec import ArraySpec
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
