"""Tiny digits in MNIST's own files: ten patterns of bars with noise."""

import gzip
from pathlib import Path

import numpy as np
import pytest

from apps.digits.mnist import Splits, load


def idx(array: np.ndarray) -> bytes:
    """An array of bytes as an idx file."""
    lengths = b"".join(int(n).to_bytes(4, "big") for n in array.shape)
    return bytes([0, 0, 8, array.ndim]) + lengths + array.astype(np.uint8).tobytes()


def drawn(labels: np.ndarray, seed: int) -> np.ndarray:
    """Images of labels: a bar at a place of its own, and noise."""
    rng = np.random.default_rng(seed)
    images = rng.integers(0, 40, (len(labels), 28, 28))
    for image, label in zip(images, labels, strict=True):
        row, column = 4 + 4 * (label % 5), 5 if label < 5 else 15
        image[row : row + 3, column : column + 8] = 220
    return images.astype(np.uint8)


@pytest.fixture(scope="session")
def mnist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of idx files: 240 training digits, gzipped, and 40 test digits, plain."""
    folder = tmp_path_factory.mktemp("mnist")
    for name, count, seed in (("train", 240, 0), ("t10k", 40, 1)):
        labels = np.random.default_rng(seed).permutation(np.arange(count) % 10)
        contents = {"images-idx3": idx(drawn(labels, seed)), "labels-idx1": idx(labels)}
        for kind, content in contents.items():
            path = folder / f"{name}-{kind}-ubyte"
            if name == "train":
                path.with_name(path.name + ".gz").write_bytes(gzip.compress(content))
            else:
                path.write_bytes(content)
    return folder


@pytest.fixture(scope="session")
def splits(mnist: Path) -> Splits:
    return load(mnist)
