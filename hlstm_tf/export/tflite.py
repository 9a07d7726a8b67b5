"""`export_tflite`: a model as one TFLite file of builtin operations, checked before it counts."""

import logging
import os
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

from hlstm_tf.export.attempts import Source, source_of
from hlstm_tf.export.calibration import calibration_samples, verification_inputs
from hlstm_tf.export.choice import CRITERIA, Candidate, best_attempt
from hlstm_tf.export.conversion import QUANTIZATIONS
from hlstm_tf.export.files import replaced_file
from hlstm_tf.export.layout import InputLayout, input_layout
from hlstm_tf.export.top_k import checked_top_k
from hlstm_tf.export.verification import check_tolerance
from hlstm_tf.keras_internals import all_layers
from hlstm_tf.sparsity.checks import check_count

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
        quantization: What the file was made with, `None` for float32; with
            `quantization="best"` what was chosen.
        form: `"sequence"` or `"step"`; with `form="best"` what was chosen.
        signatures: The names of the file's signatures.
        candidates: With `quantization="best"` or `form="best"` all that was tried, each with its
            form, size, error and time or why there is none; else empty.
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
    candidates: tuple[Candidate, ...] = ()


def export_tflite(
    model: keras.Model,
    path: str | os.PathLike[str],
    *,
    form: str = "sequence",
    quantization: str | None = None,
    for_: str | None = None,
    threads: int = 1,
    representative: Any = None,
    verify_with: Any = None,
    batch_size: int = 1,
    top_k: int | Mapping[str, int] | None = None,
    tolerance: float | None = None,
) -> TFLiteExport:
    """Writes a model as a TFLite file, and checks that LiteRT computes with it what Keras does.

    Masks are applied and left out. Inputs and outputs have the names of the model's (`inputs` and
    `outputs` where it names none), and there are builtin operations only, so that the file runs on
    every build of LiteRT. The length of a sequence stays open. The file is loaded again, run and
    compared, and only then renamed to `path`.

    Which of the two forms below is faster depends on the model, its length and the machine, and
    differs by several times either way: `form="best"` makes both and keeps the faster one, as
    Python calls it. `load_tflite` opens either.

    A file keeps nothing between calls. Of a model with `stateful=True` layers `serve` takes their
    states beside the inputs, `LAYER_h` and `LAYER_c` of any batch size, and returns those it ends
    in under the same names: zeros begin a sequence, and what comes out of a call goes into the next
    one. The step form has the states of every recurrent layer anyway.

    In the form `sequence` the file has one signature, `serve`, with a loop over time inside where
    the model is recurrent; `TFLiteModel` calls it. In the form `step` the file has none, and its
    host runs it. `StepRunner` is such
    a host, in Python. A model that runs forward in time and gives an output for each frame has the
    signatures

    * `project`: the model's inputs to `frames_LAYER`, all that can be computed for the whole
      sequence at once;
    * `step`: `frame_LAYER`, one of those frames, and the states `LAYER_h`, `LAYER_c` to the model's
      outputs for it and the new states under the same names;
    * `initial_state`: the states before the first frame,

    and a host's loop is

        frames = project(inputs); states = initial_state(batch_size)
        for frame in frames: outputs, states = step(frame, states)

    Where the first states come from other inputs (an image, a sequence to translate),
    `initial_state` takes these, too; an inner encoder runs before it, in stages of its own as
    below, and `initial_state` takes what it came to. A step that looks at such inputs or at the
    encoder's outputs takes them at each call. A layer with a mask takes `mask_LAYER`, `(batch,)`,
    beside its frame, and carries its last output as the state `held_LAYER`. `StepRunner.stream`
    shows a beam search.

    Any other recurrent model (bidirectional, with an output for a whole sequence, with
    something between its layers or around them that looks at several frames) has `project_1`, for
    each recurrent layer and direction that can run then a `step_LAYER` from `frame_LAYER` and its
    states to `output_LAYER` and the new states; `project_2` and so on; and `head`, which gives the
    outputs. The host keeps all it knows by name, and feeds each signature what it asks for:

        known = inputs | initial_state(batch_size)
        for number in 1, 2, ...:
            known |= project_NUMBER(known)
            for each frames_LAYER that it gave:
                for each frame: output, known[LAYER's states] = step_LAYER(frame, LAYER's states)
                known[outputs_LAYER] = all outputs, in the order they were computed in
        outputs = head(known)

    The frames of a layer that runs backwards, and its mask, come in reverse, so that every loop is
    the same. Where there is a `mask_LAYER` `(batch, time)` beside the frames, a step is left out
    where it is false: the states stay and the output is repeated, zero before the first. LAYER is
    the recurrent layer's name, `forward_NAME` and `backward_NAME` inside `Bidirectional`; states
    are `LAYER_h` and `LAYER_c`, numbered for stacked cells, `LAYER_state_0`... for cells of your
    own. `initial_state` takes `batch_size`, an int32 that is the file's.

    Zeros are stored as zeros, except in blocks: single ones buy no speed in LiteRT, and gzip takes
    a quantized file with zeros just as far as a sparse encoding (`TFLiteExport.gzipped`). What
    `quantization` may be:

    * `None`: float32.
    * `"float16"`: half the size, no faster.
    * `"dynamic"`: int8 weights, activations quantized as they come. A quarter of the size, and
      faster where most of the time goes into products (`benchmarks/structures.py`).
    * `"int8"`: weights and activations, on ranges measured with `representative`; inputs, outputs
      and states stay float32. For convolutional and dense models. Of a recurrent model only in the
      form `step` (LiteRT cannot calibrate a loop over time): it is no faster there than
      `"dynamic"`, and four to six times less exact, as the states are rounded to 8 bits at each
      step. 16-bit activations would keep them, on kernels six to nine times slower. A softmax
      comes out in steps of 1/256, too coarse for the probabilities of hundreds of words or more:
      export the model without it, and apply it to the logits that the file gives.
    * `"sparse"`: `"dynamic"`, with matrices pruned by `structure="1x16"` stored and multiplied
      block by block: the same numbers in fewer bytes. Of a matrix at most a third of the blocks may
      be left, and its inputs must be a multiple of 16, at most 4,080; others stay dense. Whether it
      is faster depends on the matrices: with 512 inputs twice as fast at 90 %
      (`benchmarks/sparse_step.py`), with 128 about as fast, more or less by the processor
      (`benchmarks/small_models.py`). The file needs LiteRT, or TensorFlow Lite 2.17 or later.
    * `"sparse_float32"`: the same with float32 weights and `structure="1x4"`, inputs in a multiple
      of 4: with 512 inputs three times the speed of float32 at 90 % (`benchmarks/sparse_step.py`).
    * `"best"`: makes all of them, measures each, leaves out what is off tolerance, and keeps what
      is best `for_` this machine; `TFLiteExport.candidates` has the figures.

    Args:
        model: A built Sequential or functional model; masked layers may be in it.
        path: The file to write; an older one is replaced.
        form: `"sequence"`, `"step"` or `"best"`.
        quantization: See above.
        for_: With a `"best"`: `"latency"` (default), the fastest on the first verification sample,
            and the smallest of those within 3 % of it; or `"size"`, the fewest bytes. Give a sample
            as long as yours are: which is faster changes with the length.
        threads: With a `"best"`: threads of the engine that files are timed with, 1 by default.
            Give as many as you will run the file on: larger models gain more by them.
        representative: For `"int8"`: typical inputs to measure the tensors' ranges on. A batch in
            the model's structure, or a `tf.data.Dataset`, `keras.utils.PyDataset` or iterator of
            batches, which has to end. `"best"` tries `"int8"` where it is given; not used by the
            other quantizations.
        verify_with: Inputs to compare on, in the model's structure, as many samples as you like.
            Real ones say most. Default: the first representative samples, else random inputs.
        batch_size: Samples that a call of the file takes. 1 by default: a loop over time needs a
            fixed number, and `TFLiteModel` runs larger batches piece by piece. In the form
            `step` it is the number of samples, such as the beams of a search, whose states the host
            carries.
        top_k: The number of largest entries to give of each output along its last axis, in place of
            the whole: `NAME_values` and `NAME_ids` (int32), largest first, instead of the output
            NAME. For large vocabularies. A number for every output, or a dictionary with one for
            some of them by name. The whole outputs are verified, and then the cut. Default `None`:
            all entries.
        tolerance: Largest error allowed, as a fraction of the output's range. Default: by the
            quantization, see `TOLERANCES`.

    Returns:
        Sizes and the error measured.

    Raises:
        TypeError: `model` is no Keras model.
        ValueError: The form or the quantization does not exist, or not together; `batch_size` or
            `threads` is no positive integer; the model has no step form; `representative` is
            missing for int8; samples do not fit the model's inputs; `top_k` is more than an output
            has entries, names no output or one of integers; an operation has no builtin form; no
            matrix is made of blocks for a sparse one; or calibration crashed (in a process of its
            own).
        VerificationError: The file does not compute what the model does. No file is left.
        OSError: The file cannot be written.

    Example:

    >>> import os, tempfile, keras, hlstm_tf as hl
    >>> model = keras.Sequential([keras.Input((4,), name="features"), keras.layers.Dense(2)])
    >>> path = os.path.join(tempfile.mkdtemp(), "model.tflite")
    >>> result = hl.export_tflite(model, path, quantization="dynamic")
    >>> result.error <= result.tolerance, result.bytes == os.path.getsize(path)
    (True, True)

    The two words that are most likely, of 500:

    >>> inputs = keras.Input((None,), dtype="int32", name="words")
    >>> y = hl.HLSTM(6, return_sequences=True)(keras.layers.Embedding(500, 4)(inputs))
    >>> words = keras.Model(inputs, keras.layers.Dense(500, activation="softmax")(y))
    >>> _ = hl.export_tflite(words, path, top_k=2)
    >>> found = hl.TFLiteModel(path)([[3, 1, 4]])
    >>> found["outputs_values"].shape, found["outputs_ids"].dtype
    ((1, 3, 2), dtype('int32'))
    """
    _check_quantization(quantization, form, for_)
    check_count(batch_size, "batch_size")
    check_count(threads, "threads")
    _check_form(form)
    check_tolerance(tolerance)
    layout = input_layout(model)
    _check_inputs(layout)
    cuts = checked_top_k(top_k, model)
    samples = calibration_samples(layout, representative, quantization)
    inputs = verification_inputs(layout, verify_with, samples, batch_size)
    _warn_of_unrolled(model)
    with (
        replaced_file(path) as unfinished,
        tempfile.TemporaryDirectory(prefix="hlstm_tf_") as scratch,
    ):

        def source_in(form: str) -> Source:
            folder = Path(scratch, form)
            return source_of(
                model, layout, form, batch_size, samples, inputs, tolerance, cuts, folder
            )

        candidates: tuple[Candidate, ...] = ()
        if "best" in (form, quantization):
            files = Path(scratch, "files")
            files.mkdir()
            forms = FORMS if form == "best" else (form,)
            tried = QUANTIZATIONS if quantization == "best" else (quantization,)
            made, candidates = best_attempt(
                source_in, forms, tried, for_ or "latency", files, threads
            )
            shutil.copyfile(made.path, unfinished)
        else:
            made = source_in(form).attempt(quantization, unfinished)
    return TFLiteExport(
        path=Path(path),
        bytes=made.size.bytes,
        gzipped=made.size.gzipped,
        sha256=made.size.sha256,
        error=made.error,
        tolerance=made.tolerance,
        quantization=made.quantization,
        form=made.form,
        signatures=made.signatures,
        candidates=candidates,
    )


def _check_inputs(layout: InputLayout) -> None:
    for name, spec in layout.specs.items():
        if spec.dtype == tf.string:
            raise ValueError(
                f"input {name!r} is of strings, which no builtin operation of TFLite looks up. "
                "Export the part of the model behind its StringLookup, TextVectorization or "
                "Hashing layer, and give the file the ids."
            )
        if spec.dtype.is_complex:
            raise ValueError(
                f"input {name!r} is of type {spec.dtype.name}, which a TFLite file of builtin "
                "operations does not take. Give the real and the imaginary part as float32."
            )


def _check_quantization(quantization: str | None, form: str, for_: str | None) -> None:
    if quantization not in (*QUANTIZATIONS, "best"):
        names = ", ".join(map(repr, QUANTIZATIONS))
        raise ValueError(f"quantization must be {names} or 'best'; got {quantization!r}.")
    if for_ is None:
        return
    if "best" not in (form, quantization):
        raise ValueError(
            f"for_={for_!r} says what quantization='best' or form='best' is to be best for; got "
            f"quantization={quantization!r} and form={form!r}."
        )
    if for_ not in CRITERIA:
        raise ValueError(f"for_ must be 'latency' or 'size'; got {for_!r}.")


def _check_form(form: str) -> None:
    if form not in (*FORMS, "best"):
        raise ValueError(
            f"form must be 'sequence' or 'step'; got {form!r}. 'best' makes both and measures them."
        )


def _warn_of_unrolled(model: keras.Model) -> None:
    for layer in all_layers(model):
        if isinstance(layer, keras.layers.RNN) and layer.unroll:
            _log.warning(
                "layer %r is unrolled: LiteRT repacks its weights for every step, which takes "
                "gigabytes for long sequences and is slower than the loop. Build it with "
                "unroll=False.",
                layer.name,
            )
