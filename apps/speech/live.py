"""`transcribe --stream`: text on the screen while it is being spoken."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TextIO

import numpy as np

from apps.common.errors import InputError
from apps.speech.audio import SAMPLE_RATE, audio_chunks
from apps.speech.audio_stream import in_real_time, pcm_chunks
from apps.speech.streaming import StreamingRecognizer


def transcribe_live(file: Path, model: Path, seconds: float = 0.1, real_time: bool = False) -> None:
    """Print what is said in a recording as far as it has been heard.

    Args:
        file: An audio file; `-` for raw 16-bit audio, 16 kHz, one channel, on standard input.
        model: A `.tflite` file that streams.
        seconds: Of audio that is read at a time.
        real_time: Read a file no faster than a microphone would give it.

    Raises:
        InputError: The file or the model cannot be used.
    """
    recognizer = StreamingRecognizer(model)
    rate = recognizer.sample_rate
    if str(file) == "-":
        if rate != SAMPLE_RATE:
            raise InputError(
                f"-: {model} wants audio at {rate} Hz; give a file, which is converted"
            )
        chunks = pcm_chunks(sys.stdin.buffer, seconds)
    else:
        chunks = audio_chunks(file, seconds, rate)
        if real_time:
            chunks = in_real_time(chunks, rate)
    show(recognizer, chunks, sys.stdout)


def show(recognizer: StreamingRecognizer, chunks: Iterable[np.ndarray], screen: TextIO) -> str:
    """Print the text of chunks as they come; return all of it.

    On a terminal one line grows, letter by letter. Anything else gets a line a word, when the word
    is over: a program that reads them need not know how a terminal works.
    """
    growing = screen.isatty()
    text = shown = ""

    def add(new: str, last: bool = False) -> None:
        nonlocal text, shown
        text += new
        # A word is over when the next one begins.
        over = text if growing or last else text[: text.rfind(" ") + 1]
        if more := over[len(shown) :]:
            screen.write(more if growing else "".join(f"{word}\n" for word in more.split()))
            screen.flush()
            shown = over

    try:
        for chunk in chunks:
            add(recognizer.feed(chunk))
    except KeyboardInterrupt:  # how somebody stops speaking into a microphone
        pass
    add(recognizer.finish(), last=True)
    if growing:
        screen.write("\n")
    return text
