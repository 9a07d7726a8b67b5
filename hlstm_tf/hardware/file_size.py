"""The size of a model's exported file."""

import tempfile
from dataclasses import dataclass
from pathlib import Path

import keras

from hlstm_tf.export import export_tflite, file_size
from hlstm_tf.export.conversion import QUANTIZATIONS
from hlstm_tf.export.tflite import FORMS

_QUANTIZATIONS = tuple(each for each in QUANTIZATIONS if each != "int8")


@dataclass(frozen=True)
class FileSize:
    """Bytes of the TFLite file that a model is exported to: for `hl.Budget`.

    Args:
        form: "sequence" (default), which any model has, or "step".
        quantization: As `export_tflite` takes it, but "int8" and "best", which need samples or try
            several; "dynamic" by default, 8-bit weights.
        gzipped: Whether the file counts as gzip makes it, as what a phone downloads. Zeros weigh
            little there, and as much as any other weight in the file itself; `False` by default.

    Call arguments:
        model: A built model.

    Returns:
        Bytes.

    Raises:
        ValueError: An argument is none of these; or, when called, the model has no such form or
            cannot be exported so.

    Example:

    >>> import keras, hlstm_tf as hl
    >>> model = keras.Sequential([keras.Input((64,)), keras.layers.Dense(64)])
    >>> hl.FileSize(quantization=None)(model) > hl.FileSize()(model) > 64 * 64
    True
    """

    form: str = "sequence"
    quantization: str | None = "dynamic"
    gzipped: bool = False

    def __post_init__(self) -> None:
        if self.form not in FORMS:
            raise ValueError(f"FileSize: `form` must be 'sequence' or 'step'; got {self.form!r}")
        if self.quantization not in _QUANTIZATIONS:
            names = ", ".join(map(repr, _QUANTIZATIONS))
            raise ValueError(
                f"FileSize: `quantization` must be one of {names}; got {self.quantization!r}"
            )

    def __call__(self, model: keras.Model) -> float:
        with tempfile.TemporaryDirectory(prefix="hlstm_tf_") as folder:
            path = Path(folder) / "model.tflite"
            # The size does not depend on the outputs; what is deployed is verified when exported.
            export_tflite(
                model, path, form=self.form, quantization=self.quantization, tolerance=float("inf")
            )
            size = file_size(path)
        return float(size.gzipped if self.gzipped else size.bytes)

    def __str__(self) -> str:
        return "bytes gzipped" if self.gzipped else "bytes in the file"
