"""The README's example runs as it is written."""

import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]


def example() -> str:
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text("utf-8"), re.DOTALL)
    assert len(blocks) == 1, "the README has one example; name the one to run if there are more"
    return blocks[0]


def test_the_example_has_the_lines_it_says():
    statements = [line for line in example().splitlines() if line.strip()]
    assert 20 <= len(statements) <= 24


def test_the_example_runs_and_leaves_its_files(tmp_path):
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "TF_CPP_MIN_LOG_LEVEL": "3"}
    done = subprocess.run(
        [sys.executable, "-c", example()],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert "output_kernel" in done.stdout, "the summary prints a row a kernel"
    assert (tmp_path / "runs/example/served/1/saved_model.pb").is_file()
    model = tmp_path / "runs/example/model.tflite"
    assert 2_000 < model.stat().st_size < 100_000
