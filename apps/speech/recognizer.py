"""One face for a model in any of its three formats: features in, logits out."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import hlstm_tf as hl
from apps.common.errors import InputError
from apps.common.models import FORMATS, check_model, load_saved_model, one_line_errors
from apps.common.models import load_keras as load_model
from apps.speech import card as cards
from apps.speech.audio import MAX_SECONDS, MIN_SECONDS, load_recording
from apps.speech.card import Card
from apps.speech.decode import Search, Transcript, greedy, transcripts
from apps.speech.segments import speech_parts
from apps.speech.spectrum import without_empty_bands
from hlstm_tf import quiet_import

BLOCK = 2
"""Output frames that a stream computes at a time, 80 ms of speech at 40 ms each: the convolutions
look at 230 ms for one, and 270 ms for two."""


@dataclass(frozen=True)
class Recognizer:
    """A model of any format that can be asked what was said in a recording.

    Attributes:
        path: Where it was loaded from.
        card: Its front end, alphabet and time stride.
        infer: Takes padded features `(batch, frames, bands)` and lengths `(batch,)`, returns logits
            `(batch, frames', symbols)`.
        lite: The `hl.TFLiteModel` of a TFLite file, which may stream.
    """

    path: Path
    card: Card
    infer: Callable[[np.ndarray, np.ndarray], np.ndarray]
    lite: Any = None

    def stream(self) -> Any:
        """Start an utterance whose features come little by little, as `hl.StepRunner.stream` does.

        Raises:
            InputError: The file cannot do that: the network waits for the end of the recording.
        """
        if self.lite is None:
            raise InputError(
                f"{self.path}: cannot stream: that needs a .tflite file of a unidirectional"
                " network; export it with `python -m apps.speech export`"
            )
        if self.card.window is None:
            raise InputError(
                f"{self.path}: cannot stream: its network also runs backwards from the end of a"
                " recording, or was not exported in the form step; train with --unidirectional and"
                " export with --form step"
            )
        back, ahead = self.card.window
        with one_line_errors(self.path, "streamed"):
            return self.lite.stream(
                look_back=back, look_ahead=ahead, stride=self.card.time_stride, block=BLOCK
            )

    def logits(self, features: np.ndarray) -> np.ndarray:
        """Return the logits `(frames', symbols)` of one utterance's features `(frames, bands)`."""
        lengths = np.array([len(features)], np.int32)
        with one_line_errors(self.path, f"run on features of {features.shape[1]} bands"):
            logits = self.infer(np.ascontiguousarray(features[None], np.float32), lengths)[0]
            expected = (self.card.output_frames(len(features)), self.card.alphabet.size)
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
            return Transcript()
        frame = self.card.seconds_per_frame * front_end.sample_rate
        found = Transcript()
        for begin, end in self.parts(samples):
            logits = self.logits(self.features(samples[begin:end], rate))
            found = found.then(self.transcript(logits, search), begin / frame)
        return found

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
        return _of_saved_model(path)
    if path.suffix == ".keras":
        with one_line_errors(path, "loaded as a speech recogniser"):
            return _of_keras(path)
    if path.suffix == ".tflite":
        return _of_tflite(path, threads)
    raise InputError(f"{path}: unknown kind of model; expected {FORMATS}")


def _of_keras(path: Path) -> Recognizer:
    model = load_keras(path)
    from apps.speech.model import Recognition

    recognition = Recognition(model)

    def infer(features: np.ndarray, lengths: np.ndarray) -> np.ndarray:
        return recognition.logits({"features": features, "lengths": lengths})[0]

    return Recognizer(path, cards.of_model(model, path), infer)


def _of_saved_model(path: Path) -> Recognizer:
    folder = path
    if not (path / "saved_model.pb").is_file():
        versions = [p for p in path.glob("*/saved_model.pb") if p.parent.name.isdigit()]
        if not versions:
            raise InputError(f"{path}: holds no saved_model.pb; expected {FORMATS}")
        folder = max((file.parent for file in versions), key=lambda version: int(version.name))
    card = cards.read_from_saved_model(folder)
    model = load_saved_model(folder)
    tf = quiet_import("tensorflow")

    def infer(features: np.ndarray, lengths: np.ndarray) -> np.ndarray:
        inputs = {"features": tf.constant(features), "lengths": tf.constant(lengths)}
        return model.signatures["serve"](**inputs)["outputs"].numpy()

    return Recognizer(path, card, infer)


def _of_tflite(path: Path, threads: int) -> Recognizer:
    card = cards.read_from_tflite(path)
    with one_line_errors(path, "loaded as a .tflite file"):
        model: Any = hl.load_tflite(path, threads=threads)

    def infer(features: np.ndarray, lengths: np.ndarray) -> np.ndarray:
        if card.window is None:
            return model({"features": features, "lengths": lengths})
        # As a stream, whose pieces are always the same: 8-bit activations are rounded by the frames
        # that come with them, and a text must not depend on how its recording arrives.
        frames, rows = card.output_frames(features.shape[1]), []
        for row, length in zip(features, lengths, strict=True):
            stream = recognizer.stream()
            logits = np.concatenate([stream(row[None, :length]), stream.finish()], axis=1)[0]
            rows.append(np.pad(logits, ((0, frames - len(logits)), (0, 0))))
        return np.stack(rows)

    recognizer = Recognizer(path, card, infer, model)
    return recognizer


def load_keras(path: str | os.PathLike[str]) -> Any:
    """Load a recogniser's `.keras` file, without its optimizer.

    Raises:
        InputError: No such file, damaged, or no recogniser.
    """
    quiet_import("keras")
    import apps.speech.model  # noqa: F401  registers the classes

    return load_model(path)
