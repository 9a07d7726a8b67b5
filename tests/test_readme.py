"""The README's examples run as they are written."""

import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]


def examples() -> tuple[str, str]:
    """The example of a fresh model, and that of a trained one, which goes on with its data."""
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text("utf-8"), re.DOTALL)
    fresh, trained = blocks
    return fresh, trained


def test_the_example_has_the_lines_it_says():
    statements = [line for line in examples()[0].splitlines() if line.strip()]
    assert 20 <= len(statements) <= 24


def run(source: str, folder: Path) -> subprocess.CompletedProcess:
    done = subprocess.run(
        [sys.executable, "-c", source],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT), "TF_CPP_MIN_LOG_LEVEL": "3"},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return done


def test_the_example_runs_and_leaves_its_files(tmp_path):
    done = run(examples()[0], tmp_path)
    assert "output_kernel" in done.stdout, "the summary prints a row a kernel"
    assert (tmp_path / "runs/example/served/1/saved_model.pb").is_file()
    model = tmp_path / "runs/example/model.tflite"
    assert 2_000 < model.stat().st_size < 100_000


def test_the_example_of_a_trained_model_meets_its_budget(tmp_path):
    fresh, trained = examples()
    data, _ = fresh.split("model = keras.Sequential")
    done = run(data + trained, tmp_path)
    assert "finished: within the budget" in done.stdout
    assert "is missed" not in done.stderr
    assert (tmp_path / "runs/example/pruned.tflite").is_file()
