"""`hlstm summary`: of a model and of a TFLite file."""

import json
import subprocess
import sys

import hlstm_tf as hl
from tests._cli.running import ROOT, assert_one_clear_line, run


def test_a_tflite_file_is_summarized_without_loading_tensorflow():
    path = ROOT / "saved_models" / "an4-streaming" / "model.tflite"
    program = (
        "import sys\n"
        "from hlstm_tf._cli import main\n"
        f"assert main(['summary', {str(path)!r}, '--json']) == 0\n"
        "assert not {'tensorflow', 'keras', 'scipy'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    found = json.loads(done.stdout)
    assert found["bytes"] == path.stat().st_size
    assert found["form"] == "step"
    assert 0 < sum(found["weights"].values()) < found["bytes"]
    assert found["signatures"]["step"]["outputs"]["outputs"] == {
        "shape": [1, 29], "dtype": "float32",
    }  # fmt: skip
    assert found["signatures"]["project"]["inputs"]["features"]["shape"] == [1, None, 40]


def test_a_table_of_a_tflite_file_names_its_inputs_and_a_damaged_one_is_refused(capfd, tmp_path):
    whole = ROOT / "saved_models" / "lenet-5" / "model.tflite"
    status, output, _ = run(capfd, "summary", whole)
    assert status == 0
    assert "sequence form" in output
    assert "inputs: (1, 28, 28, 1) float32" in output
    content = whole.read_bytes()
    broken = tmp_path / "broken.tflite"
    for damaged in (b"", content[: len(content) // 2]):
        broken.write_bytes(damaged)
        assert_one_clear_line(run(capfd, "summary", broken), broken)


def test_the_installed_command_summarizes_a_model_and_keeps_stderr_clean(in_hostile_folder):
    done = in_hostile_folder("summary")
    assert done.returncode == 0, done.stderr
    assert "hlstm" in done.stdout
    assert done.stderr == ""


def test_summary_as_json_counts_the_connections(capfd, model, model_file):
    status, output, _ = run(capfd, "summary", model_file, "--json")
    assert status == 0
    assert json.loads(output) == json.loads(json.dumps(hl.summary(model).to_dict()))
