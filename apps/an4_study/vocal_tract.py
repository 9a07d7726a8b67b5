"""Vocal tract length perturbation: every utterance as if by a larger or smaller speaker."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import numpy as np

from apps.common.errors import InputError

if TYPE_CHECKING:
    import tensorflow as tf


@dataclasses.dataclass(frozen=True)
class VocalTractLength:
    """Stretches the frequency axis of mel bands by a factor drawn anew for each utterance.

    A vocal tract 10 % shorter has its formants 10 % higher, which is most of what tells one voice
    from another. A network that hears each utterance through ever other tracts learns to hear past
    it (Jaitly and Hinton, "Vocal Tract Length Perturbation (VTLP) improves speech recognition",
    2013). The factor is uniform over [1 - spread, 1 + spread]; what would come from beyond the
    highest band is that band.

    Args:
        centres: of the bands, in Hz, ascending (`LogMel.centres`).
        spread: largest change of the frequencies, as a share: 0 to below 1.
        steps: how many factors there are to draw from.

    Raises:
        InputError: a value out of range.

    Example:
        >>> warp = VocalTractLength(tuple(range(100, 4100, 100)), spread=0.2)
        >>> tone = np.zeros((3, 1, 40), np.float32)
        >>> tone[:, 0, 20] = 1
        >>> warped = warp(tone, np.ones(3, np.int32), np.array([0, 1], np.int32))
        >>> warped.shape, 16 <= int(np.argmax(warped[0, 0])) <= 26
        (TensorShape([3, 1, 40]), True)
    """

    centres: tuple[float, ...]
    spread: float = 0.1
    steps: int = 41

    def __post_init__(self) -> None:
        if not 0 <= self.spread < 1:
            raise InputError(f"VocalTractLength: got spread {self.spread}; expected 0 to below 1")
        if self.steps < 1:
            raise InputError(f"VocalTractLength: got {self.steps} steps; expected at least 1")
        if len(self.centres) < 2 or np.any(np.diff(self.centres) <= 0):
            raise InputError("VocalTractLength: expected at least two centres, ascending")

    def __call__(self, features: tf.Tensor, lengths: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        """Warps a batch.

        Args:
            features: float (batch, frames, bands).
            lengths: ignored; padding of zeros stays zeros.
            seed: int32 (2,).

        Returns:
            The same shape and dtype.
        """
        import tensorflow as tf

        features = tf.convert_to_tensor(features)
        drawn = tf.random.stateless_uniform(
            tf.shape(features)[:1], seed, maxval=self.steps, dtype=tf.int32
        )
        warps = tf.gather(tf.constant(self.warps(), features.dtype), drawn)
        return tf.matmul(features, warps)

    def warps(self) -> np.ndarray:
        """Return the matrix of each factor, float32 (steps, bands, bands): features on the left,
        warped features on the right. Each interpolates linearly between two bands.

        Example:
            >>> VocalTractLength((1.0, 2.0, 4.0), 0.5, steps=3).warps()[1].tolist()
            [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]]
        """
        centres, bands = np.asarray(self.centres), np.arange(len(self.centres))
        matrices = np.zeros((self.steps, len(bands), len(bands)), np.float32)
        spreads = np.linspace(-self.spread, self.spread, self.steps) if self.steps > 1 else [0.0]
        for matrix, spread in zip(matrices, spreads, strict=True):
            places = np.interp(centres / (1 + spread), centres, bands)
            below = np.minimum(places.astype(int), len(bands) - 2)
            matrix[below, bands] += 1 - (places - below)
            matrix[below + 1, bands] += places - below
        return matrices
