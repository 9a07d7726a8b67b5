"""Features of a whole split, computed once and mapped from disk afterwards.

The front ends themselves are in `apps.speech.front_end`; their names are here too.
"""

import concurrent.futures
import hashlib
import json
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from apps.common.errors import InputError
from apps.common.files import written_beside
from apps.common.progress import Progress
from apps.speech.audio import load_audio, speed
from apps.speech.channel import Channel
from apps.speech.front_end import MFCC, FrontEnd, LogMel, from_config
from apps.speech.utterance import Utterance

__all__ = ["MFCC", "FrontEnd", "LogMel", "extract_all", "from_config"]

# Raised whenever the same audio and configuration would give other numbers.
FORMAT = 1


def extract_all(
    utterances: Sequence[Utterance],
    front_end: FrontEnd,
    cache_dir: str | os.PathLike[str] | None = None,
    *,
    speed_factor: float = 1.0,
    room: int = 0,
    workers: int | None = None,
    quiet: bool = False,
) -> list[np.ndarray]:
    """Features of every utterance, in order.

    Args:
        utterances: what to read.
        front_end: `LogMel` or `MFCC`.
        cache_dir: folder of the cache; None for none. One file a list of utterances and
            configuration, named by a hash of them and of each file's path, size and time of
            change. Written beside and renamed; a damaged one is made again.
        speed_factor: play the audio that much faster first (`apps.speech.audio.speed`).
        room: 0 for the recordings as they are; another number for each of them in a place of its
            own (`apps.speech.channel.Channel.elsewhere`), drawn by that number and its place in
            the list.
        workers: threads; default one a core.
        quiet: no progress on standard error.

    Returns:
        One float32 (frames, width) array an utterance; with a cache they are read-only views of
        the mapped file, so a split larger than memory is no trouble.

    Raises:
        InputError: an audio file that cannot be used; the message names it.

    Example:
        >>> extract_all([], LogMel())
        []
    """
    if not utterances:
        return []
    if cache_dir is None:
        with tempfile.TemporaryDirectory(prefix="features-") as folder:
            path = Path(folder) / "features.bin"
            _compute(path, utterances, front_end, speed_factor, room, workers, quiet)
            return [np.array(view) for view in _views(path, front_end.width)]
    path = Path(cache_dir) / f"features-{_key(utterances, front_end, speed_factor, room)}.bin"
    try:
        return _views(path, front_end.width)
    except (OSError, ValueError):  # not there, or damaged
        _compute(path, utterances, front_end, speed_factor, room, workers, quiet)
    return _views(path, front_end.width)


def _key(utterances: Sequence[Utterance], front_end: FrontEnd, factor: float, room: int) -> str:
    identity: list[object] = [FORMAT, front_end.config(), factor, *([room] if room else [])]
    for utterance in utterances:
        try:
            status = utterance.audio.stat()
        except OSError as error:
            raise InputError(f"{utterance.audio}: no such file; check the corpus") from error
        identity.append([str(utterance.audio.resolve()), status.st_size, status.st_mtime_ns])
    return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:20]


def _compute(
    path: Path,
    utterances: Sequence[Utterance],
    front_end: FrontEnd,
    factor: float,
    room: int,
    workers: int | None,
    quiet: bool,
) -> None:
    """Writes all features to one file: the frames of each utterance, then 32-bit integers: the
    utterances' frame counts, how many those are, and the format."""

    def one(place: int, utterance: Utterance) -> np.ndarray:
        samples = speed(load_audio(utterance.audio, front_end.sample_rate), factor)
        if room and samples.any():
            rng = np.random.default_rng([room, place])
            samples = Channel.elsewhere(rng).apply(samples, front_end.sample_rate, rng)
        return front_end(samples)

    counts: list[int] = []
    threads = workers or min(4, os.cpu_count() or 1)
    with (
        written_beside(path) as temporary,
        temporary.open("wb") as file,
        concurrent.futures.ThreadPoolExecutor(threads) as pool,
        Progress(len(utterances), "extract features", quiet=quiet) as progress,
    ):
        # An error cancels what is left.
        for features in pool.map(one, range(len(utterances)), utterances):
            file.write(features.tobytes())
            counts.append(len(features))
            progress.step()
        file.write(np.array([*counts, len(counts), FORMAT], np.int32).tobytes())


def _views(path: Path, width: int) -> list[np.ndarray]:
    data = np.memmap(path, np.float32, mode="r")
    count, version = (int(n) for n in np.array(data[-2:]).view(np.int32))
    if version != FORMAT or not 0 < count < len(data) - 2:
        raise ValueError(f"{path}: not a feature cache")
    counts = np.array(data[-2 - count : -2]).view(np.int32).astype(np.int64)
    ends = np.cumsum(counts) * width
    if counts.min() < 1 or ends[-1] + count + 2 != len(data):
        raise ValueError(f"{path}: truncated feature cache")
    starts = ends - counts * width
    return [data[start:end].reshape(-1, width) for start, end in zip(starts, ends, strict=True)]
