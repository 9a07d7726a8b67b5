"""The latency of a model in the engine and on the machine that it is measured on."""

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import keras
import numpy as np

from hlstm_tf.export import export_tflite, load_tflite
from hlstm_tf.export.conversion import QUANTIZATIONS
from hlstm_tf.export.layout import input_layout
from hlstm_tf.export.tflite import FORMS
from hlstm_tf.runtime.inputs import ArraySpec
from hlstm_tf.sparsity.checks import check_count
from hlstm_tf.timing import Measurement, time_calls

_FORMS = (*FORMS, "best")
_QUANTIZATIONS = (*(each for each in QUANTIZATIONS if each != "int8"), "best")


@dataclass(frozen=True)
class Latency:
    """Microseconds that LiteRT takes for one sample, on this machine: for `hl.Budget`.

    The model is exported, loaded and run on a sample. The figure is that of the fastest of several
    rounds of calls, so that work beside it counts as little as may be (one figure, where the calls
    themselves take 93 to 152 us); its `spread` tells how well the fastest rounds agree. The first
    calls, in which the engine plans its memory, do not count.

    Args:
        form: "sequence", "step" or "best" (default): both are made and measured, where the model
            has both, and the figure is that of the form that `export_tflite(form="best")` keeps.
            Which is faster depends on the model, its length and the machine. A "step" includes the
            loop over time.
        quantization: As `export_tflite` takes it, but "int8", which needs samples; "dynamic" by
            default, 8-bit weights. "best" measures all, as far as they are within tolerance.
        inputs: The sample to run on, in the model's structure; of several the first. Default
            `None`: a random one, which suits every model whose inputs are features or tokens; where
            one is a length or a mask, give a real one.
        steps: Length of a random sequence; an input with a fixed length ignores it. 100 by default.
            Give the length that you will have: the two forms change places with it.
        threads: Threads of the engine, with which the form and the quantization are chosen, too.
        repeats: How many calls at least. They go on for 0.2 seconds, and where rounds differ for
            up to a second.

    Call arguments:
        model: A built model.

    Returns:
        Microseconds, as a `float` that has their `spread` too, and says in `of` which form and
        quantization they are of. A budget prints it.

    Raises:
        ValueError: An argument is none of these; or, when called, the model has no such form or
            cannot be exported so.

    Example:

    >>> import keras, hlstm_tf as hl
    >>> model = keras.Sequential([keras.Input((None, 3)), hl.HLSTM(4, return_sequences=True)])
    >>> latency = hl.Latency(steps=5, repeats=3)(model)
    >>> latency > 0, latency.of in ("sequence form, dynamic", "step form, dynamic")
    (True, True)
    """

    form: str = "best"
    quantization: str | None = "dynamic"
    inputs: Any = field(default=None, compare=False, repr=False)
    steps: int = 100
    threads: int = 1
    repeats: int = 15

    def __post_init__(self) -> None:
        if self.form not in _FORMS:
            raise ValueError(
                f"Latency: `form` must be 'sequence' or 'step'; got {self.form!r}. 'best' measures "
                "both."
            )
        if self.quantization not in _QUANTIZATIONS:
            names = ", ".join(map(repr, _QUANTIZATIONS))
            raise ValueError(
                f"Latency: `quantization` must be one of {names}; got {self.quantization!r}"
            )
        for name in ("steps", "threads", "repeats"):
            check_count(getattr(self, name), name)

    def __call__(self, model: keras.Model) -> Measurement:
        layout = input_layout(model)
        inputs = (
            layout.random(samples=1, steps=self.steps)
            if self.inputs is None
            else {name: value[:1] for name, value in layout.named(self.inputs, "inputs").items()}
        )
        with tempfile.TemporaryDirectory(prefix="hlstm_tf_") as folder:
            path = Path(folder) / "model.tflite"
            file = export_tflite(
                model,
                path,
                form=self.form,
                quantization=self.quantization,
                verify_with=inputs,
                threads=self.threads,
                # A model in training may be off any tolerance; what is deployed is verified then.
                tolerance=None if self.quantization == "best" else float("inf"),
            )
            engine = load_tflite(path, threads=self.threads)
            sample = _with_states(engine.inputs, inputs)
            for _ in range(3):
                engine.run(sample)
            seconds = time_calls(lambda: engine.run(sample), self.repeats, seconds=1.0)
        of = f"{file.form} form, {file.quantization or 'float32'}"
        return Measurement(1e6 * seconds, 1e6 * seconds.spread, of)

    def __str__(self) -> str:
        return "microseconds"


def _with_states(
    specs: Mapping[str, ArraySpec], inputs: Mapping[str, np.ndarray]
) -> dict[str, np.ndarray]:
    """The inputs of a file, zeros for the states that a stateful model's file takes beside them."""
    size = len(next(iter(inputs.values())))
    return {
        name: inputs[name]
        if name in inputs
        else np.zeros([axis or size for axis in spec.shape], spec.dtype)
        for name, spec in specs.items()
    }
