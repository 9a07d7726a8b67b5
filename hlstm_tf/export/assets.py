"""Further files of a SavedModel, in `assets.extra`."""

import os
import shutil
from collections.abc import Mapping
from pathlib import Path

from hlstm_tf.export.warmup import WARMUP_FILE


def checked_assets(
    assets: Mapping[str, bytes | str | os.PathLike[str]],
) -> dict[str, bytes | Path]:
    """Each file's content as bytes, or the existing file to copy.

    Raises:
        ValueError: A name is no plain file name, or taken.
        FileNotFoundError: There is no such file.
        TypeError: A content is neither bytes nor a path.
    """
    checked: dict[str, bytes | Path] = {}
    for name, content in assets.items():
        if Path(name).name != name or name in ("", ".", "..", WARMUP_FILE):
            raise ValueError(
                f"extra_assets: {name!r} must be a plain file name, other than {WARMUP_FILE!r}."
            )
        if isinstance(content, bytes):
            checked[name] = content
        elif isinstance(content, (str, os.PathLike)):
            checked[name] = Path(content)
            if not Path(content).is_file():
                raise FileNotFoundError(
                    f"extra_assets: {name!r} is to be a copy of {content}, which is no file."
                )
        else:
            raise TypeError(
                f"extra_assets: {name!r} must be bytes or a path; got {type(content).__name__}."
            )
    return checked


def write_assets(folder: Path, assets: dict[str, bytes | Path]) -> None:
    """Writes the files into a SavedModel's folder."""
    extra = folder / "assets.extra"
    for name, content in assets.items():
        extra.mkdir(exist_ok=True)
        if isinstance(content, bytes):
            (extra / name).write_bytes(content)
        else:
            shutil.copyfile(content, extra / name)
