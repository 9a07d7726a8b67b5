"""Timing that holds up on a busy machine: rounds in turn, medians, ratios within a round."""

import argparse
import json
import os
import platform
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

Run = Callable[[], Any]
COLD_BYTES = 64 << 20
"""Read before a cold call: more than the caches of a server core hold."""


@dataclass(frozen=True)
class Row:
    """A line of a table.

    Attributes:
        name: What was run.
        us: Median microseconds of a run.
        ratio: How often faster than the reference, median of the rounds.
        low, high: Its middle half.
    """

    name: str
    us: float
    ratio: float
    low: float
    high: float


def compare(runs: Mapping[str, Run], reference: str, rounds: int, cold: bool = False) -> list[Row]:
    """Times every run in turn, round after round.

    Args:
        runs: By name.
        reference: The one that ratios are taken against.
        rounds: How often.
        cold: Whether other memory is read before each run, so that nothing is in the caches.
    """
    other = np.ones(COLD_BYTES // 8)
    times: dict[str, list[float]] = {name: [] for name in runs}
    for number in range(rounds + 2):
        for name, run in runs.items():
            if cold:
                other.sum()
                spent = _seconds(run)
            else:
                run()
                spent = min(_seconds(run) for _ in range(3))
            if number >= 2:  # the first rounds plan memory and compile
                times[name].append(spent)
    rows = []
    for name, values in times.items():
        ratios = sorted(peer / mine for mine, peer in zip(values, times[reference], strict=True))
        quarter = len(ratios) // 4
        rows.append(
            Row(
                name,
                1e6 * statistics.median(values),
                statistics.median(ratios),
                ratios[quarter],
                ratios[-1 - quarter],
            )
        )
    return rows


def try_peers(peers: Mapping[str, Callable[[], Run]]) -> dict[str, Run]:
    """Prepares each peer; one whose package is missing is named and left out."""
    ready = {}
    for name, prepare in peers.items():
        try:
            ready[name] = prepare()
        except ImportError as error:
            print(f"  left out: {name} ({error.name or error} is not installed)", flush=True)
    return ready


def show(title: str, rows: list[Row], reference: str) -> str:
    """Prints and returns a Markdown table."""
    lines = [
        f"\n### {title}\n",
        f"| | us | x faster than {reference} | middle half |",
        "|---|--:|--:|---|",
        *(
            f"| {row.name} | {row.us:,.1f} | {row.ratio:.2f} | {row.low:.2f}-{row.high:.2f} |"
            for row in rows
        ),
    ]
    text = "\n".join(lines)
    print(text, flush=True)
    return text


def machine() -> str:
    """One line about where this runs."""
    name = platform.processor() or platform.machine()
    if Path("/proc/cpuinfo").exists():
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        models = [line.split(":")[1].strip() for line in lines if line.startswith("model name")]
        flags = next((line for line in lines if line.startswith("flags")), "").split()
        wide = [flag for flag in ("avx2", "avx512f", "avx512_vnni", "amx_int8") if flag in flags]
        name = f"{models[0] if models else name} ({', '.join(wide)})"
    return (
        f"{name}, {os.cpu_count()} cores, {platform.system()}, Python {platform.python_version()}"
    )


def bandwidth() -> float:
    """Bytes a second at which one core reads memory that is in no cache."""
    block = np.ones(256 << 17)  # 256 MB
    return block.nbytes / min(_seconds(block.sum) for _ in range(5))


def options(description: str) -> argparse.Namespace:
    """The options that the latency benchmarks share."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="fewer rounds")
    parser.add_argument("--json", metavar="FILE", type=Path, help="write the rows here as well")
    parser.add_argument("--markdown", metavar="FILE", type=Path, help="and the tables here")
    return parser.parse_args()


def write(given: argparse.Namespace, tables: Mapping[str, list[Row]], text: str) -> None:
    """Writes what `options` asked for."""
    if given.json:
        rows = {title: [asdict(row) for row in rows] for title, rows in tables.items()}
        given.json.write_text(json.dumps({"machine": machine(), "tables": rows}, indent=1))
    if given.markdown:
        given.markdown.write_text(f"{machine()}\n{text}\n", encoding="utf-8")


def _seconds(run: Run) -> float:
    began = time.perf_counter()
    run()
    return time.perf_counter() - began
