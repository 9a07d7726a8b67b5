"""A plain folder of audio files with a CSV of transcripts."""

import csv
import dataclasses
import os
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from apps.common.errors import InputError
from apps.common.files import check_size
from apps.common.text import LARGEST, check_lines
from apps.speech.alphabet import ENGLISH, Alphabet
from apps.speech.utterance import SPLITS, Corpus, Utterance

SHARES = (0.8, 0.1, 0.1)
"""Of the speakers (or utterances) that train, valid and test get where the CSV does not say."""


@dataclasses.dataclass(frozen=True)
class _Row:
    utterance: Utterance
    split: str


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
    if any(row.split for row in rows):
        splits = _given(path, rows)
    else:
        splits = _deal([row.utterance for row in rows], seed, path)
    _check_speakers(path, splits)
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


def _read_rows(path: Path, alphabet: Alphabet) -> list[_Row]:
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


def _row(path: Path, line: int, row: dict[str, str | None], alphabet: Alphabet) -> _Row:
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
    return _Row(Utterance(values["path"], speaker, text, audio), split)


def _given(path: Path, rows: list[_Row]) -> dict[str, list[Utterance]]:
    without = sum(not row.split for row in rows)
    if without:
        raise InputError(
            f"{path}: {without} of {len(rows)} rows have no split; fill in all of them or none"
        )
    splits: dict[str, list[Utterance]] = {
        split: [row.utterance for row in rows if row.split == split] for split in SPLITS
    }
    return splits


def _deal(utterances: list[Utterance], seed: int, path: Path) -> dict[str, list[Utterance]]:
    """Whole speakers to splits; from three speakers on every split gets at least one."""
    speakers = sorted({utterance.speaker for utterance in utterances})
    if len(speakers) < 3:
        raise InputError(
            f"{path}: {len(speakers)} speaker(s) cannot be split three ways; add a split column"
        )
    order = np.random.default_rng(seed).permutation(len(speakers))
    held_out = [max(1, round(share * len(speakers))) for share in SHARES[1:]]
    first, second = held_out[0], sum(held_out)
    chosen = {speakers[int(k)]: "valid" for k in order[:first]}
    chosen |= {speakers[int(k)]: "test" for k in order[first:second]}
    splits: dict[str, list[Utterance]] = {split: [] for split in SPLITS}
    for utterance in utterances:
        splits[chosen.get(utterance.speaker, "train")].append(utterance)
    return splits


def _check_speakers(path: Path, splits: dict[str, list[Utterance]]) -> None:
    home: dict[str, str] = {}
    for split, utterances in splits.items():
        for utterance in utterances:
            if home.setdefault(utterance.speaker, split) != split:
                raise InputError(
                    f"{path}: speaker {utterance.speaker!r} is in {home[utterance.speaker]} and"
                    f" {split}; a speaker belongs to one split, or error rates flatter"
                )
