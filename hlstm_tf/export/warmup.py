"""Warm-up records: requests that TF Serving plays before it lets the first client in."""

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from hlstm_tf.export.buckets import Bucket, resized
from hlstm_tf.export.calibration import batches
from hlstm_tf.export.layout import InputLayout
from hlstm_tf.export.step import StepModel

_log = logging.getLogger("hlstm_tf.export")

Request = tuple[str, dict[str, np.ndarray]]
"""A signature, and what it is called with by name."""

WARMUP_FILE = "tf_serving_warmup_requests"


def can_write_warmup() -> bool:
    """Whether the package with TF Serving's messages is installed."""
    try:
        import tensorflow_serving.apis.prediction_log_pb2  # noqa: F401
    except ImportError:
        return False
    return True


def warmup_inputs(
    layout: InputLayout, warmup: Any, inputs: dict[str, np.ndarray]
) -> list[dict[str, np.ndarray]]:
    """The batches that a server is to be warmed up with.

    Args:
        layout: The model's inputs.
        warmup: What the user gave; `None`: `inputs`, where records can be written; `False`: none.
        inputs: What the export is compared on.
    """
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
    return [layout.named(batch, "warmup") for batch in batches(warmup, "warmup")]


def write_warmup(
    folder: Path, requests: Iterable[tuple[str, Mapping[str, np.ndarray]]], model_name: str
) -> None:
    """Writes `assets.extra/tf_serving_warmup_requests`, a TFRecord file of `PredictionLog`s.

    Args:
        folder: The SavedModel.
        requests: Signature and inputs by name, in the order they are to be played; at most 1,000.
        model_name: The name that the model is served under.

    Raises:
        ImportError: tensorflow-serving-api is not installed.
    """
    try:
        from tensorflow_serving.apis import predict_pb2, prediction_log_pb2
    except ImportError as error:
        raise ImportError(
            'warm-up records need tensorflow-serving-api; pip install "hlstm_tf[serving]", or '
            "export with warmup=False."
        ) from error
    extra = folder / "assets.extra"
    extra.mkdir(exist_ok=True)
    with tf.io.TFRecordWriter(str(extra / WARMUP_FILE)) as writer:
        for signature, inputs in requests:
            request = predict_pb2.PredictRequest()
            request.model_spec.name = model_name
            request.model_spec.signature_name = signature
            for name, value in inputs.items():
                request.inputs[name].CopyFrom(_proto(value))
            log = prediction_log_pb2.PredictionLog(
                predict_log=prediction_log_pb2.PredictLog(request=request)
            )
            writer.write(log.SerializeToString())


def warmup_requests(
    batches: Iterable[Mapping[str, np.ndarray]],
    form: StepModel | None,
    begin: Callable[..., Any] | None,
    buckets: Sequence[Bucket],
    layout: InputLayout,
) -> Iterator[Request]:
    """The requests of each signature, by inputs of the whole model.

    Args:
        batches: Inputs by name.
        form: The signatures `step` and `initial_state`, if there are any.
        begin: The traced function of `initial_state`.
        buckets: The signatures of fixed length; the inputs are cut or repeated for them.
        layout: The model's inputs.
    """
    for batch in batches:
        inputs = dict(batch)
        yield "serve", inputs
        for bucket in buckets:
            whole = resized(layout, inputs, bucket.length)
            if bucket.jit_compile:  # XLA compiles for each batch size by itself
                yield bucket.signature, {name: value[:1] for name, value in whole.items()}
            yield bucket.signature, whole
        if form is not None and begin is not None:
            start = form.start(inputs)
            begun = begin({name: tf.constant(value) for name, value in start.items()})
            yield "initial_state", start
            yield "step", {**form.frame(inputs, 0), **{k: begun[k].numpy() for k in form.states}}


def _proto(value: Any) -> Any:
    return tf.make_tensor_proto(value)
