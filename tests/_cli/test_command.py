"""The command `hlstm` whatever it is asked for: help, versions, options, unreadable models."""

import subprocess
import sys
import time
import zipfile

import keras
import pytest

import hlstm_tf as hl
from tests._cli.running import ROOT, assert_one_clear_line, run


def test_help_answers_without_loading_tensorflow():
    program = (
        "import sys\n"
        "from hlstm_tf._cli import main\n"
        "try: main(['export', '--help'])\n"
        "except SystemExit as end: assert end.code == 0\n"
        "assert not {'tensorflow', 'keras', 'numpy'} & set(sys.modules)"
    )
    start = time.perf_counter()
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "--quantization" in done.stdout
    assert time.perf_counter() - start < 3


def test_version_names_what_computes(capfd):
    status, output, _ = run(capfd, "version")
    assert status == 0
    assert f"hlstm_tf {hl.__version__}" in output
    assert f"keras {keras.__version__}" in output
    assert run(capfd, "--version") == (0, f"hlstm_tf {hl.__version__}\n", "")


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ([], "COMMAND"),
        (["frobnicate"], "frobnicate"),
        (["summary"], "MODEL.keras"),
        (["summary", "a.keras", "--colour"], "--colour"),
        (["export", "a.keras", "--quantization", "int3"], "int3"),
        (["shrink", "a.keras"], "OUTPUT.keras"),
    ],
)
def test_a_wrong_option_is_said_in_one_line(capfd, arguments, expected):
    assert_one_clear_line(run(capfd, *arguments), expected, "--help")


def test_a_missing_model_and_a_folder_are_named(capfd, tmp_path):
    absent = tmp_path / "absent.keras"
    assert_one_clear_line(run(capfd, "summary", absent), absent, "does not exist")
    assert_one_clear_line(run(capfd, "summary", tmp_path), tmp_path, "is a folder")


@pytest.mark.parametrize("kept", [0, 10, 0.5, 0.99])
def test_a_truncated_model_is_named_and_leaves_no_output(capfd, tmp_path, model_file, kept):
    content = model_file.read_bytes()
    broken = tmp_path / "broken.keras"
    broken.write_bytes(content[: int(kept * len(content)) if isinstance(kept, float) else kept])
    result = run(capfd, "shrink", broken, tmp_path / "out.keras")
    assert_one_clear_line(result, broken, "damaged")
    assert list(tmp_path.iterdir()) == [broken]


def test_a_model_with_a_flipped_byte_in_its_weights_is_refused(capfd, tmp_path, model_file):
    content = bytearray(model_file.read_bytes())
    with zipfile.ZipFile(model_file) as archive:
        weights = archive.getinfo("model.weights.h5")
    content[weights.header_offset + 200 + weights.compress_size // 2] ^= 0xFF
    broken = tmp_path / "broken.keras"
    broken.write_bytes(content)
    assert_one_clear_line(run(capfd, "summary", broken), broken, "cannot read the model")


def test_a_zip_archive_that_is_no_model_is_refused(capfd, tmp_path):
    other = tmp_path / "other.keras"
    with zipfile.ZipFile(other, "w") as archive:
        archive.writestr("readme.txt", "nothing")
    assert_one_clear_line(run(capfd, "summary", other), other, "cannot read the model")
