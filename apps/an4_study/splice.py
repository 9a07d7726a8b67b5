"""New training utterances from the words of others.

A corpus of an hour says few sentences: a network learns them by heart, and spells words as it heard
them in their places. Words that are cut out of recordings and put together in other orders keep
their sound and lose their places (aligned data augmentation; Lam et al., "On-the-Fly Aligned Data
Augmentation for Sequence-to-Sequence ASR", arXiv 2104.01393, section 3). Nothing is in them that
the corpus has not.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections import Counter, defaultdict

import numpy as np

from apps.common.errors import InputError
from apps.common.progress import Progress
from apps.speech.alphabet import Alphabet
from apps.speech.batches import Material
from apps.speech.decode import align, log_softmax
from apps.speech.recognizer import Recognizer
from apps.speech.utterance import Utterance

MARGIN = 30
"""Feature frames around the first and last letter in which the silence before and after is sought:
a recognizer writes a letter within 0.3 s of its sound."""

RARITY = 0.5
"""Words are drawn with weights of their count in the corpus to the power of minus this: what is
said once comes more often than there, and what is common is still more common."""


@dataclasses.dataclass(frozen=True)
class Cut:
    """An utterance in its words.

    Attributes:
        words: What was said.
        bounds: `(words + 1,)` feature frames: word k is from bounds[k] to bounds[k + 1].
        features: `(frames, bands)` of the whole.
    """

    words: tuple[str, ...]
    bounds: tuple[int, ...]
    features: np.ndarray

    def word(self, index: int) -> np.ndarray:
        """Return the features of a word."""
        return self.features[self.bounds[index] : self.bounds[index + 1]]

    @property
    def before(self) -> np.ndarray:
        """What precedes the first word."""
        return self.features[: self.bounds[0]]

    @property
    def after(self) -> np.ndarray:
        """What follows the last word."""
        return self.features[self.bounds[-1] :]


def cut(features: np.ndarray, text: str, logits: np.ndarray, alphabet: Alphabet) -> Cut | None:
    """Cut an utterance between its words, where a recognizer hears them.

    A cut is made at the quietest frame between the last letter of a word and the first of the next.

    Args:
        features: `(frames, bands)`.
        text: What was said, in the alphabet.
        logits: `(output frames, symbols)` of the recognizer.
        alphabet: The recognizer's.

    Returns:
        None where nothing was said, the text does not fit into the frames, or a word would get
        fewer than two of them.

    Example:

    Of seven frames of "A B" the fourth is the quietest, where the recognizer hears a space.

    >>> alphabet = Alphabet(" AB")
    >>> logits = 9.0 * np.eye(4)[[2, 2, 2, 1, 3, 3, 3]]
    >>> loudness = np.array([[0.0, 1.0, 1.0, -1.0, 1.0, 1.0, 0.0]]).T
    >>> cut(loudness, "A B", logits, alphabet).bounds
    (0, 3, 7)
    """
    if not text:
        return None
    ids = alphabet.encode(text).tolist()
    try:
        path = align(log_softmax(logits), ids)
    except InputError:
        return None
    stride = -(-len(features) // len(logits))
    spans = [np.flatnonzero(path == place)[[0, -1]] * stride for place in range(len(ids))]
    spaces = [place for place, character in enumerate(text) if character == " "]
    loudness = features.mean(axis=1)
    first, last = int(spans[0][0]), int(spans[-1][1])
    bounds = (
        _quietest(loudness, max(0, first - MARGIN), first),
        *(_quietest(loudness, int(spans[k - 1][1]), int(spans[k + 1][0])) for k in spaces),
        _quietest(loudness, last, last + MARGIN) + 1,
    )
    if any(end - begin < 2 * stride for begin, end in itertools.pairwise(bounds)):
        return None
    return Cut(tuple(text.split()), bounds, features)


def _quietest(loudness: np.ndarray, begin: int, end: int) -> int:
    return begin + int(np.argmin(loudness[begin : end + 1]))


def spliced(material: Material, recognizer: Recognizer, copies: int, seed: int = 0) -> Material:
    """Make utterances of words that the same speaker said elsewhere.

    Each has as many words as the utterance whose silences it is put between, drawn from all that
    its speaker said at its speed.

    Args:
        material: What to cut up; copies of it at several speeds follow each other.
        recognizer: One that has learnt the corpus; it only finds where words end.
        copies: How many to make of each utterance.
        seed: Of the draws.

    Returns:
        `copies` utterances for each that could be cut.

    Raises:
        InputError: No utterance could be cut.
    """
    cuts = _cuts(material, recognizer)
    if not cuts:
        raise InputError(
            f"aligner: {recognizer.path} finds no utterance's words; give a model of this corpus"
        )
    counts = Counter(word for found in cuts.values() for one in found for word in one.words)
    generator = np.random.default_rng([seed, 0x5B11CE])
    alphabet, audio = recognizer.card.alphabet, material.utterances[0].audio
    utterances: list[Utterance] = []
    features: list[np.ndarray] = []
    for (speaker, speed), found in cuts.items():
        said = [(one, index) for one in found for index in range(len(one.words))]
        weights = np.array([counts[one.words[index]] ** -RARITY for one, index in said])
        for number in range(copies * len(found)):
            around = found[number % len(found)]
            drawn = generator.choice(len(said), len(around.words), p=weights / weights.sum())
            parts = [said[k] for k in drawn]
            text = " ".join(one.words[index] for one, index in parts)
            name = f"spliced-{speaker}-{speed}-{number}"
            utterances.append(Utterance(name, speaker, text, audio))
            words = (one.word(index) for one, index in parts)
            features.append(np.concatenate([around.before, *words, around.after]))
    labels = [alphabet.encode(utterance.text, utterance.id) for utterance in utterances]
    return Material(tuple(utterances), features, labels)


def _cuts(material: Material, recognizer: Recognizer) -> dict[tuple[str, int], list[Cut]]:
    """What could be cut, by speaker and speed (0 for an utterance's first copy, then 1, ...)."""
    alphabet = recognizer.card.alphabet
    found: dict[tuple[str, int], list[Cut]] = defaultdict(list)
    copies: Counter[str] = Counter()
    with Progress(len(material.utterances), "align words") as progress:
        for utterance, features in zip(material.utterances, material.features, strict=True):
            text = alphabet.normalise(utterance.text)
            one = cut(features, text, recognizer.logits(features), alphabet)
            if one is not None:
                found[utterance.speaker, copies[utterance.id]].append(one)
            copies[utterance.id] += 1
            progress.step()
    return found
