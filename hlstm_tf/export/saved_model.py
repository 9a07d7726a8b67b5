"""`export_saved_model`: a model as a SavedModel for TF Serving, or for TensorFlow alone."""

import logging
import os
import tempfile
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from hlstm_tf.export.archive import Traced, trace, trace_serving, write_archive
from hlstm_tf.export.buckets import (
    Bucket,
    check_lengths,
    run,
    trace_bucket,
    verified_bucket,
)
from hlstm_tf.export.carried_states import from_zero_states, with_states
from hlstm_tf.export.files import check_free, checked_assets, replaced_folder, write_assets
from hlstm_tf.export.layout import InputLayout, input_layout
from hlstm_tf.export.preparation import plain_model
from hlstm_tf.export.recurrences import NotSteppableError
from hlstm_tf.export.step import StepModel, check_step, is_recurrent, step_model
from hlstm_tf.export.top_k import TopK, check_top_k, checked_top_k, with_top_k
from hlstm_tf.export.verification import (
    VerificationError,
    check_tolerance,
    compute_tolerance,
    difference,
    largest_error,
    reference_outputs,
)
from hlstm_tf.export.warmup import Request, warmup_inputs, warmup_requests, write_warmup

Signatures = Mapping[str, Callable[..., Any]]

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
        buckets: The signatures of fixed length, shortest first: whether XLA compiles each, what
            both forms took, its error, and whether shorter sequences may be padded for it.
    """

    path: Path
    bytes: int
    signatures: tuple[str, ...]
    states: tuple[str, ...]
    error: float
    tolerance: float
    buckets: tuple[Bucket, ...] = ()


def export_saved_model(
    model: keras.Model,
    path: str | os.PathLike[str],
    *,
    lengths: Iterable[int] = (),
    jit_compile: bool | None = False,
    step: bool | None = None,
    warmup: Any = None,
    verify_with: Any = None,
    extra_assets: Mapping[str, bytes | str | os.PathLike[str]] | None = None,
    overwrite: bool = False,
    top_k: int | Mapping[str, int] | None = None,
    tolerance: float | None = None,
) -> SavedModelExport:
    """Writes a model as a SavedModel that runs without Keras and without hlstm_tf.

    Masks are applied and left out. Signatures, all with named inputs and outputs:

    * `serve`, and as TF Serving's clients expect it `serving_default`: the whole model. Inputs have
      the names of the model's (`inputs` where it names none), so has a dictionary of outputs; one
      output is `outputs`, several are `output_0`, `output_1`...
    * `serve_50` and so on for each of `lengths`: the same for sequences of that length exactly. The
      number of steps is known, and XLA may compile the signature (see below).
    * `step`, for a model that runs forward in time: takes one frame `(batch, ...)` under the
      input's name and every state, `LAYER_h` and `LAYER_c`; returns the outputs for that frame and
      the new states under the same names. Frame by frame it gives what `serve` gives. A layer with
      a mask has a further state, `held_LAYER`: its last output, which masked frames repeat.
    * `initial_state`, with it: takes `batch_size`, an int32, and the inputs that are needed whole,
      such as an image or the sentence to translate; returns the states before the first frame. What
      a step needs besides, such as an encoder's outputs to attend to, is among these states and
      comes out of `step` as it went in. Where such an input makes frames of its own before the
      first that is given (an image in front of the words, whose number may be fixed),
      `initial_state` runs them, and returns their outputs beside the states, `(batch, frames,
      ...)`.

    A file keeps nothing between calls. Of a model with `stateful=True` layers `serve` and
    `serve_LENGTH` take their states beside the inputs and return those they end in under the same
    names, as `step` does: zeros begin a sequence.

    Layers whose results others start from, or get repeated by `RepeatVector`, are encoders: they
    run in `initial_state`, and may be bidirectional. A decoder behind `RepeatVector` takes no frame
    at all, only its states.

    Any other bidirectional model, or one with convolutions over time, cannot step: it has no
    `step`, and the log says why. In all signatures what a recurrent layer can compute for all
    frames at once is taken out of its loop. The folder is written beside `path`, loaded again,
    compared with the Keras model and only then renamed.

    A client picks the shortest `serve_LENGTH` that its sequence fits into, and fills the sequence
    up with zeros at the end:

        length = min(each for each in (50, 100, 200) if each >= len(frames))  # none: use `serve`
        padded = np.pad(frames, [(0, length - len(frames)), (0, 0)])
        outputs = call(f"serve_{length}", {"features": padded[None]})["outputs"][0, :len(frames)]

    Whether that gives what `serve` gives for the sequence by itself depends on the model; it is
    tried out, and `Bucket.pads` says it. It does where every layer runs forward in time and there
    is an output for each frame (what follows cannot change what came before), and where the model
    takes the lengths as an input and masks what lies behind: the client then sends the true
    lengths. It does not for bidirectional layers without a mask, for a single output after the last
    frame without a mask, and mostly for convolutions over time: then `serve_LENGTH` is for
    sequences of that length alone, and the log warns. Where a stride shortens time, outputs are to
    be cut in proportion. Requests that TF Serving is to put into one batch must have one length:
    that is what buckets are for, too.

    XLA makes one program of a signature: about twice as fast as TensorFlow's loop for a compact
    H-LSTM at batch 1, but not for every model, batch size and processor. It compiles when a
    signature is first called with each batch size, a second or more, for which warm-up records of
    one sample and of the batch are written; and TF Serving refuses such a signature on CPU unless
    it is started with `--xla_cpu_compilation_enabled`. So it is not used unless asked for.

    Args:
        model: A built Sequential or functional model; masked layers may be in it.
        path: The folder of this version. TF Serving wants a number as its name, in a folder with
            the model's name: `saved_models/an4/1`.
        lengths: Frames of the sequences that get a signature of their own: every open second axis
            of the inputs is fixed to it. None by default.
        jit_compile: Whether XLA compiles the signatures of `lengths`. Default `False`: they load
            on every server. `True`: all of them. `None`: both forms of each are timed on this
            machine with one sample, and XLA's is taken where it is at least 1.1 times as fast;
            `SavedModelExport.buckets` says which were.
        step: Whether to add `step` and `initial_state`. Default `None`: where the model can step;
            where a layer fails in steps, for whatever reason, a warning says so in one line. `True`
            makes it an error if it cannot.
        warmup: Inputs that TF Serving is to run before the first request, in
            `assets.extra/tf_serving_warmup_requests`: a batch in the model's structure, or an
            iterator of batches. Default `None`: those the export is verified with, if
            tensorflow-serving-api is installed (extra `serving`). `False`: none.
        verify_with: Inputs to compare on, in the model's structure. Default: random ones.
        extra_assets: Further files for `assets.extra` by name: their content as bytes, or the path
            of a file to copy. For what a client must know, such as the alphabet.
        overwrite: Whether an existing folder is replaced.
        top_k: The number of largest entries to give of each output along its last axis, in place of
            the whole: `NAME_values` and `NAME_ids` (int32), largest first, instead of the output
            NAME, in every signature. A row of 20,000 probabilities is 224 kB of JSON; five are
            less than one. A number for every output, or a dictionary with one for some of them by
            name. Default `None`: all entries.
        tolerance: Largest error allowed, as a fraction of the output's range. Default: 1e-4, or
            0.02 where layers compute in half precision.

    Returns:
        What was written.

    Raises:
        TypeError: `model` is no Keras model.
        ValueError: Samples do not fit the model's inputs; `step=True` and it cannot step; a length
            is not a positive integer, or the model takes one length only; `jit_compile=True` and
            XLA cannot compile the model; `top_k` is more than an output has entries, names no
            output or one of integers.
        VerificationError: The SavedModel does not compute what the model does. Nothing is left.
        FileExistsError: `path` exists and `overwrite` is false.
        ImportError: `warmup` is given and tensorflow-serving-api is not installed.
        OSError: The folder cannot be written.

    Example:

    >>> import os, tempfile, keras, tensorflow as tf, hlstm_tf as hl
    >>> model = keras.Sequential([
    ...     keras.Input((None, 3), name="features"),
    ...     hl.HLSTM(4, return_sequences=True, name="memory"), keras.layers.Dense(2)])
    >>> path = os.path.join(tempfile.mkdtemp(), "toy", "1")
    >>> result = hl.export_saved_model(model, path, lengths=[8])
    >>> result.signatures, result.states
    (('serve', 'serve_8', 'step', 'initial_state'), ('memory_h', 'memory_c'))
    >>> result.buckets[0].pads
    True
    >>> _ = hl.export_saved_model(model, path, overwrite=True, top_k=1)
    >>> best = tf.saved_model.load(path).signatures["serve"](features=tf.zeros((1, 7, 3)))
    >>> best["outputs_values"].shape, best["outputs_ids"].dtype
    (TensorShape([1, 7, 1]), tf.int32)
    """
    path = Path(path)
    check_free(path, overwrite=overwrite)
    check_tolerance(tolerance)
    layout = input_layout(model)
    cuts = checked_top_k(top_k, model)
    lengths = check_lengths(lengths, layout, model.name)
    if jit_compile not in (True, False, None) or (jit_compile and not lengths):
        raise ValueError(
            "jit_compile must be True, False or None, and True needs lengths=(50, 100, ...), whose "
            f"signatures XLA compiles; got jit_compile={jit_compile!r}, lengths={lengths}."
        )
    inputs = (
        layout.random(samples=layout.batch_size or 2)
        if verify_with is None
        else layout.named(verify_with, "verify_with")
    )
    warmups = warmup_inputs(layout, warmup, inputs)
    assets = checked_assets(extra_assets or {})
    limit = compute_tolerance(model) if tolerance is None else tolerance

    plain = plain_model(model)
    layout = with_states(layout, model, plain)
    inputs = layout.with_some_states(inputs)
    warmups = [layout.with_some_states(batch) for batch in warmups]
    expected = reference_outputs(model, layout, inputs)
    served = trace_serving(plain, layout)
    stepping, form = _traced_step(plain, layout, step, served["serve"], limit)
    buckets, fixed = _traced_buckets(plain, layout, lengths, jit_compile)
    traced = {**served, **fixed, **stepping}
    _warn_of_version(path)
    with (
        replaced_folder(path, overwrite=overwrite) as folder,
        tempfile.TemporaryDirectory(prefix="hlstm_tf_") as scratch,
    ):
        signatures = _written(plain, traced, Path(scratch, "whole") if cuts else folder)
        error = _verified(signatures["serve"], inputs, expected, limit, model.name)
        buckets = [
            verified_bucket(each, model, layout, inputs, signatures, limit) for each in buckets
        ]
        if cuts:
            cut = _written(plain, with_top_k(traced, cuts), folder)
            calls = warmup_requests([inputs], form, stepping.get("initial_state"), buckets, layout)
            _check_cuts(signatures, cut, calls, cuts, model.name)
        write_assets(folder, assets)
        if warmups:
            begin = stepping.get("initial_state")
            requests = warmup_requests(warmups, form, begin, buckets, layout)
            write_warmup(folder, requests, path.resolve().parent.name)
        size = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
    states = () if form is None else tuple(form.states)
    return SavedModelExport(path, size, tuple(traced), states, error, limit, tuple(buckets))


def _traced_step(
    model: keras.Model, layout: InputLayout, step: bool | None, serve: Any, tolerance: float
) -> tuple[Traced, StepModel | None]:
    if step is False or (step is None and not is_recurrent(model)):
        return {}, None
    try:
        inputs_only = layout.without_states()
        form = step_model(model, inputs_only)
        stepping = trace(form.endpoints())
        whole = from_zero_states(serve, layout)
        first = stepping["initial_state"]
        check_step(whole, stepping["step"], first, form, inputs_only, tolerance)
    except NotSteppableError as reason:
        message = f"model {model.name!r} cannot run step by step: {reason}."
        if step:
            raise ValueError(message) from reason
        _log.warning("%s The SavedModel has no signature 'step'.", message)
        return {}, None
    return stepping, form


def _written(model: keras.Model, traced: Traced, folder: Path) -> Signatures:
    """Writes a SavedModel, and loads its signatures as a server does."""
    write_archive(model, traced, folder)
    return tf.saved_model.load(str(folder)).signatures


def _check_cuts(
    whole: Signatures, cut: Signatures, calls: Iterable[Request], top_k: TopK, model: str
) -> None:
    """Compares each signature that is cut with what it gives uncut."""
    for name, inputs in calls:
        here = f"signature {name!r} of the SavedModel of model {model!r}"
        check_top_k(run(whole[name], inputs), run(cut[name], inputs), top_k, here)


def _traced_buckets(
    model: keras.Model, layout: InputLayout, lengths: Iterable[int], jit_compile: bool | None
) -> tuple[list[Bucket], Traced]:
    buckets: list[Bucket] = []
    traced: Traced = {}
    for length in lengths:
        bucket, form = trace_bucket(model, layout, length, jit_compile)
        buckets.append(bucket)
        traced |= form
    return buckets, traced


def _verified(
    serve: Any,
    inputs: dict[str, np.ndarray],
    expected: dict[str, np.ndarray],
    limit: float,
    model: str,
) -> float:
    """Runs the loaded SavedModel; returns the largest error."""
    actual = run(serve, inputs)
    error, _ = largest_error(expected, actual)
    if not error <= limit:
        raise VerificationError(
            f"the SavedModel of model {model!r} {difference(expected, actual, limit)}; nothing was "
            "written."
        )
    return error


def _warn_of_version(path: Path) -> None:
    if not path.name.isdecimal():
        _log.warning(
            "%s: TF Serving serves folders whose name is a number, such as %s.", path, path / "1"
        )
