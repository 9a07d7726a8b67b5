"""The characters a recogniser can write, and their class numbers."""

import dataclasses
from collections.abc import Iterable
from typing import Any

import numpy as np

from apps.common.errors import InputError

CHARACTERS = " ABCDEFGHIJKLMNOPQRSTUVWXYZ'"


@dataclasses.dataclass(frozen=True)
class Alphabet:
    """Maps text to CTC class numbers and back.

    Class 0 is CTC's blank, as `keras.ops.ctc_loss` expects by default (`mask_index=0`); character
    `k` of `characters` is class `k + 1`. Padding labels with 0 is therefore safe.

    Args:
        characters: every character once, the word separator (a space) among them. Default: space,
            A to Z and the apostrophe, which cover English written without punctuation or digits.

    Raises:
        InputError: a character occurs twice, or there is no space.

    Example:
        >>> alphabet = Alphabet()
        >>> alphabet.size
        29
        >>> alphabet.encode("ab c").tolist()
        [2, 3, 1, 4]
        >>> alphabet.decode([2, 3, 1, 4])
        'AB C'
    """

    characters: str = CHARACTERS

    def __post_init__(self) -> None:
        repeated = sorted({c for c in self.characters if self.characters.count(c) > 1})
        if repeated:
            raise InputError(
                f"alphabet: characters {repeated} occur more than once; list each one once"
            )
        if " " not in self.characters:
            raise InputError(
                f"alphabet: no space in {self.characters!r}; words are separated by spaces, add one"
            )

    @property
    def blank(self) -> int:
        """CTC's blank class: 0."""
        return 0

    @property
    def size(self) -> int:
        """Number of classes with the blank: the width of the network's last layer."""
        return len(self.characters) + 1

    def normalise(self, text: str) -> str:
        """Text as it is trained on and scored: upper case, typographic apostrophes plain, one
        space between words and none at the ends.

        Example:
            >>> Alphabet().normalise("  go\\tThere’s ")
            "GO THERE'S"
        """
        return " ".join(text.replace("\u2019", "'").replace("\u02bc", "'").upper().split())

    def encode(self, text: str, utterance: str = "") -> np.ndarray:
        """Class numbers of the normalised text, int32 (characters,) from 1 to `size - 1`.

        Args:
            text: what was said; may be empty (an utterance of silence).
            utterance: its id, for the error message.

        Raises:
            InputError: a character that the alphabet lacks.
        """
        text = self.normalise(text)
        unknown = sorted(set(text) - set(self.characters))
        if unknown:
            where = f"transcript of {utterance}" if utterance else "transcript"
            raise InputError(
                f"{where}: unknown character{'s' if len(unknown) > 1 else ''}"
                f" {', '.join(map(repr, unknown))} in {text!r}; expected only"
                f" {self.characters!r}: spell them out or remove them"
            )
        numbers = {character: k + 1 for k, character in enumerate(self.characters)}
        return np.array([numbers[character] for character in text], np.int32)

    def decode(self, ids: Iterable[Any]) -> str:
        """Text of class numbers; blanks are left out.

        Args:
            ids: integers from 0 to `size - 1`, already collapsed (see `apps.speech.decode.greedy`).

        Raises:
            InputError: a number outside the alphabet.
        """
        numbers = [int(k) for k in ids]
        strange = [k for k in numbers if not 0 <= k < self.size]
        if strange:
            raise InputError(
                f"class number {strange[0]} is outside this alphabet of {self.size} classes;"
                " decode with the alphabet that the model was trained with"
            )
        return "".join(self.characters[k - 1] for k in numbers if k)


ENGLISH = Alphabet()
"""Space, A to Z and the apostrophe: what readers expect unless told otherwise."""
