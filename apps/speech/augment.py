"""Augmentation of padded batches of features."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeAlias

from apps.common.errors import InputError

if TYPE_CHECKING:
    # Imported where it is needed: a recipe can be read without it, in a tenth of the time.
    import tensorflow as tf

Augment: TypeAlias = "Callable[[tf.Tensor, tf.Tensor, tf.Tensor], tf.Tensor]"
"""(features, lengths, seed) -> features, such as `SpecAugment`."""


@dataclasses.dataclass(frozen=True)
class SpecAugment:
    """Masks of random frames and bands (Park et al. 2019, arXiv 1904.08779, section 2).

    Each utterance of a batch gets its own masks. Frequency masks are `f ~ U{0..frequency_width}`
    bands wide; time masks `t ~ U{0..min(time_width, time_share * length)}` frames, within the
    utterance's true length. Masked places become 0, which is the mean of normalised features.
    Equal seeds give equal masks, whatever ran before: a resumed run sees what the
    uninterrupted one saw.

    Args:
        frequency_masks, frequency_width: how many, and the widest, in bands.
        time_masks, time_width: how many, and the widest, in frames.
        time_share: no time mask covers more than this share of its utterance (the paper's p).

    Raises:
        InputError: a negative number, or a share outside [0, 1].

    Example:
        >>> import tensorflow as tf
        >>> augment = SpecAugment(frequency_masks=1, time_masks=0, frequency_width=4)
        >>> out = augment(tf.ones((1, 5, 8)), tf.constant([5]), tf.constant([0, 1]))
        >>> out.shape.as_list(), bool(tf.reduce_all(out[:, :1] == out))
        ([1, 5, 8], True)
    """

    frequency_masks: int = 2
    frequency_width: int = 8
    time_masks: int = 2
    time_width: int = 25
    time_share: float = 0.2

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            if getattr(self, field.name) < 0:
                raise InputError(
                    f"SpecAugment: {field.name} is {getattr(self, field.name)}; expected 0 or more"
                )
        if self.time_share > 1:
            raise InputError(f"SpecAugment: time_share is {self.time_share}; expected 0 to 1")

    def __call__(self, features: tf.Tensor, lengths: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        """Masks a batch.

        Args:
            features: float (batch, frames, bands), padded at the end.
            lengths: int (batch,), true frames.
            seed: int32 (2,), such as [epoch, step].

        Returns:
            The same shape and dtype.
        """
        import tensorflow as tf

        batch, frames, bands = tf.unstack(tf.shape(features))
        lengths = tf.cast(lengths, tf.float32)
        seeds = tf.random.experimental.stateless_split(seed, 2)
        widest = tf.minimum(float(self.time_width), self.time_share * lengths)
        keep_time = _keep(batch, frames, lengths, widest, self.time_masks, seeds[0])
        sizes = tf.fill([batch], tf.cast(bands, tf.float32))
        widest = tf.fill([batch], float(self.frequency_width))
        keep_bands = _keep(batch, bands, sizes, widest, self.frequency_masks, seeds[1])
        keep = tf.logical_and(keep_time[:, :, None], keep_bands[:, None, :])
        return tf.where(keep, features, tf.zeros([], features.dtype))

    def config(self) -> dict[str, Any]:
        """Plain values; `SpecAugment(**config)` restores it."""
        return dataclasses.asdict(self)


def _keep(
    batch: tf.Tensor, places: tf.Tensor, sizes: tf.Tensor, widest: tf.Tensor, count: int,
    seed: tf.Tensor,
) -> tf.Tensor:  # fmt: skip
    """bool (batch, places): False inside `count` random intervals of each row."""
    import tensorflow as tf

    if not count:
        return tf.ones([batch, places], tf.bool)
    uniform = tf.random.stateless_uniform([2, batch, count], seed)
    widths = tf.floor(uniform[0] * (tf.floor(tf.minimum(widest, sizes))[:, None] + 1.0))
    starts = tf.floor(uniform[1] * (sizes[:, None] - widths + 1.0))
    place = tf.range(places, dtype=tf.float32)[None, None]
    masked = (place >= starts[:, :, None]) & (place < (starts + widths)[:, :, None])
    return tf.logical_not(tf.reduce_any(masked, axis=1))
