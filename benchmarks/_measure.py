"""Timing that holds up on a busy machine: rounds in turn, medians, ratios within a round."""

import argparse
import importlib.metadata
import json
import os
import platform
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from _floor import Weights, empty_caches, memory_rate
from _progress import Progress

Run = Callable[[], Any]
_PACKAGES = "tensorflow keras ai-edge-litert tf-keras onnxruntime torch openvino numpy".split()


LONG = 0.05
"""Seconds of a run from which calling it once a round is enough."""


@dataclass(frozen=True)
class Row:
    """A line of a table.

    Attributes:
        name: What was run.
        us: Median microseconds of a run.
        ratio: How often faster than the reference, median of the rounds.
        low, high: Its middle half.
        floor: Microseconds in which its weights can be read, where they are known.
    """

    name: str
    us: float
    ratio: float
    low: float
    high: float
    floor: float | None = None


def compare(
    runs: Mapping[str, Run],
    reference: str,
    rounds: int,
    cold: bool = False,
    weights: Mapping[str, Weights] | None = None,
    frames: Mapping[str, int] | None = None,
    clock: Callable[[], float] = time.perf_counter,
) -> list[Row]:
    """Times every run in turn, round after round.

    Args:
        runs: By name.
        reference: The one that ratios are taken against.
        rounds: How often.
        cold: Whether other memory is read before each run, so that nothing is in the caches.
        weights: What some runs read, for the floor beside them.
        frames: By how much to divide a run's time, where it is not one.
        clock: `time.process_time` counts processor time, which waiting for a busy machine does not
            add to; of several threads it is the sum.
    """
    times: dict[str, list[float]] = {name: [] for name in runs}
    progress = Progress(f"timing, {'cold' if cold else 'hot'} caches", rounds + 2)
    for number in range(rounds + 2):
        for name, run in runs.items():
            if cold:
                empty_caches()
                spent = _seconds(run, clock)
            else:
                spent = _seconds(run, clock)
                if spent < LONG:  # a longer one has its weights in no cache by the time it ends
                    spent = min(_seconds(run, clock) for _ in range(3))
            if number >= 2:  # the first rounds plan memory and compile
                times[name].append(spent / (frames or {}).get(name, 1))
        progress.advance()
    rows = []
    for name, values in times.items():
        ratios = sorted(peer / mine for mine, peer in zip(values, times[reference], strict=True))
        quarter = len(ratios) // 4
        known = (weights or {}).get(name)
        rows.append(
            Row(
                name,
                1e6 * statistics.median(values),
                statistics.median(ratios),
                ratios[quarter],
                ratios[-1 - quarter],
                None if known is None else known.floor_us(cold),
            )
        )
    return rows


def try_peers(
    peers: Mapping[str, Callable[[], Run]], left_out: list[str] | None = None
) -> dict[str, Run]:
    """Prepares each peer; one whose package is missing is named and left out.

    Args:
        peers: By name, what prepares it.
        left_out: Gets a line for each that is left out.
    """
    ready = {}
    progress = Progress("preparing peers", len(peers))
    for name, prepare in peers.items():
        try:
            ready[name] = prepare()
        except ImportError as error:
            line = f"left out: {name} ({error.name or error} is not installed)"
            print(f"  {line}", flush=True)
            if left_out is not None:
                left_out.append(line)
        progress.advance()
    return ready


def show(title: str, rows: Sequence[Row], reference: str) -> str:
    """Prints and returns a Markdown table."""
    floors = any(row.floor is not None for row in rows)
    lines = [
        f"\n### {title}\n",
        f"| | us | x faster than {reference} | middle half |" + " floor, us |" * floors,
        "|---|--:|--:|---|" + "--:|" * floors,
    ]
    for row in rows:
        floor = "" if row.floor is None else f"{row.floor:,.1f}"
        lines.append(
            f"| {row.name} | {row.us:,.1f} | {row.ratio:.2f} | {row.low:.2f}-{row.high:.2f} |"
            + f" {floor} |" * floors
        )
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
        wide = [
            flag
            for flag in ("avx2", "avx_vnni", "avx512f", "avx512_vnni", "amx_int8")
            if flag in flags
        ]
        name = f"{models[0] if models else name} ({', '.join(wide)})"
    return (
        f"{name}, {os.cpu_count()} cores{_caches()}, {platform.system()}, "
        f"Python {platform.python_version()}"
    )


def surroundings() -> str:
    """A line more: what memory gives, what else is running, and the packages' versions."""
    versions = []
    for package in _PACKAGES:
        try:
            versions.append(f"{package} {importlib.metadata.version(package)}")
        except importlib.metadata.PackageNotFoundError:
            continue
    load = f", load average {os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else ""
    return f"One core reads memory at {bandwidth() / 1e9:.1f} GB/s{load}; {', '.join(versions)}."


def bandwidth() -> float:
    """Bytes a second at which one core reads memory that is in no cache."""
    return memory_rate()


def parser(description: str | None) -> argparse.ArgumentParser:
    """The options that all these benchmarks share."""
    made = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawTextHelpFormatter
    )
    made.add_argument("--quick", action="store_true", help="the short form")
    made.add_argument("--json", metavar="FILE", type=Path, help="write the rows here as well")
    made.add_argument("--markdown", metavar="FILE", type=Path, help="and the tables here")
    return made


def options(description: str | None) -> argparse.Namespace:
    """Reads the command line by `parser`."""
    return parser(description).parse_args()


def write(
    given: argparse.Namespace,
    tables: Mapping[str, Sequence[Any]],
    text: str,
    left_out: Sequence[str] = (),
) -> None:
    """Writes what `options` asked for.

    Args:
        given: The options.
        tables: Rows, which are dataclasses, by title.
        text: The tables in Markdown.
        left_out: Lines of `try_peers`.
    """
    if given.json:
        rows = {title: [asdict(row) for row in rows] for title, rows in tables.items()}
        about = {"machine": machine(), "surroundings": surroundings(), "left_out": list(left_out)}
        given.json.write_text(json.dumps({**about, "tables": rows}, indent=1))
    if given.markdown:
        missing = "".join(f"\n- {line}" for line in left_out)
        given.markdown.write_text(
            f"{machine()}. {surroundings()}\n{text}\n{missing}\n".rstrip() + "\n", encoding="utf-8"
        )


def _caches() -> str:
    """The data caches of a core, as Linux lists them."""
    sizes = {}
    for index in sorted(Path("/sys/devices/system/cpu/cpu0/cache").glob("index*")):
        kind, level, size = (
            (index / name).read_text().strip() for name in ("type", "level", "size")
        )
        if kind != "Instruction":
            sizes[level] = size
    return "".join(f", L{level} {size}" for level, size in sizes.items())


def _seconds(run: Run, clock: Callable[[], float]) -> float:
    began = clock()
    run()
    return clock() - began
