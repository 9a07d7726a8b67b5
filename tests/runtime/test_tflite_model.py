from pathlib import Path

import keras
import numpy as np
import pytest

from hlstm_tf.export import TFLiteModel, export_tflite, load_tflite
from tests.export import models


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runner")
    export_tflite(models.dense(), folder / "dense.tflite")
    a, b = keras.Input((None, 3), name="a"), keras.Input((), dtype="int32", name="b")
    scaled = a * keras.ops.cast(b, "float32")[:, None, None]
    both = keras.Model({"a": a, "b": b}, {"scaled": scaled, "sum": keras.ops.sum(scaled, axis=1)})
    export_tflite(both, folder / "both.tflite")
    return folder


def test_inputs_are_cast_and_batches_cut_to_the_files(folder: Path) -> None:
    run = load_tflite(folder / "dense.tflite", threads=2)
    values = np.random.default_rng(0).normal(size=(5, 16))
    assert values.dtype == np.float64
    together = run(values)
    assert together.shape == (5, 4)
    np.testing.assert_array_equal(together[3], run(values[3:4])[0])


def test_several_inputs_and_outputs_go_by_name(folder: Path) -> None:
    run = TFLiteModel(folder / "both.tflite")
    assert list(run.inputs) == ["a", "b"]
    assert sorted(run.outputs) == ["scaled", "sum"]
    for frames in (4, 2):
        outputs = run({"a": np.ones((2, frames, 3)), "b": [2, 5]})
        assert outputs["scaled"].shape == (2, frames, 3)
        np.testing.assert_array_equal(outputs["sum"][:, 0], [2.0 * frames, 5.0 * frames])


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        (np.ones((1, 2, 3)), "takes several inputs; give a dictionary"),
        ({"a": np.ones((1, 2, 3))}, r"takes the inputs \['a', 'b'\]; got \['a'\]"),
        ({"a": np.ones((1, 2, 4)), "b": [1]}, r"'a' must have the shape \(samples, any, 3\)"),
        ({"a": np.ones((1, 2, 3)), "b": [1.5]}, "'b' must be of type int32; got float64"),
        ({"a": np.ones((2, 2, 3)), "b": [1]}, "takes batches of"),
        (
            {"a": np.ones((0, 2, 3)), "b": np.ones(0, "int32")},
            "'a' is empty, of the shape",
        ),
    ],
)
def test_inputs_that_do_not_fit_are_one_clear_line(
    folder: Path, inputs: object, message: str
) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        TFLiteModel(folder / "both.tflite")(inputs)
    assert "\n" not in str(caught.value)


def test_a_sequence_may_be_too_short_for_a_file_and_is_said_so(tmp_path: Path) -> None:
    model = keras.Sequential([keras.Input((None, 2), name="x"), keras.layers.Conv1D(3, 5)])
    export_tflite(model, tmp_path / "conv.tflite")
    run = TFLiteModel(tmp_path / "conv.tflite")
    values = np.random.default_rng(0).normal(size=(1, 9, 2)).astype("float32")
    np.testing.assert_allclose(run(values), model(values), atol=1e-5)
    with pytest.raises(ValueError, match=r"LiteRT cannot run .*conv.tflite on .*\(1, 3, 2\)"):
        run(values[:, :3])
    np.testing.assert_allclose(run(values), model(values), atol=1e-5)  # and goes on working


@pytest.mark.parametrize("kept", [0.0, 0.002, 0.1, 0.5, 0.9, 0.999])
def test_a_truncated_file_is_one_clear_line(folder: Path, tmp_path: Path, kept: float) -> None:
    content = (folder / "dense.tflite").read_bytes()
    path = tmp_path / "cut.tflite"
    path.write_bytes(content[: int(kept * len(content))])
    for opened in (TFLiteModel, load_tflite):
        with pytest.raises(ValueError, match=r"cut.tflite is .*damaged") as caught:
            opened(path)
        assert "\n" not in str(caught.value)


def test_what_is_no_file_or_no_model_is_one_clear_line(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"does not exist; expected a \.tflite file"):
        TFLiteModel(tmp_path / "missing.tflite")
    with pytest.raises(ValueError, match=r"is a folder; expected a \.tflite file"):
        TFLiteModel(tmp_path)
    (tmp_path / "text.tflite").write_text("not a model, but long enough to be one")
    with pytest.raises(ValueError, match="is no TFLite file or is damaged"):
        TFLiteModel(tmp_path / "text.tflite")


def test_threads_and_signature_are_checked(folder: Path) -> None:
    for threads in (0, -1, 1.5, True):
        with pytest.raises(ValueError, match="threads must be a positive integer"):
            TFLiteModel(folder / "dense.tflite", threads=threads)
    with pytest.raises(ValueError, match=r"has no signature 'step'; it has \['serve'\]"):
        TFLiteModel(folder / "dense.tflite", signature="step")
