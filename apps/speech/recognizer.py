"""One face for a model in any of its three formats: features in, logits out."""

from __future__ import annotations

import abc
import os
from pathlib import Path
from typing import Any, Protocol

import numpy as np

import hlstm_tf as hl
from apps.common.errors import InputError
from apps.common.models import FORMATS, check_model, load_saved_model, one_line_errors
from apps.common.models import load_keras as load_model
from apps.speech import card as cards
from apps.speech.audio import MAX_SECONDS, MIN_SECONDS, load_recording
from apps.speech.card import Card
from apps.speech.decode import Search, Transcript, greedy, joined, transcripts
from apps.speech.lengths import reduced_lengths
from apps.speech.normalise import without_empty_bands
from apps.speech.segments import speech_parts
from hlstm_tf import quiet_import

BLOCK = 2
"""Output frames that a stream computes at a time, 80 ms of speech at 40 ms each: the convolutions
look at 230 ms for one, and 270 ms for two."""


class Stream(Protocol):
    """What `hl.StepRunner.stream` gives: features `(1, frames, bands)` in, logits out."""

    def __call__(self, frames: np.ndarray) -> np.ndarray:
        """Take the next frames; return the logits that are complete with them."""

    def finish(self) -> np.ndarray:
        """Return what waited for frames after the last."""


class Recognizer(abc.ABC):
    """A model that can be asked what was said in a recording.

    Attributes:
        path: Where it was loaded from.
        card: Its front end, alphabet and time stride.
    """

    def __init__(self, path: Path, card: Card) -> None:
        self.path = path
        self.card = card

    def stream(self) -> Stream:
        """Start an utterance whose features come little by little.

        Raises:
            InputError: The file cannot do that.
        """
        raise InputError(
            f"{self.path}: cannot stream: that needs a .tflite file of a unidirectional network;"
            " export it with `python -m apps.speech export`"
        )

    @abc.abstractmethod
    def infer(self, features: np.ndarray, lengths: np.ndarray) -> np.ndarray:
        """Return logits `(batch, frames', symbols)` of padded features `(batch, frames, bands)`
        and lengths `(batch,)`."""

    def logits(self, features: np.ndarray) -> np.ndarray:
        """Return the logits `(frames', symbols)` of one utterance's features `(frames, bands)`."""
        lengths = np.array([len(features)], np.int32)
        with one_line_errors(self.path, f"run on features of {features.shape[1]} bands"):
            logits = self.infer(np.ascontiguousarray(features[None], np.float32), lengths)[0]
            expected = (
                reduced_lengths(len(features), self.card.time_stride), self.card.alphabet.size
            )  # fmt: skip
            if logits.shape != expected:
                raise ValueError(f"logits of shape {logits.shape}, expected {expected}")
        return logits

    def transcribe(
        self, audio: str | os.PathLike[str] | np.ndarray, search: Search = greedy
    ) -> Transcript:
        """Return what was said in a recording.

        Long silence at its ends is left out, and a long recording is heard in parts between its
        pauses (`apps.speech.segments`); other recordings are heard as they are, and by a front end
        with a running normalisation all of them. Where nothing sounds there are no words, nor in
        less than 0.05 s.

        Args:
            audio: A file that `load_audio` reads, however short, or its samples at the front end's
                rate.
            search: How the text is found.

        Raises:
            InputError: The file or the samples cannot be used.
        """
        front_end = self.card.front_end
        rate = float(front_end.sample_rate)
        if isinstance(audio, np.ndarray):
            samples = front_end.checked(audio)
        else:
            samples, rate = load_recording(audio, front_end.sample_rate, 0.0, MAX_SECONDS)
        if len(samples) < MIN_SECONDS * front_end.sample_rate:
            return Transcript("", ())
        frame = self.card.seconds_per_frame * front_end.sample_rate
        found = []
        for begin, end in self.parts(samples):
            logits = self.logits(self.features(samples[begin:end], rate))
            found.append(self.transcript(logits, search).later(begin / frame))
        return joined(found)

    def parts(self, samples: np.ndarray) -> list[tuple[int, int]]:
        """Return begin and end, in samples, of the parts that a recording is heard in."""
        front_end = self.card.front_end
        if front_end.running:  # it cannot know what comes, and gets the same text when it streams
            return [(0, len(samples))]
        return speech_parts(samples, front_end.sample_rate)

    def features(self, samples: np.ndarray, rate: float) -> np.ndarray:
        """Return the features `(frames, bands)` of a part of a recording.

        Args:
            samples: `(samples,)` at the front end's rate.
            rate: That the recording was made at, in Hz.
        """
        front_end = self.card.front_end
        features = front_end(samples)
        if rate < front_end.sample_rate and front_end.bands_are_normalised:
            return without_empty_bands(features, front_end.centres, rate)
        return features

    def transcript(self, logits: np.ndarray, search: Search = greedy) -> Transcript:
        """Return what logits `(frames', symbols)` say."""
        return transcripts(logits[None], [len(logits)], self.card.alphabet, search)[0]


class _KerasRecognizer(Recognizer):
    def __init__(self, path: Path) -> None:
        model = load_keras(path)
        from apps.speech.recognition import Recognition

        super().__init__(path, cards.of_model(model, path))
        self._recognition = Recognition(model)

    def infer(self, features: np.ndarray, lengths: np.ndarray) -> np.ndarray:
        return self._recognition.logits({"features": features, "lengths": lengths})[0]


class _SavedModelRecognizer(Recognizer):
    def __init__(self, path: Path) -> None:
        folder = _version_folder(path)
        super().__init__(path, cards.read_from_saved_model(folder))
        self._model = load_saved_model(folder)
        self._serve = self._model.signatures["serve"]

    def infer(self, features: np.ndarray, lengths: np.ndarray) -> np.ndarray:
        import tensorflow as tf

        outputs = self._serve(features=tf.constant(features), lengths=tf.constant(lengths))
        return outputs["outputs"].numpy()


class _TFLiteRecognizer(Recognizer):
    def __init__(self, path: Path, threads: int) -> None:
        super().__init__(path, cards.read_from_tflite(path))
        with one_line_errors(path, "loaded as a .tflite file"):
            self._model: Any = hl.load_tflite(path, threads=threads)

    def infer(self, features: np.ndarray, lengths: np.ndarray) -> np.ndarray:
        if self.card.window is None:
            return self._model({"features": features, "lengths": lengths})
        parts = [self._one(row[:length]) for row, length in zip(features, lengths, strict=True)]
        frames = reduced_lengths(features.shape[1], self.card.time_stride)
        return np.stack([np.pad(part, ((0, frames - len(part)), (0, 0))) for part in parts])

    def stream(self) -> Stream:
        """Start an utterance whose features come little by little.

        Raises:
            InputError: The network waits for the end of the recording.
        """
        if self.card.window is None:
            raise InputError(
                f"{self.path}: cannot stream: its network also runs backwards from the end of a"
                " recording, or was not exported in the form step; train with --unidirectional and"
                " export with --form step"
            )
        look_back, look_ahead = self.card.window
        with one_line_errors(self.path, "streamed"):
            return self._model.stream(
                look_back=look_back,
                look_ahead=look_ahead,
                stride=self.card.time_stride,
                block=BLOCK,
            )

    def _one(self, features: np.ndarray) -> np.ndarray:
        # As a stream, whose pieces are always the same: 8-bit activations are rounded by the frames
        # that come with them, and a text must not depend on how its recording arrives.
        stream = self.stream()
        return np.concatenate([stream(features[None]), stream.finish()], axis=1)[0]


def load_recognizer(path: str | os.PathLike[str], threads: int = 1) -> Recognizer:
    """Load a model of any format.

    Args:
        path: A `.keras` file, a `.tflite` file, or a SavedModel folder (also the folder of its
            numbered versions, of which the last is taken).
        threads: Of the TFLite engine.

    Raises:
        InputError: No such file, another format, a damaged one, or one that is too large.
    """
    path = Path(path)
    check_model(path)
    if path.is_dir():
        return _SavedModelRecognizer(path)
    if path.suffix == ".keras":
        with one_line_errors(path, "loaded as a speech recogniser"):
            return _KerasRecognizer(path)
    if path.suffix == ".tflite":
        return _TFLiteRecognizer(path, threads)
    raise InputError(f"{path}: unknown kind of model; expected {FORMATS}")


def load_keras(path: str | os.PathLike[str]) -> Any:
    """Load a recogniser's `.keras` file, without its optimizer.

    Raises:
        InputError: No such file, damaged, or no recogniser.
    """
    quiet_import("keras")
    import apps.speech.model  # noqa: F401  registers the classes

    return load_model(path)


def _version_folder(path: Path) -> Path:
    if (path / "saved_model.pb").is_file():
        return path
    versions = [p for p in path.iterdir() if p.name.isdigit() and (p / "saved_model.pb").is_file()]
    if not versions:
        raise InputError(f"{path}: holds no saved_model.pb; expected {FORMATS}")
    return max(versions, key=lambda p: int(p.name))
