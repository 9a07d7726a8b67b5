"""Writes the text between a pair of marks in a README, and nothing else."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from apps.common.errors import InputError
from apps.common.files import written_beside


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
