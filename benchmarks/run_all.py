"""Runs every benchmark, and writes their tables into one file.

    python benchmarks/run_all.py --quick                                   # the short forms
    python benchmarks/run_all.py --markdown benchmarks/RESULTS.md --plot benchmarks/width_sweep.png

The file is written whole, when all of them have run; what the figures mean is in README.md beside
it. Other work on the machine should rest meanwhile: ratios bear it, times do not.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).parent
SWEEP = "width_sweep"
EXPECTED = {
    "train_step": (20, 300),
    "step_latency": (50, 150),
    "sequence_latency": (60, 300),
    "sparse_step": (60, 180),
    "sizes": (30, 60),
    "structures": (120, 300),
    "matrix_forms": (90, 200),
    "small_models": (60, 120),
    "light_process": (20, 60),
    "large_models": (120, 400),
    SWEEP: (50, 240),
}
"""Seconds that each benchmark takes about, short and full: what the time left is reckoned by."""


def scripts() -> list[str]:
    """The names of all benchmarks, those that are not in `EXPECTED` at the end."""
    found = {path.stem for path in HERE.glob("*.py") if not path.stem.startswith("_")}
    found.discard(Path(__file__).stem)
    return [name for name in EXPECTED if name in found] + sorted(found - set(EXPECTED))


def run(name: str, quick: bool, plot: Path | None) -> str:
    """Runs a benchmark; returns its tables in Markdown, or what it prints where it has no options
    of `_measure`.

    Raises:
        subprocess.CalledProcessError: It failed.
    """
    script = HERE / f"{name}.py"
    command = [sys.executable, str(script), *["--quick"] * quick]
    if plot is not None and name == SWEEP:
        command += ["--plot", str(plot)]
    if "_measure" in script.read_text(encoding="utf-8"):
        with tempfile.TemporaryDirectory(prefix="hlstm_bench_") as folder:
            path = Path(folder) / "tables.md"
            subprocess.run([*command, "--markdown", str(path)], check=True)
            return path.read_text(encoding="utf-8")
    shown = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    print(shown, flush=True)
    return f"```\n{shown.rstrip()}\n```\n"


def minutes_left(names: list[str], quick: bool) -> float:
    """What the benchmarks that are left take about."""
    return sum(EXPECTED.get(name, (60, 180))[0 if quick else 1] for name in names) / 60


def main() -> int:
    """Runs all of them; 1 if one failed."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="the short forms, a few minutes")
    parser.add_argument("--markdown", metavar="FILE", type=Path, help="write all tables here")
    parser.add_argument("--plot", metavar="FILE", type=Path, help="draw the width sweep")
    given = parser.parse_args()
    names, parts, began = scripts(), [], time.monotonic()
    for number, name in enumerate(names):
        left = minutes_left(names[number:], given.quick)
        print(f"\n== {name}.py, {number + 1} of {len(names)}, about {left:.0f} minutes left\n")
        sys.stdout.flush()
        try:
            tables = run(name, given.quick, given.plot)
        except subprocess.CalledProcessError as error:
            print(f"benchmarks/{name}.py failed ({error}); nothing was written.", file=sys.stderr)
            return 1
        option = " --quick" if given.quick else ""
        parts.append(f"## `python benchmarks/{name}.py{option}`\n\n{tables.strip()}\n")
        if given.plot and name == SWEEP:
            parts.append(f"![latency by width]({given.plot.name})\n")
    if given.markdown:
        title = (
            "# Results\n\nWritten by `python benchmarks/run_all.py`; what the figures mean is in "
            "[README.md](README.md).\n"
        )
        given.markdown.write_text("\n".join([title, *parts]), encoding="utf-8")
    print(f"\nall benchmarks took {(time.monotonic() - began) / 60:.1f} minutes")
    return 0


if __name__ == "__main__":
    sys.exit(main())
