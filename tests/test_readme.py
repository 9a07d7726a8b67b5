"""The README's examples run as they are written."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
MARK = "---- the next example ----"


def examples() -> tuple[str, str, str]:
    """The example of a fresh model, and two of a trained one, which go on with its data."""
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text("utf-8"), re.DOTALL)
    fresh, trained, factorized = blocks
    return fresh, trained, factorized


def test_the_example_has_the_lines_it_says():
    statements = [line for line in examples()[0].splitlines() if line.strip()]
    assert 20 <= len(statements) <= 24


@pytest.fixture(scope="module")
def example(tmp_path_factory):
    """What the examples printed, one after the other in one process, and where they ran."""
    folder = tmp_path_factory.mktemp("readme")
    fresh, trained, factorized = examples()
    data, _ = fresh.split("model = keras.Sequential")
    factorized = f"trained.save('trained.keras')\n{factorized}"
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            f"{fresh}\nprint({MARK!r})\n{data}{trained}\nprint({MARK!r})\n{factorized}",
        ],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT), "TF_CPP_MIN_LOG_LEVEL": "3"},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return (*done.stdout.split(MARK), done.stderr, folder)


def test_the_example_runs_and_leaves_its_files(example):
    printed, _, _, _, folder = example
    assert "output_kernel" in printed, "the summary prints a row a kernel"
    assert (folder / "runs/example/served/1/saved_model.pb").is_file()
    model = folder / "runs/example/model.tflite"
    assert 2_000 < model.stat().st_size < 100_000


def test_the_example_of_a_trained_model_meets_its_budget(example):
    _, printed, _, errors, folder = example
    assert "finished: within the budget" in printed
    assert "is missed" not in errors
    assert (folder / "runs/example/pruned.tflite").is_file()


def test_the_example_of_a_compact_model_prints_its_kernels_and_leaves_a_smaller_file(example):
    _, _, printed, _, folder = example
    assert "forward_lstm/recurrent_kernel" in printed
    assert "its outputs" in printed
    compact = (folder / "runs/example/compact.tflite").stat().st_size
    assert compact < (folder / "trained.keras").stat().st_size
