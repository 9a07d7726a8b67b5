"""How long a model takes in the engine and on the machine that it is measured on."""

import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import keras

from hlstm_tf.export import export_tflite, load_tflite
from hlstm_tf.export.conversion import QUANTIZATIONS
from hlstm_tf.export.layout import input_layout
from hlstm_tf.export.tflite import FORMS
from hlstm_tf.hardware.measurement import Measurement, time_calls
from hlstm_tf.sparsity.checks import check_count

_QUANTIZATIONS = tuple(each for each in QUANTIZATIONS if each != "int8")


@dataclass(frozen=True)
class Latency:
    """Microseconds that LiteRT takes for one sample, on this machine: for `hl.Budget`.

    The model is exported, loaded and run on a sample. The figure is that of the fastest of several
    rounds of calls, so that work beside it counts as little as may be (one figure, where the calls
    themselves take 93 to 152 us); its `spread` tells how well the fastest rounds agree. The first
    calls, in which the engine plans its memory, do not count.

    Args:
        form: "step" (default), the loop over time included; or "sequence", which any model has.
            Which is faster depends on the model and its length: measure both, and deploy the form
            that you measure.
        quantization: As `export_tflite` takes it, but "int8" and "best", which need samples or try
            several; "dynamic" by default, 8-bit weights.
        inputs: The sample to run on, in the model's structure. Default `None`: a random one, which
            suits every model whose inputs are features or tokens; where one is a length or a mask,
            give a real one.
        steps: Length of a random sequence; an input with a fixed length ignores it. 100 by default.
        threads: Threads of the engine.
        repeats: How many calls at least. They go on for 0.2 seconds, and where rounds differ for
            up to a second.

    Call arguments:
        model: A built model.

    Returns:
        Microseconds, as a `float` that has their `spread` too.

    Raises:
        ValueError: An argument is none of these; or, when called, the model has no such form or
            cannot be exported so.

    Example:

    >>> import keras, hlstm_tf as hl
    >>> model = keras.Sequential([keras.Input((None, 3)), hl.HLSTM(4, return_sequences=True)])
    >>> hl.Latency(steps=5, repeats=3)(model) > 0
    True
    """

    form: str = "step"
    quantization: str | None = "dynamic"
    inputs: Any = field(default=None, compare=False, repr=False)
    steps: int = 100
    threads: int = 1
    repeats: int = 15

    def __post_init__(self) -> None:
        if self.form not in FORMS:
            raise ValueError(f"Latency: `form` must be 'sequence' or 'step'; got {self.form!r}")
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
            else layout.named(self.inputs, "inputs")
        )
        with tempfile.TemporaryDirectory(prefix="hlstm_tf_") as folder:
            path = Path(folder) / "model.tflite"
            # Nothing here depends on the outputs: what is deployed is verified when it is exported.
            export_tflite(
                model, path, form=self.form, quantization=self.quantization, tolerance=float("inf")
            )
            engine = load_tflite(path, threads=self.threads)
            for _ in range(3):
                engine.run(inputs)
            seconds = time_calls(lambda: engine.run(inputs), self.repeats, seconds=1.0)
        return Measurement(1e6 * seconds, 1e6 * seconds.spread)

    def __str__(self) -> str:
        return "microseconds"
