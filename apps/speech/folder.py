"""Folders of recordings: of any kind that is known, and one with a CSV of transcripts."""

import csv
import os
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from apps.common.errors import InputError
from apps.common.files import check_size
from apps.common.text import LARGEST, check_lines
from apps.speech.alphabet import ENGLISH, Alphabet
from apps.speech.an4 import is_an4, read_an4
from apps.speech.corpus import MANIFEST, read_synthesised
from apps.speech.utterance import SPLITS, Corpus, Utterance

SHARES = (0.8, 0.1, 0.1)
"""Of the speakers (or utterances) that train, valid and test get where the CSV does not say."""


def read_folder(
    directory: str | os.PathLike[str],
    csv_file: str | os.PathLike[str] | None = None,
    *,
    seed: int = 0,
    alphabet: Alphabet = ENGLISH,
) -> Corpus:
    """Reads a folder of audio with a CSV.

    The CSV (UTF-8, comma-separated, first line the column names) has columns `path` (relative to
    the CSV's folder, or absolute) and `text`, and may have `speaker` and `split` (train, valid or
    test). Without `split`, whole speakers are dealt to the splits, 80 %, 10 % and 10 % of them, in
    a random order of `seed`; without `speaker`, every utterance counts as its own. A speaker in
    two splits is an error unless the CSV has no `speaker` column.

    Args:
        directory: the folder.
        csv_file: the CSV; default the only one in `directory`.
        seed: of the deal.
        alphabet: transcripts must be written in it (lower case is made upper case).

    Returns:
        Corpus named as the folder; ids are the paths as the CSV has them.

    Raises:
        InputError: no CSV, several, a missing column, a malformed row, a missing file, an unknown
            character, split or column; the message names file and line.
    """
    directory = Path(directory)
    path = Path(csv_file) if csv_file is not None else _only_csv(directory)
    rows = _read_rows(path, alphabet)
    without = sum(not split for _, split in rows)
    if without == len(rows):
        splits = _deal([utterance for utterance, _ in rows], seed, path)
    elif without:
        raise InputError(
            f"{path}: {without} of {len(rows)} rows have no split; fill in all of them or none"
        )
    else:
        splits = {split: [u for u, given in rows if given == split] for split in SPLITS}
    home: dict[str, str] = {}
    for split, utterances in splits.items():
        for utterance in utterances:
            if home.setdefault(utterance.speaker, split) != split:
                raise InputError(
                    f"{path}: speaker {utterance.speaker!r} is in {home[utterance.speaker]} and"
                    f" {split}; a speaker belongs to one split, or error rates flatter"
                )
    train, valid, test = (tuple(splits[split]) for split in SPLITS)
    return Corpus(directory.resolve().name, train, valid, test)


def find_csv(directory: str | os.PathLike[str]) -> list[Path]:
    """The CSV files in a folder, sorted."""
    folder = Path(directory)
    return sorted(p for p in folder.glob("*.csv") if p.is_file() and p.name[0] != ".")


def _only_csv(directory: Path) -> Path:
    if not directory.is_dir():
        raise InputError(f"{directory}: no such folder; expected one with audio and a CSV")
    found = find_csv(directory)
    if len(found) != 1:
        names = ", ".join(path.name for path in found) or "none"
        raise InputError(
            f"{directory}: expected one CSV file (columns path,text[,speaker][,split]), found"
            f" {names}; name the one to use"
        )
    return found[0]


def _read_rows(path: Path, alphabet: Alphabet) -> list[tuple[Utterance, str]]:
    try:
        check_size(path, LARGEST, "a CSV")
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file, strict=True)
            _check_columns(path, reader.fieldnames or [])
            rows = []
            for number, row in enumerate(reader, 1):
                check_lines(path, number)
                rows.append(_row(path, reader.line_num, row, alphabet))
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such file; expected a CSV") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path}: is no UTF-8 CSV ({error}); export it again") from error
    if not rows:
        raise InputError(f"{path}: has no rows; expected one an utterance")
    return rows


def _check_columns(path: Path, columns: Iterable[str]) -> None:
    columns = [str(column) for column in columns]
    missing = {"path", "text"} - set(columns)
    if missing:
        raise InputError(
            f"{path} line 1: no column {' and '.join(sorted(missing))} among"
            f" {', '.join(columns) or 'none'}; expected path,text[,speaker][,split]"
        )


def _row(
    path: Path, line: int, row: dict[str, str | None], alphabet: Alphabet
) -> tuple[Utterance, str]:
    where = f"{path} line {line}"
    if None in row or None in row.values():
        raise InputError(f"{where}: more or fewer fields than the first line; quote the commas")
    values = {key: (value or "").strip() for key, value in row.items()}
    if not values["path"]:
        raise InputError(f"{where}: the path is empty; expected an audio file")
    audio = path.parent / values["path"]
    if not audio.is_file():
        raise InputError(f"{where}: {audio}: no such file; correct the path or remove the row")
    split = values.get("split", "").lower()
    if split and split not in SPLITS:
        raise InputError(f"{where}: split is {split!r}; expected one of {', '.join(SPLITS)}")
    text = alphabet.normalise(values["text"])
    alphabet.encode(text, f"{values['path']} ({where})")
    speaker = values.get("speaker", "") or values["path"]
    return Utterance(values["path"], speaker, text, audio), split


def _deal(utterances: list[Utterance], seed: int, path: Path) -> dict[str, list[Utterance]]:
    """Whole speakers to splits; from three speakers on every split gets at least one."""
    speakers = sorted({utterance.speaker for utterance in utterances})
    if len(speakers) < 3:
        raise InputError(
            f"{path}: {len(speakers)} speaker(s) cannot be split three ways; add a split column"
        )
    order = [speakers[int(k)] for k in np.random.default_rng(seed).permutation(len(speakers))]
    first, second = (max(1, round(share * len(speakers))) for share in SHARES[1:])
    chosen = dict.fromkeys(order[:first], "valid")
    chosen |= dict.fromkeys(order[first : first + second], "test")
    splits: dict[str, list[Utterance]] = {split: [] for split in SPLITS}
    for utterance in utterances:
        splits[chosen.get(utterance.speaker, "train")].append(utterance)
    return splits


def open_corpus(directory: str | os.PathLike[str], alphabet: Alphabet = ENGLISH) -> Corpus:
    """Reads a corpus of any kind.

    A folder with `etc/an4_train.fileids` is AN4, one with a `manifest.json` was made by
    `apps.speech.corpus.synthesise`, one with a CSV is a plain folder.

    Args:
        directory: the folder.
        alphabet: transcripts must be written in it.

    Raises:
        InputError: no such folder, or none of these; and what the reader raises.
    """
    directory = Path(directory)
    if not directory.is_dir():
        raise InputError(f"{directory}: no such folder; expected a corpus")
    if is_an4(directory):
        return read_an4(directory, alphabet=alphabet)
    if (directory / MANIFEST).is_file():
        return read_synthesised(directory)
    if find_csv(directory):
        return read_folder(directory, alphabet=alphabet)
    raise InputError(
        f"{directory}: no corpus that is known: expected AN4's etc/an4_train.fileids, a"
        f" {MANIFEST} of a synthesised corpus, or a CSV with columns path,text[,speaker][,split]"
    )
