"""Features of a whole split, computed once and mapped from disk afterwards.

In a process that has TensorFlow loaded, log-mel features are computed by tensorflow-io's
spectrogram where that is installed: two fifths of the front end's processor time, and its numbers
but for rounding. Of tensorflow-io 0.37.1, its last release, only what is written in TensorFlow's
own operations runs beside TensorFlow 2.17 or later, the spectrogram among it; nothing needs it.
"""

from __future__ import annotations

import concurrent.futures
import functools
import hashlib
import json
import os
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from apps.common.array_cache import kept_arrays
from apps.common.errors import InputError
from apps.common.progress import Progress
from apps.speech.audio import load_audio, speed
from apps.speech.channel import Channel
from apps.speech.front_end import MFCC, FrontEnd, LogMel, from_config
from apps.speech.spectrum import FLOOR, by_utterance
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
            (`apps.speech.features`): for a process that has TensorFlow loaded already.

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
    rate = front_end.sample_rate

    def read(place: int) -> np.ndarray:
        samples = speed(load_audio(utterances[place].audio, rate), speed_factor)
        if room and samples.any():
            rng = np.random.default_rng([room, place])
            samples = Channel.elsewhere(rng).apply(samples, rate, rng)
        return samples

    def compute() -> Iterator[np.ndarray]:
        threads, number = workers or min(4, os.cpu_count() or 1), len(utterances)
        with Progress(number, "extract features", quiet=quiet) as progress:
            if in_tensorflow and can_compute(front_end):
                computed = features_of(number, read, front_end, threads)
            else:
                computed = _in_threads(number, read, front_end, threads)
            for features in computed:
                yield features
                progress.step()

    if cache_dir is None:
        return list(compute())
    key = _key(utterances, front_end, speed_factor, room)
    return kept_arrays(Path(cache_dir) / f"features-{key}.bin", front_end.width, compute)


def _key(utterances: Sequence[Utterance], front_end: FrontEnd, factor: float, room: int) -> str:
    identity: list[object] = [FORMAT, front_end.config(), factor, *([room] if room else [])]
    for utterance in utterances:
        try:
            status = utterance.audio.stat()
        except OSError as error:
            raise InputError(f"{utterance.audio}: no such file; check the corpus") from error
        identity.append([str(utterance.audio.resolve()), status.st_size, status.st_mtime_ns])
    return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:20]


def _in_threads(
    recordings: int, samples: Callable[[int], np.ndarray], front_end: FrontEnd, threads: int
) -> Iterator[np.ndarray]:
    with concurrent.futures.ThreadPoolExecutor(threads) as pool:
        # An error cancels what is left.
        yield from pool.map(lambda place: front_end(samples(place)), range(recordings))


@functools.lru_cache(maxsize=1)
def audio_operations() -> Any:
    """Return `tensorflow_io.audio`, imported without its warnings; None where it cannot be."""
    try:
        with warnings.catch_warnings():
            # Of its compiled operations, which fit old releases of TensorFlow only.
            warnings.simplefilter("ignore")
            import tensorflow_io
    except Exception:  # not installed, or built for a TensorFlow that it does not tell from this
        return None
    return tensorflow_io.audio


def can_compute(front_end: FrontEnd) -> bool:
    """Whether a front end's features can be computed here: log-mel bands, with tensorflow-io.

    TensorFlow's Hann window is another one where it has an odd number of samples.
    """
    whole = front_end.kind == LogMel.kind and not front_end.running
    return whole and front_end.window_samples % 2 == 0 and bool(audio_operations())


def features_of(
    recordings: int,
    samples: Callable[[int], np.ndarray],
    front_end: FrontEnd,
    threads: int,
) -> Iterator[np.ndarray]:
    """Yield the features `(frames, bands)` of recordings in their order, computed some ahead.

    Args:
        recordings: How many there are.
        samples: Takes the place of one, returns its float32 `(samples,)`; called from threads, and
            what it raises is raised here.
        front_end: One that `can_compute`.
        threads: How many recordings are read and transformed at a time.
    """
    import tensorflow as tf

    failed: list[Exception] = []

    def read(place: np.ndarray) -> np.ndarray:
        try:
            return front_end.checked(samples(int(place)))
        except Exception as error:
            failed.append(error)
            raise

    @tf.autograph.experimental.do_not_convert
    def rows(place: tf.Tensor) -> tf.Tensor:
        heard = tf.numpy_function(read, [place], tf.float32)
        return log_mel(tf.ensure_shape(heard, [None]), front_end)

    places = tf.data.Dataset.range(recordings)
    dataset = places.map(rows, num_parallel_calls=threads, deterministic=True).prefetch(threads)
    try:
        for features in dataset.as_numpy_iterator():
            yield by_utterance(features) if front_end.normalise else features
    except tf.errors.OpError:
        # TensorFlow makes one long text of the error and where it came from.
        if failed:
            raise failed[0] from None
        raise


def log_mel(samples: Any, front_end: FrontEnd) -> Any:
    """Return the log-mel energies `(frames, bands)` of a tensor of samples, not normalised."""
    import tensorflow as tf

    size, window, hop = front_end.fourier_size, front_end.window_samples, front_end.hop_samples
    # The front end has its windows around multiples of the hop; there they begin at them.
    before = window // 2
    magnitudes = audio_operations().spectrogram(
        tf.pad(samples, [[before, 0]]), nfft=size, window=window, stride=hop
    )[: front_end.frames(tf.shape(samples)[0])]
    energies = tf.linalg.matmul(tf.square(magnitudes), front_end.mel_basis, transpose_b=True)
    return tf.math.log(tf.maximum(energies, FLOOR))
