"""CMU AN4 in its official layout: 948 training and 130 test utterances of spoken alphanumerics."""

import os
import re
from collections.abc import Sequence
from pathlib import Path

from apps.common.errors import InputError
from apps.common.text import read_lines
from apps.speech.alphabet import ENGLISH, Alphabet
from apps.speech.utterance import Corpus, Utterance

VALIDATION_SPEAKERS = (
    "fjdn", "fsrb", "ftmj", "mbmg", "mdmc",
    "mdxs", "mewl", "mjes", "mrab", "mrmg",
)  # fmt: skip
"""3 of the 21 women and 7 of the 53 men, drawn by NumPy's generator of seed 1805 from the sorted
codes (women first, no one whose code differs from another's by a 2): 10 speakers that validate."""

PARTS = ("train", "test")
LISTS = ("fileids", "transcription")
LIST = "a file of AN4's official layout"
SUFFIXES = (".sph", ".raw", ".wav", ".flac")
_LINE = re.compile(r"^\s*(?:<s>)?\s*(?P<text>.*?)\s*(?:</s>)?\s*\((?P<id>[^()\s]+)\)\s*$")


def is_an4(directory: str | os.PathLike[str]) -> bool:
    """Whether the folder has AN4's training list or its test list."""
    return any((Path(directory) / "etc" / f"an4_{part}.fileids").is_file() for part in PARTS)


def read_an4(
    directory: str | os.PathLike[str],
    *,
    validation_speakers: Sequence[str] = VALIDATION_SPEAKERS,
    alphabet: Alphabet = ENGLISH,
) -> Corpus:
    """Reads AN4, or a copy that has its training or its test lists alone.

    A line of a transcription is `<s> TEXT </s> (utterance)`; the test list has no `<s>`. Audio is
    `wav/<fileid>.sph`, `.raw` (16-bit big-endian), `.wav` or `.flac`, the first that exists. The
    speaker is the folder of the utterance, its id the last part of the file id.

    Args:
        directory: the folder that holds `etc` and `wav`.
        validation_speakers: whose training utterances become the `valid` split. The default is
            fixed, so that figures of different days compare; speakers that a copy lacks are
            ignored as long as one is there.
        alphabet: transcripts must be written in it.

    Raises:
        InputError: a missing list, a malformed line, an utterance without transcript or audio, a
            transcript without utterance, an unknown character; the message names file and line.

    Example:
        >>> corpus = read_an4("an4")  # doctest: +SKIP
        >>> corpus.summary()  # doctest: +SKIP
        'an4: train 819 utterances, ...'
    """
    directory = Path(directory)
    if not is_an4(directory):
        raise InputError(
            f"{directory}: has no etc/an4_train.fileids nor an4_test.fileids; expected AN4 in"
            " its official layout (etc/*.fileids, etc/*.transcription, wav/)"
        )
    training, test = (
        _read_list(directory, part, alphabet)
        if any((directory / "etc" / f"an4_{part}.{kind}").exists() for kind in LISTS)
        else []
        for part in PARTS
    )
    chosen = set(validation_speakers)
    train = tuple(u for u in training if u.speaker not in chosen)
    valid = tuple(u for u in training if u.speaker in chosen)
    if training and not (valid and train):
        raise InputError(
            f"{directory}: validation speakers {', '.join(sorted(chosen))} leave {len(train)}"
            f" training and {len(valid)} validation utterances; expected some of both, choose"
            " other validation speakers"
        )
    shared = sorted({u.speaker for u in test} & {u.speaker for u in training})
    if shared:
        raise InputError(
            f"{directory}: speakers {', '.join(shared)} are in the training and the test list;"
            " expected speaker-disjoint lists, use the official ones"
        )
    return Corpus("an4", train, valid, tuple(test))


def _read_list(directory: Path, split: str, alphabet: Alphabet) -> list[Utterance]:
    ids_path = directory / "etc" / f"an4_{split}.fileids"
    texts_path = directory / "etc" / f"an4_{split}.transcription"
    texts = _read_transcription(texts_path)
    utterances: list[Utterance] = []
    seen: set[str] = set()
    for number, line in enumerate(read_lines(ids_path, LIST), 1):
        fileid = line.strip()
        if not fileid:
            continue
        name = fileid.rsplit("/", 1)[-1]
        if fileid.count("/") < 1 or ".." in fileid.split("/") or fileid.startswith("/"):
            raise InputError(
                f"{ids_path} line {number}: {fileid!r} has no speaker folder; expected"
                " set/speaker/utterance"
            )
        if name in seen:
            raise InputError(f"{ids_path} line {number}: {name!r} is listed twice; remove one")
        seen.add(name)
        if name not in texts:
            raise InputError(
                f"{ids_path} line {number}: {name!r} has no transcript in {texts_path.name}; add"
                " its line or remove it here"
            )
        place, text = texts[name]
        text = alphabet.normalise(text)
        alphabet.encode(text, f"{name} ({texts_path} line {place})")
        audio = _audio_file(directory / "wav", fileid)
        utterances.append(Utterance(name, fileid.split("/")[-2], text, audio))
    unpaired = [(place, name) for name, (place, _) in texts.items() if name not in seen]
    if unpaired:
        place, name = unpaired[0]
        raise InputError(
            f"{texts_path} line {place}: {name!r} is not in {ids_path.name} (one of"
            f" {len(unpaired)}); add it there or remove the line"
        )
    if not seen:
        raise InputError(f"{ids_path}: lists no utterances; expected one a line")
    return utterances


def _read_transcription(path: Path) -> dict[str, tuple[int, str]]:
    """Number and text of the line of each utterance."""
    lines: dict[str, tuple[int, str]] = {}
    for number, line in enumerate(read_lines(path, LIST), 1):
        if not line.strip():
            continue
        match = _LINE.match(line)
        if match is None or "<" in match["text"]:
            raise InputError(
                f"{path} line {number}: got {line.strip()[:60]!r}; expected"
                " '<s> WORDS </s> (utterance)'"
            )
        if match["id"] in lines:
            raise InputError(
                f"{path} line {number}: a second transcript of {match['id']!r}; remove one"
            )
        lines[match["id"]] = number, match["text"]
    return lines


def _audio_file(wav: Path, fileid: str) -> Path:
    for suffix in SUFFIXES:
        path = wav / f"{fileid}{suffix}"
        if path.is_file():
            return path
    raise InputError(
        f"{wav / fileid}{SUFFIXES[0]}: no such file (nor {', '.join(SUFFIXES[1:])});"
        " the copy of AN4 is incomplete"
    )
