"""The host's side of a TFLite file in step form: the loop over time, on LiteRT."""

import os
from pathlib import Path

import numpy as np

from hlstm_tf.export.host_loop import HostLoop, check_names
from hlstm_tf.export.litert import LiteRT, signature_names
from hlstm_tf.export.stream import Stream, Window, check_stream
from hlstm_tf.export.tflite_model import NamedModel, TFLiteModel

_TWO_THREADS_FROM = 800_000
"""Bytes of a file from which two threads are faster than one."""


class StepRunner(NamedModel):
    """A TFLite file in step form, ready to be called like the model it was made from.

    It runs the loop over time that such a file leaves to its host: what can be computed for all
    frames at once in one call, then frame by frame a step, whose states never leave the engine's
    memory. Samples of a batch are run one after the other. Threads may share an instance and its
    streams may run in threads of their own: they wait in turn. To compute at the same time, give
    each thread an instance.

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
        path = Path(path)
        self.threads = _threads_for(path) if threads is None else threads
        engine = LiteRT(path, self.threads)
        self.signatures = engine.names
        try:
            check_names(engine.names)
            self._loop = HostLoop(engine.names, engine)
        except ValueError as error:
            raise ValueError(f"{path} is not in step form: {error}.") from None
        self._windows: set[Window] = set()  # that were checked
        taken = self._loop.inputs
        super().__init__(path, {name: engine.spec(taken[name], name) for name in taken})

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
