"""Signatures of a fixed length."""

import logging
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

import hlstm_tf as hl
from hlstm_tf.export import VerificationError, buckets, export_saved_model
from hlstm_tf.export.layout import input_layout
from hlstm_tf.export.warmup import WARMUP_FILE
from tests.export import models

layers = keras.layers
FRAMES = np.random.default_rng(0).normal(size=(2, 7, 4)).astype("float32")


def sequential(*parts: keras.Layer, shape: tuple[int | None, ...] = (None, 4)) -> keras.Model:
    return models.scrambled(keras.Sequential([keras.Input(shape, name="x"), *parts], name="m"))


def must_compile(folder: Path) -> set[str]:
    """The signatures that hand their work to a function for XLA."""
    meta = tf.saved_model.load(str(folder))
    return {
        name
        for name, signature in meta.signatures.items()
        if any(f.attr["_XlaMustCompile"].b for f in signature.graph.as_graph_def().library.function)
    }


@pytest.fixture(scope="module")
def forward() -> keras.Model:
    return sequential(hl.HLSTM(5, return_sequences=True), layers.Dense(3))


def test_each_length_has_a_signature_that_computes_what_the_model_does(
    forward: keras.Model, tmp_path: Path
) -> None:
    result = export_saved_model(forward, tmp_path / "1", lengths=(7, 4, 7), step=False)
    assert result.signatures == ("serve", "serve_4", "serve_7")
    assert [bucket.length for bucket in result.buckets] == [4, 7]
    assert all(bucket.error <= result.tolerance for bucket in result.buckets)
    assert all(bucket.pads and not bucket.ms for bucket in result.buckets)
    assert must_compile(result.path) == set()
    signatures = tf.saved_model.load(str(result.path)).signatures
    assert signatures["serve_7"].structured_input_signature[1]["x"].shape == (None, 7, 4)
    expected = forward(FRAMES, training=False).numpy()
    outputs = signatures["serve_7"](x=tf.constant(FRAMES))["outputs"]
    np.testing.assert_allclose(outputs, expected, atol=1e-6)
    padded = np.pad(FRAMES[:, :5], [(0, 0), (0, 2), (0, 0)])
    outputs = signatures["serve_7"](x=tf.constant(padded))["outputs"]
    np.testing.assert_allclose(outputs[:, :5], expected[:, :5], atol=1e-6)


def test_compiled_signatures_compute_the_same_for_every_batch_size(
    forward: keras.Model, tmp_path: Path
) -> None:
    pytest.importorskip("tensorflow_serving.apis.prediction_log_pb2")
    result = export_saved_model(forward, tmp_path / "m" / "1", lengths=[7], jit_compile=True)
    assert result.buckets[0].jit_compile
    assert must_compile(result.path) == {"serve_7"}
    signature = tf.saved_model.load(str(result.path)).signatures["serve_7"]
    for batch in (FRAMES, FRAMES[:1]):
        outputs = signature(x=tf.constant(batch))["outputs"]
        np.testing.assert_allclose(outputs, forward(batch, training=False), atol=1e-6)
    assert warm_ups(result.path) == [
        ("serve", (2, 24, 4)),
        ("serve_7", (1, 7, 4)),
        ("serve_7", (2, 7, 4)),
        ("initial_state", ()),
        ("step", (2, 4)),
    ]


def warm_ups(folder: Path) -> list[tuple[str, tuple[int, ...]]]:
    from tensorflow_serving.apis import prediction_log_pb2

    records = tf.data.TFRecordDataset(str(folder / "assets.extra" / WARMUP_FILE))
    requests = [
        prediction_log_pb2.PredictionLog.FromString(record).predict_log.request
        for record in records.as_numpy_iterator()
    ]
    return [
        (
            request.model_spec.signature_name,
            next((tf.make_ndarray(v).shape for n, v in request.inputs.items() if n == "x"), ()),
        )
        for request in requests
    ]


@pytest.mark.parametrize(("worth", "compiled"), [(1e-9, True), (1e9, False)])
def test_whether_xla_compiles_is_decided_by_the_clock(
    forward: keras.Model, monkeypatch: pytest.MonkeyPatch, worth: float, compiled: bool
) -> None:
    monkeypatch.setattr(buckets, "WORTH_COMPILING", worth)
    bucket, _ = buckets.trace_bucket(forward, input_layout(forward), 7, jit_compile=None)
    assert bucket.jit_compile is compiled
    assert set(bucket.ms) == {False, True}
    assert min(bucket.ms.values()) > 0


@keras.saving.register_keras_serializable("tests")
class ThroughText(keras.layers.Layer):
    """Does nothing, by an operation that XLA does not have."""

    def call(self, x: Any) -> Any:
        return tf.strings.to_number(tf.strings.as_string(x, precision=9))


def test_what_xla_cannot_compile_is_refused_or_left_as_it_is(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    model = sequential(ThroughText())
    with pytest.raises(ValueError, match=r"XLA cannot compile model 'm': .*AsString"):
        export_saved_model(model, tmp_path / "m" / "1", lengths=[7], jit_compile=True)
    assert list(tmp_path.iterdir()) == []
    with caplog.at_level(logging.INFO, "hlstm_tf"):
        result = export_saved_model(model, tmp_path / "m" / "1", lengths=[7], jit_compile=None)
    assert not result.buckets[0].jit_compile
    assert "is not compiled, XLA cannot: " in caplog.text


@pytest.mark.representatives("<lambda>0")
@pytest.mark.parametrize("part", [lambda: layers.Bidirectional(layers.GRU(3)), lambda: hl.HLSTM(3)])
def test_where_padding_changes_the_outputs_it_is_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, part: Any
) -> None:
    result = export_saved_model(
        sequential(part()), tmp_path / "1", lengths=[7], step=False, warmup=False
    )
    assert not result.buckets[0].pads
    assert "'serve_7' is for sequences of exactly 7 frames" in caplog.text


def test_a_model_that_masks_by_lengths_may_be_padded(tmp_path: Path) -> None:
    model = models.recognizer(recurrent_layers=1)
    batch = models.utterances(3, frames=13)
    result = export_saved_model(
        model, tmp_path / "1", lengths=[20], verify_with=batch, warmup=False
    )
    assert result.buckets[0].pads
    signature = tf.saved_model.load(str(result.path)).signatures["serve_20"]
    padded = np.pad(batch["features"], [(0, 0), (0, 7), (0, 0)])
    outputs = signature(features=tf.constant(padded), lengths=tf.constant(batch["lengths"]))
    expected = model(batch, training=False)
    np.testing.assert_allclose(outputs["outputs"][:, :13], expected, atol=1e-5)


@pytest.mark.parametrize(
    ("shape", "lengths", "message"),
    [
        ((None, 4), [0], r"lengths must be positive integers, such as \(50, 100, 200\); got 0"),
        ((None, 4), [True], "lengths must be positive integers"),
        ((None, 4), 5, r"lengths must be several, such as \(50, 100, 200\); got 5"),
        ((None, 4), [2.5], "got 2.5"),
        ((9, 4), [5], r"no input of model 'm' has a time axis of open .* \(None, 9, 4\)"),
    ],
)
def test_wrong_lengths_are_one_clear_line(
    tmp_path: Path, shape: tuple, lengths: list, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        export_saved_model(
            sequential(layers.Dense(2), shape=shape), tmp_path / "1", lengths=lengths
        )
    assert list(tmp_path.iterdir()) == []


def test_a_signature_that_computes_something_else_is_an_error(
    forward: keras.Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wrong = {"outputs": np.ones((2, 7, 3), "float32")}
    monkeypatch.setattr(buckets, "reference_outputs", lambda *_: wrong)
    with pytest.raises(VerificationError, match=r"'serve_7' .* is off by .*; nothing was written"):
        export_saved_model(forward, tmp_path / "m" / "1", lengths=[7], step=False, warmup=False)
    assert list(tmp_path.iterdir()) == []
