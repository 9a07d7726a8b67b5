"""`hlstm export`: the files that it writes, which one it keeps, and what it refuses."""

import keras
import numpy as np
import pytest

import hlstm_tf as hl
from tests._cli.running import assert_one_clear_line, run


def test_export_writes_both_forms_that_compute_what_the_model_does(
    capfd, tmp_path, model, model_file
):
    inputs = np.random.default_rng(1).normal(size=(3, 5, 6)).astype("float32")
    np.save(tmp_path / "inputs.npy", inputs)
    saved_model, tflite = tmp_path / "served" / "1", tmp_path / "model.tflite"
    status, printed, error = run(
        capfd, "export", model_file, "--saved-model", saved_model, "--tflite", tflite,
        "--quantization", "dynamic", "--verify-with", tmp_path / "inputs.npy", "--shrink",
    )  # fmt: skip
    assert status == 0, error
    assert (saved_model / "saved_model.pb").is_file()
    assert str(tflite) in printed

    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(str(tflite))
    interpreter.allocate_tensors()
    [place] = interpreter.get_input_details()
    interpreter.set_tensor(place["index"], inputs[:1])
    interpreter.invoke()
    result = interpreter.get_tensor(interpreter.get_output_details()[0]["index"])
    np.testing.assert_allclose(result, model(inputs[:1]), atol=0.05)


def test_export_tries_all_and_says_what_it_kept(capfd, tmp_path, model_file):
    tflite = tmp_path / "model.tflite"
    status, printed, error = run(
        capfd, "export", model_file, "--tflite", tflite, "--quantization", "best", "--for", "size"
    )
    assert status == 0, error
    *candidates, done = printed.splitlines()
    assert [line[2:].split(":")[0] for line in candidates] == [
        "float32", "float16", "dynamic", "sparse", "sparse_float32",
    ]  # fmt: skip
    [kept] = [line for line in candidates if line.startswith("* ")]
    assert f"{tflite.stat().st_size:,} bytes" in kept
    assert f"{tflite.stat().st_size:,} bytes" in done


def test_export_writes_the_step_form(capfd, tmp_path, model, model_file):
    tflite = tmp_path / "model.tflite"
    status, _, error = run(capfd, "export", model_file, "--tflite", tflite, "--form", "step")
    assert status == 0, error
    inputs = np.random.default_rng(1).normal(size=(3, 5, 6)).astype("float32")
    np.testing.assert_allclose(hl.StepRunner(tflite)(inputs), model(inputs), atol=1e-5)


def test_export_measures_both_forms_and_says_which_it_kept(capfd, tmp_path, model_file):
    tflite = tmp_path / "model.tflite"
    status, printed, error = run(
        capfd, "export", model_file, "--tflite", tflite, "--form", "best", "--for", "latency"
    )
    assert status == 0, error
    *candidates, _ = printed.splitlines()
    assert [line[2:].split(":")[0] for line in candidates] == ["float32", "float32 in step form"]
    [kept] = [line for line in candidates if line.startswith("* ")]
    assert ("in step form" in kept) == isinstance(hl.load_tflite(tflite), hl.StepRunner)


def test_export_writes_the_largest_entries_alone(capfd, tmp_path, model_file):
    tflite, saved_model = tmp_path / "model.tflite", tmp_path / "served" / "1"
    status, _, error = run(
        capfd, "export", model_file, "--tflite", tflite, "--saved-model", saved_model, "--top-k", 1
    )
    assert status == 0, error
    assert set(hl.TFLiteModel(tflite).outputs) == {"outputs_values", "outputs_ids"}
    serve = keras.layers.TFSMLayer(saved_model, call_endpoint="serve")
    assert set(serve(np.zeros((1, 5, 6), "float32"))) == {"outputs_values", "outputs_ids"}


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ([], "--saved-model DIR, --tflite FILE"),
        (["--tflite", "x.tflite", "--top-k", "0"], "top_k must be a positive integer"),
        (["--saved-model", "x", "--quantization", "dynamic"], "--tflite FILE"),
        (["--tflite", "x.tflite", "--lengths", "50"], "--saved-model DIR"),
        (["--saved-model", "x", "--form", "step"], "--tflite FILE"),
        (["--saved-model", "x", "--for", "size"], "--tflite FILE"),
        (["--tflite", "x.tflite", "--for", "size"], "--quantization best"),
        (["--tflite", "model.keras"], "must end in .tflite"),
        (["--tflite", "x.tflite", "--quantization", "int8"], "--representative"),
        (["--tflite", "x.tflite", "--verify-with", "absent.npy"], "absent.npy does not exist"),
    ],
)
def test_export_options_that_do_not_fit_together_are_explained(
    capfd, tmp_path, monkeypatch, model_file, options, expected
):
    monkeypatch.chdir(tmp_path)
    assert_one_clear_line(run(capfd, "export", model_file, *options), expected)
    assert list(tmp_path.iterdir()) == []


def npy(header):
    """A file of NumPy's with any text as its header."""
    return b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"no array",
        b"PK\x03\x04",
        b"\x93NUMPY\x01\x00v\x00{'",
        npy(
            b"{'descr': ('<f4',), 'fortran_order': False, 'shape': (2,)}\n"
        ),  # an IndexError of NumPy's
        npy(b"{'descr': '<f4', 'fortran_order': False, 'shape': (2,\n"),  # a TokenError of Python's
        npy(b"{'descr': '<f4', 'fortran_order': False, 'shape': (1000000000000,)}\n"),
        npy(b"{'descr': '<f4', 'fortran_order': False, 'shape': ('x',)}\n"),
        npy(b"(" * 5000 + b"\n"),
    ],
    ids=range(9),
)
def test_a_damaged_input_file_is_named(capfd, tmp_path, model_file, content):
    inputs = tmp_path / "inputs.npy"
    inputs.write_bytes(content)
    result = run(
        capfd, "export", model_file, "--tflite", tmp_path / "x.tflite", "--verify-with", inputs
    )
    assert_one_clear_line(result, "--verify-with", inputs)
    assert list(tmp_path.iterdir()) == [inputs]
