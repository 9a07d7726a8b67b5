"""eSpeak NG through ctypes: text in, samples out, a pure function of its arguments.

The library keeps its state in C globals (the phase of its flutter, its random numbers, its voice),
so two calls of one process would give different samples for equal text. Here each call works on a
library that was just loaded and is unloaded again: a private copy, with a data folder that holds
the English voices only, because choosing a voice scans every voice file there is. A lock keeps
calls apart.
"""

import _ctypes
import ctypes
import dataclasses
import functools
import os
import shutil
import tempfile
import threading
from pathlib import Path
from typing import Any

import numpy as np

from apps.common.errors import InputError

SAMPLE_RATE = 22050
"""Of what eSpeak NG produces, in Hz."""

_SYNCHRONOUS = 2  # AUDIO_OUTPUT_SYNCHRONOUS: the callback runs inside espeak_Synth
_UTF8, _PHONEMES = 0x1, 0x100  # [[...]] in the text is phonemes
_DO_NOT_EXIT = 0x8000  # without it a missing data file ends the process
_PARAMETERS = {"rate": 1, "volume": 2, "pitch": 3, "inflection": 4, "gap": 7}
_DATA_FILES = ("phondata", "phonindex", "phontab", "intonations", "en_dict")
_CALLBACK = ctypes.CFUNCTYPE(
    ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p
)
_lock = threading.Lock()
_libc: Any = ctypes.CDLL(None) if os.name == "posix" else ctypes.cdll.msvcrt  # type: ignore[attr-defined, unused-ignore]


@dataclasses.dataclass(frozen=True)
class Voice:
    """What eSpeak NG is told about a speaker.

    Args:
        accent: a file of the English language, such as "en-US", "en", "en-GB-scotland".
        variant: a voice variant, such as "m1", "f2", "klatt"; "" for the plain voice.
        pitch: 0 to 99, 50 is the variant's own.
        inflection: pitch range, 0 (monotone) to 99.
        rate: words a minute, 80 to 450.
        gap: extra pause between words in units of 10 ms (at the default rate).
        volume: 0 to 200; 80 leaves room so that loud variants do not clip.
    """

    accent: str = "en-US"
    variant: str = ""
    pitch: int = 50
    inflection: int = 50
    rate: int = 175
    gap: int = 0
    volume: int = 80

    @property
    def name(self) -> str:
        """eSpeak NG's own name of accent and variant."""
        return f"gmw/{self.accent}" + (f"+{self.variant}" if self.variant else "")


class _Home:
    """A private copy of the library and of the English part of its data, removed at exit."""

    def __init__(self) -> None:
        try:
            import espeakng_loader
        except ImportError as error:
            raise InputError(
                "speech synthesis needs the package espeakng-loader, which is not installed;"
                ' pip install "hlstm_tf[audio]"'
            ) from error
        # Kept on the object: the folder goes when the last reference does.
        self._folder = tempfile.TemporaryDirectory(prefix="espeak-")
        root, source = Path(self._folder.name), Path(espeakng_loader.get_data_path())
        library = Path(espeakng_loader.get_library_path())
        self.library = root / library.name
        self.data = root / "espeak-ng-data"
        (self.data / "lang" / "gmw").mkdir(parents=True)
        shutil.copy(library, self.library)
        for name in _DATA_FILES:
            shutil.copy(source / name, self.data / name)
        for path in (source / "lang" / "gmw").glob("en*"):
            shutil.copy(path, self.data / "lang" / "gmw" / path.name)
        shutil.copytree(source / "voices" / "!v", self.data / "voices" / "!v")


@functools.cache
def _home() -> _Home:
    return _Home()


def variants() -> list[str]:
    """Names of the voice variants that are installed, sorted.

    Example:
        >>> {"m1", "f1", "whisper"} <= set(variants())
        True
    """
    with _lock:
        return sorted(path.name for path in (_home().data / "voices" / "!v").iterdir())


def speak(text: str, voice: Voice, seed: int = 1) -> np.ndarray:
    """Synthesises `text`.

    Args:
        text: words; commas make pauses; `[['eI]]` is phonemes in eSpeak NG's notation.
        voice: who speaks, and how.
        seed: of the voice's breath and roughness, at least 1.

    Returns:
        int16 array of shape (samples,) at `SAMPLE_RATE`; equal arguments give equal samples, in
        this process and in any other.

    Raises:
        InputError: an accent or variant that is not installed; the package is missing.

    Example:
        >>> samples = speak("seven", Voice("en-US", "f1"))
        >>> bool(0.2 < len(samples) / SAMPLE_RATE < 2)
        True
    """
    with _lock:
        home = _home()
        library = ctypes.CDLL(str(home.library))
        try:
            return _speak(library, home.data, text, voice, seed)
        finally:
            library.espeak_Terminate()
            _unload(library)


def _speak(library: ctypes.CDLL, data: Path, text: str, voice: Voice, seed: int) -> np.ndarray:
    chunks: list[bytes] = []

    @_CALLBACK
    def collect(samples: ctypes._Pointer, count: int, events: int) -> int:
        if samples and count > 0:
            chunks.append(ctypes.string_at(samples, 2 * count))
        return 0

    rate = library.espeak_Initialize(_SYNCHRONOUS, 0, str(data).encode(), _DO_NOT_EXIT)
    if rate != SAMPLE_RATE:
        raise InputError(
            f"eSpeak NG did not start (it answered {rate}, expected {SAMPLE_RATE} Hz);"
            " reinstall the package espeakng-loader"
        )
    library.espeak_SetSynthCallback(collect)
    library.espeak_ng_SetRandSeed(ctypes.c_long(seed))  # Initialize seeds from the clock
    _libc.srand(seed)  # some Klatt voices breathe by the C library's generator
    if library.espeak_SetVoiceByName(voice.name.encode()):
        raise InputError(f"eSpeak NG has no voice {voice.name!r}; see apps.speech.voices")
    for name, number in _PARAMETERS.items():
        library.espeak_SetParameter(number, getattr(voice, name), 0)
    encoded = text.encode()
    flags = _UTF8 | _PHONEMES
    status = library.espeak_Synth(encoded, len(encoded) + 1, 0, 1, 0, flags, None, None)
    if status:
        raise InputError(f"eSpeak NG failed with code {status} on {text!r}")
    library.espeak_Synchronize()
    return np.frombuffer(b"".join(chunks), np.int16)


def _unload(library: ctypes.CDLL) -> None:
    if hasattr(_ctypes, "dlclose"):
        _ctypes.dlclose(library._handle)
    else:  # Windows
        getattr(_ctypes, "FreeLibrary")(library._handle)  # noqa: B009
