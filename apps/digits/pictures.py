"""A folder of images, a subfolder for each class, for AlexNet at 32 x 32."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from apps.common.errors import InputError
from apps.common.pillow import Image, opened_image
from apps.common.progress import Progress
from apps.digits.mnist import Digits, Splits

SIDE = 32
SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".webp", ".gif", ".ppm")
EVERY = 10
"""Of each class, every tenth image in the order of names is for validation."""


@dataclass(frozen=True)
class Pictures:
    """What a folder holds.

    Attributes:
        splits: Of the images; `(number, 32, 32, 3)` uint8.
        names: Of the classes, by label.
    """

    splits: Splits
    names: tuple[str, ...]


def read_pictures(folder: str | os.PathLike[str], side: int = SIDE) -> Pictures:
    """Read a folder of images.

    Either `folder/CLASS/*.png`, from which every tenth image of a class becomes validation, or
    `folder/train/CLASS/`, `folder/valid/CLASS/` and, if there is one, `folder/test/CLASS/`.

    Args:
        folder: With at least two classes.
        side: Images are scaled to this height and width.

    Raises:
        InputError: Folders are missing, a class has too few images, or a file is no image.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder; expected a folder of images for each class")
    split = (folder / "train").is_dir()
    names = _classes(folder / "train" if split else folder)
    if split:
        if not (folder / "valid").is_dir():
            raise InputError(f"{folder}: train without valid; expected both, or classes alone")
        parts = [
            _read(_files(folder / part, names), side, len(names)) for part in ("train", "valid")
        ]
        test = folder / "test"
        last = _read(_files(test, names), side, len(names)) if test.is_dir() else None
        return Pictures(Splits(parts[0], parts[1], last), names)
    files = _files(folder, names)
    for label, name in enumerate(names):
        count = sum(chosen == label for _, chosen in files)
        if count < 2:
            raise InputError(f"{folder / name}: {count} images; expected 2 at least")
    train: list[tuple[Path, int]] = []
    valid: list[tuple[Path, int]] = []
    for label in range(len(names)):
        of_class = [entry for entry in files if entry[1] == label]
        for place, entry in enumerate(of_class):
            (valid if place % EVERY == 1 else train).append(entry)
    read = [_read(part, side, len(names)) for part in (train, valid)]
    return Pictures(Splits(read[0], read[1], None), names)


def _classes(folder: Path) -> tuple[str, ...]:
    names = tuple(sorted(entry.name for entry in folder.iterdir() if entry.is_dir()))
    if len(names) < 2:
        raise InputError(f"{folder}: {len(names)} subfolders; expected one for each of 2 classes")
    return names


def _files(folder: Path, names: tuple[str, ...]) -> list[tuple[Path, int]]:
    found = []
    for label, name in enumerate(names):
        if not (folder / name).is_dir():
            raise InputError(f"{folder / name}: no such folder; expected images of this class")
        images = sorted(p for p in (folder / name).iterdir() if p.suffix.lower() in SUFFIXES)
        found += [(path, label) for path in images]
    return found


def _read(files: list[tuple[Path, int]], side: int, classes: int) -> Digits:
    images = np.zeros((len(files), side, side, 3), np.uint8)
    with Progress(len(files), "read images") as progress:
        for number, (path, _) in enumerate(files):
            with opened_image(path) as image:
                small = image.convert("RGB").resize((side, side), Image.Resampling.BILINEAR)
            images[number] = np.asarray(small)
            progress.step()
    return Digits(images, np.array([label for _, label in files], np.int64), classes)
