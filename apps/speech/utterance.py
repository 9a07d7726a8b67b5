"""Utterances in three named splits, as every reader returns them."""

import dataclasses
from pathlib import Path
from typing import Literal

from apps.common.errors import InputError

SplitName = Literal["train", "valid", "test"]
SPLITS: tuple[SplitName, ...] = ("train", "valid", "test")


@dataclasses.dataclass(frozen=True)
class Utterance:
    """One recording and what was said in it.

    Args:
        id: unique in its corpus; the name in error messages and hypothesis files.
        speaker: who spoke. Splits never share a speaker (unless a CSV says otherwise).
        text: the transcript, upper case, words separated by one space; empty if nothing was said.
        audio: the file; any rate, any number of channels, see `apps.speech.audio.load_audio`.

    Example:
        >>> Utterance("cen1-fash-b", "fash", "H I N I C H", Path("cen1-fash-b.sph")).text
        'H I N I C H'
    """

    id: str
    speaker: str
    text: str
    audio: Path


@dataclasses.dataclass(frozen=True)
class Corpus:
    """Three splits of utterances.

    Args:
        name: for tables and model cards, such as "an4".
        train, valid, test: a split may be empty (AN4 without its test lists has no `test`).

    Raises:
        InputError: an utterance id that occurs twice.
    """

    name: str
    train: tuple[Utterance, ...]
    valid: tuple[Utterance, ...]
    test: tuple[Utterance, ...] = ()

    def __post_init__(self) -> None:
        for split in SPLITS:
            object.__setattr__(self, split, tuple(getattr(self, split)))
        seen: set[str] = set()
        for utterance in self.train + self.valid + self.test:
            if utterance.id in seen:
                raise InputError(
                    f"corpus {self.name}: utterance id {utterance.id!r} occurs more than once;"
                    " ids must be unique"
                )
            seen.add(utterance.id)

    def split(self, name: str) -> tuple[Utterance, ...]:
        """The utterances of "train", "valid" or "test".

        Raises:
            InputError: another name, or a split with no utterances.
        """
        if name not in SPLITS:
            raise InputError(f"split: got {name!r}; expected one of {', '.join(SPLITS)}")
        utterances: tuple[Utterance, ...] = getattr(self, name)
        if not utterances:
            others = [split for split in SPLITS if getattr(self, split)]
            raise InputError(
                f"corpus {self.name}: the {name} split is empty; expected one of"
                f" {', '.join(others) or 'none: the corpus is empty'} (--split)"
            )
        return utterances

    def speakers(self, name: SplitName) -> list[str]:
        """Speakers of a split, sorted, each once."""
        return sorted({utterance.speaker for utterance in getattr(self, name)})

    def summary(self) -> str:
        """One line: utterances, speakers and words of each split.

        Example:
            >>> one = Utterance("a-1", "a", "YES NO", Path("a.wav"))
            >>> Corpus("mine", (one,), ()).summary()
            'mine: train 1 utterance, 1 speaker, 2 words; valid empty; test empty'
        """
        return f"{self.name}: " + "; ".join(self._count(split) for split in SPLITS)

    def _count(self, split: SplitName) -> str:
        utterances = getattr(self, split)
        if not utterances:
            return f"{split} empty"
        counts = {
            "utterance": len(utterances),
            "speaker": len(self.speakers(split)),
            "word": sum(len(utterance.text.split()) for utterance in utterances),
        }
        return f"{split} " + ", ".join(
            f"{n} {noun}{'' if n == 1 else 's'}" for noun, n in counts.items()
        )
