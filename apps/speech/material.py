"""A corpus made ready for a network: features, labels and texts of each split."""

from __future__ import annotations

import os
from dataclasses import dataclass

import numpy as np
import tensorflow as tf

import hlstm_tf as hl
from apps.common.errors import InputError
from apps.speech.alphabet import Alphabet
from apps.speech.augment import Augment
from apps.speech.batches import batches
from apps.speech.features import extract_all
from apps.speech.front_end import FrontEnd
from apps.speech.utterance import Corpus, SplitName, Utterance

INPUTS = ("features", "lengths")
TARGETS = ("labels", "label_lengths")


@dataclass(frozen=True)
class Material:
    """The features and labels of some utterances.

    Attributes:
        utterances: What they belong to.
        features: `(frames, bands)` float32 each.
        labels: `(characters,)` int32 each.
    """

    utterances: tuple[Utterance, ...]
    features: list[np.ndarray]
    labels: list[np.ndarray]

    @property
    def texts(self) -> list[str]:
        """The transcripts."""
        return [utterance.text for utterance in self.utterances]

    def with_more(self, other: Material) -> Material:
        """Return this and other utterances."""
        return Material(
            self.utterances + other.utterances,
            self.features + other.features,
            self.labels + other.labels,
        )

    def up_to(self, frames: int) -> Material:
        """Return what has at most `frames` feature frames.

        Raises:
            InputError: Nothing has.
        """
        kept = [i for i, found in enumerate(self.features) if len(found) <= frames]
        if not kept:
            raise InputError(f"max_seconds: all utterances have over {frames} frames; raise it")
        return Material(
            tuple(self.utterances[i] for i in kept),
            [self.features[i] for i in kept],
            [self.labels[i] for i in kept],
        )


def prepare(
    corpus: Corpus,
    split: SplitName,
    front_end: FrontEnd,
    alphabet: Alphabet,
    cache: str | os.PathLike[str] | None = None,
    *,
    speeds: tuple[float, ...] = (1.0,),
    rooms: int = 0,
    quiet: bool = False,
) -> Material:
    """Extract a split's features and encode its transcripts.

    Args:
        corpus: Where the split is from.
        split: "train", "valid" or "test".
        front_end: Makes the features.
        alphabet: Encodes the transcripts.
        cache: Folder of the features' cache; None for none.
        speeds: Factors by which the recordings are played faster; each makes a copy of the split.
        rooms: How many copies more are made, of each recording in another place each
            (`apps.speech.channel.Channel.elsewhere`), at the speeds in turn.
        quiet: No progress on standard error.

    Raises:
        InputError: The split is empty, a recording cannot be used, or a transcript has a character
            that the alphabet lacks.
    """
    utterances = corpus.split(split)
    labels = [alphabet.encode(utterance.text, utterance.id) for utterance in utterances]
    features: list[np.ndarray] = []
    copies = [(speed, 0) for speed in speeds]
    copies += [(speeds[k % len(speeds)], k + 1) for k in range(rooms)]
    for speed, room in copies:
        features += extract_all(
            utterances, front_end, cache, speed_factor=speed, room=room, quiet=quiet,
            in_tensorflow=True,
        )  # fmt: skip
    return Material(utterances * len(copies), features, labels * len(copies))


def supervised(data: tf.data.Dataset) -> tf.data.Dataset:
    """Turn batches into the `(inputs, targets)` pairs that `model.fit` wants.

    Example:

    >>> batch = {name: tf.zeros((1, 1)) for name in (*INPUTS, *TARGETS)}
    >>> x, y = next(iter(supervised(tf.data.Dataset.from_tensors(batch))))
    >>> sorted(x), sorted(y)
    (['features', 'lengths'], ['label_lengths', 'labels'])
    """
    return data.map(
        lambda batch: (
            {name: batch[name] for name in INPUTS},
            {name: batch[name] for name in TARGETS},
        )
    )


def training_data(
    material: Material,
    time_stride: int,
    *,
    batch_size: int,
    seed: int,
    augment: Augment | None,
    sorted_epochs: int = 0,
    buckets: int = 6,
    drop_impossible: bool = False,
    drop_remainder: bool = False,
) -> hl.EpochData:
    """Make the pairs to train on; their order and augmentation are functions of the epoch.

    Args:
        material: The training split.
        time_stride: The network's; transcripts must fit into the frames that it leaves.
        batch_size: Utterances in a batch.
        seed: Of order and augmentation.
        augment: Such as `SpecAugment`; None for none.
        sorted_epochs: How many epochs go from short utterances to long ones, without augmentation
            (SortaGrad; Amodei et al., arXiv 1512.02595, section 3.3). CTC finds its first
            alignments several times faster that way.
        buckets: How many padded lengths there are; each is a shape to trace and compile.
        drop_impossible: Leave out utterances too short for their transcripts, with a warning.
        drop_remainder: Leave out batches that are not full; other utterances each epoch.

    Raises:
        InputError: An utterance is too short for its transcript.
    """
    made: list[hl.EpochData] = []

    # The batches are planned in Python, which asks for the epoch when an iteration begins.
    def current() -> int:
        return made[0].epoch if made else 0

    def pairs(shuffle: bool) -> tf.data.Dataset:
        return supervised(
            batches(
                material.features,
                material.labels,
                batch_size=batch_size,
                epoch=current,
                shuffle=shuffle,
                seed=seed,
                augment=augment if shuffle else None,
                time_reduction=time_stride,
                buckets=buckets,
                names=[utterance.id for utterance in material.utterances],
                drop_impossible=drop_impossible,
                drop_remainder=drop_remainder,
            )
        )

    @tf.autograph.experimental.do_not_convert  # AutoGraph warns of the generator inside
    def make(epoch: tf.Tensor) -> tf.data.Dataset:
        shuffled = pairs(shuffle=True)
        if not sorted_epochs:
            return shuffled
        steps = shuffled.cardinality()
        first, later = tf.cond(
            epoch < sorted_epochs,
            lambda: (steps, tf.zeros_like(steps)),
            lambda: (tf.zeros_like(steps), steps),
        )
        both = pairs(shuffle=False).take(first).concatenate(shuffled.take(later))
        return both.apply(tf.data.experimental.assert_cardinality(steps))

    made.append(hl.EpochData(make))
    return made[0]


def scoring_data(material: Material, batch_size: int = 32) -> tf.data.Dataset:
    """Make the batches to score on: every utterance once, short ones first.

    Kept in memory, since they are used after every epoch. Utterances too short for their
    transcripts stay in: what cannot be recognised counts as wrong.
    """
    data = batches(
        material.features, material.labels, batch_size=batch_size, shuffle=False, buckets=4
    )
    return data.cache()
