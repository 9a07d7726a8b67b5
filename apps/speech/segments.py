"""Segments of a recording in which somebody speaks: its parts between long silences.

Features are normalised by what they are computed from. Seconds of silence before a word become half
of the mean, and all of a minute's words share one: so silence is cut off, and long recordings are
cut at their pauses. What an ordinary recording of an utterance has of it stays.
"""

from __future__ import annotations

import itertools

import numpy as np

EDGE = 1.0
"""Seconds of silence at an end from which it is shortened."""
MARGIN = 0.25
"""Seconds of it that stay: the quiet beginnings of words are in them."""
PAUSE = 0.5
"""Seconds of silence between two words at which a long recording may be cut."""
LONG = 8.0
"""Seconds from which a recording is cut at its pauses; a spelled address takes less."""
LONGEST = 60.0
"""Seconds from which a part without a pause is cut where it is quietest; what a network needs of
memory grows with a part."""
QUIET = 30.0
"""dB below the loud frames of a recording from which a frame counts as silent, at most."""
SHARE = 0.5
"""Of the dB from the loudest frames to the quietest, where noise leaves less than `QUIET`."""
LEAST_RANGE = 6.0
"""dB between the quietest and loudest frames below which nothing can be told apart."""
FRAME = 0.010
"""Seconds of a frame."""
NOTHING = -99.0
"""dB of full scale above which anything sounds: the rounding noise of 16 bits has -101."""


def speech_parts(samples: np.ndarray, sample_rate: int) -> list[tuple[int, int]]:
    """Return begin and end, in samples, of each part of a recording to be recognised by itself.

    Loudness is measured in frames of 10 ms without their offset, smoothed over 50 ms. A recording
    of `LONG` or less gives one part, which is all of it where neither end is silent for `EDGE`, or
    where nothing is louder than the rest. No part is of digital silence.

    Args:
        samples: float32 (samples,).
        sample_rate: in Hz.

    Example:
        >>> word = 0.1 * np.random.default_rng(0).standard_normal(1000)
        >>> hiss = 1e-4 * np.random.default_rng(1).standard_normal(4500)
        >>> speech_parts(hiss + np.pad(word, (3000, 500)), 1000)
        [(2730, 4500)]
    """
    hop = max(1, round(FRAME * sample_rate))
    loudness = _loudness(samples, hop)
    sounds = loudness > NOTHING
    if not sounds.any():
        return []
    spoken = np.flatnonzero(sounds)
    spoken = spoken[_spoken(loudness[spoken])]
    begin, end = _without_edges(spoken, sounds)
    cuts = _pauses(spoken, sounds) if (end - begin) * FRAME > LONG else []
    bounds = [begin, *(frame for cut in cuts for frame in cut), end]
    parts = [
        (b * hop, e * hop)
        for begin, end in zip(bounds[::2], bounds[1::2], strict=True)
        for b, e in _divided(begin, end, loudness)
    ]
    if bounds[-1] == len(loudness):  # and what is left of a frame
        parts[-1] = (parts[-1][0], len(samples))
    return parts


def _loudness(samples: np.ndarray, hop: int) -> np.ndarray:
    """dB of full scale of each whole frame."""
    if not len(samples) // hop:
        return np.zeros(0)
    frames = samples[: len(samples) // hop * hop].reshape(-1, hop).astype(np.float64)
    power = np.convolve(frames.var(axis=1), np.full(5, 0.2))[2 : 2 + len(frames)]
    return 10 * np.log10(power + 1e-12)


def _spoken(loudness: np.ndarray) -> np.ndarray:
    """Which of some frames are louder than silence; all where that cannot be told."""
    quiet, loud = np.percentile(loudness, (5, 98))
    if loud - quiet < LEAST_RANGE:
        return np.ones(len(loudness), bool)
    return loudness > loud - min(QUIET, SHARE * (loud - quiet))


def _without_edges(spoken: np.ndarray, sounds: np.ndarray) -> tuple[int, int]:
    """Begin and end, in frames, of what is left when long silence is shortened."""
    edge, margin = round(EDGE / FRAME), round(MARGIN / FRAME)
    first, last = int(spoken[0]), int(spoken[-1])
    begin, end = 0, len(sounds)
    if first > edge:
        begin = first - _sounding(sounds[:first][::-1], margin)
    if end - last - 1 > edge:
        end = last + 1 + _sounding(sounds[last + 1 :], margin)
    return begin, end


def _pauses(spoken: np.ndarray, sounds: np.ndarray) -> list[tuple[int, int]]:
    """End of the part before and begin of the part after each long pause."""
    found = []
    for before, after in itertools.pairwise(int(frame) for frame in spoken):
        silent = sounds[before + 1 : after]
        if len(silent) >= round(PAUSE / FRAME):
            most = min(round(MARGIN / FRAME), len(silent) // 2)
            end = before + 1 + _sounding(silent, most)
            found.append((end, after - _sounding(silent[::-1], most)))
    return found


def _divided(begin: int, end: int, loudness: np.ndarray) -> list[tuple[int, int]]:
    """A part, cut at quiet frames into pieces of `LONGEST` at most."""
    longest, pieces = round(LONGEST / FRAME), []
    while end - begin > longest:
        middle = begin + longest // 2
        cut = middle + int(np.argmin(loudness[middle : begin + longest]))
        pieces.append((begin, cut))
        begin = cut
    return [*pieces, (begin, end)]


def _sounding(sounds: np.ndarray, most: int) -> int:
    """How many frames to keep of a silence: digital zeros have nothing to be normalised by."""
    zeros = np.flatnonzero(~sounds[:most])
    return int(zeros[0]) if len(zeros) else min(most, len(sounds))
