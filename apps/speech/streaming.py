"""Recognition while the speaker is speaking: samples in, text out."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO, TextIO

import numpy as np

from apps.common.errors import InputError
from apps.speech.alphabet import Alphabet
from apps.speech.audio import MIN_SECONDS, SAMPLE_RATE, audio_chunks
from apps.speech.front_end import BLOCK as FEATURE_BLOCK
from apps.speech.recognizer import BLOCK, Recognizer, load_recognizer

HEADERS = (b"RIFF", b"fLaC", b"OggS", b"NIST", b"FORM", b"ID3")
"""What files begin with that are not raw audio."""


def pcm_chunks(stream: BinaryIO, seconds: float) -> Iterator[np.ndarray]:
    """Read raw audio, 16-bit little-endian, 16 kHz, one channel, as it comes.

    Args:
        stream: Such as `sys.stdin.buffer`.
        seconds: Of the longest chunk; what is there is taken without waiting for more.

    Returns:
        float32 (samples,) each.

    Raises:
        InputError: The stream is a file with a header, or ends within a sample.
    """
    size = max(1, round(seconds * SAMPLE_RATE)) * 2
    read: Any = getattr(stream, "read1", stream.read)
    rest = b""
    first = True
    while data := read(size):
        data = rest + data
        if first and data.startswith(HEADERS):
            raise InputError(
                "-: got an audio file with a header; expected raw audio, or give the file's name"
            )
        first = False
        whole = len(data) // 2 * 2
        rest = data[whole:]
        yield np.frombuffer(data[:whole], "<i2").astype(np.float32) / 32768.0
    if rest:
        raise InputError(
            "-: the input ends within a sample; expected raw 16-bit little-endian audio, 16 kHz,"
            " one channel, such as `arecord -t raw -f S16_LE -r 16000 -c 1` gives"
        )


def in_real_time(chunks: Iterable[np.ndarray], sample_rate: int) -> Iterator[np.ndarray]:
    """Give each chunk when a microphone would have it whole."""
    began, heard = time.monotonic(), 0
    for chunk in chunks:
        heard += len(chunk)
        time.sleep(max(0.0, began + heard / sample_rate - time.monotonic()))
        yield chunk


class GreedyStream:
    """Greedy CTC decoding whose frames come little by little.

    Repeats are merged across calls; a space is written with the character behind it, so that what
    is written so far has single spaces and none at its ends, as `apps.speech.decode` writes it.

    Args:
        alphabet: Of the model.

    Example:
        >>> stream = GreedyStream(Alphabet())
        >>> one_hot = 9 * np.eye(29)
        >>> stream(one_hot[[1, 2, 2]]), stream(one_hot[[2, 1]]), stream(one_hot[[3, 0]])
        ('A', '', ' B')
    """

    def __init__(self, alphabet: Alphabet) -> None:
        self._alphabet = alphabet
        self._last = alphabet.blank
        self._written = False
        self._space = False

    def __call__(self, logits: np.ndarray) -> str:
        """Return what the next frames add to the text.

        Args:
            logits: float (frames, classes).
        """
        best = logits.argmax(axis=-1)
        before = np.concatenate([[self._last], best[:-1]])
        found = [int(k) for k in best[best != before] if k != self._alphabet.blank]
        if len(best):
            self._last = int(best[-1])
        text = ""
        for character in self._alphabet.decode(found):
            if character == " ":
                self._space = self._written
            else:
                text += f" {character}" if self._space else character
                self._space, self._written = False, True
        return text


class StreamingRecognizer:
    """Listens to one recording after the other, each as it comes.

    What it has returned when a recording is finished, joined, is what `Recognizer.transcribe`
    returns for the whole of it, however it was cut into chunks.

    Args:
        model: A `.tflite` file of a unidirectional network whose front end normalises by what was
            heard so far, as in saved_models/an4-streaming; or what `load_recognizer` returns for
            one.

    Raises:
        InputError: The model needs whole recordings; or there is none.
    """

    def __init__(self, model: str | os.PathLike[str] | Recognizer) -> None:
        self.recognizer = model if isinstance(model, Recognizer) else load_recognizer(model)
        self._begin()

    @property
    def sample_rate(self) -> int:
        """Of the samples to feed, in Hz."""
        return self.recognizer.card.front_end.sample_rate

    @property
    def look_ahead(self) -> float:
        """Seconds after the middle of an output frame that the network looks at for it: the
        convolutions' frames, and half of the last one's window."""
        card = self.recognizer.card
        frames = card.window[1] if card.window else 0
        return frames * card.front_end.hop + card.front_end.window / 2

    @property
    def longest_wait(self) -> float:
        """Seconds after the middle of an output frame until its samples are all there, at most:
        with the look-ahead, the rest of the blocks that features and network are computed in."""
        card = self.recognizer.card
        frames = (BLOCK - 1) * card.time_stride + FEATURE_BLOCK - 1
        return self.look_ahead + frames * card.front_end.hop

    def feed(self, samples: np.ndarray) -> str:
        """Take the next samples.

        Args:
            samples: float32 (samples,), within [-1, 1], at `sample_rate`; any number of them.

        Returns:
            What they add to the text; often nothing.
        """
        return self._text(self._features.feed(samples))

    def finish(self) -> str:
        """Return what the end of the recording adds to the text, and begin another recording."""
        text = ""
        if self._features.heard >= MIN_SECONDS * self.sample_rate:
            text = self._text(self._features.finish())
            text += self._decode(self._network.finish()[0])
        self._begin()
        return text

    def _begin(self) -> None:
        card = self.recognizer.card
        self._network = self.recognizer.stream()
        self._features = card.front_end.stream()
        self._decode = GreedyStream(card.alphabet)

    def _text(self, features: np.ndarray) -> str:
        return self._decode(self._network(features[None])[0]) if len(features) else ""


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
