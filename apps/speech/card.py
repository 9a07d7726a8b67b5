"""The metadata by which a model file is used on audio, and where each format keeps it.

A `.keras` file has it in its `SpeechInput` layer. A SavedModel has it in its folder `assets.extra`,
which TensorFlow copies along and leaves alone. A TFLite file has it in a ZIP archive after the
model's own bytes, as the official TFLite metadata keeps labels: interpreters ignore it, `unzip`
reads it, and the file stays usable wherever it is moved to.
"""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import zipfile
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from apps.common.errors import InputError
from apps.common.files import written_beside
from apps.common.text import LARGEST, parse_json, read_json
from apps.speech.alphabet import Alphabet
from apps.speech.front_end import FrontEnd, from_config

if TYPE_CHECKING:
    import keras

NAME = "recognizer.json"
FORMAT = 1
ARCHIVE_ERRORS = (
    *(zipfile.BadZipFile, zlib.error, KeyError, ValueError, EOFError, NotImplementedError),
    *(RuntimeError, OSError),  # encrypted; places that are not in the file
)
"""What a damaged ZIP archive makes Python's reader raise."""


@dataclasses.dataclass(frozen=True)
class Card:
    """A recogniser's front end, alphabet and time stride.

    Attributes:
        front_end: Makes the features of a recording.
        alphabet: Writes the network's output.
        time_stride: Feature frames an output frame stands for.
        window: Feature frames before and after its place that an output frame is made of, past what
            recurrent layers remember; of a file that can run while the speaker is speaking
            (`apps.speech.export`), else None.

    Example:

    >>> from apps.speech.front_end import LogMel
    >>> card = Card(LogMel(bands=8), Alphabet(), 4)
    >>> Card.from_json(card.to_json()) == card
    True
    """

    front_end: FrontEnd
    alphabet: Alphabet
    time_stride: int
    window: tuple[int, int] | None = None

    @property
    def seconds_per_frame(self) -> float:
        """Seconds an output frame stands for."""
        return self.front_end.hop * self.time_stride

    def output_frames(self, frames: int) -> int:
        """Return how many output frames the network leaves of feature frames."""
        return -(-frames // self.time_stride)

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        values = {
            "format": FORMAT,
            "front_end": self.front_end.config(),
            "alphabet": self.alphabet.characters,
            "time_stride": self.time_stride,
        }
        return {**values, "window": list(self.window)} if self.window else values

    @classmethod
    def from_json(cls, values: Any, source: str | os.PathLike[str] = "model") -> Card:
        """Read what `to_json` returned.

        Raises:
            InputError: Something is missing, or comes from a later version.
        """
        try:
            if values["format"] != FORMAT:
                raise InputError(
                    f"{source}: made for format {values['format']} of {NAME}, this version reads"
                    f" {FORMAT}; export the model again"
                )
            window = values.get("window")
            return cls(
                from_config(values["front_end"]),
                Alphabet(values["alphabet"]),
                int(values["time_stride"]),
                (int(window[0]), int(window[1])) if window else None,
            )
        except InputError:
            raise
        except (LookupError, TypeError, ValueError, AttributeError, OverflowError) as error:
            raise InputError(f"{source}: its {NAME} is damaged; export the model again") from error


def of_model(model: keras.Model, source: str | os.PathLike[str] = "model") -> Card:
    """Return the card of a Keras model.

    Raises:
        InputError: The model is no recogniser.
    """
    # Not by class: a model that was rebuilt layer by layer still has its layers.
    layers = {layer.__class__.__name__: layer for layer in model.layers}
    speech_input = layers.get("SpeechInput")
    if speech_input is None:
        raise InputError(f"{source}: no speech recogniser (it has no SpeechInput layer)")
    strides = [x.stride for x in model.layers if x.__class__.__name__ == "ValidFrames"]
    return Card(from_config(speech_input.front_end), Alphabet(speech_input.alphabet), max(strides))


def read_from_saved_model(folder: str | os.PathLike[str]) -> Card:
    """Read the card of a SavedModel.

    Raises:
        InputError: There is none, or it is damaged.
    """
    path = Path(folder) / "assets.extra" / NAME
    if not path.is_file():
        raise InputError(
            f"{folder}: no {path.relative_to(folder)}, so it is no exported speech recogniser;"
            " export it with `python -m apps.speech export`"
        )
    values = read_json(path, "a recogniser's front end and alphabet", "export the model again")
    return Card.from_json(values, folder)


def write_to_tflite(path: str | os.PathLike[str], card: Card) -> None:
    """Append the card to a TFLite file, which is written beside and renamed."""
    with written_beside(path) as temporary:
        shutil.copyfile(path, temporary)
        with zipfile.ZipFile(temporary, "a") as archive:
            # A fixed date: the same model gives the same bytes.
            info = zipfile.ZipInfo(NAME, date_time=(1980, 1, 1, 0, 0, 0))
            archive.writestr(info, json.dumps(card.to_json(), sort_keys=True))


def read_from_tflite(path: str | os.PathLike[str]) -> Card:
    """Read the card of a TFLite file.

    Raises:
        InputError: There is none, or it is damaged.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            if archive.getinfo(NAME).file_size > LARGEST:
                raise ValueError(f"{NAME} is too large")
            values = parse_json(archive.read(NAME))
    except ARCHIVE_ERRORS as error:
        raise InputError(
            f"{path}: no {NAME} in the file, so it is no exported speech recogniser or is damaged;"
            " export it with `python -m apps.speech export`"
        ) from error
    return Card.from_json(values, path)
