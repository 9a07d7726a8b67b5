"""One model as TFLite files of several quantizations, each made, loaded again and compared."""

from dataclasses import dataclass, field
from pathlib import Path

import keras
import numpy as np

from hlstm_tf.export.archive import Traced, serve_endpoint, trace, write_archive
from hlstm_tf.export.calibration import Pieces, convert_int8, pieces_of, recorded_calls
from hlstm_tf.export.calibration_worker import Calls
from hlstm_tf.export.carried_states import cannot_carry, with_states
from hlstm_tf.export.conversion import SPARSE, convert, sparsified
from hlstm_tf.export.files import WeighedFile, file_size
from hlstm_tf.export.layout import InputLayout
from hlstm_tf.export.preparation import HALF_DTYPES, full_precision, plain_model
from hlstm_tf.export.recurrences import NotSteppableError
from hlstm_tf.export.step import step_form
from hlstm_tf.export.top_k import TopK, check_top_k, with_top_k, without_outputs
from hlstm_tf.export.verification import (
    CONVERSION_SHARE,
    TOLERANCES,
    VerificationError,
    compute_tolerance,
    difference,
    largest_error,
    reference_outputs,
    too_fine_for_int8,
)
from hlstm_tf.keras_internals import all_layers
from hlstm_tf.runtime.interpreter import with_checksum
from hlstm_tf.runtime.step_runner import load_tflite


@dataclass(frozen=True)
class Attempt:
    """A file that computes what the model does.

    Attributes:
        quantization: What it was made with.
        path: The file.
        size: What it weighs.
        error: Largest difference from the model, as a fraction of the output's range.
        tolerance: What that had to stay within.
        form: `"sequence"` or `"step"`.
        signatures: The names of the file's signatures.
    """

    quantization: str | None
    path: Path
    size: WeighedFile
    error: float
    tolerance: float
    form: str = "sequence"
    signatures: tuple[str, ...] = ()


@dataclass(frozen=True)
class Source:
    """What the files of a model are made of, and what they are compared with.

    Attributes:
        model: The model's name.
        form: `"sequence"` or `"step"`.
        folder: A SavedModel of its graphs.
        signatures: The names of its signatures.
        representative: Calls of them to calibrate with; none without representative samples.
        trial: Calls to try a calibrated file with.
        inputs: What a file is compared on.
        expected: What the model gives for that.
        exact: What it gives where its layers compute in float32, as the files do.
        compute_tolerance: Error allowed for the precision that the model's layers compute in.
        tolerance: Error allowed whatever the quantization; `None`: by the quantization.
        top_k: The outputs that a file is to give the largest entries of. The graphs give the whole
            outputs, too, for the comparison; the finished file does not.
    """

    model: str
    form: str
    folder: Path
    signatures: list[str]
    representative: Calls
    trial: Calls
    inputs: dict[str, np.ndarray]
    expected: dict[str, np.ndarray]
    exact: dict[str, np.ndarray]
    compute_tolerance: float
    tolerance: float | None
    top_k: TopK
    _dense: dict[str | None, bytes] = field(default_factory=dict, init=False)
    _converted_outputs: dict[str, np.ndarray] = field(default_factory=dict, init=False)

    def attempt(self, quantization: str | None, path: Path) -> Attempt:
        """Writes the file, loads it as a user does, and compares.

        The float32 file of the same graphs is compared first, strictly: what it is off by is an
        error of the conversion, which the wider tolerance of a quantization would hide.

        Raises:
            ValueError: The model cannot become such a file.
            VerificationError: The file computes something else.
        """
        self._check_conversion(quantization, path)
        content = self._content(quantization)
        path.write_bytes(with_checksum(content))
        actual = self._converted_outputs
        if quantization is not None:
            actual = load_tflite(path, threads=1).run(self.inputs)
        limit = self._limit(quantization)
        error, worst = largest_error(self.expected, actual)
        if not error <= limit:
            advice = "Give typical inputs as verify_with, or choose another quantization."
            if quantization == "int8" and too_fine_for_int8(self.expected[worst], limit):
                advice = (
                    f"{worst!r} is a softmax, which int8 rounds to multiples of 1/256, and its "
                    f"largest entry is {self.expected[worst].max():.2g}: export the model without "
                    "its softmax, and apply softmax to the logits that the file gives."
                )
            raise VerificationError(
                f"the TFLite file of model {self.model!r} "
                f"{difference(self.expected, actual, limit)} with quantization={quantization!r}; "
                f"no file was written.{' ' + advice if error < np.inf else ''}"
            )
        if self.top_k:
            path.write_bytes(with_checksum(without_outputs(content, self.top_k)))
            cut = load_tflite(path, threads=1).run(self.inputs)
            check_top_k(actual, cut, self.top_k, f"the TFLite file of model {self.model!r}")
        size, signatures = file_size(path), tuple(self.signatures)
        return Attempt(quantization, path, size, error, limit, self.form, signatures)

    def _check_conversion(self, quantization: str | None, path: Path) -> None:
        """Judges the float32 file, which is made once; `path` is free to write to."""
        if not self._converted_outputs:
            path.write_bytes(with_checksum(self._converted(None)))
            self._converted_outputs.update(load_tflite(path, threads=1).run(self.inputs))
        limit = TOLERANCES[None]
        if self.tolerance is not None:
            share = 1.0 if quantization is None else CONVERSION_SHARE
            limit = max(limit, share * self.tolerance)
        if not largest_error(self.exact, self._converted_outputs)[0] <= limit:
            raise VerificationError(
                f"the TFLite file of model {self.model!r} "
                f"{difference(self.exact, self._converted_outputs, limit)} in float32, before any "
                "quantization: LiteRT or the conversion computes something else than Keras; no "
                "file was written."
            )

    def _content(self, quantization: str | None) -> bytes:
        if quantization in SPARSE:
            dense, _ = SPARSE[quantization]
            return sparsified(self._converted(dense), quantization, self.model)
        if quantization == "int8":
            return convert_int8(
                self.folder, self.signatures, self.representative, self.trial, self.model
            )
        return self._converted(quantization)

    def _converted(self, quantization: str | None) -> bytes:
        """Converted once: a sparse file is made from the dense one."""
        if quantization not in self._dense:
            self._dense[quantization] = convert(
                self.folder, self.signatures, quantization, self.model
            )
        return self._dense[quantization]

    def _limit(self, quantization: str | None) -> float:
        if self.tolerance is not None:
            return self.tolerance
        return max(TOLERANCES[quantization], self.compute_tolerance)


def source_of(
    model: keras.Model,
    layout: InputLayout,
    form: str,
    batch_size: int,
    representative: Pieces,
    inputs: dict[str, np.ndarray],
    tolerance: float | None,
    top_k: TopK,
    folder: Path,
) -> Source:
    """Writes a model's graphs, and computes what their files are compared with.

    Args:
        model: The model.
        layout: Its inputs.
        form: `"sequence"` or `"step"`.
        batch_size: Samples a call.
        representative: Samples to calibrate with, batch by batch; may be empty.
        inputs: What the files are compared on.
        tolerance: Error allowed; `None`: by the quantization.
        top_k: The outputs to give the largest entries of.
        folder: An empty folder for the SavedModel.

    Raises:
        ValueError: The model has no such form, or no finite outputs.
    """
    plain = full_precision(plain_model(model, unroll=True))
    if form == "sequence":
        layout = with_states(layout, model, plain)
        inputs = layout.with_some_states(inputs)
    expected = reference_outputs(model, layout, inputs)
    exact = expected
    if any(layer.compute_dtype in HALF_DTYPES for layer in all_layers(model)):
        exact = reference_outputs(full_precision(model), layout, inputs)
    samples = [piece for batch in representative for piece in pieces_of(batch, batch_size)]
    if form == "step":
        traced = with_top_k(step_form(plain, layout, batch_size), top_k, keep=True)
        calls = recorded_calls(traced, samples) if samples else []
        trial = list({signature: (signature, inputs) for signature, inputs in calls}.values())
    else:
        traced = with_top_k(_serving(plain, layout, batch_size), top_k, keep=True)
        calls = [("serve", layout.with_some_states(sample)) for sample in samples]
        trial = [("serve", piece) for piece in pieces_of(inputs, batch_size)]
    write_archive(plain, traced, folder)
    return Source(
        model=model.name,
        form=form,
        folder=folder,
        signatures=list(traced),
        representative=calls,
        trial=trial,
        inputs=inputs,
        expected=expected,
        exact=exact,
        compute_tolerance=compute_tolerance(model),
        tolerance=tolerance,
        top_k=top_k,
    )


def _serving(plain: keras.Model, layout: InputLayout, batch_size: int) -> Traced:
    try:
        return trace([serve_endpoint(plain, layout, batch_size)], frozen=plain)
    except NotSteppableError as error:
        raise cannot_carry(error, plain.name) from error
    except Exception as error:  # whatever a layer makes of another batch than its own
        if layout.batch_size in (None, batch_size):
            raise
        raise ValueError(
            f"model {plain.name!r} fixes its batch at {layout.batch_size}, and a layer of it takes "
            f"no other; got batch_size={batch_size}. Give batch_size={layout.batch_size}."
        ) from error
