"""LiteRT's line on the terminal, in processes of their own: it comes once in each."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

START = """
import os, sys, threading
import numpy as np
import hlstm_tf as hl
"""


def run(program: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", START + program]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True)


MODELS = {
    "fixed": ("saved_models/lenet-5/model.tflite", "np.zeros((1, 28, 28, 1), 'float32')"),
    "open-axis": ("saved_models/an4-streaming/model.tflite", "np.zeros((1, 40, 40), 'float32')"),
}


@pytest.mark.parametrize("model", MODELS)
def test_loading_and_calling_a_model_writes_nothing_on_the_standard_error(model: str) -> None:
    path, inputs = MODELS[model]
    done = run(f"hl.load_tflite({path!r})({inputs})\nhl.load_tflite({path!r})({inputs})")
    assert done.returncode == 0
    assert done.stderr == ""


def test_what_else_is_written_meanwhile_is_printed() -> None:
    done = run(
        "from hlstm_tf.runtime.interpreter import quiet_start\n"
        "with quiet_start():\n"
        "    os.write(2, b'INFO: Created TensorFlow Lite XNNPACK delegate for CPU.\\nmine\\n')\n"
        "    os.write(2, b'and this\\n')\n"
        "print('after', file=sys.stderr)"
    )
    assert done.stderr == "mine\nand this\nafter\n"


def test_what_was_written_is_printed_where_the_start_fails() -> None:
    done = run(
        "from hlstm_tf.runtime.interpreter import quiet_start\n"
        "with quiet_start():\n"
        "    os.write(2, b'a reason\\n')\n"
        "    raise ValueError('it failed')"
    )
    assert done.stderr.startswith("a reason\nTraceback")


def test_beside_another_thread_nothing_is_held_back() -> None:
    done = run(
        "from hlstm_tf.runtime.interpreter import quiet_start\n"
        "over = threading.Event()\n"
        "threading.Thread(target=over.wait).start()\n"
        "before = os.fstat(2)\n"
        "with quiet_start():\n"
        "    assert os.path.samestat(os.fstat(2), before)\n"
        "over.set()"
    )
    assert done.returncode == 0, done.stderr


def test_a_process_without_a_standard_error_runs_a_model() -> None:
    path, inputs = MODELS["fixed"]
    done = run(f"os.close(2)\nsys.stderr = None\nprint(hl.load_tflite({path!r})({inputs}).shape)")
    assert (done.returncode, done.stdout) == (0, "(1, 10)\n")
