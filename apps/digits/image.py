"""Any image file of a digit as MNIST would have it."""

from __future__ import annotations

import math
import os
from pathlib import Path

import numpy as np

from apps.common.errors import InputError
from apps.common.pillow import Image, opened_image
from apps.digits.mnist import SIDE

BOX = 20
"""Longest side of the digit in MNIST's images."""

FAINT = 0.1
"""Share of the strongest stroke below which a pixel counts as paper."""

LARGE = 2_000_000
"""Pixels from which an image is scaled down before it is looked at; a digit comes to 400."""


def read_digit(path: str | os.PathLike[str]) -> np.ndarray:
    """Read an image of one digit, in any mode, size and polarity.

    As MNIST was made (http://yann.lecun.com/exdb/mnist): the digit is scaled into a box of 20 x 20
    with its proportions kept, and put into 28 x 28 with its center of mass in the middle.
    Transparent places count as paper. The polarity is told by the border: paper is what most of it
    is.

    Args:
        path: An image file of any format that Pillow reads.

    Returns:
        `(28, 28)` uint8, a bright digit on black.

    Raises:
        InputError: The file is missing, no image, or nothing is on it.

    Example:

    >>> import tempfile
    >>> drawing = np.full((90, 60), 255, np.uint8)
    >>> drawing[20:70, 28:34] = 0  # a dark 1 on light paper
    >>> file = Path(tempfile.mkdtemp()) / "one.png"
    >>> Image.fromarray(drawing).save(file)
    >>> rows, columns = np.nonzero(read_digit(file) > 100)
    >>> int(rows.max() - rows.min() + 1), round(float(columns.mean()))
    (20, 14)
    """
    path = Path(path)
    with opened_image(path) as image:
        strokes = _strokes(_smaller(image))
    if strokes.max() < FAINT:
        raise InputError(f"{path}: nothing is on it; expected a digit")
    return normalize(strokes)


def normalize(strokes: np.ndarray) -> np.ndarray:
    """Return strokes as MNIST's images are: in a box of 20 x 20, centered by mass.

    Args:
        strokes: `(height, width)` float, 0 where paper is.

    Returns:
        `(28, 28)` uint8.
    """
    ink = strokes > FAINT * strokes.max()
    rows, columns = np.flatnonzero(ink.any(1)), np.flatnonzero(ink.any(0))
    digit = strokes[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1] / strokes.max()
    scale = BOX / max(digit.shape)
    width, height = (max(1, round(side * scale)) for side in (digit.shape[1], digit.shape[0]))
    small = np.asarray(
        Image.fromarray((255 * digit).astype(np.uint8)).resize(
            (width, height), Image.Resampling.BOX if scale < 1 else Image.Resampling.BICUBIC
        )
    )
    weight = small.astype(np.float64)
    top = _start(weight.sum(1), height)
    left = _start(weight.sum(0), width)
    page = np.zeros((SIDE, SIDE), np.uint8)
    page[top : top + height, left : left + width] = small
    return page


def _start(mass: np.ndarray, length: int) -> int:
    """Where a digit begins so that its center of mass is in the middle, and all of it inside."""
    center = float((mass * (np.arange(length) + 0.5)).sum() / mass.sum())
    return int(np.clip(round(SIDE / 2 - center), 0, SIDE - length))


def _smaller(image: Image.Image) -> Image.Image:
    """An image of about `LARGE` pixels or fewer, averaged over squares."""
    factor = math.ceil(math.sqrt(image.width * image.height / LARGE))
    if factor <= 1:
        return image
    if image.mode.startswith(("I", "F")):
        return image.convert("F").reduce(factor)
    return image.convert("RGBA").reduce(factor)


def _strokes(image: Image.Image) -> np.ndarray:
    """How much of a stroke each pixel is, 0 to 1."""
    with_alpha = image.convert("RGBA")
    alpha = np.asarray(with_alpha.getchannel("A"), np.float64) / 255
    gray = _gray(image, with_alpha)
    seen = alpha > 0.5
    if not seen.any():
        return np.zeros_like(alpha)
    around = _border(seen)
    if around.mean() < 0.5 and seen.mean() < 0.5:
        return alpha  # strokes on nothing: their shape is the opaque part
    paper = np.median(_border(gray)[around] if around.any() else gray[seen])
    return np.abs(gray - paper) * alpha


def _border(pixels: np.ndarray) -> np.ndarray:
    return np.concatenate([pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]])


def _gray(image: Image.Image, with_alpha: Image.Image) -> np.ndarray:
    """Brightness, 0 to 1; images of 16 or 32 bits by their own range."""
    if image.mode.startswith(("I", "F")):
        values = np.asarray(image, np.float64)
        span = np.ptp(values)
        return (values - values.min()) / span if span else np.zeros_like(values)
    return np.asarray(with_alpha.convert("RGB").convert("L"), np.float64) / 255
