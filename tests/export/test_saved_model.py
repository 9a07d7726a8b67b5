import json
import logging
import subprocess
import sys
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

import hlstm_tf as hl
from hlstm_tf.export import SavedModelExport, VerificationError, export_saved_model, saved_model
from hlstm_tf.export.warmup import WARMUP_FILE
from tests.export import models

WORDS = np.random.default_rng(1).integers(0, 11, (3, 9)).astype("int32")


@pytest.fixture(scope="module")
def language_model() -> keras.Model:
    model = models.language_model()
    models.prune(model, 0.5)
    return model


@pytest.fixture(scope="module")
def exported(
    language_model: keras.Model, tmp_path_factory: pytest.TempPathFactory
) -> SavedModelExport:
    return export_saved_model(
        language_model,
        tmp_path_factory.mktemp("served") / "words" / "1",
        verify_with=WORDS,
        extra_assets={"words.json": b'["a"]'},
    )


@pytest.fixture(scope="module")
def loaded(exported: SavedModelExport) -> Any:
    return tf.saved_model.load(str(exported.path))


def test_the_result_says_what_was_written(exported: SavedModelExport) -> None:
    assert exported.signatures == ("serve", "step", "initial_state")
    assert exported.states == (
        "first_h",
        "first_c",
        "second_h",
        "third_h",
        "third_c",
        "fourth_h",
    )
    files = [file for file in exported.path.rglob("*") if file.is_file()]
    assert exported.bytes == sum(file.stat().st_size for file in files)
    assert exported.error <= exported.tolerance == 1e-4
    assert list(exported.path.parent.iterdir()) == [exported.path]


def test_signatures_have_stable_names(loaded: Any) -> None:
    serve, step = loaded.signatures["serve"], loaded.signatures["step"]
    assert set(loaded.signatures) == {"serve", "step", "initial_state", "serving_default"}
    assert serve.structured_input_signature[1]["words"].shape.as_list() == [None, None]
    assert set(serve.structured_outputs) == {"outputs"}
    assert step.structured_input_signature[1]["words"].shape.as_list() == [None]
    states = set(step.structured_input_signature[1]) - {"words"}
    assert set(step.structured_outputs) == {"outputs", *states}


def test_serve_computes_what_the_model_does(loaded: Any, language_model: keras.Model) -> None:
    expected = language_model(WORDS, training=False)
    for name in ("serve", "serving_default"):
        outputs = loaded.signatures[name](words=tf.constant(WORDS))["outputs"]
        np.testing.assert_allclose(outputs, expected, atol=1e-6)
    np.testing.assert_allclose(loaded.serve(WORDS)["outputs"], expected, atol=1e-6)


def test_step_equals_serve_frame_by_frame(loaded: Any, language_model: keras.Model) -> None:
    expected = language_model(WORDS, training=False).numpy()
    step = loaded.signatures["step"]
    states = loaded.signatures["initial_state"](batch_size=tf.constant(len(WORDS)))
    assert {name: value.shape[0] for name, value in states.items()} == dict.fromkeys(states, 3)
    for t in range(WORDS.shape[1]):
        results = step(words=tf.constant(WORDS[:, t]), **states)
        np.testing.assert_allclose(results["outputs"], expected[:, t], atol=1e-6)
        states = {name: results[name] for name in states}


def test_masks_are_applied_and_gone(exported: SavedModelExport, loaded: Any) -> None:
    names = [
        name for name, _ in tf.train.list_variables(str(exported.path / "variables/variables"))
    ]
    assert len(loaded.weights) == sum(name.startswith("weights/") for name in names)
    assert tf.bool not in {weight.dtype for weight in loaded.weights}
    assert any(
        float(tf.reduce_mean(tf.cast(weight == 0, tf.float32))) > 0.3 for weight in loaded.weights
    )


def test_it_runs_where_neither_keras_nor_hlstm_tf_can_be_imported(
    exported: SavedModelExport, language_model: keras.Model
) -> None:
    program = """
import importlib.abc, importlib.machinery, json, sys

BLOCKED = ("keras", "tf_keras", "hlstm_tf")

class Blocker(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    def find_spec(self, name, path=None, target=None):
        # TensorFlow asks where Keras is when it is imported, and imports it when it is needed.
        if name.split(".")[0] in BLOCKED:
            return importlib.machinery.ModuleSpec(name, self)

    def create_module(self, spec):
        raise ImportError(f"{spec.name} is blocked")

sys.meta_path.insert(0, Blocker())
import tensorflow as tf
words = json.loads(sys.argv[2])
loaded = tf.saved_model.load(sys.argv[1])
states = loaded.signatures["initial_state"](batch_size=tf.constant(len(words)))
first = tf.constant([sequence[0] for sequence in words])
step = loaded.signatures["step"](words=first, **states)["outputs"]
serve = loaded.signatures["serve"](words=tf.constant(words))["outputs"]
assert not set(BLOCKED) & set(sys.modules)
print(json.dumps({"serve": serve.numpy().tolist(), "step": step.numpy().tolist()}))
"""
    child = subprocess.run(
        [sys.executable, "-c", program, str(exported.path), json.dumps(WORDS.tolist())],
        capture_output=True,
        text=True,
        check=False,
        cwd=exported.path,
    )
    assert child.returncode == 0, child.stderr[-2000:]
    outputs = json.loads(child.stdout)
    expected = language_model(WORDS, training=False)
    np.testing.assert_allclose(outputs["serve"], expected, atol=1e-5)
    np.testing.assert_allclose(outputs["step"], expected[:, 0], atol=1e-5)


def test_warm_up_records_are_requests_that_the_signatures_take(
    exported: SavedModelExport, loaded: Any
) -> None:
    prediction_log_pb2 = pytest.importorskip("tensorflow_serving.apis.prediction_log_pb2")
    path = exported.path / "assets.extra" / WARMUP_FILE
    played = []
    for record in tf.data.TFRecordDataset(str(path)).as_numpy_iterator():
        request = prediction_log_pb2.PredictionLog.FromString(record).predict_log.request
        assert request.model_spec.name == "words"
        inputs = {name: tf.make_ndarray(proto) for name, proto in request.inputs.items()}
        signature = request.model_spec.signature_name
        loaded.signatures[signature](**{name: tf.constant(v) for name, v in inputs.items()})
        played.append((signature, inputs))
    assert [signature for signature, _ in played] == ["serve", "initial_state", "step"]
    np.testing.assert_array_equal(played[0][1]["words"], WORDS)


def test_warm_up_can_be_given_batch_by_batch_or_left_out(tmp_path: Path) -> None:
    pytest.importorskip("tensorflow_serving.apis.prediction_log_pb2")
    batches = (np.ones((size, 16)) for size in (1, 2, 3))
    export_saved_model(models.dense(), tmp_path / "1", warmup=batches)
    records = tf.data.TFRecordDataset(str(tmp_path / "1" / "assets.extra" / WARMUP_FILE))
    assert len(list(records)) == 3
    export_saved_model(models.dense(), tmp_path / "2", warmup=False)
    assert not (tmp_path / "2" / "assets.extra").exists()


@pytest.fixture
def without_serving(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [*sys.modules]:
        if name.split(".")[0] == "tensorflow_serving":
            monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "tensorflow_serving", None)  # as if it were not installed


def test_without_the_serving_extra_warm_up_is_left_out_and_said(
    tmp_path: Path, without_serving: None, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, "hlstm_tf"):
        export_saved_model(models.dense(), tmp_path / "1")
    assert 'pip install "hlstm_tf[serving]"' in caplog.text
    assert not (tmp_path / "1" / "assets.extra").exists()


def test_warm_up_that_is_asked_for_needs_the_serving_extra(
    tmp_path: Path, without_serving: None
) -> None:
    with pytest.raises(ImportError, match=r'pip install "hlstm_tf\[serving\]"'):
        export_saved_model(models.dense(), tmp_path / "1", warmup=np.ones((1, 16)))
    assert list(tmp_path.iterdir()) == []


def test_a_model_of_several_inputs_is_served_by_their_names(tmp_path: Path) -> None:
    model = models.recognizer(recurrent_layers=1)
    result = export_saved_model(model, tmp_path / "1", verify_with=models.utterances())
    assert result.signatures == ("serve",)
    batch = models.utterances(2, frames=7)
    serve = tf.saved_model.load(str(result.path)).signatures["serve"]
    outputs = serve(**{name: tf.constant(value) for name, value in batch.items()})["outputs"]
    np.testing.assert_allclose(outputs, model(batch, training=False), atol=1e-5)


def test_lookup_tables_are_saved_with_the_model(tmp_path: Path) -> None:
    text = keras.Input((), dtype="string", name="text")
    ids = keras.layers.StringLookup(vocabulary=["yes", "no"])(text)
    model = keras.Model(text, keras.layers.Embedding(3, 2)(ids))
    texts = np.array(["no", "yes", "maybe"], object)
    result = export_saved_model(model, tmp_path / "1", verify_with=texts, warmup=False)
    serve = tf.saved_model.load(str(result.path)).signatures["serve"]
    np.testing.assert_allclose(
        serve(text=tf.constant(["no"]))["outputs"], model(tf.constant(["no"])), atol=1e-6
    )


def test_extra_assets_are_bytes_or_copies_of_files(
    tmp_path: Path, exported: SavedModelExport
) -> None:
    assert (exported.path / "assets.extra" / "words.json").read_bytes() == b'["a"]'
    (tmp_path / "alphabet.txt").write_text("abc")
    assets = {"symbols": tmp_path / "alphabet.txt"}
    result = export_saved_model(models.dense(), tmp_path / "m" / "1", extra_assets=assets)
    assert (result.path / "assets.extra" / "symbols").read_text() == "abc"


@pytest.mark.parametrize(
    ("assets", "error", "message"),
    [
        ({"a/b": b""}, ValueError, "'a/b' must be a plain file name"),
        ({"..": b""}, ValueError, "must be a plain file name"),
        ({WARMUP_FILE: b""}, ValueError, "must be a plain file name, other than"),
        ({"a": 5}, TypeError, "'a' must be bytes or a path; got int"),
        ({"a": "/nowhere/b"}, FileNotFoundError, "a copy of /nowhere/b, which is no file"),
    ],
)
def test_wrong_extra_assets_are_one_clear_line(
    tmp_path: Path, assets: dict, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        export_saved_model(models.dense(), tmp_path / "1", extra_assets=assets)
    assert list(tmp_path.iterdir()) == []


def test_an_existing_version_is_kept_unless_it_may_be_replaced(tmp_path: Path) -> None:
    export_saved_model(models.dense(), tmp_path / "1", warmup=False)
    before = (tmp_path / "1" / "saved_model.pb").stat().st_mtime_ns
    with pytest.raises(FileExistsError, match="exists already; give the next version's folder"):
        export_saved_model(models.dense(), tmp_path / "1")
    assert (tmp_path / "1" / "saved_model.pb").stat().st_mtime_ns == before
    export_saved_model(models.dense(), tmp_path / "1", warmup=False, overwrite=True)
    assert (tmp_path / "1" / "saved_model.pb").stat().st_mtime_ns != before


def test_a_mismatch_is_an_error_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wrong = {"outputs": np.ones((2, 4), "float32")}
    monkeypatch.setattr(saved_model, "reference_outputs", lambda *_: wrong)
    with pytest.raises(VerificationError, match=r"SavedModel .* is off by .*; nothing was written"):
        export_saved_model(models.dense(), tmp_path / "m" / "1")
    with pytest.raises(ValueError, match="tolerance must be 0 or more, or None; got -1"):
        export_saved_model(models.dense(), tmp_path / "m" / "1", tolerance=-1)
    assert list(tmp_path.iterdir()) == []


def test_a_disk_without_room_is_one_clear_line_and_leaves_nothing(
    tmp_path: Path, little_room: None
) -> None:
    model = keras.Sequential([keras.Input((50,)), keras.layers.Dense(100)])
    with pytest.raises(OSError, match=r"^cannot write a SavedModel to .*: File too large$"):
        export_saved_model(model, tmp_path / "m" / "1")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_tf_serving_would_not_see_is_warned_of(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    export_saved_model(models.dense(), tmp_path / "latest", warmup=False)
    assert "TF Serving serves folders whose name is a number" in caplog.text


def test_what_is_no_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match=r"must be a keras.Model; got HLSTM"):
        export_saved_model(hl.HLSTM(3), tmp_path / "1")


def test_a_model_that_cannot_step_is_told_so(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    both = keras.layers.Bidirectional(keras.layers.GRU(2), name="both")
    model = keras.Sequential([keras.Input((None, 2)), both], name="toy")
    result = export_saved_model(model, tmp_path / "toy" / "1", warmup=False)
    assert result.signatures == ("serve",)
    (warning,) = [each.getMessage() for each in caplog.records if each.levelname == "WARNING"]
    assert warning == (
        "model 'toy' cannot run step by step: its layer 'both' is bidirectional. The SavedModel "
        "has no signature 'step'."
    )
    caplog.clear()
    export_saved_model(model, tmp_path / "toy" / "2", warmup=False, step=False)
    assert not caplog.records
