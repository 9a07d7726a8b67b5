"""Log-mel features in a `tf.data` pipeline, by tensorflow-io's spectrogram.

Two fifths of the processor time of the front end itself, with which the numbers agree but for
rounding. Of tensorflow-io 0.37.1, its last release, only what is written in TensorFlow's own
operations runs beside TensorFlow 2.17 or later, the spectrogram among it; nothing here needs it.
"""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from apps.speech.front_end import FrontEnd, LogMel
from apps.speech.normalise import FLOOR, by_utterance


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
    """Yield the features of recordings in their order, computed some ahead.

    Args:
        recordings: How many there are.
        samples: Takes the place of one, returns its float32 `(samples,)`; called from threads.
        front_end: One that `can_compute`.
        threads: How many recordings are read and transformed at a time.

    Returns:
        float32 `(frames, bands)` each.

    Raises:
        Exception: What `samples` raised.
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
