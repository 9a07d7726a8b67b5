"""eSpeak NG's voices: text in, samples out; and the cast of synthetic speakers.

The library keeps its state in C globals (the phase of its flutter, its random numbers, its voice),
so two calls of one process would give different samples for equal text. Here each call works on a
library that was just loaded and is unloaded again: a private copy, with a data folder that holds
the English voices only, because choosing a voice scans every voice file there is. A lock keeps
calls apart.

A speaker is a voice variant with an accent, a pitch and a speaking rate of its own. The splits
share accents but no variant, and variants that share half of their formants or more ("Hugo" and
"miguel") stay together, so a held-out speaker is a voice that training never heard. The held-out
voices are of human shape: no variant whose first three formants lie outside 85-135 % of the
standard voice's, as sound effects' do; training hears some of those, too.
"""

import _ctypes
import ctypes
import dataclasses
import functools
import os
import shutil
import tempfile
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from apps.common.errors import InputError
from apps.speech.utterance import SPLITS, SplitName

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


@functools.cache
def _home() -> tuple[Path, Path, Any]:
    """A private copy of the library and of the English part of its data, removed at exit: the path
    of either, and the folder, which goes when the last reference does."""
    try:
        import espeakng_loader
    except ImportError as error:
        raise InputError(
            "speech synthesis needs the package espeakng-loader, which is not installed;"
            ' pip install "hlstm_tf[audio]"'
        ) from error
    folder = tempfile.TemporaryDirectory(prefix="espeak-")
    root, source = Path(folder.name), Path(espeakng_loader.get_data_path())
    data = root / "espeak-ng-data"
    (data / "lang" / "gmw").mkdir(parents=True)
    library = shutil.copy(espeakng_loader.get_library_path(), root)
    for name in _DATA_FILES:
        shutil.copy(source / name, data / name)
    for path in (source / "lang" / "gmw").glob("en*"):
        shutil.copy(path, data / "lang" / "gmw" / path.name)
    shutil.copytree(source / "voices" / "!v", data / "voices" / "!v")
    return Path(library), data, folder


def variants() -> list[str]:
    """Names of the voice variants that are installed, sorted.

    Example:
        >>> {"m1", "f1", "whisper"} <= set(variants())
        True
    """
    with _lock:
        return sorted(path.name for path in (_home()[1] / "voices" / "!v").iterdir())


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
        path, data, _ = _home()
        library = ctypes.CDLL(str(path))
        try:
            return _speak(library, data, text, voice, seed)
        finally:
            library.espeak_Terminate()
            # The other one is Windows's.
            unload = getattr(_ctypes, "dlclose", None) or getattr(_ctypes, "FreeLibrary", None)
            unload(library._handle)  # type: ignore[misc]


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


ACCENTS = {"us": "en-US", "nyc": "en-US-nyc", "gb": "en", "rp": "en-GB-x-rp"}
REGIONAL = {"scot": "en-GB-scotland", "carib": "en-029", "lanc": "en-GB-x-gbclan"}

FAMILIES: dict[SplitName, tuple[tuple[str, ...], ...]] = {
    "train": (
        *(("m1",), ("m2",), ("m4",), ("m5",), ("m6",), ("m8",), ("f1",), ("f2", "f5", "whisperf")),
        *(("f4", "linda", "belinda"), ("steph", "steph2", "steph3"), ("iven", "iven2", "iven3")),
        ("klatt", "klatt2", "klatt3", "klatt4", "klatt5", "klatt6", "caleb"),
        *(("Hugo", "anika", "michel", "miguel"), ("Gene", "Gene2"), ("Mike", "mike2")),
        *(("croak",), ("whisper",), ("Alex",), ("Denis",), ("Jacky",), ("Marco",), ("adam",)),
        *(("david",), ("antonio",), ("boris",), ("grandma",), ("ian",), ("max",), ("pablo",)),
        *(("sandro",), ("zac",), ("Lee",), ("Alicia",), ("Michael", "gustave"), ("shelby",)),
        ("travis",),
    ),
    "valid": (("m7",), ("Annie",), ("paul",), ("john", "grandpa")),
    "test": (("m3",), ("f3",), ("ed",), ("edward", "edward2"), ("quincy",), ("rob",)),
}
"""Families of related variants in each split."""


@dataclasses.dataclass(frozen=True)
class Speaker:
    """A synthetic speaker: a code for file names, and the voice they speak with."""

    code: str
    voice: Voice


def cast(
    split: str, count: int, seed: int = 0, accents: Sequence[str] | None = None
) -> list[Speaker]:
    """The speakers of a split.

    Every variant of the split speaks once before any speaks again with another accent, pitch and
    rate.

    Args:
        split: "train", "valid" or "test".
        count: how many speakers, at least 1.
        seed: of accents, pitches and rates.
        accents: what to draw from, keys of `ACCENTS` or `REGIONAL`; None for all, one speaker in
            ten with a regional one.

    Raises:
        InputError: an unknown split or accent, or a count below 1.

    Example:
        >>> [speaker.voice.variant for speaker in cast("test", 7)] != cast("test", 7, seed=1)
        True
    """
    if split not in SPLITS:
        raise InputError(f"cast: got split {split!r}; expected one of {', '.join(SPLITS)}")
    if count < 1:
        raise InputError(f"cast: got {count} {split} speakers; expected at least 1")
    unknown = set(accents or ()) - {*ACCENTS, *REGIONAL}
    if unknown or (accents is not None and not accents):
        raise InputError(
            f"accents: got {', '.join(sorted(unknown)) or 'none'}; expected some of"
            f" {', '.join((*ACCENTS, *REGIONAL))}"
        )
    rng = np.random.default_rng([seed, SPLITS.index(split)])
    variants = [variant for family in FAMILIES[split] for variant in family]
    order: list[str] = []
    while len(order) < count:
        order += [variants[int(k)] for k in rng.permutation(len(variants))]
    speakers = []
    for index, variant in enumerate(order[:count]):
        regional = rng.random() < 0.1
        pool = list(accents or (REGIONAL if regional else ACCENTS))
        accent = pool[int(rng.integers(len(pool)))]
        voice = Voice(
            accent={**ACCENTS, **REGIONAL}[accent],
            variant=variant,
            pitch=int(rng.integers(35, 66)),
            inflection=int(rng.integers(30, 71)),
            rate=int(rng.integers(140, 206)),
            gap=int(rng.integers(0, 7)),
        )
        speakers.append(Speaker(f"{split}-{index:02d}-{variant.lower()}-{accent}", voice))
    return speakers
