"""Decoding to words of a list, where it is known which words there are."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Any

import numpy as np

from apps.common.errors import InputError
from apps.common.text import read_text
from apps.speech.alphabet import Alphabet
from apps.speech.decode import check_width, checked, log_softmax

WIDTH = 100
"""Default width of the beam."""

LARGEST = 4_000_000
"""Bytes of a list of words; 300,000 words of English have three million."""

NEVER = -1e4
"""Log probability of what must not be; finite, as the decoder adds it up."""


class VocabularySearch:
    """Beam search for the most probable sequence of words from a list, none likelier than another.

    By the lexicon decoder of Flashlight Text (Kahn et al., "Flashlight", arXiv 2201.12465, section
    4.3) without a language model. A `Search`, to be given to `apps.speech.decode.transcripts`.

    Args:
        words: The vocabulary, in any case, repetitions allowed.
        alphabet: Of the model.
        width: Hypotheses kept a frame, at least 1.

    Raises:
        InputError: No words, one that the alphabet cannot write, a width below 1, or Flashlight
            Text is not installed.

    Example:

    >>> alphabet = Alphabet(" AB")
    >>> logits = np.log([[[0.1, 0.1, 0.6, 0.2], [0.1, 0.1, 0.1, 0.7]]])
    >>> for words in (["ab", "b"], ["a"]):
    ...     [ids] = VocabularySearch(words, alphabet)(logits, [2])
    ...     print(alphabet.decode(ids))
    AB
    A
    """

    def __init__(self, words: Iterable[str], alphabet: Alphabet, width: int = WIDTH) -> None:
        try:
            from flashlight.lib.text import decoder as flashlight
        except ImportError as error:
            raise InputError(
                "a vocabulary needs the package flashlight-text, which is not installed;"
                ' pip install "hlstm_tf[vocabulary]"'
            ) from error
        check_width(width)
        normal = alphabet.normalise(" ".join(words))
        self.words = tuple(sorted(set(normal.split())))
        if not self.words:
            raise InputError("vocabulary: got no words; expected one or more")
        self._spellings = [alphabet.encode(word, "the vocabulary").tolist() for word in self.words]
        self._space = alphabet.characters.index(" ") + 1
        trie = flashlight.Trie(alphabet.size, self._space)
        for number, spelling in enumerate(self._spellings):
            trie.insert([*spelling, self._space], number, 0.0)
        options = flashlight.LexiconDecoderOptions(
            beam_size=width,
            beam_size_token=alphabet.size,
            beam_threshold=-NEVER,
            lm_weight=0.0,
            word_score=0.0,
            unk_score=-np.inf,
            sil_score=0.0,
            log_add=True,
            criterion_type=flashlight.CriterionType.CTC,
        )
        self._decoder = flashlight.LexiconDecoder(
            options, trie, flashlight.ZeroLM(), self._space, alphabet.blank, -1, [], False
        )

    def __call__(self, logits: Any, lengths: Any) -> list[list[int]]:
        """Return the class numbers of each utterance, as `apps.speech.decode.greedy` does.

        Raises:
            InputError: As `greedy`; logits of another alphabet.
        """
        logits, lengths = checked(logits, lengths)
        return [
            self._one(log_softmax(rows[:length]))
            for rows, length in zip(logits, lengths, strict=True)
        ]

    def _one(self, log_probabilities: np.ndarray) -> list[int]:
        # Every word ends with a space: the last one gets a frame for it.
        end = np.full((1, log_probabilities.shape[1]), NEVER)
        end[0, self._space] = 0.0
        frames = np.ascontiguousarray(np.concatenate([log_probabilities, end]), np.float32)
        found = self._decoder.decode(frames.ctypes.data, *frames.shape)
        ids: list[int] = []
        for number in found[0].words if found else []:
            if number >= 0:
                ids += [self._space] * bool(ids) + self._spellings[number]
        return ids


def read_words(path: str | os.PathLike[str]) -> list[str]:
    """Return the words of a text file, such as a vocabulary or transcripts.

    Raises:
        InputError: No such file, larger than `LARGEST`, or no text in UTF-8.
    """
    return read_text(path, "a text file of words", LARGEST).split()
