"""The k largest entries of an output in place of all of them, for large vocabularies.

A row of 20,000 probabilities is 224 kB of JSON, of which a client looks at five. A file that is cut
gives `NAME_values` and `NAME_ids` in place of the output NAME, along its last axis, largest first.
"""

from collections.abc import Collection, Mapping
from numbers import Integral
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from hlstm_tf.export.archive import Endpoint, Traced, trace
from hlstm_tf.export.flatbuffer import packed, parsed
from hlstm_tf.export.layout import named_outputs
from hlstm_tf.export.verification import TOLERANCES, VerificationError, largest_error

TopK = dict[str, int]
"""How many entries are kept of each output that is cut, by its name."""

Arrays = Mapping[str, np.ndarray]


def checked_top_k(top_k: int | Mapping[str, int] | None, model: keras.Model) -> TopK:
    """What a user asked for, by output name; empty where nothing is to be cut.

    Args:
        top_k: A number for every output of the model, or some outputs' by name.
        model: A built Sequential or functional model.

    Raises:
        ValueError: A number is not positive or more than the output's last axis has; the model has
            no such output; or an output is of integers, or has no such axis.
    """
    if top_k is None:
        return {}
    sequential = isinstance(model, keras.Sequential)
    outputs = named_outputs(model.outputs if sequential else model.output)
    wanted = dict(top_k) if isinstance(top_k, Mapping) else dict.fromkeys(outputs, top_k)
    for name, k in wanted.items():
        if name not in outputs:
            raise ValueError(f"top_k names {name!r}; the model has the outputs {list(outputs)}.")
        _check_cut(name, k, outputs[name])
    return {name: int(k) for name, k in wanted.items()}


def _check_cut(name: str, k: Any, output: Any) -> None:
    if isinstance(k, bool) or not isinstance(k, Integral) or k < 1:
        raise ValueError(
            f"top_k must be a positive integer, or one for each output by name; got {k!r} for "
            f"{name!r}."
        )
    if not keras.backend.is_float_dtype(output.dtype):
        raise ValueError(
            f"top_k cuts outputs of floats; {name!r} is of type {output.dtype}. Name others: "
            "top_k={'NAME': 5}."
        )
    shape = tuple(output.shape)
    if len(shape) < 2 or shape[-1] is None:
        raise ValueError(
            f"top_k cuts the last axis, of known size, behind the batch; {name!r} has the shape "
            f"{shape}."
        )
    if k > shape[-1]:
        raise ValueError(
            f"top_k must be at most {shape[-1]}, the size of the last axis of {name!r}; got {k}."
        )


def with_top_k(traced: Traced, top_k: TopK, *, keep: bool = False) -> Traced:
    """Signatures that give the largest entries of the outputs that are cut.

    Args:
        traced: The signatures of any form; those without such an output stay what they are.
        top_k: The outputs to cut.
        keep: Whether the whole outputs are given, too.

    Raises:
        ValueError: A signature has the output without its last axis, as a step has where the axis
            is time; or something else has one of the new names.
    """
    return {
        name: _cut(name, function, top_k, keep)
        if top_k.keys() & function.structured_outputs.keys()
        else function
        for name, function in traced.items()
    }


def _cut(signature: str, function: Any, top_k: TopK, keep: bool) -> Any:
    given = function.structured_outputs
    for name in top_k.keys() & given.keys():
        clashes = sorted(given.keys() & set(_names(name)))
        if clashes:
            raise ValueError(
                f"top_k gives {name!r} the names {_names(name)}, and the signature {signature!r} "
                f"gives something else as {clashes[0]!r}; rename that."
            )
        shape = tuple(given[name].shape)
        if len(shape) < 2 or (shape[-1] or 0) < top_k[name]:
            raise ValueError(
                f"top_k={top_k[name]} cannot cut {name!r} in the signature {signature!r}, where it "
                f"has the shape {shape}."
            )

    def compute(inputs: Any) -> dict[str, Any]:
        outputs = dict(function(inputs))
        for name, k in top_k.items():
            if name in outputs:
                whole = outputs[name] if keep else outputs.pop(name)
                values, ids = tf.math.top_k(whole, k)
                outputs |= dict(zip(_names(name), (values, ids), strict=True))
        return outputs

    return trace([Endpoint(signature, compute, _argument(function))])[signature]


def _argument(function: Any) -> Any:
    """What a traced function takes, under the names that it was traced with.

    TensorFlow shows an input called like the function's argument as `inputs_inputs`.
    """
    (argument,), _ = function.structured_input_signature
    flat = tf.nest.flatten(argument)
    named = [
        tf.TensorSpec(spec.shape, spec.dtype, given.op.get_attr("_user_specified_name").decode())
        for spec, given in zip(flat, function.inputs, strict=False)  # then come the weights
    ]
    return tf.nest.pack_sequence_as(argument, named)


def without_outputs(content: bytes, names: Collection[str]) -> bytes:
    """A TFLite file whose signatures no longer give some outputs.

    Args:
        content: The file.
        names: The outputs' names.
    """
    model = parsed(content)
    for signature in model.signatureDefs:
        graph = model.subgraphs[signature.subgraphIndex]
        signature.outputs = [each for each in signature.outputs if each.name.decode() not in names]
        given = {each.tensorIndex for each in signature.outputs}
        graph.outputs = [index for index in graph.outputs if index in given]
    return packed(model)


def check_top_k(whole: Arrays, cut: Arrays, top_k: TopK, file: str) -> None:
    """Checks that a file that is cut gives the largest entries of what it gives uncut.

    Entries that are equal, as 8-bit ones often are, may come in any order.

    Args:
        whole: The outputs before they are cut.
        cut: The outputs of the same call of the file.
        top_k: The outputs that are cut.
        file: What to call it in an error.

    Raises:
        VerificationError: It does not.
    """
    for name in top_k.keys() & whole.keys():
        values, ids = _names(name)
        reason = _difference(whole[name], cut.get(values), cut.get(ids), top_k[name])
        if reason:
            raise VerificationError(
                f"{file} gives in {values!r} and {ids!r} something else than the {top_k[name]} "
                f"largest of {name!r}: {reason}; nothing was written."
            )


def _difference(
    whole: np.ndarray, values: np.ndarray | None, ids: np.ndarray | None, k: int
) -> str | None:
    if values is None or ids is None:
        return "an output is missing"
    shape = (*whole.shape[:-1], k)
    if values.shape != shape or ids.shape != shape or ids.dtype != np.int32:
        return f"they have the shapes {values.shape} and {ids.shape} in place of {shape}"
    if ids.size and not (ids.min() >= 0 and ids.max() < whole.shape[-1]):
        return "an id is not one of the axis"
    if (np.diff(np.sort(ids, axis=-1), axis=-1) == 0).any():
        return "an id comes twice"
    largest = np.flip(np.sort(whole, axis=-1), axis=-1)[..., :k]
    for expected in (largest, np.take_along_axis(whole, ids, axis=-1)):
        error, _ = largest_error({"values": expected}, {"values": values})
        if not error <= TOLERANCES[None]:
            return f"the values are off by {error:.3g} of their range"
    return None


def _names(output: str) -> tuple[str, str]:
    return f"{output}_values", f"{output}_ids"
