"""`export_tflite`: a model as one TFLite file of builtin operations, checked before it counts."""

import os
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np

from hlstm_tf.export.archive import serve_endpoint, write_archive
from hlstm_tf.export.conversion import check_quantization, convert
from hlstm_tf.export.files import file_size, replaced_file
from hlstm_tf.export.layout import InputLayout, input_layout
from hlstm_tf.export.preparation import plain_model
from hlstm_tf.export.tflite_model import TFLiteModel
from hlstm_tf.export.verification import (
    TOLERANCES,
    VerificationError,
    largest_error,
    reference_outputs,
)


@dataclass(frozen=True)
class TFLiteExport:
    """What `export_tflite` wrote.

    Attributes:
        path: The file.
        bytes: Its size.
        gzipped: Its size after gzip.
        sha256: Hash of its content.
        error: Largest difference from the Keras model on the inputs it was compared on, as a
            fraction of the output's range.
        tolerance: What that error had to stay within.
        quantization: `None`, `"float16"`, `"dynamic"` or `"int8"`.
    """

    path: Path
    bytes: int
    gzipped: int
    sha256: str
    error: float
    tolerance: float
    quantization: str | None


def export_tflite(
    model: keras.Model,
    path: str | os.PathLike[str],
    *,
    quantization: str | None = None,
    representative: Any = None,
    verify_with: Any = None,
    batch_size: int = 1,
    tolerance: float | None = None,
) -> TFLiteExport:
    """Writes a model as a TFLite file, and checks that LiteRT computes with it what Keras does."""
    check_quantization(quantization)
    layout = input_layout(model)
    inputs = _verification_inputs(layout, verify_with, batch_size)
    expected = reference_outputs(model, layout, inputs)
    plain = plain_model(model)
    limit = TOLERANCES[quantization] if tolerance is None else tolerance
    with tempfile.TemporaryDirectory(prefix="hlstm_tf_") as scratch:
        endpoint = serve_endpoint(plain, layout, batch_size)
        write_archive(plain, [endpoint], Path(scratch))
        content = convert(Path(scratch), [endpoint.name], quantization, model.name)
    with replaced_file(path) as unfinished:
        unfinished.write_bytes(content)
        actual = TFLiteModel(unfinished).run(inputs)
        error, output = largest_error(expected, actual)
        if not error <= limit:
            raise VerificationError(
                f"the TFLite file of model {model.name!r} is off by {error:.3g} of the range of "
                f"{output!r}, more than the {limit:g} allowed; no file was written."
            )
        size = file_size(unfinished)
    return TFLiteExport(
        Path(path), size.bytes, size.gzipped, size.sha256, error, limit, quantization
    )


def _verification_inputs(
    layout: InputLayout, verify_with: Any, batch_size: int
) -> dict[str, np.ndarray]:
    if verify_with is None:
        return layout.random(batch_size)
    return layout.named(verify_with, "verify_with")
