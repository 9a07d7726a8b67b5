"""Running a TFLite file on LiteRT."""

import abc
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from hlstm_tf.export.layout import fitted


class NamedModel(abc.ABC):
    """Something to call with a batch of any size that runs a file's fixed number of samples at a
    time; inputs and outputs have names.

    Attributes:
        path: The file, for errors.
    """

    path: Path

    @property
    @abc.abstractmethod
    def inputs(self) -> dict[str, tf.TensorSpec]:
        """Shape and dtype of each input by name; an open axis is `None`."""

    @property
    @abc.abstractmethod
    def outputs(self) -> list[str]:
        """The outputs' names."""

    @abc.abstractmethod
    def _invoke(self, named: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Runs as many samples as the file takes at a time."""

    def __call__(self, inputs: Any) -> Any:
        outputs = self.run(inputs)
        return next(iter(outputs.values())) if len(outputs) == 1 else outputs

    def run(self, inputs: Any) -> dict[str, np.ndarray]:
        """As calling, with a dictionary by output name whatever their number."""
        return self._in_pieces(self._named(inputs))

    def _named(self, inputs: Any) -> dict[str, np.ndarray]:
        specs = self.inputs
        if not isinstance(inputs, Mapping):
            if len(specs) != 1:
                raise ValueError(
                    f"{self.path} takes several inputs; give a dictionary with {list(specs)}."
                )
            inputs = {next(iter(specs)): inputs}
        if set(inputs) != set(specs):
            raise ValueError(f"{self.path} takes the inputs {list(specs)}; got {sorted(inputs)}.")
        # Any number of samples is taken: the batch axis is cut to the file's below.
        return {
            name: fitted(
                inputs[name],
                tf.TensorSpec((None, *spec.shape[1:]) if spec.shape.rank else (), spec.dtype, name),
                str(self.path),
            )
            for name, spec in specs.items()
        }

    def _in_pieces(self, named: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        specs = self.inputs
        batched = [name for name, spec in specs.items() if spec.shape.rank]
        sizes = {name: specs[name].shape[0] or len(named[name]) for name in batched}
        counts = {len(named[name]) / sizes[name] for name in batched}
        if not batched or counts == {1.0}:
            return self._invoke(named)
        count = counts.pop()
        if counts or count != int(count) or count < 1:
            raise ValueError(
                f"{self.path} takes batches of {sizes}; got "
                f"{ {name: len(named[name]) for name in batched} } samples."
            )
        pieces = [
            self._invoke(
                {
                    name: value[i * sizes[name] : (i + 1) * sizes[name]] if name in sizes else value
                    for name, value in named.items()
                }
            )
            for i in range(int(count))
        ]
        return {name: np.concatenate([piece[name] for piece in pieces]) for name in pieces[0]}


class TFLiteModel(NamedModel):
    """A TFLite file, ready to be called like the model it was made from.

    Axes that the file leaves open (the length of a sequence) may change from call to call. A batch
    larger than the file's (1 as a rule) is run piece by piece. One instance serves one thread at a
    time.

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
        check_threads(threads)
        self.path = Path(path)
        self.threads = threads
        self._interpreter = open_interpreter(self.path, threads)
        self.signatures: dict[str, dict[str, list[str]]] = self._interpreter.get_signature_list()
        self.signature = self._choose(signature)
        self._runner = self._interpreter.get_signature_runner(self.signature)
        self._specs = {
            name: tensor_spec(name, detail)
            for name, detail in self._runner.get_input_details().items()
        }

    @property
    def inputs(self) -> dict[str, tf.TensorSpec]:
        """Shape and dtype of each input by name; an open axis is `None`."""
        return dict(self._specs)

    @property
    def outputs(self) -> list[str]:
        """The outputs' names."""
        return list(self._runner.get_output_details())

    def _invoke(self, named: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        try:
            return self._runner(**named)
        except (ValueError, RuntimeError) as error:
            shapes = {name: value.shape for name, value in named.items()}
            raise ValueError(
                f"LiteRT cannot run {self.path} on inputs of shapes {shapes}: {one_line(error)}"
            ) from error

    def _choose(self, signature: str | None) -> str:
        names = list(self.signatures)
        if not names:
            raise ValueError(f"{self.path} has no signature; export it with export_tflite.")
        if signature is None:
            signature = "serve" if "serve" in names else names[0]
            if len(names) > 1 and "serve" not in names:
                raise ValueError(f"{self.path} has the signatures {names}; choose one.")
        if signature not in names:
            raise ValueError(f"{self.path} has no signature {signature!r}; it has {names}.")
        return signature


def check_threads(threads: int) -> None:
    """Raises a `ValueError` for a number of threads that cannot be."""
    if isinstance(threads, bool) or not isinstance(threads, int) or threads < 1:
        raise ValueError(f"threads must be a positive integer; got {threads!r}.")


def open_interpreter(path: Path, threads: int) -> Any:
    """LiteRT's interpreter of a file; raises as `TFLiteModel` does."""
    from ai_edge_litert.interpreter import Interpreter

    content = _read(path)
    try:
        interpreter = Interpreter(model_content=content, num_threads=threads)
        # An open axis is one long until it is set, which a convolution may find too short.
        if all((detail["shape_signature"] > 0).all() for detail in interpreter.get_input_details()):
            interpreter.allocate_tensors()
    except (ValueError, RuntimeError) as error:
        raise ValueError(
            f"{path} is no TFLite file that LiteRT can run, or is damaged: {one_line(error)}"
        ) from error
    return interpreter


def signature_names(path: Path) -> list[str]:
    """The names of a file's signatures, read without starting an engine.

    Empty for a damaged file, of which the engine can say what is wrong.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is no TFLite file.
    """
    from ai_edge_litert import schema_py_generated as schema

    content = _read(path)
    try:
        model = schema.Model.GetRootAs(content, 0)
        signatures = [model.SignatureDefs(i) for i in range(model.SignatureDefsLength())]
        return [signature.SignatureKey().decode() for signature in signatures]
    except Exception:  # whatever a place that is not in the file leads to
        return []


def one_line(error: Exception) -> str:
    """What LiteRT says of an error, short enough to be read."""
    return " ".join(str(error).split())[:300]


def _read(path: Path) -> bytes:
    if not path.exists():
        raise FileNotFoundError(f"{path} does not exist; expected a .tflite file.")
    if path.is_dir():
        raise ValueError(f"{path} is a folder; expected a .tflite file.")
    content = path.read_bytes()
    if content[4:8] != b"TFL3":
        raise ValueError(
            f"{path} is no TFLite file or is damaged ({len(content):,} bytes, without the mark "
            "'TFL3'); export the model again."
        )
    return content


def tensor_spec(name: str, detail: Mapping[str, Any]) -> tf.TensorSpec:
    """The spec of a tensor from LiteRT's details; an open axis is `None`."""
    shape = [None if size < 0 else int(size) for size in detail["shape_signature"]]
    return tf.TensorSpec(shape, tf.as_dtype(detail["dtype"]), name)
