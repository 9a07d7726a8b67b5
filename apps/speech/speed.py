"""The real-time factor of `transcribe`, and the machine it was measured on."""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from apps.common.errors import InputError
from apps.speech.audio import MAX_SECONDS, load_recording
from apps.speech.recognizer import Recognizer
from apps.speech.streaming import StreamingRecognizer

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
    streaming = StreamingRecognizer(recognizer) if _streams(recognizer) else None
    audio = 0.0
    parts: dict[str, list[float]] = {name: [] for name in PARTS}
    wholes, streams = [], []
    for number in range(rounds + 1):
        spent = dict.fromkeys(PARTS, 0.0)
        whole = stream = audio = 0.0
        for file in files:
            audio += _time_parts(recognizer, file, spent)
            began = time.process_time()
            recognizer.transcribe(file)
            whole += time.process_time() - began
            stream += _time_stream(streaming, file) if streaming else 0.0
        if number:
            wholes.append(whole)
            streams.append(stream)
            for name, values in parts.items():
                values.append(spent[name])
    medians = {name: statistics.median(values) for name, values in parts.items()}
    streamed = statistics.median(streams) if streaming else None
    return Speed(audio, medians, statistics.median(wholes), streamed)


def _streams(recognizer: Recognizer) -> bool:
    return recognizer.card.window is not None and recognizer.card.front_end.streams


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
