"""Recognition while the speaker is speaking: samples in, text out."""

from __future__ import annotations

import os

import numpy as np

from apps.speech.alphabet import Alphabet
from apps.speech.audio import MIN_SECONDS
from apps.speech.feature_stream import BLOCK as FEATURE_BLOCK
from apps.speech.recognizer import BLOCK, Recognizer, load_recognizer


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
