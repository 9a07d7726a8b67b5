"""TFLite files on LiteRT: their signatures, run on the engine's own memory."""

import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from hlstm_tf.runtime.host_loop import Arrays, loop_by_calls
from hlstm_tf.runtime.inputs import ArraySpec
from hlstm_tf.runtime.interpreter import (
    check_threads,
    damaged,
    one_line,
    open_interpreter,
    quiet_start,
)


class LiteRT:
    """The signatures of a TFLite file. Threads that call them at the same time wait in turn.

    LiteRT's own signature runners set up every input and look up every name at each call, which
    takes several times as long as a small model. What is used here lies below its public face.

    Args:
        path: The file.
        threads: Threads that a call computes with.

    Attributes:
        names: Names of each signature's `inputs` and `outputs`.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: The file is no TFLite file or is damaged; or `threads` is not positive.
    """

    def __init__(self, path: Path, threads: int) -> None:
        check_threads(threads)
        self._path = path
        self.interpreter = open_interpreter(path, threads)
        self.names: dict[str, dict[str, list[str]]] = _signatures(self.interpreter, path)
        self._signatures = {name: _Signature(self.interpreter, name) for name in self.names}
        self._steps: dict[tuple[str, ...], _Step] = {}
        self._lock = threading.Lock()

    def spec(self, signature: str, name: str) -> ArraySpec:
        """The shape and type of an input."""
        return self._signatures[signature].specs[name]

    def batch_size(self) -> int:
        """Samples a call: every signature but `initial_state` has them on its first axis."""
        for name, signature in self._signatures.items():
            if name != "initial_state" and signature.specs:
                return next(iter(signature.specs.values())).shape[0] or 1
        return 1

    def call(self, signature: str, inputs: Mapping[str, np.ndarray]) -> Arrays:
        """Runs a signature once."""
        with self._lock:
            try:
                return self._signatures[signature].run(inputs)
            except (ValueError, RuntimeError) as error:
                raise self._error(signature, inputs, error) from error

    def loop(
        self,
        signature: str,
        frames: Arrays,
        states: Arrays,
        valid: np.ndarray | None,
        fixed: Arrays,
    ) -> tuple[Arrays, Arrays]:
        """Runs a step over all frames; see `host_loop.loop_by_calls`."""
        masked_batch = valid is not None and len(valid) > 1
        if masked_batch or any(None in self.spec(signature, name).shape for name in fixed):
            return loop_by_calls(self.call, signature, frames, states, valid, fixed)
        with self._lock:
            key = (signature, *frames, "", *states, "", *fixed)
            try:
                if key not in self._steps:
                    step = self._signatures[signature]
                    self._steps[key] = _Step(step, list(frames), list(states), list(fixed))
                return self._steps[key].run(frames, states, valid, fixed)
            except (ValueError, IndexError, RuntimeError) as error:
                raise self._error(signature, {**frames, **states, **fixed}, error) from error

    def _error(
        self, signature: str, inputs: Mapping[str, np.ndarray], error: Exception
    ) -> ValueError:
        shapes = {name: np.shape(value) for name, value in inputs.items()}
        return ValueError(
            f"LiteRT cannot run {signature!r} of {self._path} on inputs of shapes {shapes}: "
            f"{one_line(error)}"
        )


class _Signature:
    """A signature, and the shapes of the inputs that its memory was laid out for."""

    def __init__(self, interpreter: Any, name: str) -> None:
        runner = interpreter.get_signature_runner(name)
        inputs, outputs = runner.get_input_details(), runner.get_output_details()
        self.interpreter, self.engine = interpreter, interpreter._interpreter
        self.graph = self.engine.GetSubgraphIndexFromSignature(name)
        self.specs = {key: _array_spec(key, detail) for key, detail in inputs.items()}
        self.inputs = {key: detail["index"] for key, detail in inputs.items()}
        self.outputs = {key: detail["index"] for key, detail in outputs.items()}
        self._shapes: dict[str, tuple[int, ...]] = {}

    def run(self, inputs: Mapping[str, np.ndarray]) -> Arrays:
        """Runs it once."""
        engine, graph = self.engine, self.graph
        if inputs.keys() != self.inputs.keys():
            raise ValueError(f"it takes the inputs {list(self.inputs)}")
        shapes = {name: value.shape for name, value in inputs.items()}
        if shapes != self._shapes:
            self._lay_out(shapes)
        for name, index in self.inputs.items():
            engine.SetTensor(index, inputs[name], graph)
        engine.Invoke(graph)
        return {name: engine.GetTensor(index, graph) for name, index in self.outputs.items()}

    def view(self, index: int) -> np.ndarray:
        """The engine's own memory of an input or output of fixed shape."""
        return self.engine.tensor(self.interpreter, index, self.graph)

    def _lay_out(self, shapes: dict[str, tuple[int, ...]]) -> None:
        self._shapes = {}
        for name, shape in shapes.items():
            sizes = np.array(shape, np.int32)
            self.engine.ResizeInputTensor(self.inputs[name], sizes, False, self.graph)
        with quiet_start():
            self.engine.AllocateTensors(self.graph)
        self._shapes = shapes


class _Step:
    """A signature of fixed shapes run frame after frame, its memory looked up once.

    Args:
        signature: It is called here only, so that its memory stays where it is.
        frames: Names of the inputs that get a frame at a time.
        states: Names of those that get what the step before gave under the same name.
        fixed: Names of those that are the same for all frames.

    Raises:
        ValueError: The signature has other inputs, or does not give the states.
    """

    def __init__(
        self, signature: _Signature, frames: list[str], states: list[str], fixed: list[str]
    ) -> None:
        taken = {*frames, *states, *fixed}
        if taken != set(signature.inputs) or not set(states) <= set(signature.outputs):
            raise ValueError(
                f"it takes {list(signature.inputs)} and gives {list(signature.outputs)}"
            )
        with quiet_start():
            signature.engine.AllocateTensors(signature.graph)
        self._engine, self._graph = signature.engine, signature.graph
        self._inputs = {name: signature.view(signature.inputs[name]) for name in frames}
        self._frames = {name: _bytes(view) for name, view in self._inputs.items()}
        self._states = {name: signature.view(signature.inputs[name]) for name in states}
        self._fixed = {name: signature.view(signature.inputs[name]) for name in fixed}
        self._outputs = {
            name: signature.view(index)
            for name, index in signature.outputs.items()
            if name not in states
        }
        self._writes = {name: _bytes(output) for name, output in self._outputs.items()}
        self._after = {name: signature.view(signature.outputs[name]) for name in states}
        self._carried = [
            (_bytes(state), _bytes(self._after[name])) for name, state in self._states.items()
        ]

    def run(
        self, frames: Arrays, states: Arrays, valid: np.ndarray | None, fixed: Arrays
    ) -> tuple[Arrays, Arrays]:
        """Does what `host_loop.loop_by_calls` does, for a mask of one sample."""
        steps = next(iter(frames.values())).shape[1]
        _fill(self._states, states)
        _fill(self._fixed, fixed)
        if steps == 1 and valid is None:
            return self._once(frames)
        kept = {
            name: np.zeros((steps, *output.shape), output.dtype)
            for name, output in self._outputs.items()
        }
        reads = [
            (view, _pieces(frames[name].swapaxes(0, 1), len(view)))
            for name, view in self._frames.items()
        ]
        writes = [(view, _pieces(kept[name], len(view))) for name, view in self._writes.items()]
        if any(len(pieces) != steps for _, pieces in (*reads, *writes)):
            raise ValueError(_OTHER_SIZE)
        self._run(steps, reads, writes, None if valid is None else valid[0])
        made = {name: value.swapaxes(0, 1) for name, value in kept.items()}
        return made, {name: state.copy() for name, state in self._states.items()}

    def _once(self, frames: Arrays) -> tuple[Arrays, Arrays]:
        """One frame: what a stream mostly gets."""
        for name, view in self._inputs.items():
            frame = frames[name]
            if frame.shape != (*view.shape[:1], 1, *view.shape[1:]):
                raise ValueError(_OTHER_SIZE)
            view[...] = frame[:, 0]
        self._engine.Invoke(self._graph)
        made = {name: output[:, None].copy() for name, output in self._outputs.items()}
        return made, {name: state.copy() for name, state in self._after.items()}

    def _run(self, steps: int, reads: Any, writes: Any, valid: np.ndarray | None) -> None:
        invoke, graph, carried = self._engine.Invoke, self._graph, self._carried
        for t in range(steps):
            if valid is not None and not valid[t]:
                for _, pieces in writes if t else ():
                    pieces[t][:] = pieces[t - 1]
                continue
            for view, pieces in reads:
                view[:] = pieces[t]
            invoke(graph)
            for view, pieces in writes:
                pieces[t][:] = view
            for before, after in carried:
                before[:] = after


_OTHER_SIZE = "a frame has another size than the step takes or gives"


def _fill(views: Arrays, values: Arrays) -> None:
    for name, view in views.items():
        if np.shape(values[name]) != view.shape:  # NumPy would repeat a value of one entry
            raise ValueError(f"{name!r} must have the shape {view.shape}")
        view[...] = values[name]


def _bytes(array: np.ndarray) -> memoryview:
    """The bytes of an array: to copy some of them takes a fifth of the time that NumPy takes."""
    return np.ascontiguousarray(array).reshape(-1).view(np.uint8).data


def _pieces(array: np.ndarray, size: int) -> list[memoryview]:
    """The bytes of an array, in pieces of that many."""
    content = _bytes(array)
    if len(content) == size:
        return [content]
    return [content[i : i + size] for i in range(0, len(content), size)] if size else []


def _signatures(interpreter: Any, path: Path) -> dict[str, dict[str, list[str]]]:
    try:
        return interpreter.get_signature_list()
    except UnicodeDecodeError as error:
        raise damaged(path, "a signature's name is no text") from error


def _array_spec(name: str, detail: Mapping[str, Any]) -> ArraySpec:
    """The spec of a tensor from LiteRT's details; an open axis is `None`."""
    shape = tuple(None if size < 0 else int(size) for size in detail["shape_signature"])
    return ArraySpec(shape, np.dtype(detail["dtype"]), name)
