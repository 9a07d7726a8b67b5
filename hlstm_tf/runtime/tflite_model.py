"""Running a TFLite file on LiteRT."""

import abc
import os
from pathlib import Path
from typing import Any

import numpy as np

from hlstm_tf.runtime.host_loop import Arrays
from hlstm_tf.runtime.inputs import ArraySpec, NamedInputs
from hlstm_tf.runtime.litert import LiteRT


class NamedModel(abc.ABC):
    """Something to call with a batch of any size that runs a file's fixed number of samples at a
    time; inputs and outputs have names.

    Args:
        path: The file, for errors.
        inputs: Shape and type of each input by name.
    """

    def __init__(self, path: Path, inputs: dict[str, ArraySpec]) -> None:
        self.path = path
        self._inputs = NamedInputs(path, inputs)

    @property
    def inputs(self) -> dict[str, ArraySpec]:
        """Shape and type of each input by name; an open axis is `None`."""
        return dict(self._inputs.specs)

    @property
    @abc.abstractmethod
    def outputs(self) -> list[str]:
        """The outputs' names."""

    @abc.abstractmethod
    def _invoke(self, named: Arrays) -> Arrays:
        """Runs as many samples as the file takes at a time."""

    def __call__(self, inputs: Any) -> Any:
        outputs = self.run(inputs)
        return next(iter(outputs.values())) if len(outputs) == 1 else outputs

    def run(self, inputs: Any) -> Arrays:
        """As calling, with a dictionary by output name whatever their number."""
        found = [self._invoke(piece) for piece in self._inputs.pieces(self._inputs.named(inputs))]
        if len(found) == 1:
            return found[0]
        return {name: np.concatenate([outputs[name] for outputs in found]) for name in found[0]}


class TFLiteModel(NamedModel):
    """A TFLite file, ready to be called like the model it was made from.

    Axes that the file leaves open (the length of a sequence) may change from call to call. A batch
    larger than the file's (1 as a rule) is run piece by piece. Threads may share an instance: they
    wait in turn. To compute at the same time, give each its own.

    Args:
        path: The `.tflite` file.
        threads: Threads of the engine. 1 by default: below about 0.8 MB of int8 weights two
            threads are slower than one.
        signature: Which of the file's signatures to call; by default `serve`, or the only one.

    Call arguments:
        inputs: The batch: an array where the model has one input, or a dictionary by input name.

    Returns:
        An array where there is one output, else a dictionary by output name.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: The file is no TFLite file or is damaged; `threads` is not positive; there is no
            such signature; or, when called, an input is missing or has another shape or type.

    Example:

    >>> import os, tempfile, keras, numpy as np, hlstm_tf as hl
    >>> model = keras.Sequential([keras.Input((4,), name="features"), keras.layers.Dense(2)])
    >>> path = os.path.join(tempfile.mkdtemp(), "model.tflite")
    >>> _ = hl.export_tflite(model, path)
    >>> hl.TFLiteModel(path)(np.zeros((3, 4), "float32")).shape
    (3, 2)
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        threads: int = 1,
        signature: str | None = None,
    ) -> None:
        self._engine = LiteRT(Path(path), threads)
        self.threads = threads
        self.signatures = self._engine.names
        self.signature = _chosen(Path(path), list(self.signatures), signature)
        names = self.signatures[self.signature]["inputs"]
        super().__init__(
            Path(path), {name: self._engine.spec(self.signature, name) for name in names}
        )

    @property
    def outputs(self) -> list[str]:
        """The outputs' names."""
        return list(self.signatures[self.signature]["outputs"])

    def _invoke(self, named: Arrays) -> Arrays:
        return self._engine.call(self.signature, named)


def _chosen(path: Path, names: list[str], signature: str | None) -> str:
    if not names:
        raise ValueError(f"{path} has no signature; export it with export_tflite.")
    if signature is None:
        signature = "serve" if "serve" in names else names[0]
        if len(names) > 1 and "serve" not in names:
            raise ValueError(f"{path} has the signatures {names}; choose one.")
    if signature not in names:
        raise ValueError(f"{path} has no signature {signature!r}; it has {names}.")
    return signature
