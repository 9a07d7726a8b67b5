"""A corpus made ready for a network: features and labels, and padded batches of them."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import tensorflow as tf

import hlstm_tf as hl
from apps.common.bucketing import Batch, bucket_bounds, plan_batches
from apps.common.errors import InputError
from apps.common.recipe import check
from apps.speech.alphabet import Alphabet
from apps.speech.augment import Augment
from apps.speech.features import extract_all
from apps.speech.front_end import FrontEnd
from apps.speech.utterance import Corpus, SplitName, Utterance

Epoch: TypeAlias = "int | Callable[[], int]"
PARTS = (("features", "lengths"), ("labels", "label_lengths"))
"""The inputs of a network and its targets, as `model.fit` wants them."""


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
        utterances = tuple(self.utterances[i] for i in kept)
        return Material(
            utterances, [self.features[i] for i in kept], [self.labels[i] for i in kept]
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
        corpus, split: What to prepare.
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
    copies = [(speed, 0) for speed in speeds]
    copies += [(speeds[k % len(speeds)], k + 1) for k in range(rooms)]
    features: list[np.ndarray] = []
    for speed, room in copies:
        features += extract_all(
            utterances, front_end, cache, speed_factor=speed, room=room, quiet=quiet,
            in_tensorflow=True,
        )  # fmt: skip
    return Material(utterances * len(copies), features, labels * len(copies))


def required_frames(labels: np.ndarray) -> int:
    """Fewest output frames on which CTC can write the labels: one each, and a blank between
    equal neighbours.

    Example:
        >>> required_frames(np.array([1, 1, 2]))
        4
    """
    return len(labels) + int(np.sum(labels[1:] == labels[:-1]))


def usable(
    features: Sequence[np.ndarray],
    labels: Sequence[np.ndarray],
    *,
    time_reduction: int = 1,
    names: Sequence[str] | None = None,
    drop_impossible: bool = False,
) -> list[int]:
    """Indices of the utterances that CTC can learn: enough frames for their labels.

    Args:
        features, labels: As in `Material`.
        time_reduction: Frames in for one frame out of the network (its strides multiplied).
        names: Utterance ids, for messages.
        drop_impossible: Leave the others out with a warning instead of raising.

    Raises:
        InputError: Different numbers of features and labels; an utterance that is too short, or
            all of them.
    """
    if len(features) != len(labels):
        raise InputError(
            f"batches: got {len(features)} utterances of features and {len(labels)} of labels;"
            " expected as many"
        )
    check("time_reduction", time_reduction, time_reduction >= 1, "at least 1")
    left = [-(-len(rows) // time_reduction) for rows in features]
    needed = [required_frames(label) for label in labels]
    kept = [k for k in range(len(features)) if left[k] >= max(1, needed[k])]
    if len(kept) == len(features):
        return kept
    first = min(set(range(len(features))) - set(kept))
    name = names[first] if names is not None else f"utterance {first}"
    message = (
        f"{len(features) - len(kept)} of {len(features)} utterances are too short for their"
        f" transcripts, the first {name}: {len(features[first])} frames give {left[first]} after"
        f" the network's strides of {time_reduction}, its {len(labels[first])} labels need"
        f" {needed[first]}"
    )
    if not drop_impossible or not kept:
        raise InputError(f"{message}; correct the transcript, cut it, or drop such utterances")
    print(f"warning: dropped {message}", file=sys.stderr)
    return kept


def batches(
    features: Sequence[np.ndarray],
    labels: Sequence[np.ndarray],
    *,
    batch_size: int,
    epoch: Epoch = 0,
    shuffle: bool = True,
    seed: int = 0,
    buckets: int = 6,
    augment: Augment | None = None,
    time_reduction: int = 1,
    names: Sequence[str] | None = None,
    drop_impossible: bool = False,
    drop_remainder: bool = False,
) -> tf.data.Dataset:
    """A dataset of one epoch.

    Args:
        features, labels: As in `Material`, features all of one width.
        batch_size, shuffle, buckets, drop_remainder: As `apps.common.bucketing.plan_batches` has
            them, which with the same arguments tells which utterance is where.
        epoch: Chooses order and masks. A number; or a function that gives it each time the dataset
            is iterated, so that one dataset serves all epochs of a `fit`.
        seed: Of order and masks.
        augment: Applied with the seed of (seed, epoch, step).
        time_reduction, names, drop_impossible: As `usable` has them.

    Returns:
        Dataset of known cardinality with elements {"features": (batch, frames, width) float32
        padded with 0, "lengths": (batch,) int32, "labels": (batch, longest of the
        bucket) int32 padded with 0, "label_lengths": (batch,) int32}.

    Raises:
        InputError: As `usable` and `plan_batches`.

    Example:
        >>> data = batches([np.ones((20, 4), np.float32)], [np.array([1, 2])], batch_size=8)
        >>> {name: tuple(value.shape) for name, value in next(iter(data)).items()}
        {'features': (1, 32, 4), 'lengths': (1,), 'labels': (1, 2), 'label_lengths': (1,)}
    """
    kept = usable(
        features, labels, time_reduction=time_reduction, names=names,
        drop_impossible=drop_impossible,
    )  # fmt: skip
    if not kept:
        raise InputError("batches: no utterances; expected at least one")
    rows = [features[k] for k in kept]
    ids = [np.asarray(labels[k], np.int32) for k in kept]
    lengths = [len(row) for row in rows]
    bounds = bucket_bounds(lengths, buckets)
    # The longest label of each bucket, so that its full batches all have one shape.
    widths = dict.fromkeys(bounds, 1)
    for length, label in zip(lengths, ids, strict=True):
        bound = bounds[int(np.searchsorted(bounds, length))]
        widths[bound] = max(widths[bound], len(label))

    def plan(number: int) -> list[Batch]:
        return plan_batches(
            lengths, batch_size, epoch=number, seed=seed, shuffle=shuffle, buckets=buckets,
            drop_remainder=drop_remainder,
        )  # fmt: skip

    def generate() -> Iterator[dict[str, Any]]:
        number = epoch() if callable(epoch) else epoch
        for step, batch in enumerate(plan(number)):
            values, counts = _padded([rows[k] for k in batch.indices], batch.length)
            targets, sizes = _padded([ids[k] for k in batch.indices], widths[batch.length])
            element = {"features": values, "lengths": counts, "labels": targets}
            # Plain arithmetic of a generator: any two (seed, epoch, step) give unrelated pairs.
            state = np.random.SeedSequence([seed, number, step]).generate_state(2)
            yield {**element, "label_lengths": sizes, "seed": state.view(np.int32)}

    signature = {
        "features": tf.TensorSpec((None, None, rows[0].shape[1]), tf.float32),
        "lengths": tf.TensorSpec((None,), tf.int32),
        "labels": tf.TensorSpec((None, None), tf.int32),
        "label_lengths": tf.TensorSpec((None,), tf.int32),
        "seed": tf.TensorSpec((2,), tf.int32),
    }
    dataset = tf.data.Dataset.from_generator(generate, output_signature=signature)

    def finish(element: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        element = dict(element)
        key = element.pop("seed")
        if augment is not None:
            element["features"] = augment(element["features"], element["lengths"], key)
        return element

    dataset = dataset.map(finish, num_parallel_calls=1, deterministic=True)
    dataset = dataset.apply(tf.data.experimental.assert_cardinality(len(plan(0)))).prefetch(2)
    options = tf.data.Options()
    # Nothing here is left to tune, and where the cores are busy the tuner's thread takes seconds to
    # end with each epoch.
    options.autotune.enabled = False
    return dataset.with_options(options)


def _padded(arrays: Sequence[np.ndarray], length: int) -> tuple[np.ndarray, np.ndarray]:
    """Arrays in one, behind them zeros, and their own lengths."""
    padded = np.zeros((len(arrays), length, *arrays[0].shape[1:]), arrays[0].dtype)
    for row, array in zip(padded, arrays, strict=True):
        row[: len(array)] = array
    return padded, np.array([len(array) for array in arrays], np.int32)


def training_data(
    material: Material, time_stride: int, *, sorted_epochs: int = 0, augment: Augment | None,
    **options: Any,
) -> hl.EpochData:  # fmt: skip
    """Make the pairs to train on; their order and augmentation are functions of the epoch.

    Args:
        material: The training split.
        time_stride: The network's; transcripts must fit into the frames that it leaves.
        sorted_epochs: How many epochs go from short utterances to long ones, without augmentation
            (SortaGrad; Amodei et al., arXiv 1512.02595, section 3.3). CTC finds its first
            alignments several times faster that way.
        augment: Such as `SpecAugment`; None for none.
        **options: As `batches` takes them: `batch_size`, `seed`, `buckets`, `drop_impossible`,
            `drop_remainder`.

    Raises:
        InputError: An utterance is too short for its transcript.
    """
    made: list[hl.EpochData] = []

    # The batches are planned in Python, which asks for the epoch when an iteration begins.
    def current() -> int:
        return made[0].epoch if made else 0

    def pairs(shuffle: bool) -> tf.data.Dataset:
        data = batches(
            material.features,
            material.labels,
            epoch=current,
            shuffle=shuffle,
            augment=augment if shuffle else None,
            time_reduction=time_stride,
            names=[utterance.id for utterance in material.utterances],
            **options,
        )
        return data.map(lambda batch: tuple({n: batch[n] for n in names} for names in PARTS))

    @tf.autograph.experimental.do_not_convert  # AutoGraph warns of the generator inside
    def make(epoch: tf.Tensor) -> tf.data.Dataset:
        shuffled = pairs(shuffle=True)
        if not sorted_epochs:
            return shuffled
        steps = shuffled.cardinality()
        first = tf.where(epoch < sorted_epochs, steps, tf.zeros_like(steps))
        both = pairs(shuffle=False).take(first).concatenate(shuffled.take(steps - first))
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
