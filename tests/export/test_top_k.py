"""The largest entries of an output in place of all of them."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

import hlstm_tf as hl
from hlstm_tf.export import VerificationError
from hlstm_tf.export.top_k import check_top_k
from tests.export import models

layers = keras.layers
WORDS, K = 300, 5
TEXTS = np.random.default_rng(0).integers(0, WORDS, (16, 7)).astype("int32")


def language_model(both_ways: bool = False, **inputs: Any) -> keras.Model:
    words = keras.Input((None,), dtype="int32", name="words", **inputs)
    y = layers.Embedding(WORDS, 6)(words)
    y = hl.HLSTM(8, hidden_units=6, return_sequences=True, stateful=bool(inputs), name="memory")(y)
    if both_ways:
        y = layers.Bidirectional(layers.GRU(4, return_sequences=True))(y)
    return models.scrambled(keras.Model(words, layers.Dense(WORDS)(y)))


def check_largest(whole: np.ndarray, found: dict[str, np.ndarray], name: str = "outputs") -> None:
    """The values are the largest, and the ids their places, equal ones in any order."""
    values, ids = (np.asarray(found[f"{name}_{part}"]) for part in ("values", "ids"))
    assert name not in found
    assert ids.dtype == np.int32
    assert all(len(set(row)) == K for row in ids.reshape(-1, K))
    np.testing.assert_allclose(values, -np.sort(-whole, axis=-1)[..., :K], rtol=1e-4, atol=1e-7)
    np.testing.assert_allclose(values, np.take_along_axis(whole, ids, -1), rtol=1e-4, atol=1e-7)


@pytest.mark.representatives("step-float16-False")
@pytest.mark.parametrize(
    ("form", "quantization", "both_ways"),
    [
        ("sequence", None, False),
        ("sequence", "dynamic", True),
        ("step", None, True),
        ("step", "float16", False),
        ("step", "int8", False),
    ],
)
def test_a_cut_file_gives_the_largest_of_what_the_whole_one_gives(
    form: str, quantization: str | None, both_ways: bool, tmp_path: Path
) -> None:
    model = language_model(both_ways)
    arguments: dict[str, Any] = {"form": form, "quantization": quantization, "batch_size": 2}
    if quantization == "int8":
        arguments["representative"] = TEXTS
    whole = hl.export_tflite(model, tmp_path / "whole.tflite", **arguments)
    cut = hl.export_tflite(model, tmp_path / "cut.tflite", top_k=K, **arguments)
    assert (cut.error, cut.signatures) == (whole.error, whole.signatures)
    opened = hl.load_tflite(tmp_path / "cut.tflite")
    assert set(opened.outputs) == {"outputs_values", "outputs_ids"}
    check_largest(hl.load_tflite(tmp_path / "whole.tflite")(TEXTS[:4]), opened(TEXTS[:4]))


def test_a_stream_gives_both_arrays_by_name(tmp_path: Path) -> None:
    model = language_model()
    hl.export_tflite(model, tmp_path / "m.tflite", form="step", top_k=K)
    stream = hl.StepRunner(tmp_path / "m.tflite").stream()
    pieces = [stream(TEXTS[:1, a:b]) for a, b in ((0, 1), (1, 4), (4, 7))]
    found = {name: np.concatenate([piece[name] for piece in pieces], axis=1) for name in pieces[0]}
    check_largest(model(TEXTS[:1]).numpy(), found)


def test_every_signature_of_a_saved_model_is_cut(tmp_path: Path) -> None:
    model = language_model()
    result = hl.export_saved_model(
        model, tmp_path / "toy" / "1", top_k=K, lengths=[7], jit_compile=True, warmup=False
    )
    signatures = tf.saved_model.load(str(result.path)).signatures
    whole, texts = model(TEXTS[:3]).numpy(), tf.constant(TEXTS[:3])
    for name in ("serve", "serving_default", "serve_7"):
        check_largest(whole, signatures[name](words=texts))
    states = signatures["initial_state"](batch_size=tf.constant(3))
    for time in range(7):
        found = signatures["step"](words=texts[:, time], **states)
        states = {name: found.pop(name) for name in result.states}
        check_largest(whole[:, time], found)


def test_the_states_of_a_stateful_model_are_not_cut(tmp_path: Path) -> None:
    model = language_model(batch_size=2)
    hl.export_tflite(model, tmp_path / "m.tflite", top_k=K, batch_size=2)
    zeros = {f"memory_{state}": np.zeros((2, 8), "float32") for state in "hc"}
    found = hl.TFLiteModel(tmp_path / "m.tflite").run({"words": TEXTS[:2], **zeros})
    assert [found.pop(name).shape for name in zeros] == [(2, 8), (2, 8)]
    check_largest(model(TEXTS[:2]).numpy(), found)


def several_outputs(dtype: str = "float32") -> keras.Model:
    x = keras.Input((3,), name="x")
    kind = layers.Dense(9, dtype=dtype)(x)
    outputs = {"kind": kind, "size": layers.Dense(2)(x), "size_ids": layers.Dense(1)(x)}
    outputs["above"] = keras.ops.cast(kind > 0, "int32")
    return models.scrambled(keras.Model(x, outputs))


def test_only_the_outputs_that_are_named_are_cut(tmp_path: Path) -> None:
    model, x = several_outputs(), np.random.default_rng(0).normal(size=(3, 3)).astype("float32")
    hl.export_tflite(model, tmp_path / "m.tflite", top_k={"kind": K})
    found = hl.TFLiteModel(tmp_path / "m.tflite").run(x)
    assert set(found) == {"kind_values", "kind_ids", "size", "above", "size_ids"}
    check_largest(model(x)["kind"].numpy(), found, "kind")


def test_an_output_in_half_precision_is_cut(tmp_path: Path) -> None:
    model, x = several_outputs("mixed_bfloat16"), np.ones((2, 3), "float32")
    hl.export_saved_model(model, tmp_path / "toy" / "1", top_k={"kind": K}, warmup=False)
    serve = tf.saved_model.load(str(tmp_path / "toy" / "1")).signatures["serve"]
    found = {name: value.numpy() for name, value in serve(x=tf.constant(x)).items()}
    found["kind_values"] = found["kind_values"].astype("float32")
    check_largest(tf.cast(model(x)["kind"], "float32").numpy(), found, "kind")


@pytest.mark.parametrize(
    ("top_k", "message"),
    [
        (0, "top_k must be a positive integer, or one for each output by name; got 0 for 'above'"),
        ({"kind": True}, "must be a positive integer"),
        ({"kind": 10}, "top_k must be at most 9, the size of the last axis of 'kind'; got 10"),
        ({"sort": 2}, r"top_k names 'sort'; the model has the outputs \['above', 'kind', 'size'"),
        (1, "top_k cuts outputs of floats; 'above' is of type int32. Name others"),
        ({"size": 1}, "gives something else as 'size_ids'; rename that"),
    ],
)
@pytest.mark.parametrize("export", [hl.export_tflite, hl.export_saved_model])
def test_what_cannot_be_cut_is_refused_in_one_line(
    export: Callable, top_k: Any, message: str, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match=message) as refused:
        export(several_outputs(), tmp_path / "m.tflite", top_k=top_k)
    assert "\n" not in str(refused.value)
    assert list(tmp_path.iterdir()) == []


def test_an_axis_of_time_is_not_cut_in_a_step(tmp_path: Path) -> None:
    x = keras.Input((6, 3), name="x")
    y = layers.Reshape((-1,))(layers.Dense(1)(layers.GRU(2, return_sequences=True)(x)))
    with pytest.raises(ValueError, match="cannot cut 'outputs' in the signature 'step'"):
        hl.export_saved_model(keras.Model(x, y), tmp_path / "1", step=True, top_k=2)


WHOLE = {"y": np.array([[0.1, 0.4, 0.2, 0.3]], "float32")}


@pytest.mark.parametrize(
    ("values", "ids", "reason"),
    [
        ([[0.4, 0.2]], [[1, 2]], "the values are off by 1 of their range"),
        ([[0.4, 0.3]], [[1, 2]], "the values are off by 0.5 of their range"),
        ([[0.4, 0.3]], [[1, 4]], "an id is not one of the axis"),
        ([[0.4, 0.4]], [[1, 1]], "an id comes twice"),
        ([[0.4]], [[1]], r"they have the shapes \(1, 1\)"),
    ],
)
def test_a_wrong_cut_is_found(values: list, ids: list, reason: str) -> None:
    found = {"y_values": np.array(values, "float32"), "y_ids": np.array(ids, "int32")}
    with pytest.raises(VerificationError, match=f"the file gives .* largest of 'y': {reason}"):
        check_top_k(WHOLE, found, {"y": 2}, "the file")
    right = {"y_values": np.float32([[0.4, 0.3]]), "y_ids": np.int32([[1, 3]])}
    check_top_k(WHOLE, right, {"y": 2}, "the file")
