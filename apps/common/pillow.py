"""Pillow, or one line that says how to get it."""

from apps.common.errors import InputError

try:
    from PIL import Image, UnidentifiedImageError
except ImportError as missing:
    raise InputError(
        'images need the package pillow, which is not installed; pip install "hlstm_tf[images]"'
    ) from missing

__all__ = ["Image", "UnidentifiedImageError"]
