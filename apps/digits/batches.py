"""Digits as batches: a function of the epoch for training, plain for scoring."""

from __future__ import annotations

import keras
import numpy as np
import tensorflow as tf

import hlstm_tf as hl
from apps.digits.augment import Affine
from apps.digits.mnist import Digits
from apps.digits.pixels import scaled, with_channels


def scoring_data(digits: Digits) -> tuple[np.ndarray, np.ndarray]:
    """Return images and one-hot labels, in their order."""
    return scaled(digits.images), np.eye(digits.classes, dtype=np.float32)[digits.labels]


def training_data(
    digits: Digits,
    batch_size: int,
    seed: int = 0,
    augment: Affine | None = None,
    teacher: keras.Model | None = None,
    share: float = 0.5,
    temperature: float = 2.0,
) -> hl.EpochData:
    """Return shuffled batches that are a function of the epoch and the seed.

    Args:
        digits: All of them stay in memory, as bytes.
        batch_size: Images a batch; those that fill no batch are others in each epoch.
        seed: Of order and augmentation.
        augment: What is done to the images; None for nothing.
        teacher: A network whose probabilities the targets are mixed with (arXiv 1503.02531); it
            sees the images as they are after the augmentation. None for the labels alone.
        share: Of the teacher in the targets.
        temperature: What the teacher's logits are divided by.
    """
    images = tf.constant(with_channels(digits.images))
    labels = tf.constant(digits.labels)
    batch_size = min(batch_size, len(digits))

    def batch(chosen: tf.Tensor, key: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        x = tf.cast(tf.gather(images, chosen), tf.float32) / 255
        y = tf.one_hot(tf.gather(labels, chosen), digits.classes)
        if augment is not None:
            x = augment(x, key)
        if teacher is not None:
            guess = tf.nn.softmax(teacher(x, training=False) / temperature)
            y = (1 - share) * y + share * guess
        return x, y

    def make(epoch: tf.Tensor) -> tf.data.Dataset:
        epoch = tf.cast(epoch, tf.int64)
        key = tf.stack([tf.constant(seed, tf.int64), epoch])
        order = tf.random.experimental.stateless_shuffle(
            tf.range(len(digits), dtype=tf.int32), seed=key
        )
        chosen = tf.data.Dataset.from_tensor_slices(order).batch(batch_size, drop_remainder=True)
        keys = tf.data.Dataset.range(1, 1 << 30).map(
            lambda step: tf.stack([seed * 100_003 + epoch, step])
        )
        return tf.data.Dataset.zip(chosen, keys).map(batch).prefetch(2)

    return hl.EpochData(make, seed=seed)
