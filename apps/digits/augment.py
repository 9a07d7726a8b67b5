"""Random small changes of digits, a batch at a time."""

from __future__ import annotations

import math
from dataclasses import dataclass

import tensorflow as tf


@dataclass(frozen=True)
class Affine:
    """Shifts, turns, scales and slants each image by chance.

    A digit stays the digit that it was, so that a network that has seen the changed ones needs to
    know less by heart: with few connections it can be smaller for the same error.

    Args:
        shift: Largest shift along each axis, in pixels.
        turn: Largest turn, in degrees.
        scale: Largest relative change of size.
        slant: Largest horizontal shift of the top edge against the middle, in heights.
    """

    shift: float = 1.0
    turn: float = 8.0
    scale: float = 0.08
    slant: float = 0.08

    def __call__(self, images: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        """Return changed images.

        Args:
            images: `(batch, height, width, channels)` float32.
            seed: Of shape (2,): the same seed gives the same changes.

        Returns:
            Images of the same shape, black where nothing is.
        """
        count = tf.shape(images)[0]
        side = tf.cast(tf.shape(images)[1], tf.float32)
        draws = tf.random.stateless_uniform((count, 6), seed, -1.0, 1.0)
        angle = draws[:, 0] * (self.turn * math.pi / 180)
        across, down = 1 + draws[:, 1] * self.scale, 1 + draws[:, 2] * self.scale
        slant = draws[:, 3] * self.slant
        # From places of the new image to places of the old one, around the middle.
        a, b = across * tf.cos(angle), -down * tf.sin(angle) + slant
        c, d = across * tf.sin(angle), down * tf.cos(angle)
        middle = (side - 1) / 2
        x = middle - a * middle - b * middle + draws[:, 4] * self.shift
        y = middle - c * middle - d * middle + draws[:, 5] * self.shift
        zero = tf.zeros_like(a)
        changed = tf.raw_ops.ImageProjectiveTransformV3(
            images=images,
            transforms=tf.stack([a, b, x, c, d, y, zero, zero], axis=1),
            output_shape=tf.shape(images)[1:3],
            interpolation="BILINEAR",
            fill_mode="CONSTANT",
            fill_value=0.0,
        )
        return tf.ensure_shape(changed, images.shape)
