"""The cast: which synthetic speakers there are, and which split each belongs to.

A speaker is a voice variant with an accent, a pitch and a speaking rate of its own. The splits
share accents but no variant, and variants that share half of their formants or more ("Hugo" and
"miguel") stay together, so a held-out speaker is a voice that training never heard. The held-out
voices are of human shape: no variant whose first three formants lie outside 85-135 % of the
standard voice's, as sound effects' do; training hears some of those, too.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np

from apps.common.errors import InputError
from apps.speech.espeak import Voice
from apps.speech.utterance import SPLITS, SplitName

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
    return [_speaker(split, k, order[k], accents, rng) for k in range(count)]


def _speaker(
    split: str, index: int, variant: str, accents: Sequence[str] | None, rng: np.random.Generator
) -> Speaker:
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
    return Speaker(f"{split}-{index:02d}-{variant.lower()}-{accent}", voice)
