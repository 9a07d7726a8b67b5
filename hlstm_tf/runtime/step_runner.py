"""The host's side of a TFLite file in step form: the loop over time, on LiteRT."""

import os
from pathlib import Path
from typing import Any

from hlstm_tf.runtime.frames import Window, check_stream, context_names
from hlstm_tf.runtime.host_loop import Arrays, HostLoop, check_names
from hlstm_tf.runtime.interpreter import signature_names
from hlstm_tf.runtime.litert import LiteRT
from hlstm_tf.runtime.stream import Stream
from hlstm_tf.runtime.tflite_model import NamedModel, TFLiteModel

_TWO_THREADS_FROM = 800_000
"""Bytes of a file from which two threads are faster than one."""


class StepRunner(NamedModel):
    """A TFLite file in step form, ready to be called like the model it was made from.

    It runs the loop over time that such a file leaves to its host: what can be computed for all
    frames at once in one call, then frame by frame a step, whose states never leave the engine's
    memory. A batch is run by as many samples at a time as the file takes, one by default. Threads
    may share an instance and its streams may run in threads of their own: they wait in turn. To
    compute at the same time, give each thread an instance.

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
            self._loop = HostLoop(engine.names, engine, engine.batch_size())
        except ValueError as error:
            raise ValueError(f"{path} is not in step form: {error}.") from None
        self._windows: dict[Window, int] = {}  # that were checked
        taken = self._loop.inputs
        super().__init__(path, {name: engine.spec(taken[name], name) for name in taken})

    @property
    def outputs(self) -> list[str]:
        """The outputs' names."""
        return list(self._loop.outputs)

    def stream(
        self,
        context: Any = None,
        *,
        look_back: int = 0,
        look_ahead: int = 0,
        stride: int = 1,
        block: int = 1,
    ) -> Stream:
        """Starts a sample whose frames come little by little, or a batch of the file's size.

        A model with convolutions before its first recurrent layer makes output k of the frames from
        `k * stride - look_back` to `k * stride + look_ahead`; pass what it does. Its first stage is
        then run on windows of the frames that overlap, and an output comes when the last frame that
        it needs has.

        Args:
            context: What is known before the first frame, of the file's batch size: the inputs that
                have no open time axis, that the first states are made of, or that every step looks
                at (an image, the sequence to translate). An array where it is one input, else a
                dictionary by name. Default `None`: the model has no such input.
            look_back, look_ahead: Frames before and after that an output is made of: for one
                convolution of odd length n, padded on both sides, (n - 1) / 2 each; convolutions
                one after the other add up, the later ones times the strides before them.
            stride: Frames an output: the product of the convolutions' strides.
            block: Outputs that are computed at a time. Each wait for the last of them, and the
                overlap is computed once for all of them.

        Raises:
            ValueError: The file has no signature `step`, because the model runs backwards in time,
                looks at several frames between its layers, or gives one output for a whole
                sequence; all its inputs have a fixed length; before its first recurrent layer it
                looks at other frames than was said; or the context is missing or another.

        Example, a beam search for the captions of an image, which is where the state begins:

        >>> import os, tempfile, keras, numpy as np, hlstm_tf as hl
        >>> image, words = keras.Input((8,), name="image"), keras.Input((None,), name="words")
        >>> h, c = keras.layers.Dense(6)(image), keras.layers.Dense(6)(image)
        >>> y = keras.layers.Embedding(20, 5)(words)
        >>> y = hl.HLSTM(6, return_sequences=True)(y, initial_state=[h, c])
        >>> y = keras.layers.Dense(20, activation="softmax")(y)
        >>> path = os.path.join(tempfile.mkdtemp(), "captions.tflite")
        >>> beams, start = 3, 0
        >>> _ = hl.export_tflite(
        ...     keras.Model([image, words], y), path, form="step", batch_size=beams)
        >>> stream = hl.StepRunner(path).stream(np.ones((beams, 8), "float32"))
        >>> texts = np.full((beams, 1), start, "float32")
        >>> scores = np.array([0.0, -np.inf, -np.inf])  # all beams are the same at first
        >>> for _ in range(4):
        ...     totals = scores[:, None] + np.log(stream(texts[:, -1:])[:, 0])
        ...     best = np.argsort(-totals, axis=None)[:beams]
        ...     beam, word = np.unravel_index(best, totals.shape)
        ...     texts, scores = np.column_stack([texts[beam], word]), totals[beam, word]
        ...     stream.select(beam)
        >>> texts.shape
        (3, 5)
        """
        window = Window(look_back, look_ahead, stride, block)
        if window not in self._windows:
            self._windows[window] = check_stream(self._inputs, self._loop, window)
        return Stream(
            self._inputs, self._loop, window, self._context(context), self._windows[window]
        )

    def _context(self, given: Any) -> Arrays:
        names = context_names(self._inputs, self._loop)
        if given is None and names:
            raise ValueError(f"{self.path} starts from {names}: give them as stream(context).")
        values = self._inputs.named({} if given is None else given, names)
        size = self._loop.batch_size
        counts = {name: len(value) for name, value in values.items()}
        if set(counts.values()) - {size}:
            raise ValueError(
                f"{self.path} takes {size} samples at a time; got {counts} as the context."
            )
        return values

    def _invoke(self, named: Arrays) -> Arrays:
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
