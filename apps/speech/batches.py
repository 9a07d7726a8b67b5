"""Padded batches of similar length, in an order that is a function of seed and epoch alone."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeAlias

import numpy as np
import tensorflow as tf

from apps.common.errors import InputError
from apps.speech.augment import Augment

Epoch: TypeAlias = "int | tf.Variable | Callable[[], int]"
MULTIPLE = 16  # padded lengths are multiples of it: friendly to strides and vector units


@dataclasses.dataclass(frozen=True)
class Batch:
    """Which utterances one batch holds, and how many frames it is padded to."""

    indices: tuple[int, ...]
    frames: int


def required_frames(labels: np.ndarray) -> int:
    """Fewest output frames on which CTC can write the labels: one each, and a blank between
    equal neighbours.

    Example:
        >>> required_frames(np.array([1, 1, 2]))
        4
    """
    return len(labels) + int(np.sum(labels[1:] == labels[:-1]))


def bucket_bounds(lengths: Sequence[int], buckets: int | Sequence[int] = 6) -> list[int]:
    """Padded lengths of the buckets, ascending.

    Args:
        lengths: frames of each utterance.
        buckets: how many at most (chosen so that padding is least), or the bounds themselves. Few,
            because every static shape costs a trace where shapes are static (`jit_compile`), and
            makes batches less random.

    Raises:
        InputError: no bucket, or an utterance longer than the last bound.

    Example:
        >>> bucket_bounds([10, 12, 100, 90], 2)
        [16, 112]
    """
    ordered = np.sort(np.asarray(lengths, np.int64))
    if not isinstance(buckets, int):
        bounds = sorted({int(bound) for bound in buckets})
        if not bounds or (len(ordered) and ordered[-1] > bounds[-1]):
            raise InputError(
                f"buckets: got {bounds}; expected frame counts, the last one at least the longest"
                f" utterance ({ordered[-1] if len(ordered) else 0} frames)"
            )
        return bounds
    if buckets < 1:
        raise InputError(f"buckets: got {buckets}; expected at least 1")
    return _least_padding(-(-ordered // MULTIPLE) * MULTIPLE, buckets)


def _least_padding(lengths: np.ndarray, buckets: int) -> list[int]:
    """The bounds of at most `buckets` buckets that pad least (dynamic programming over the
    distinct lengths: the best k buckets up to a length extend the best k - 1 up to a shorter)."""
    ends, counts = np.unique(lengths, return_counts=True)
    if len(ends) <= buckets:
        return [int(end) for end in ends] or [MULTIPLE]
    below = np.concatenate([[0], np.cumsum(counts)])
    cost = np.concatenate([[0.0], np.full(len(ends), np.inf)])  # of what is below each cut
    choices = []
    for _ in range(buckets):
        # totals[i, j]: cut at i, then one bucket from i to j, padded to ends[j - 1].
        totals = cost[:, None] + (below[None, :] - below[:, None]) * np.concatenate([[0], ends])
        totals[np.tril_indices(len(cost))] = np.inf
        choices.append(totals.argmin(axis=0))
        cost = totals.min(axis=0)
    bounds, cut = [], len(ends)
    for choice in reversed(choices):
        bounds.append(int(ends[cut - 1]))
        cut = int(choice[cut])
    return bounds[::-1]


def plan_batches(
    lengths: Sequence[int],
    batch_size: int,
    *,
    epoch: int = 0,
    seed: int = 0,
    shuffle: bool = True,
    buckets: int | Sequence[int] = 6,
    drop_remainder: bool = False,
) -> list[Batch]:
    """The batches of one epoch: which utterances, in which order.

    With `shuffle`, utterances are shuffled within their bucket and batches across buckets, by a
    generator seeded with (seed, epoch) and nothing else. Without, batches go from short to long.
    Every utterance occurs exactly once; each bucket's last batch may be smaller; the number of
    batches is the same in every epoch.

    With `drop_remainder` such smaller batches are left out where their bucket has a full one, so
    that a bucket's batches have one shape; with `shuffle` other utterances are missing each epoch.

    Example:
        >>> [batch.indices for batch in plan_batches([30, 10, 20], 2, shuffle=False, buckets=1)]
        [(1, 2), (0,)]
    """
    if batch_size < 1:
        raise InputError(f"batch_size: got {batch_size}; expected at least 1")
    bounds = bucket_bounds(lengths, buckets)
    bucket_of = np.searchsorted(bounds, np.asarray(lengths, np.int64))
    by_length = np.argsort(np.asarray(lengths), kind="stable")
    rng = np.random.default_rng([seed, epoch])
    plan: list[Batch] = []
    for bucket, bound in enumerate(bounds):
        members = by_length[bucket_of[by_length] == bucket]
        if shuffle:
            members = rng.permutation(members)
        groups = [members[k : k + batch_size] for k in range(0, len(members), batch_size)]
        if drop_remainder and len(groups) > 1 and len(groups[-1]) < batch_size:
            del groups[-1]
        plan += [Batch(tuple(int(k) for k in group), bound) for group in groups]
    return [plan[int(k)] for k in rng.permutation(len(plan))] if shuffle else plan


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
        features: (frames, width) each.
        labels: int (characters,) each.
        time_reduction: frames in for one frame out of the network (its strides multiplied).
        names: utterance ids, for messages.
        drop_impossible: leave the others out with a warning instead of raising.

    Raises:
        InputError: different numbers of features and labels; an utterance that is too short, or
            all of them.
    """
    if len(features) != len(labels):
        raise InputError(
            f"batches: got {len(features)} utterances of features and {len(labels)} of labels;"
            " expected as many"
        )
    if time_reduction < 1:
        raise InputError(f"time_reduction: got {time_reduction}; expected at least 1")
    short = [
        k
        for k, (rows, label) in enumerate(zip(features, labels, strict=True))
        if -(-len(rows) // time_reduction) < max(1, required_frames(label))
    ]
    if short:
        first = short[0]
        name = names[first] if names is not None else f"utterance {first}"
        message = (
            f"{len(short)} of {len(features)} utterances are too short for their transcripts, the"
            f" first {name}: {len(features[first])} frames give"
            f" {-(-len(features[first]) // time_reduction)} after the network's strides of"
            f" {time_reduction}, its {len(labels[first])} labels need"
            f" {required_frames(labels[first])}"
        )
        if not drop_impossible or len(short) == len(features):
            raise InputError(f"{message}; correct the transcript, cut it, or drop such utterances")
        print(f"warning: dropped {message}", file=sys.stderr)
    left_out = set(short)
    return [k for k in range(len(features)) if k not in left_out]


def batches(
    features: Sequence[np.ndarray],
    labels: Sequence[np.ndarray],
    *,
    batch_size: int,
    epoch: Epoch = 0,
    shuffle: bool = True,
    seed: int = 0,
    buckets: int | Sequence[int] = 6,
    augment: Augment | None = None,
    time_reduction: int = 1,
    names: Sequence[str] | None = None,
    drop_impossible: bool = False,
    drop_remainder: bool = False,
) -> tf.data.Dataset:
    """A dataset of one epoch.

    Args:
        features: float32 (frames, width) each, all of one width.
        labels: int32 (characters,) each, without blanks.
        batch_size: utterances in a batch; a bucket's last one may hold fewer.
        epoch: chooses order and masks. A number; or a `tf.Variable` or callable, read each time
            the dataset is iterated, so that one dataset serves all epochs of a `fit`.
        shuffle: see `plan_batches`; False for evaluation. `plan_batches` with the same arguments
            tells which utterance is where.
        seed: of order and masks.
        buckets: see `bucket_bounds`.
        drop_remainder: see `plan_batches`.
        augment: applied with the seed of (seed, epoch, step).
        time_reduction, names, drop_impossible: see `usable`.

    Returns:
        Dataset of known cardinality with elements {"features": (batch, frames, width) float32
        padded with 0, "lengths": (batch,) int32, "labels": (batch, longest of the
        bucket) int32 padded with 0, "label_lengths": (batch,) int32}.

    Raises:
        InputError: as `usable` and `plan_batches`.

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
    widths = _label_widths(lengths, ids, bucket_bounds(lengths, buckets))

    def plan(number: int) -> list[Batch]:
        return plan_batches(
            lengths, batch_size, epoch=number, seed=seed, shuffle=shuffle, buckets=buckets,
            drop_remainder=drop_remainder,
        )  # fmt: skip

    def generate() -> Iterator[dict[str, Any]]:
        number = _epoch(epoch)
        for step, batch in enumerate(plan(number)):
            element = _pad(batch, rows, ids, widths[batch.frames])
            # Plain arithmetic of a generator: any two (seed, epoch, step) give unrelated pairs.
            state = np.random.SeedSequence([seed, number, step]).generate_state(2)
            yield {**element, "seed": state.view(np.int32)}

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


def _epoch(epoch: Epoch) -> int:
    value: Any = epoch() if callable(epoch) and not isinstance(epoch, tf.Variable) else epoch
    return int(value.numpy()) if isinstance(value, tf.Variable) else int(value)


def _label_widths(
    lengths: Sequence[int], labels: Sequence[np.ndarray], bounds: Sequence[int]
) -> dict[int, int]:
    """Longest label of each bucket, so that a bucket's full batches all have one shape."""
    widths = dict.fromkeys(bounds, 1)
    for length, label in zip(lengths, labels, strict=True):
        bound = bounds[int(np.searchsorted(bounds, length))]
        widths[bound] = max(widths[bound], len(label))
    return widths


def _pad(
    batch: Batch, features: Sequence[np.ndarray], labels: Sequence[np.ndarray], width: int
) -> dict[str, np.ndarray]:
    rows = [features[k] for k in batch.indices]
    ids = [labels[k] for k in batch.indices]
    padded = np.zeros((len(rows), batch.frames, rows[0].shape[1]), np.float32)
    padded_ids = np.zeros((len(ids), width), np.int32)
    for k, (row, label) in enumerate(zip(rows, ids, strict=True)):
        padded[k, : len(row)] = row
        padded_ids[k, : len(label)] = label
    return {
        "features": padded,
        "lengths": np.array([len(row) for row in rows], np.int32),
        "labels": padded_ids,
        "label_lengths": np.array([len(label) for label in ids], np.int32),
    }
