"""The host's side of a TFLite file in step form: the loop over time, on LiteRT."""

import os
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from hlstm_tf.export.host_loop import Arrays, HostLoop, loop_by_calls
from hlstm_tf.export.stream import Stream, Window, check_stream
from hlstm_tf.export.tflite_model import (
    NamedModel,
    TFLiteModel,
    check_threads,
    one_line,
    open_interpreter,
    signature_names,
    tensor_spec,
)

_TWO_THREADS_FROM = 800_000
"""Bytes of a file from which two threads are faster than one."""


class StepRunner(NamedModel):
    """A TFLite file in step form, ready to be called like the model it was made from.

    It runs the loop over time that such a file leaves to its host: what can be computed for all
    frames at once in one call, then frame by frame a step, whose states never leave the engine's
    memory. Samples of a batch are run one after the other. One instance serves one thread at a
    time.

    Args:
        path: A file that `export_tflite(form="step")` wrote.
        threads: Threads of the engine. Default `None`: one, or two for files of more than 0.8 MB,
            below which a second thread costs more than it brings.

    Call arguments:
        inputs: The batch: an array where the model has one input, or a dictionary by input name.

    Returns:
        An array where there is one output, else a dictionary by output name.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: The file is damaged or not in step form; `threads` is not positive; or, when
            called, an input is missing or has another shape or type.

    Example:

    >>> import os, tempfile, keras, numpy as np, hlstm_tf as hl
    >>> model = keras.Sequential([
    ...     keras.Input((None, 3), name="features"),
    ...     hl.HLSTM(4, return_sequences=True), keras.layers.Dense(2)])
    >>> path = os.path.join(tempfile.mkdtemp(), "model.tflite")
    >>> _ = hl.export_tflite(model, path, form="step")
    >>> runner = hl.StepRunner(path)
    >>> runner(np.zeros((1, 7, 3), "float32")).shape
    (1, 7, 2)
    >>> stream = runner.stream()
    >>> stream(np.zeros((1, 2, 3), "float32")).shape, stream(np.zeros((1, 5, 3), "float32")).shape
    ((1, 2, 2), (1, 5, 2))
    """

    def __init__(self, path: str | os.PathLike[str], *, threads: int | None = None) -> None:
        if threads is not None:
            check_threads(threads)
        self.path = Path(path)
        if threads is None:
            threads = _threads_for(self.path)
        self.threads = threads
        engine = _LiteRT(open_interpreter(self.path, threads), self.path)
        self.signatures: dict[str, dict[str, list[str]]] = engine.names
        try:
            self._loop = HostLoop(engine.names, engine)
        except ValueError as error:
            raise ValueError(f"{self.path} is not in step form: {error}.") from None
        self._windows: set[Window] = set()  # that were checked
        self._specs = {
            name: engine.spec(signature, name) for name, signature in self._loop.inputs.items()
        }

    @property
    def inputs(self) -> dict[str, tf.TensorSpec]:
        """Shape and dtype of each input by name; an open axis is `None`."""
        return dict(self._specs)

    @property
    def outputs(self) -> list[str]:
        """The outputs' names."""
        return list(self._loop.outputs)

    def stream(
        self, *, look_back: int = 0, look_ahead: int = 0, stride: int = 1, block: int = 1
    ) -> Stream:
        """Starts a sample whose frames come little by little.

        A model with convolutions before its first recurrent layer makes output k of the frames from
        `k * stride - look_back` to `k * stride + look_ahead`; pass what it does. Its first stage is
        then run on windows of the frames that overlap, and an output comes when the last frame that
        it needs has.

        Args:
            look_back, look_ahead: Frames before and after that an output is made of: for one
                convolution of odd length n, padded on both sides, (n - 1) / 2 each; convolutions
                one after the other add up, the later ones times the strides before them.
            stride: Frames an output: the product of the convolutions' strides.
            block: Outputs that are computed at a time. Each wait for the last of them, and the
                overlap is computed once for all of them.

        Raises:
            ValueError: The file has no signature `step`, because the model runs backwards in time,
                has masks, looks at several frames between its layers, or gives one output for a
                whole sequence; it has several inputs or a fixed length; or before its first
                recurrent layer it looks at other frames than was said.
        """
        window = Window(look_back, look_ahead, stride, block)
        if window not in self._windows:
            check_stream(self, self._loop, window)
            self._windows.add(window)
        return Stream(self, self._loop, window)

    def _invoke(self, named: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        return self._loop.run(named)


def load_tflite(
    path: str | os.PathLike[str], *, threads: int | None = None
) -> TFLiteModel | StepRunner:
    """Opens a TFLite file of either form: `TFLiteModel`, or `StepRunner` for one in step form.

    Both are called like the model that the file was made from.

    Args:
        path: The `.tflite` file.
        threads: Threads of the engine; by default as the class has it.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: The file is no TFLite file or is damaged, or `threads` is not positive.
    """
    path = Path(path)
    if "initial_state" in signature_names(path):
        return StepRunner(path, threads=threads)
    return TFLiteModel(path, threads=threads or 1)


def _threads_for(path: Path) -> int:
    big = path.is_file() and path.stat().st_size > _TWO_THREADS_FROM
    # Where the process may run on one core only, two threads wait for each other.
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return min(2 if big else 1, cores or 1)


class _LiteRT:
    """LiteRT as the engine of a `HostLoop`."""

    def __init__(self, interpreter: Any, path: Path) -> None:
        self.names = interpreter.get_signature_list()
        self._interpreter, self._path = interpreter, path
        self._runners = {name: interpreter.get_signature_runner(name) for name in self.names}
        self._steps: dict[str, _Step] = {}

    def spec(self, signature: str, name: str) -> tf.TensorSpec:
        """The spec of an input."""
        return tensor_spec(name, self._runners[signature].get_input_details()[name])

    def call(self, signature: str, inputs: Arrays) -> Arrays:
        """Runs a signature once."""
        try:
            return self._runners[signature](**inputs)
        except (ValueError, RuntimeError) as error:
            shapes = {name: value.shape for name, value in inputs.items()}
            raise ValueError(
                f"LiteRT cannot run {signature!r} of {self._path} on inputs of shapes {shapes}: "
                f"{one_line(error)}"
            ) from error

    def loop(
        self, signature: str, frames: Arrays, states: Arrays, valid: np.ndarray | None
    ) -> tuple[Arrays, Arrays]:
        """Runs a step over all frames."""
        if valid is not None and not valid[0]:
            return loop_by_calls(self.call, signature, frames, states, valid)
        if signature not in self._steps:
            runner = self._runners[signature]
            self._steps[signature] = _Step(self._interpreter, signature, runner)
        return self._steps[signature].run(frames, states, valid)


class _Step:
    """A signature of fixed shapes, run again and again on the engine's own memory.

    LiteRT's signature runners copy every input and output and look up their names at each call,
    which takes several times as long as the step of a compact model. What is used here lies below
    its public face.
    """

    def __init__(self, interpreter: Any, signature: str, runner: Any) -> None:
        self._interpreter, self._engine = interpreter, interpreter._interpreter
        self._graph = self._engine.GetSubgraphIndexFromSignature(signature)
        self._inputs = {name: d["index"] for name, d in runner.get_input_details().items()}
        self._outputs = {name: d["index"] for name, d in runner.get_output_details().items()}
        self._engine.AllocateTensors(self._graph)

    def run(
        self, frames: Arrays, states: Arrays, valid: np.ndarray | None
    ) -> tuple[Arrays, Arrays]:
        """Does what `loop_by_calls` does, where the first frame counts."""
        steps = next(iter(frames.values())).shape[1]
        outputs = {name: self._view(i) for name, i in self._outputs.items() if name not in states}
        kept = {name: np.empty((1, steps, *v.shape[1:]), v.dtype) for name, v in outputs.items()}
        before = {name: self._view(self._inputs[name]) for name in states}
        for name, state in before.items():
            state[...] = states[name]
        reads = [(_memory(self._view(self._inputs[n])), _memory(frames[n])) for n in frames]
        writes = [(_memory(kept[name]), _memory(output)) for name, output in outputs.items()]
        pairs = [
            (_memory(state), _memory(self._view(self._outputs[name])))
            for name, state in before.items()
        ]
        invoke = partial(self._engine.Invoke, self._graph)
        for t in range(steps):
            if valid is not None and not valid[t]:
                for store, view in writes:
                    size = len(view)
                    store[t * size : (t + 1) * size] = store[(t - 1) * size : t * size]
                continue
            for view, sequence in reads:
                size = len(view)
                view[:] = sequence[t * size : (t + 1) * size]
            invoke()
            for store, view in writes:
                size = len(view)
                store[t * size : (t + 1) * size] = view
            for carried, after in pairs:
                carried[:] = after
        return kept, {name: state.copy() for name, state in before.items()}

    def _view(self, index: int) -> np.ndarray:
        return self._engine.tensor(self._interpreter, index, self._graph)


def _memory(array: np.ndarray) -> memoryview:
    """The bytes of an array: to copy some of them takes a fifth of the time that NumPy takes."""
    return np.ascontiguousarray(array).reshape(-1).view(np.uint8).data
