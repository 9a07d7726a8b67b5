"""From a SavedModel to the bytes of a TFLite file that needs builtin operations only."""

import re
from pathlib import Path

import tensorflow as tf

from hlstm_tf.export.block_sparse import FLOAT32, INT8, LARGEST_SHARE, Kernel, encode_blocks
from hlstm_tf.quiet import held_stderr

QUANTIZATIONS = (None, "float16", "dynamic", "int8", "sparse", "sparse_float32")

SPARSE: dict[str | None, tuple[str | None, Kernel]] = {
    "sparse": ("dynamic", INT8),
    "sparse_float32": (None, FLOAT32),
}
"""The dense quantization that each sparse one is made from, and its product."""


def sparsified(content: bytes, quantization: str | None, model: str) -> bytes:
    """A dense file with its matrices of blocks made sparse.

    Args:
        content: A file of the dense quantization that belongs to it.
        quantization: One of `SPARSE`.
        model: The model's name, for errors.

    Raises:
        ValueError: No matrix is made of blocks.
    """
    dense, kernel = SPARSE[quantization]
    content, rewritten = encode_blocks(content, kernel)
    if not rewritten:
        raise ValueError(
            f"quantization={quantization!r} found no matrix of model {model!r} that is made of "
            f"{kernel} blocks ({kernel.block} inputs of an output): with inputs in a multiple of "
            f"{kernel.block}, and at most {LARGEST_SHARE:.0%} of its blocks not all zero. Prune it "
            f"with structure='{kernel}', or use quantization={dense!r}."
        )
    return content


def convert(folder: Path, signatures: list[str], quantization: str | None, model: str) -> bytes:
    """Converts signatures of a SavedModel; `int8` is `calibration.convert_int8`'s.

    Args:
        folder: The SavedModel.
        signatures: Names of the signatures that the file is to have.
        quantization: `None`, `"float16"` or `"dynamic"`.
        model: The model's name, for errors.

    Raises:
        ValueError: An operation has no builtin form.
    """
    converter = tf.lite.TFLiteConverter.from_saved_model(str(folder), signature_keys=signatures)
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
    if quantization is not None:
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
    if quantization == "float16":
        converter.target_spec.supported_types = [tf.float16]
    try:
        with held_stderr():  # every step, and of a failure whole graphs; the exception says it, too
            return converter.convert()
    except Exception as error:  # the converter's own exception class is private
        raise conversion_error(model, str(error)) from error


def conversion_error(model: str, message: str) -> ValueError:
    """One line that says which operations stand in the way, from the converter's many."""
    operations = re.findall(r"(?:TF Select|Custom) ops: ([^\n]+)", message)
    if operations:
        return ValueError(
            f"model {model!r} cannot become a TFLite file of builtin operations: "
            f"{'; '.join(operations)} have no builtin form. Replace the layers that use them."
        )
    if "element_shape to be static" in message:
        return ValueError(
            f"model {model!r} cannot become a TFLite file: a loop over time has a state of unknown "
            "size. Give the model's inputs a fixed number of features, and what a recurrent layer "
            "inside TimeDistributed runs over a fixed length."
        )
    reasons = [line.strip() for line in message.splitlines() if "error:" in line]
    reason = " ".join((reasons[0] if reasons else message).split())[:300]
    return ValueError(f"model {model!r} cannot become a TFLite file: {reason}")
