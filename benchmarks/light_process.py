"""Processor time and memory of whole processes that run a TFLite file.

    python benchmarks/light_process.py             # the least of five runs of each
    python benchmarks/light_process.py --quick     # of one

A process is measured from its start to its end, the interpreter's own start included. Processor
time is the system's, too; memory is the most that was resident at a time. The last row is there for
comparison: what TensorFlow alone takes to be imported.
"""

import argparse
import math
import os
import subprocess
import sys
import tempfile
import wave
from array import array
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
SPEECH = "saved_models/an4-compact/model.tflite"
DIGITS = "saved_models/lenet-5/model.tflite"


@dataclass(frozen=True)
class Cost:
    """What a process took.

    Attributes:
        seconds: Of processor time.
        megabytes: The most that was resident.
    """

    seconds: float
    megabytes: float


def recording(path: Path) -> Path:
    """Two seconds of a rising tone at 16 kHz."""
    samples = (round(9000 * math.sin(0.02 * k * (1 + k / 16000))) for k in range(32000))
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, 16000, 0, "NONE", ""))
        file.writeframes(array("h", samples).tobytes())
    return path


def drawing(path: Path) -> Path:
    """A dark 1 on light paper, as a portable graymap."""
    row = bytes([255] * 28 + [0] * 5 + [255] * 27)
    paper = bytes([255] * 60)
    path.write_bytes(b"P5 60 60 255\n" + paper * 10 + row * 40 + paper * 10)
    return path


def processes(folder: Path) -> dict[str, list[str]]:
    """The arguments of Python by what the table calls them."""
    speech, digits = recording(folder / "one.wav"), drawing(folder / "one.pgm")
    run = (
        "import numpy as np, hlstm_tf as hl\n"
        f"hl.load_tflite({DIGITS!r})(np.zeros((1, 28, 28, 1), 'float32'))"
    )
    transcribe = ["transcribe", str(speech), "--model", SPEECH]
    return {
        "import hlstm_tf": ["-c", "import hlstm_tf"],
        "hl.load_tflite, and one call": ["-c", run],
        "hlstm --help": ["-m", "hlstm_tf._cli", "--help"],
        "hlstm summary model.tflite": ["-m", "hlstm_tf._cli", "summary", SPEECH],
        "apps.speech transcribe": ["-m", "apps.speech", *transcribe],
        "apps.digits classify": ["-m", "apps.digits", "classify", str(digits), "--model", DIGITS],
        "import tensorflow": ["-c", "import tensorflow"],
    }


def measure(arguments: list[str]) -> Cost:
    """Runs Python as a process of its own.

    Raises:
        subprocess.CalledProcessError: It failed.
    """
    quiet = subprocess.DEVNULL
    child = subprocess.Popen([sys.executable, *arguments], cwd=ROOT, stdout=quiet, stderr=quiet)
    _, status, usage = os.wait4(child.pid, 0)
    if child.returncode is None:
        child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode:
        raise subprocess.CalledProcessError(child.returncode, arguments)
    unit = 1 if sys.platform == "darwin" else 1024  # of `ru_maxrss`
    return Cost(usage.ru_utime + usage.ru_stime, usage.ru_maxrss * unit / 2**20)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="run each once")
    repeats = 1 if parser.parse_args().quick else 5
    print(f"{'process':30}{'processor s':>12}{'MB':>8}")
    with tempfile.TemporaryDirectory(prefix="hlstm_bench_") as folder:
        for name, arguments in processes(Path(folder)).items():
            costs = [measure(arguments) for _ in range(repeats)]
            seconds = min(cost.seconds for cost in costs)
            megabytes = min(cost.megabytes for cost in costs)
            print(f"{name:30}{seconds:12.2f}{megabytes:8.0f}", flush=True)


if __name__ == "__main__":
    main()
