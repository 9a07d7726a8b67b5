"""Features of a whole split, computed once and mapped from disk afterwards.

The front ends themselves are in `apps.speech.front_end`; their names are here too.
"""

import concurrent.futures
import dataclasses
import hashlib
import json
import os
import tempfile
from collections.abc import Iterator, Sequence
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
    in_tensorflow: bool = False,
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
        in_tensorflow: compute them in a `tf.data` pipeline where tensorflow-io is installed
            (`apps.speech.tf_features`): for a process that has TensorFlow loaded already.

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

    def compute(path: Path) -> None:
        threads = workers or min(4, os.cpu_count() or 1)
        reader = _Reader(utterances, front_end, speed_factor, room)
        _compute(path, reader, threads, quiet, in_tensorflow)

    if cache_dir is None:
        with tempfile.TemporaryDirectory(prefix="features-") as folder:
            path = Path(folder) / "features.bin"
            compute(path)
            return [np.array(view) for view in _views(path, front_end.width)]
    path = Path(cache_dir) / f"features-{_key(utterances, front_end, speed_factor, room)}.bin"
    try:
        return _views(path, front_end.width)
    except (OSError, ValueError):  # not there, or damaged
        compute(path)
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


@dataclasses.dataclass(frozen=True)
class _Reader:
    """Samples of utterances by their places, as fast as wanted and where wanted."""

    utterances: Sequence[Utterance]
    front_end: FrontEnd
    factor: float
    room: int

    def __call__(self, place: int) -> np.ndarray:
        rate = self.front_end.sample_rate
        samples = speed(load_audio(self.utterances[place].audio, rate), self.factor)
        if self.room and samples.any():
            rng = np.random.default_rng([self.room, place])
            samples = Channel.elsewhere(rng).apply(samples, rate, rng)
        return samples


def _compute(path: Path, reader: _Reader, threads: int, quiet: bool, in_tensorflow: bool) -> None:
    """Writes all features to one file: the frames of each utterance, then 32-bit integers: the
    utterances' frame counts, how many those are, and the format."""
    number = len(reader.utterances)
    counts: list[int] = []
    with (
        written_beside(path) as temporary,
        temporary.open("wb") as file,
        Progress(number, "extract features", quiet=quiet) as progress,
    ):
        for features in _features(reader, threads, in_tensorflow):
            file.write(features.tobytes())
            counts.append(len(features))
            progress.step()
        file.write(np.array([*counts, len(counts), FORMAT], np.int32).tobytes())


def _features(reader: _Reader, threads: int, in_tensorflow: bool) -> Iterator[np.ndarray]:
    front_end, number = reader.front_end, len(reader.utterances)
    if in_tensorflow:
        from apps.speech import tf_features

        if tf_features.can_compute(front_end):
            yield from tf_features.features_of(number, reader, front_end, threads)
            return
    with concurrent.futures.ThreadPoolExecutor(threads) as pool:
        # An error cancels what is left.
        yield from pool.map(lambda place: front_end(reader(place)), range(number))


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
