"""Images as networks take them."""

from __future__ import annotations

import numpy as np


def scaled(images: np.ndarray) -> np.ndarray:
    """Return images of bytes as `(number, height, width, channels)` float32, 0 to 1."""
    return with_channels(images).astype(np.float32) / np.float32(255)


def with_channels(images: np.ndarray) -> np.ndarray:
    """Return images with an axis of channels: one where they have none."""
    return images[..., None] if images.ndim == 3 else images
