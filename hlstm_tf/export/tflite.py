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
from hlstm_tf.export.step_form import step_form
from hlstm_tf.export.step_runner import load_tflite
from hlstm_tf.export.verification import (
    TOLERANCES,
    VerificationError,
    check_tolerance,
    compute_tolerance,
    largest_error,
    reference_outputs,
)

FORMS = ("sequence", "step")

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
        form: `"sequence"` or `"step"`.
        signatures: The names of the file's signatures.
    """

    path: Path
    bytes: int
    gzipped: int
    sha256: str
    error: float
    tolerance: float
    quantization: str | None
    form: str
    signatures: tuple[str, ...]


def export_tflite(
    model: keras.Model,
    path: str | os.PathLike[str],
    *,
    form: str = "sequence",
    quantization: str | None = None,
    representative: Any = None,
    verify_with: Any = None,
    batch_size: int = 1,
    tolerance: float | None = None,
) -> TFLiteExport:
    """Writes a model as a TFLite file, and checks that LiteRT computes with it what Keras does.

    Masks are applied and left out. Inputs and outputs have the names of the model's (`inputs` and
    `outputs` where it names none), and there are builtin operations only, so that the file runs on
    every build of LiteRT. The length of a sequence stays open. The file is loaded again, run and
    compared, and only then renamed to `path`.

    In the form `sequence` the file has one signature, `serve`, with a loop over time inside where
    the model is recurrent; `TFLiteModel` calls it. LiteRT's loop costs more than the steps of a
    compact model: in the form `step` the file has none, and its host runs it. `StepRunner` is such
    a host, in Python. A model that runs forward in time and gives an output for each frame has the
    signatures

    * `project`: the model's inputs to `frames_LAYER`, all that can be computed for the whole
      sequence at once;
    * `step`: `frame_LAYER`, one of those frames, and the states `LAYER_h`, `LAYER_c` to the model's
      outputs for it and the new states under the same names;
    * `initial_state`: the states before the first frame,

    and a host's loop is

        frames = project(inputs); states = initial_state(batch_size=1)
        for frame in frames: outputs, states = step(frame, states)

    Any other recurrent model (bidirectional, with masks, with an output for a whole sequence, with
    something between its layers or around them that looks at several frames) has `project_1`, for
    each recurrent layer and direction that can run then a `step_LAYER` from `frame_LAYER` and its
    states to `output_LAYER` and the new states; `project_2` and so on; and `head`, which gives the
    outputs. The host keeps all it knows by name, and feeds each signature what it asks for:

        known = inputs | initial_state(batch_size=1)
        for number in 1, 2, ...:
            known |= project_NUMBER(known)
            for each frames_LAYER that it gave:
                for each frame: output, known[LAYER's states] = step_LAYER(frame, LAYER's states)
                known[outputs_LAYER] = all outputs, in the order they were computed in
        outputs = head(known)

    The frames of a layer that runs backwards, and its mask, come in reverse, so that every loop is
    the same. Where there is a `mask_LAYER` `(1, time)` beside the frames, a step is left out where
    it is false: the states stay and the output is repeated, zero before the first step. LAYER is
    the recurrent layer's name, `forward_NAME` and `backward_NAME` inside `Bidirectional`; states
    are `LAYER_h` and `LAYER_c`, numbered for stacked cells, `LAYER_state_0`... for cells of your
    own. `initial_state` takes `batch_size`, an int32 that is 1.

    Zeros are stored as zeros: a sparse encoding buys no speed in LiteRT, and gzip takes a quantized
    file with zeros just as far (`TFLiteExport.gzipped`).

    Args:
        model: A built Sequential or functional model; masked layers may be in it.
        path: The file to write; an older one is replaced.
        form: `"sequence"` or `"step"`.
        quantization: `None` (float32); `"float16"`, half the size, no faster; `"dynamic"`, int8
            weights, a quarter of the size and the fastest for recurrent models; or `"int8"`,
            weights and activations, for convolutional and dense models in the form `sequence`.
        representative: For `"int8"`: typical inputs to measure the tensors' ranges on. A batch in
            the model's structure, or a `tf.data.Dataset` or iterator of batches. Not used by the
            other quantizations.
        verify_with: Inputs to compare on, in the model's structure, as many samples as you like.
            Real ones say most. Default: the first representative samples, else random inputs.
        batch_size: Samples that a call of the file takes. 1 by default: a loop over time needs a
            fixed number, and `TFLiteModel` runs larger batches piece by piece. A step form's is 1.
        tolerance: Largest error allowed, as a fraction of the output's range. Default: by the
            quantization, see `TOLERANCES`.

    Returns:
        Sizes and the error measured.

    Raises:
        TypeError: `model` is no Keras model.
        ValueError: The form or the quantization does not exist, or not together; the model has no
            step form; `representative` is missing for int8; samples do not fit the model's inputs;
            an operation has no builtin form; or calibration crashed (in a process of its own).
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
    _check_form(form, quantization, batch_size)
    check_tolerance(tolerance)
    layout = input_layout(model)
    samples = representative_batches(layout, representative) if quantization == "int8" else []
    inputs = _verification_inputs(layout, verify_with, samples, batch_size)
    _warn_of_unrolled(model)
    expected = reference_outputs(model, layout, inputs)
    with replaced_file(path) as unfinished:
        with tempfile.TemporaryDirectory(prefix="hlstm_tf_") as scratch:
            folder = Path(scratch)
            signatures = _write_graphs(model, layout, form, batch_size, folder)
            if quantization == "int8":
                content, actual = _int8(folder, signatures, samples, inputs, batch_size, model.name)
            else:
                content, actual = convert(folder, signatures, quantization, model.name), None
        unfinished.write_bytes(content)
        if actual is None:
            actual = load_tflite(unfinished, threads=1).run(inputs)
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
        path=Path(path),
        bytes=size.bytes,
        gzipped=size.gzipped,
        sha256=size.sha256,
        error=error,
        tolerance=limit,
        quantization=quantization,
        form=form,
        signatures=tuple(signatures),
    )


def _write_graphs(
    model: keras.Model, layout: InputLayout, form: str, batch_size: int, folder: Path
) -> list[str]:
    """Writes the SavedModel that is converted; returns its signatures."""
    plain = full_precision(plain_model(model))
    if form == "step":
        traced = step_form(plain, layout)
    else:
        traced = trace([serve_endpoint(plain, layout, batch_size)])
    write_archive(plain, traced, folder)
    return list(traced)


def _int8(
    folder: Path,
    signatures: list[str],
    representative: Pieces,
    inputs: dict[str, np.ndarray],
    batch_size: int,
    model: str,
) -> tuple[bytes, dict[str, np.ndarray]]:
    """The file's content, and the outputs that it gave in the process that made it."""
    content, outputs = convert_int8(
        folder,
        signatures,
        [piece for batch in representative for piece in pieces_of(batch, batch_size)],
        pieces_of(inputs, batch_size),
        model,
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


def _check_form(form: str, quantization: str | None, batch_size: int) -> None:
    if form not in FORMS:
        raise ValueError(f"form must be 'sequence' or 'step'; got {form!r}.")
    if form == "step" and quantization == "int8":
        raise ValueError(
            "form='step' takes the quantizations None, 'float16' and 'dynamic'; got 'int8'. With "
            "'dynamic' the weights and the products of a recurrent model are in int8, too."
        )
    if form == "step" and batch_size != 1:
        raise ValueError(f"form='step' runs one sample at a time; got batch_size={batch_size}.")


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
