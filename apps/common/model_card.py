"""What the model cards of `saved_models/` have in common."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from apps.common.errors import InputError
from apps.common.files import written_beside
from apps.common.record import NAME, read_record

CARD = "README.md"


def finished_record(run: Path) -> dict[str, Any]:
    """Return the record of a finished training.

    Raises:
        InputError: There is none, or the training is not finished.
    """
    record = read_record(run)
    if "result" not in record:
        raise InputError(f"{run}: its training is not finished; train on")
    return record


def write_card(run: Path, folder: Path, text: str) -> list[Path]:
    """Write a model card and copy the training's record beside it; return both files."""
    shutil.copyfile(run / NAME, folder / NAME)
    with written_beside(folder / CARD) as temporary:
        temporary.write_text(text, encoding="utf-8")
    return [folder / CARD, folder / NAME]


def size_of(path: Path) -> int:
    """Return the bytes of a file, or of all files in a folder."""
    files = path.rglob("*") if path.is_dir() else [path]
    return sum(file.stat().st_size for file in files if file.is_file())


def scored_once(on: str, result: str, command: str) -> str:
    """Return the paragraph of a model card on test data that nothing was chosen by.

    Args:
        on: The data.
        result: What came of it, and who can count it again, up to the verb.
        command: What counts it.

    Example:

    >>> print(scored_once("the test digits", "**error 1 %**. Who has them", "evaluate").strip())
    On the test digits, scored once, after every choice: **error 1 %**. Who has them runs
    <BLANKLINE>
    ```
    evaluate
    ```
    """
    return f"""

On {on}, scored once, after every choice: {result} runs

```
{command}
```"""
