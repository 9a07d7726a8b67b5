"""Word and character error rates, with counts and intervals."""

import dataclasses
from collections.abc import Sequence
from typing import Any

from apps.common.errors import InputError
from apps.common.rate import Rate


@dataclasses.dataclass(frozen=True)
class ErrorRates:
    """What `score` found.

    Args:
        words: word errors over reference words: the WER.
        characters: character errors (spaces count) over reference characters: the CER.
        sentences: utterances with any word error over utterances.
        substitutions, deletions, insertions: of words; they add up to `words.errors`.
    """

    words: Rate
    characters: Rate
    sentences: Rate
    substitutions: int
    deletions: int
    insertions: int

    @property
    def wer(self) -> float:
        """Word error rate as a share."""
        return self.words.value

    @property
    def cer(self) -> float:
        """Character error rate as a share."""
        return self.characters.value

    def __str__(self) -> str:
        return f"WER {self.words}, CER {self.characters}"

    def as_dict(self) -> dict[str, Any]:
        """Plain values for a run record."""
        return {
            "wer": self.wer,
            "wer_interval": list(self.words.interval),
            "cer": self.cer,
            **dataclasses.asdict(self),
        }


def score(references: Sequence[str], hypotheses: Sequence[str]) -> ErrorRates:
    """Counts errors over a whole set (not the mean of the utterances' rates).

    Args:
        references: what was said, one string an utterance; empty where nothing was.
        hypotheses: what was recognised, in the same order.

    Returns:
        ErrorRates; every word recognised in an empty reference is an insertion.

    Raises:
        InputError: not as many hypotheses as references; the package jiwer is missing.

    Example:
        >>> print(score(["GO TO NINE", "YES"], ["GO NINE", "YES"]))
        WER 25.0 % (1/4) [4.6, 69.9], CER 23.1 % (3/13) [8.2, 50.3]
    """
    if len(references) != len(hypotheses):
        raise InputError(
            f"score: got {len(references)} references and {len(hypotheses)} hypotheses; expected"
            " one hypothesis a reference"
        )
    pairs = [
        (" ".join(reference.split()), " ".join(hypothesis.split()))
        for reference, hypothesis in zip(references, hypotheses, strict=True)
    ]
    hits, substitutions, deletions, insertions = _align(pairs, "words")
    character_counts = _align(pairs, "characters")
    return ErrorRates(
        words=Rate(substitutions + deletions + insertions, hits + substitutions + deletions),
        characters=Rate(sum(character_counts[1:]), sum(character_counts[:3])),
        sentences=Rate(sum(reference != hypothesis for reference, hypothesis in pairs), len(pairs)),
        substitutions=substitutions,
        deletions=deletions,
        insertions=insertions,
    )


def _align(pairs: Sequence[tuple[str, str]], unit: str) -> tuple[int, int, int, int]:
    """Hits, substitutions, deletions and insertions."""
    try:
        import jiwer
    except ImportError as error:
        raise InputError(
            'scoring needs the package jiwer, which is not installed; pip install "hlstm_tf[audio]"'
        ) from error
    # jiwer refuses empty references: all that was recognised in one is an insertion.
    spoken = [(reference, hypothesis) for reference, hypothesis in pairs if reference]
    invented = [hypothesis for reference, hypothesis in pairs if not reference]
    extra = sum(len(text.split() if unit == "words" else text) for text in invented)
    if not spoken:
        return 0, 0, 0, extra
    process = jiwer.process_words if unit == "words" else jiwer.process_characters
    found = process([pair[0] for pair in spoken], [pair[1] for pair in spoken])
    return found.hits, found.substitutions, found.deletions, found.insertions + extra
