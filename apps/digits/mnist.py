"""MNIST in its own files, split for training, validation and test."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from apps.common.errors import InputError
from apps.digits.idx import read_idx

VALIDATION = 5000
"""The last digits of the training files; they choose everything, and nothing trains on them."""

SIDE = 28
FILES = {
    "train": ("train-images-idx3-ubyte", "train-labels-idx1-ubyte"),
    "test": ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"),
}


@dataclass(frozen=True)
class Digits:
    """Images and what they show.

    Attributes:
        images: `(number, 28, 28)` uint8, bright digits on black; `(number, 32, 32, 3)` of pictures.
        labels: `(number,)` integers from 0.
        classes: How many labels there are.
    """

    images: np.ndarray
    labels: np.ndarray
    classes: int = 10

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, part: slice) -> Digits:
        return Digits(self.images[part], self.labels[part], self.classes)


NOTHING = Digits(np.zeros((0, SIDE, SIDE), np.uint8), np.zeros(0, np.uint8))
"""No digits."""


@dataclass(frozen=True)
class Splits:
    """A data set.

    Attributes:
        train: All training digits but the last; none where only the test files are there.
        valid: The last `VALIDATION` of them, or a twelfth where there are fewer than 60,000.
        test: Of the files t10k-*; None where they are not there.
    """

    train: Digits
    valid: Digits
    test: Digits | None

    def split(self, name: str) -> Digits:
        """Return the split of that name.

        Raises:
            InputError: The folder has no files of that split.
        """
        digits = {"train": self.train, "valid": self.valid, "test": self.test}[name]
        if not digits:
            files = " and ".join(f"{file}[.gz]" for file in FILES[_part(name)])
            others = [part for part, count in self.summary().items() if count]
            raise InputError(
                f"no {name} split: expected {files} beside the files of the others; use --split"
                f" {' or '.join(others) or 'with another folder'}"
            )
        return digits

    def summary(self) -> dict[str, int]:
        """Return how many digits each split has."""
        return {
            "train": len(self.train),
            "valid": len(self.valid),
            "test": len(self.test) if self.test else 0,
        }


def _part(split: str) -> str:
    """Which of the files have a split."""
    return "test" if split == "test" else "train"


def load(folder: str | os.PathLike[str] | None = None) -> Splits:
    """Read MNIST from a folder, or else download it.

    Args:
        folder: With the idx files, plain or gzipped. Default: the environment variable HLSTM_DATA
            (or its subfolder `mnist`) where that is set, else Keras's copy, which it downloads
            once.

    Raises:
        InputError: Files are missing or damaged, or the download failed.
    """
    if folder is None and (given := os.environ.get("HLSTM_DATA")):
        folder = Path(given) / "mnist" if (Path(given) / "mnist").is_dir() else Path(given)
    if folder is None:
        return _downloaded()
    folder = Path(folder)
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder; expected MNIST's idx files in it")
    parts = {
        part: _read(folder, part) if any(_find(folder, name) for name in names) else None
        for part, names in FILES.items()
    }
    if parts["train"] is None and parts["test"] is None:
        raise InputError(f"{folder}: no {FILES['train'][0]}[.gz]; expected MNIST's idx files")
    if parts["train"] is None:
        return Splits(NOTHING, NOTHING, parts["test"])
    return split(parts["train"], parts["test"])


def split(train: Digits, test: Digits | None) -> Splits:
    """Cut the validation digits off the end of the training digits.

    Example:

    >>> digits = Digits(np.zeros((24, 28, 28), np.uint8), np.zeros(24, np.uint8))
    >>> split(digits, None).summary()
    {'train': 22, 'valid': 2, 'test': 0}
    """
    valid = min(VALIDATION, len(train) // 12)
    if valid < 1:
        raise InputError(f"{len(train)} training digits are too few; expected 12 at least")
    return Splits(train[: len(train) - valid], train[len(train) - valid :], test)


def _read(folder: Path, name: str) -> Digits:
    paths = []
    for file in FILES[name]:
        path = _find(folder, file)
        if path is None:
            raise InputError(f"{folder}: no {file}[.gz]; expected MNIST's idx files")
        paths.append(path)
    return check(read_idx(paths[0], 3), read_idx(paths[1], 1), paths[1])


def check(images: np.ndarray, labels: np.ndarray, source: Path | str) -> Digits:
    """Return digits that fit together.

    Raises:
        InputError: Images are not 28 x 28, labels not 0 to 9, or their numbers differ.
    """
    if images.shape[1:] != (SIDE, SIDE):
        raise InputError(
            f"{source}: the images beside it are {' x '.join(map(str, images.shape[1:]))};"
            f" expected {SIDE} x {SIDE}"
        )
    if len(images) != len(labels):
        raise InputError(f"{source}: {len(labels):,} labels of {len(images):,} images")
    if len(labels) and labels.max() > 9:
        raise InputError(f"{source}: a label is {labels.max()}; expected 0 to 9")
    return Digits(images, labels.astype(np.uint8))


def _find(folder: Path, name: str) -> Path | None:
    for path in (folder / name, folder / f"{name}.gz"):
        if path.is_file():
            return path
    return None


def _downloaded() -> Splits:
    import keras

    try:
        (images, labels), (test_images, test_labels) = keras.datasets.mnist.load_data()
    except Exception as error:  # whatever the network, or its absence, comes up with
        raise InputError(
            "MNIST could not be downloaded; give --data-dir, a folder with its idx files, or set"
            " HLSTM_DATA"
        ) from error
    source = "the downloaded MNIST"
    return split(check(images, labels, source), check(test_images, test_labels, source))
