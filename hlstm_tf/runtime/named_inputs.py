"""The inputs of a file by name: checked, and cut into batches of the file's size."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from hlstm_tf.runtime.array_spec import ArraySpec
from hlstm_tf.runtime.host_loop import Arrays


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
