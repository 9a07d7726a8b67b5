"""`export_saved_model`: a model as a SavedModel for TF Serving, or for TensorFlow alone."""

import logging
import os
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from hlstm_tf.export.archive import Traced, serve_endpoint, trace, write_archive
from hlstm_tf.export.calibration import batches
from hlstm_tf.export.files import check_free, replaced_folder
from hlstm_tf.export.layout import InputLayout, input_layout
from hlstm_tf.export.preparation import plain_model
from hlstm_tf.export.recurrences import NotSteppableError
from hlstm_tf.export.step import StepModel, check_step, is_recurrent, step_model
from hlstm_tf.export.verification import (
    VerificationError,
    check_tolerance,
    compute_tolerance,
    largest_error,
    reference_outputs,
)
from hlstm_tf.export.warmup import WARMUP_FILE, can_write_warmup, write_warmup

_log = logging.getLogger("hlstm_tf.export")


@dataclass(frozen=True)
class SavedModelExport:
    """What `export_saved_model` wrote.

    Attributes:
        path: The folder.
        bytes: Size of all files in it.
        signatures: Names of the signatures, besides `serving_default`, which is `serve`.
        states: Names of the states that `step` takes and returns; empty without `step`.
        error: Largest difference from the Keras model on the inputs it was compared on, as a
            fraction of the output's range.
        tolerance: What that error had to stay within.
    """

    path: Path
    bytes: int
    signatures: tuple[str, ...]
    states: tuple[str, ...]
    error: float
    tolerance: float


def export_saved_model(
    model: keras.Model,
    path: str | os.PathLike[str],
    *,
    step: bool | None = None,
    warmup: Any = None,
    verify_with: Any = None,
    extra_assets: Mapping[str, bytes | str | os.PathLike[str]] | None = None,
    overwrite: bool = False,
    tolerance: float | None = None,
) -> SavedModelExport:
    """Writes a model as a SavedModel that runs without Keras and without hlstm_tf.

    Masks are applied and left out. Signatures, all with named inputs and outputs:

    * `serve`, and as TF Serving's clients expect it `serving_default`: the whole model. Inputs have
      the names of the model's (`inputs` where it names none), so has a dictionary of outputs; one
      output is `outputs`, several are `output_0`, `output_1`...
    * `step`, for a model that runs forward in time: takes one frame `(batch, ...)` under the
      input's name and every state, `LAYER_h` and `LAYER_c`; returns the outputs for that frame and
      the new states under the same names. Frame by frame it gives what `serve` gives. Every frame
      counts: implicit masks have no effect on it.
    * `initial_state`, with it: takes `batch_size`, an int32, and returns the states before the
      first frame.

    A bidirectional model, or one with convolutions over time, cannot step: it has `serve` alone,
    and the log says why. The folder is written beside `path`, loaded again, compared with the Keras
    model and only then renamed.

    Args:
        model: A built Sequential or functional model; masked layers may be in it.
        path: The folder of this version. TF Serving wants a number as its name, in a folder with
            the model's name: `saved_models/an4/1`.
        step: Whether to add `step` and `initial_state`. Default `None`: where the model can step;
            `True` makes it an error if it cannot.
        warmup: Inputs that TF Serving is to run before the first request, in
            `assets.extra/tf_serving_warmup_requests`: a batch in the model's structure, or an
            iterator of batches. Default `None`: those the export is verified with, if
            tensorflow-serving-api is installed (extra `serving`). `False`: none.
        verify_with: Inputs to compare on, in the model's structure. Default: random ones.
        extra_assets: Further files for `assets.extra` by name: their content as bytes, or the path
            of a file to copy. For what a client must know, such as the alphabet.
        overwrite: Whether an existing folder is replaced.
        tolerance: Largest error allowed, as a fraction of the output's range. Default: 1e-4, or
            0.02 where layers compute in half precision.

    Returns:
        What was written.

    Raises:
        TypeError: `model` is no Keras model.
        ValueError: Samples do not fit the model's inputs, or `step=True` and it cannot step.
        VerificationError: The SavedModel does not compute what the model does. Nothing is left.
        FileExistsError: `path` exists and `overwrite` is false.
        ImportError: `warmup` is given and tensorflow-serving-api is not installed.
        OSError: The folder cannot be written.

    Example:

    >>> import os, tempfile, keras, hlstm_tf as hl
    >>> model = keras.Sequential([
    ...     keras.Input((None, 3), name="features"),
    ...     hl.HLSTM(4, return_sequences=True, name="memory"), keras.layers.Dense(2)])
    >>> result = hl.export_saved_model(model, os.path.join(tempfile.mkdtemp(), "toy", "1"))
    >>> result.signatures, result.states
    (('serve', 'step', 'initial_state'), ('memory_h', 'memory_c'))
    """
    path = Path(path)
    check_free(path, overwrite=overwrite)
    check_tolerance(tolerance)
    layout = input_layout(model)
    inputs = (
        layout.random(samples=2)
        if verify_with is None
        else layout.named(verify_with, "verify_with")
    )
    warmups = _warmup_inputs(layout, warmup, inputs)
    assets = _checked_assets(extra_assets or {})
    expected = reference_outputs(model, layout, inputs)
    limit = compute_tolerance(model) if tolerance is None else tolerance

    plain = plain_model(model)
    traced, form = _traced(plain, layout, step, limit)
    _warn_of_version(path)
    with replaced_folder(path, overwrite=overwrite) as folder:
        write_archive(plain, traced, folder)
        error = _verified(folder, inputs, expected, limit, model.name)
        _write_assets(folder, assets)
        if warmups:
            write_warmup(folder, _requests(warmups, form), path.resolve().parent.name)
        size = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
    states = () if form is None else tuple(form.states)
    return SavedModelExport(path, size, tuple(traced), states, error, limit)


def _traced(
    model: keras.Model, layout: InputLayout, step: bool | None, tolerance: float
) -> tuple[Traced, StepModel | None]:
    traced = trace([serve_endpoint(model, layout, None)])
    if step is False or (step is None and not is_recurrent(model)):
        return traced, None
    try:
        form = step_model(model, layout)
        stepping = trace(form.endpoints())
        check_step(traced["serve"], stepping["step"], form, layout, tolerance)
    except NotSteppableError as reason:
        message = f"model {model.name!r} cannot run step by step: {reason}."
        if step:
            raise ValueError(message) from reason
        _log.info("%s The SavedModel has the signature 'serve' alone.", message)
        return traced, None
    return {**traced, **stepping}, form


def _verified(
    folder: Path,
    inputs: dict[str, np.ndarray],
    expected: dict[str, np.ndarray],
    limit: float,
    model: str,
) -> float:
    """Loads the SavedModel and runs it; returns the largest error."""
    loaded = tf.saved_model.load(str(folder))
    outputs = loaded.signatures["serve"](
        **{name: tf.constant(array) for name, array in inputs.items()}
    )
    actual = {name: value.numpy() for name, value in outputs.items()}
    error, output = largest_error(expected, actual)
    if not error <= limit:
        raise VerificationError(
            f"the SavedModel of model {model!r} is off by {error:.3g} of the range of {output!r}, "
            f"and {limit:g} is allowed; nothing was written."
        )
    return error


def _warmup_inputs(
    layout: InputLayout, warmup: Any, inputs: dict[str, np.ndarray]
) -> list[dict[str, np.ndarray]]:
    if warmup is False:
        return []
    if warmup is None:
        if can_write_warmup():
            return [inputs]
        _log.info(
            "no warm-up records for TF Serving: tensorflow-serving-api is not installed (pip "
            'install "hlstm_tf[serving]").'
        )
        return []
    return [layout.named(batch, "warmup") for batch in batches(warmup)]


def _requests(
    warmups: list[dict[str, np.ndarray]], form: StepModel | None
) -> Iterator[tuple[str, dict[str, np.ndarray]]]:
    for inputs in warmups:
        yield "serve", inputs
        if form is not None:
            sequence = inputs[form.frame.name]
            batch_size = np.array(len(sequence), np.int32)
            states = {name: value.numpy() for name, value in form.zeros(batch_size).items()}
            yield "initial_state", {"batch_size": batch_size}
            yield "step", {form.frame.name: sequence[:, 0], **states}


def _checked_assets(
    assets: Mapping[str, bytes | str | os.PathLike[str]],
) -> dict[str, bytes | Path]:
    checked: dict[str, bytes | Path] = {}
    for name, content in assets.items():
        if Path(name).name != name or name in ("", ".", "..", WARMUP_FILE):
            raise ValueError(
                f"extra_assets: {name!r} must be a plain file name, other than {WARMUP_FILE!r}."
            )
        if isinstance(content, bytes):
            checked[name] = content
        elif isinstance(content, (str, os.PathLike)):
            checked[name] = Path(content)
            if not Path(content).is_file():
                raise FileNotFoundError(
                    f"extra_assets: {name!r} is to be a copy of {content}, which is no file."
                )
        else:
            raise TypeError(
                f"extra_assets: {name!r} must be bytes or a path; got {type(content).__name__}."
            )
    return checked


def _write_assets(folder: Path, assets: dict[str, bytes | Path]) -> None:
    extra = folder / "assets.extra"
    for name, content in assets.items():
        extra.mkdir(exist_ok=True)
        if isinstance(content, bytes):
            (extra / name).write_bytes(content)
        else:
            shutil.copyfile(content, extra / name)


def _warn_of_version(path: Path) -> None:
    if not path.name.isdecimal():
        _log.warning(
            "%s: TF Serving serves folders whose name is a number, such as %s.", path, path / "1"
        )
