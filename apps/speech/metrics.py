"""Word and character error rates, with counts and intervals."""

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

from apps.speech.errors import InputError

Z95 = 1.959963984540054
"""97.5 % quantile of the normal distribution."""


def wilson(errors: int, total: int, z: float = Z95) -> tuple[float, float]:
    """Wilson's score interval of a proportion (Wilson 1927).

    It treats words as independent; words of one speaker are not quite, so it is if anything too
    narrow. With more errors than words (insertions) no proportion exists and both ends are NaN;
    so are they without any words.

    Args:
        errors: how many went wrong, at least 0.
        total: of how many.
        z: quantile; default 95 %.

    Returns:
        Lower and upper end, within [0, 1].

    Example:
        >>> [round(100 * end, 1) for end in wilson(67, 773)]
        [6.9, 10.9]
    """
    if total < 1 or errors > total:
        return math.nan, math.nan
    share = errors / total
    spread = z * math.sqrt(share * (1 - share) / total + z * z / (4 * total * total))
    center, scale = share + z * z / (2 * total), 1 + z * z / total
    return max(0.0, (center - spread) / scale), min(1.0, (center + spread) / scale)


@dataclasses.dataclass(frozen=True)
class Rate:
    """Errors among a number of units.

    Example:
        >>> print(Rate(67, 773))
        8.7 % (67/773) [6.9, 10.9]
        >>> print(Rate(5, 3))
        166.7 % (5/3)
    """

    errors: int
    total: int

    @property
    def value(self) -> float:
        """Errors over total, 0.087 for 8.7 %; may pass 1; NaN when there was nothing to get
        right and nothing went wrong, infinite when something was made up."""
        if self.total:
            return self.errors / self.total
        return math.inf if self.errors else math.nan

    @property
    def interval(self) -> tuple[float, float]:
        """95 % Wilson interval."""
        return wilson(self.errors, self.total)

    def __str__(self) -> str:
        text = f"{100 * self.value:.1f} % ({self.errors}/{self.total})"
        low, high = self.interval
        return text if math.isnan(low) else f"{text} [{100 * low:.1f}, {100 * high:.1f}]"


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
