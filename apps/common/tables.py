"""Records of many trainings, and the tables that a README has of them."""

from __future__ import annotations

import os
import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from apps.common.errors import InputError
from apps.common.files import write_json, written_beside
from apps.common.rate import Rate
from apps.common.record import NAME, read_record, record_errors
from apps.common.text import parse_json, read_text


def markdown(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table whose columns line up as plain text, too.

    >>> print(markdown(("model", "WER"), [("LSTM", "9.1 %")]))
    | model | WER   |
    |-------|-------|
    | LSTM  | 9.1 % |
    """
    widths = [max(map(len, cells)) for cells in zip(columns, *rows, strict=True)]

    def line(cells: Sequence[str]) -> str:
        padded = (f" {cell:<{width}} " for cell, width in zip(cells, widths, strict=True))
        return f"|{'|'.join(padded)}|"

    rule = f"|{'|'.join('-' * (width + 2) for width in widths)}|"
    return "\n".join([line(columns), rule, *map(line, rows)])


def write_parts(readme: Path, parts: Mapping[str, str]) -> None:
    """Write what stands between the marks `<!-- NAME -->` and `<!-- /NAME -->` of a README.

    Args:
        readme: The file.
        parts: Text by the name of its marks.

    Raises:
        InputError: There is no such file, or it lacks a mark; then it stays as it was.

    Example:
        >>> import tempfile
        >>> readme = Path(tempfile.mkdtemp()) / "README.md"
        >>> _ = readme.write_text("# Title <!-- a -->old<!-- /a --> end")
        >>> write_parts(readme, {"a": "new"})
        >>> readme.read_text().splitlines()
        ['# Title <!-- a -->', 'new', '<!-- /a --> end']
    """
    try:
        text = readme.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise InputError(f"{readme}: no such file") from error
    for name, content in parts.items():
        text = _replaced(text, name, content, readme)
    with written_beside(readme) as temporary:
        temporary.write_text(text, encoding="utf-8")


def _replaced(text: str, name: str, content: str, readme: Path) -> str:
    begin, end = f"<!-- {name} -->", f"<!-- /{name} -->"
    if begin not in text or end not in text:
        raise InputError(f"{readme}: no mark {begin} ... {end} for a table")
    before, rest = text.split(begin, 1)
    after = rest.split(end, 1)[1]
    return f"{before}{begin}\n{content}\n{end}{after}"


def add_records(
    runs: Sequence[str | os.PathLike[str]],
    results: Path,
    keep: Callable[[str, dict[str, Any]], dict[str, Any]] = lambda name, record: record,
    needed: Sequence[str] = ("result",),
) -> list[Path]:
    """Keep the records of finished trainings where tables are made from.

    Args:
        runs: Folders of trainings, or folders of such.
        results: Gets a JSON file for each, named after its folder.
        keep: Takes the folder's name and the record, returns what is kept of it.
        needed: What the record of a finished training has; others in a folder are passed over.

    Returns:
        The files.

    Raises:
        InputError: A folder neither is of a finished training nor holds one.
    """
    added = []
    for given in map(Path, runs):
        found = list(_finished(given, needed))
        if not found:
            read_record(given)
            raise InputError(f"{given}: its training is not finished; train on")
        for folder, record in found:
            name = folder.resolve().name
            with record_errors(folder):
                kept = keep(name, record)
            target = results / f"{name}.json"
            write_json(target, kept)
            added.append(target)
    return added


def _finished(given: Path, needed: Sequence[str]) -> Iterator[tuple[Path, dict[str, Any]]]:
    paths = [given / NAME] if (given / NAME).exists() else sorted(given.glob(f"*/{NAME}"))
    for path in paths:
        record = read_record(path)
        if all(name in record for name in needed):
            yield path.parent, record


def read_results(
    results: Path, check: Callable[[dict[str, Any]], object], expected: str
) -> dict[str, dict[str, Any]]:
    """Return the records in a folder by name, in the order of their names.

    Args:
        results: The folder.
        check: Reads what a record must have, and fails where it has not.
        expected: What each file should be, for the message.

    Raises:
        InputError: One is damaged or something else.
    """
    records = {}
    for path in sorted(results.glob("*.json")):
        try:
            record = parse_json(read_text(path, "a record"))
            check(record)
        except (ValueError, KeyError, TypeError) as error:
            raise InputError(f"{path}: no record of {expected}") from error
        records[path.stem] = record
    return records


def pooled(rates: Sequence[Rate], digits: int = 1) -> str:
    """Return the mean error rate of several seeds, with the interval of one such result.

    The seeds are scored on the same units: together they are no larger sample.

    Args:
        rates: Each seed's.
        digits: After the point.

    Example:

    >>> pooled([Rate(70, 774), Rate(84, 774)])
    '9.9 % [8.0, 12.3]'
    """
    mean, total = statistics.mean(rate.errors for rate in rates), rates[0].total
    low, high = Rate(round(mean), total).interval
    shares = (f"{100 * share:.{digits}f}" for share in (mean / total, low, high))
    return "{} % [{}, {}]".format(*shares)


def each(rates: Sequence[Rate]) -> str:
    """Return the errors of each seed.

    >>> each([Rate(70, 774), Rate(84, 774)])
    '70, 84'
    """
    return ", ".join(str(rate.errors) for rate in rates)
