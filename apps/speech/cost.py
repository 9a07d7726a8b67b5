"""The cost of a recogniser: connections and FLOPs, and the time that it takes."""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import keras
import numpy as np

import hlstm_tf as hl
from apps.common.errors import InputError
from apps.speech.audio import MAX_SECONDS, load_recording
from apps.speech.card import of_model
from apps.speech.recognizer import Recognizer, load_recognizer
from apps.speech.streaming import StreamingRecognizer


@dataclass(frozen=True)
class Cost:
    """The size of a network.

    Attributes:
        connections: Weights of kernels that exist: by the masks, or that are not zero.
        flops: For a second of speech, 2 (a multiplication and an addition) for each connection at
            each place where its kernel is applied: a convolution at each of its output's frames
            and bands, the other layers at each frame that the convolutions leave. Biases,
            normalisation and activations are not counted; nor is what zeros after a ReLU would
            save.
    """

    connections: int
    flops: float


def cost_of(model: keras.Model) -> Cost:
    """Count a recogniser's connections and FLOPs.

    Raises:
        InputError: The model is no recogniser.
    """
    frames = 1.0 / of_model(model).front_end.hop  # a second, at the layer that is looked at
    counts = hl.summary(model, level="layer", print_fn=None).to_dict()
    connections: dict[str, int] = {}
    for layer in counts["layers"]:
        # A wrapper's directions are listed under its name.
        name = layer["name"].split("/")[0]
        connections[name] = connections.get(name, 0) + layer["connections"]
    flops = 0.0
    for layer in model.layers:
        bands = 1
        if isinstance(layer, keras.layers.Conv2D):
            frames /= layer.strides[0]
            bands = layer.output.shape[2]
        flops += 2 * connections.get(layer.name, 0) * frames * bands
    return Cost(counts["connections"], flops)


REPEATS = 31


def milliseconds(
    files: Iterable[str | os.PathLike[str]], features: np.ndarray, repeats: int = REPEATS
) -> dict[Path, float]:
    """Return the median milliseconds that each file takes for an utterance, on one thread.

    The files take turns, so that whatever else the machine does meets all of them.

    Args:
        files: TFLite files of recognisers.
        features: Of the utterance, `(frames, bands)`.
        repeats: Turns.

    Raises:
        InputError: A file is missing or no recogniser.
    """
    recognizers = {Path(path): load_recognizer(path, threads=1) for path in files}
    times: dict[Path, list[float]] = {path: [] for path in recognizers}
    for turn in range(repeats + 1):
        for path, recognizer in recognizers.items():
            began = time.perf_counter()
            recognizer.logits(features)
            if turn:  # the first call of each plans its memory
                times[path].append(1000 * (time.perf_counter() - began))
    return {path: float(np.median(found)) for path, found in times.items()}


PARTS = ("reading the file", "finding speech", "features", "network", "decoding and words")
COLUMNS = ("part", "ms for a second of audio", "share")
CHUNK = 0.1
"""Seconds that a stream is fed at a time, as `transcribe --stream` does."""


@dataclass(frozen=True)
class Speed:
    """What was measured.

    Attributes:
        audio: Seconds of all recordings.
        parts: Seconds of each of `PARTS`, for all recordings.
        whole: Seconds of `Recognizer.transcribe`, for all recordings.
        stream: Seconds of the same recordings streamed; None where the model does not stream.
    """

    audio: float
    parts: dict[str, float]
    whole: float
    stream: float | None

    @property
    def factor(self) -> float:
        """Seconds of computing for a second of audio."""
        return self.whole / self.audio

    def rows(self) -> list[tuple[str, str, str]]:
        """Return the cells of a table: the parts and the whole."""
        total = sum(self.parts.values())
        made = [
            (name, f"{1000 * spent / self.audio:.2f}", f"{spent / total:.0%}")
            for name, spent in self.parts.items()
        ]
        made.append(("all of `transcribe`", f"{1000 * self.factor:.2f}", "100%"))
        if self.stream is not None:
            streamed = 1000 * self.stream / self.audio
            made.append((f"`--stream`, {1000 * CHUNK:g} ms at a time", f"{streamed:.2f}", ""))
        return made


def measure(recognizer: Recognizer, files: Sequence[Path], rounds: int = 5) -> Speed:
    """Time the transcription of recordings, greedily, one after the other.

    Processor time of all threads is counted, so that other work on the machine counts little. Each
    figure is the median of the rounds, after one in which everything is loaded and planned.

    Args:
        recognizer: Of the model.
        files: Recordings that `load_audio` reads.
        rounds: How often all of them are transcribed.

    Raises:
        InputError: No files, or one that cannot be used.
    """
    if not files:
        raise InputError("speed: got no recordings; expected at least one")
    streams = recognizer.card.window is not None and recognizer.card.front_end.streams
    streaming = StreamingRecognizer(recognizer) if streams else None
    found: dict[str, list[float]] = {name: [] for name in (*PARTS, "whole", "stream")}
    for number in range(rounds + 1):
        spent, audio = dict.fromkeys(found, 0.0), 0.0
        for file in files:
            audio += _time_parts(recognizer, file, spent)
            began = time.process_time()
            recognizer.transcribe(file)
            spent["whole"] += time.process_time() - began
            spent["stream"] += _time_stream(streaming, file) if streaming else 0.0
        for name, seconds in spent.items() if number else ():
            found[name].append(seconds)
    medians = {name: statistics.median(seconds) for name, seconds in found.items()}
    whole, stream = medians.pop("whole"), medians.pop("stream")
    return Speed(audio, medians, whole, stream if streaming else None)


def _time_parts(recognizer: Recognizer, file: Path, spent: dict[str, float]) -> float:
    """Do what `transcribe` does step by step, add each step's time; return the audio's seconds."""
    rate = recognizer.card.front_end.sample_rate
    clock = [time.process_time()]

    def took(part: str) -> None:
        clock.append(time.process_time())
        spent[part] += clock[-1] - clock[-2]

    samples, recorded = load_recording(file, rate, 0.0, MAX_SECONDS)
    took("reading the file")
    parts = recognizer.parts(samples)
    took("finding speech")
    for begin, end in parts:
        features = recognizer.features(samples[begin:end], recorded)
        took("features")
        logits = recognizer.logits(features)
        took("network")
        recognizer.transcript(logits)
        took("decoding and words")
    return len(samples) / rate


def _time_stream(streaming: StreamingRecognizer, file: Path) -> float:
    samples, _ = load_recording(file, streaming.sample_rate, 0.0, MAX_SECONDS)
    size = round(CHUNK * streaming.sample_rate)
    began = time.process_time()
    for begin in range(0, len(samples), size):
        streaming.feed(samples[begin : begin + size])
    streaming.finish()
    return time.process_time() - began
