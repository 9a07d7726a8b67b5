"""Pillow, or one line that says how to get it; and image files of limited size."""

from __future__ import annotations

import contextlib
import struct
import warnings
from collections.abc import Iterator
from pathlib import Path

from apps.common.errors import InputError
from apps.common.files import check_size

try:
    from PIL import Image, UnidentifiedImageError
except ImportError as missing:
    raise InputError(
        'images need the package pillow, which is not installed; pip install "hlstm_tf[images]"'
    ) from missing

__all__ = ["Image", "opened_image"]

PIXELS = 25_000_000
"""Pixels of the largest image; up to twenty bytes each while WebP is decoded and converted."""
BYTES = 100_000_000
"""Of the largest image file; some decoders read all of it."""
DAMAGES = (
    *(OSError, SyntaxError, ValueError, TypeError, KeyError, IndexError, AttributeError),
    *(EOFError, RuntimeError, ArithmeticError, AssertionError, MemoryError, struct.error),
)
"""What damaged files make Pillow's many decoders raise."""


@contextlib.contextmanager
def opened_image(path: Path) -> Iterator[Image.Image]:
    """Open an image file of any format that Pillow reads, and decode it.

    Args:
        path: The file.

    Raises:
        InputError: There is no such file, it is no image, damaged, or larger than `PIXELS` or
            `BYTES`.
    """
    try:
        check_size(path, BYTES, "an image")
        # Warnings are of damages that leave something to look at.
        with warnings.catch_warnings(action="ignore"), Image.open(path) as image:
            if image.width * image.height > PIXELS:
                raise InputError(
                    f"{path}: {image.width:,} x {image.height:,} pixels; expected an image of at"
                    f" most {PIXELS:,} pixels; scale it down"
                )
            image.load()
            yield image
    except InputError:
        raise
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such file") from error
    except (UnidentifiedImageError, Image.DecompressionBombError) as error:
        raise InputError(f"{path}: not an image; expected PNG, JPEG or such") from error
    except DAMAGES as error:
        first = " ".join(str(error).split()) or type(error).__name__
        raise InputError(f"{path}: cannot be read as an image ({first})") from error
