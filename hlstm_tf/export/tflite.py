"""`export_tflite`: a model as one TFLite file of builtin operations, checked before it counts."""

import logging
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np

from hlstm_tf.export.archive import serve_endpoint, trace, write_archive
from hlstm_tf.export.calibration import Pieces, convert_int8, pieces_of, representative_batches
from hlstm_tf.export.conversion import check_quantization, convert
from hlstm_tf.export.files import file_size, replaced_file
from hlstm_tf.export.layout import InputLayout, input_layout
from hlstm_tf.export.preparation import full_precision, plain_model
from hlstm_tf.export.tflite_model import TFLiteModel
from hlstm_tf.export.verification import (
    TOLERANCES,
    VerificationError,
    compute_tolerance,
    largest_error,
    reference_outputs,
)

_log = logging.getLogger("hlstm_tf.export")


@dataclass(frozen=True)
class TFLiteExport:
    """What `export_tflite` wrote.

    Attributes:
        path: The file.
        bytes: Its size.
        gzipped: Its size after gzip.
        sha256: Hash of its content, in hexadecimal.
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
    """Writes a model as a TFLite file, and checks that LiteRT computes with it what Keras does.

    Masks are applied and left out. The file has one signature, `serve`, whose inputs and outputs
    have the names of the model's (`inputs` and `outputs` where it names none), and builtin
    operations only, so that it runs on every build of LiteRT. The length of a sequence stays open.
    The file is loaded again, run and compared, and only then renamed to `path`.

    Zeros are stored as zeros: a sparse encoding buys no speed in LiteRT, and gzip takes a quantized
    file with zeros just as far (`TFLiteExport.gzipped`).

    Args:
        model: A built Sequential or functional model; masked layers may be in it.
        path: The file to write; an older one is replaced.
        quantization: `None` (float32); `"float16"`, half the size, no faster; `"dynamic"`, int8
            weights, a quarter of the size and the fastest for recurrent models; or `"int8"`,
            weights and activations, for convolutional and dense models.
        representative: For `"int8"`: typical inputs to measure the tensors' ranges on. A batch in
            the model's structure, or a `tf.data.Dataset` or iterator of batches. Not used by the
            other quantizations.
        verify_with: Inputs to compare on, in the model's structure, as many samples as you like.
            Real ones say most. Default: the first representative samples, else random inputs.
        batch_size: Samples that a call of the file takes. 1 by default: a loop over time needs a
            fixed number, and `TFLiteModel` runs larger batches piece by piece.
        tolerance: Largest error allowed, as a fraction of the output's range. Default: by the
            quantization, see `TOLERANCES`.

    Returns:
        Sizes and the error measured.

    Raises:
        TypeError: `model` is no Keras model.
        ValueError: The quantization does not exist; `representative` is missing for int8; samples
            do not fit the model's inputs; an operation has no builtin form; or calibration crashed
            (in a process of its own).
        VerificationError: The file does not compute what the model does. No file is left.
        OSError: The file cannot be written.

    Example:

    >>> import os, tempfile, keras, hlstm_tf as hl
    >>> model = keras.Sequential([keras.Input((4,), name="features"), keras.layers.Dense(2)])
    >>> path = os.path.join(tempfile.mkdtemp(), "model.tflite")
    >>> result = hl.export_tflite(model, path, quantization="dynamic")
    >>> result.error <= result.tolerance, result.bytes == os.path.getsize(path)
    (True, True)
    """
    check_quantization(quantization)
    _check_batch_size(batch_size)
    layout = input_layout(model)
    samples = representative_batches(layout, representative) if quantization == "int8" else []
    inputs = _verification_inputs(layout, verify_with, samples, batch_size)
    _warn_of_unrolled(model)
    expected = reference_outputs(model, layout, inputs)
    with replaced_file(path) as unfinished:
        content, actual = _convert(model, layout, quantization, samples, inputs, batch_size)
        unfinished.write_bytes(content)
        if actual is None:
            actual = TFLiteModel(unfinished).run(inputs)
        limit = _tolerance(model, quantization) if tolerance is None else tolerance
        error, output = largest_error(expected, actual)
        if not error <= limit:
            raise VerificationError(
                f"the TFLite file of model {model.name!r} is off by {error:.3g} of the range of "
                f"{output!r}, and {limit:g} is allowed with quantization={quantization!r}; no file "
                "was written. Give typical inputs as verify_with, or choose another quantization."
            )
        size = file_size(unfinished)
    return TFLiteExport(
        Path(path), size.bytes, size.gzipped, size.sha256, error, limit, quantization
    )


def _convert(
    model: keras.Model,
    layout: InputLayout,
    quantization: str | None,
    representative: Pieces,
    inputs: dict[str, np.ndarray],
    batch_size: int,
) -> tuple[bytes, dict[str, np.ndarray] | None]:
    """The file's content, and where it had to be run in another process already, its outputs."""
    plain = full_precision(plain_model(model))
    endpoint = serve_endpoint(plain, layout, batch_size)
    with tempfile.TemporaryDirectory(prefix="hlstm_tf_") as scratch:
        folder = Path(scratch)
        write_archive(plain, trace([endpoint]), folder)
        if quantization != "int8":
            return convert(folder, [endpoint.name], quantization, model.name), None
        content, outputs = convert_int8(
            folder,
            [endpoint.name],
            [piece for batch in representative for piece in pieces_of(batch, batch_size)],
            pieces_of(inputs, batch_size),
            model.name,
        )
    return content, {
        name: np.concatenate([piece[name] for piece in outputs]) for name in outputs[0]
    }


def _verification_inputs(
    layout: InputLayout, verify_with: Any, representative: Pieces, batch_size: int
) -> dict[str, np.ndarray]:
    if verify_with is None and not representative:
        return layout.random(batch_size)
    named = (
        layout.named(verify_with, "verify_with")
        if verify_with is not None
        else {name: array[: 8 * batch_size] for name, array in representative[0].items()}
    )
    pieces = pieces_of(named, batch_size)
    return {name: np.concatenate([piece[name] for piece in pieces]) for name in named}


def _tolerance(model: keras.Model, quantization: str | None) -> float:
    return max(TOLERANCES[quantization], compute_tolerance(model))


def _check_batch_size(batch_size: int) -> None:
    if isinstance(batch_size, bool) or not isinstance(batch_size, int) or batch_size < 1:
        raise ValueError(f"batch_size must be a positive integer; got {batch_size!r}.")


def _warn_of_unrolled(model: keras.Model) -> None:
    for layer in model._flatten_layers():
        if isinstance(layer, keras.layers.RNN) and layer.unroll:
            _log.warning(
                "layer %r is unrolled: LiteRT repacks its weights for every step, which takes "
                "gigabytes for long sequences and is slower than the loop. Build it with "
                "unroll=False.",
                layer.name,
            )
