import itertools

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st

from apps.common.errors import InputError
from apps.speech.augment import SpecAugment
from apps.speech.batches import (
    MULTIPLE,
    batches,
    bucket_bounds,
    plan_batches,
    required_frames,
    usable,
)

lengths_lists = st.lists(st.integers(1, 900), min_size=1, max_size=60)


def data(count=23, width=5, seed=0):
    rng = np.random.default_rng(seed)
    features = [
        np.full((int(n), width), k + 1, np.float32)
        for k, n in enumerate(rng.integers(20, 200, count))
    ]
    labels = [rng.integers(1, 29, 3 + k % 4).astype(np.int32) for k in range(count)]
    return features, labels


def arrays(dataset):
    return [{k: v.numpy() for k, v in element.items()} for element in dataset]


def assert_same(one, other):
    assert len(one) == len(other)
    for a, b in zip(one, other, strict=True):
        assert a.keys() == b.keys()
        for key in a:
            np.testing.assert_array_equal(a[key], b[key])


def order(dataset):
    """Which utterance is where: each one's features hold its number."""
    return [element["features"][:, 0, 0].astype(int).tolist() for element in arrays(dataset)]


@given(lengths_lists, st.integers(1, 9), st.integers(0, 3), st.booleans(), st.integers(1, 8))
def test_every_utterance_occurs_once_in_a_bucket_that_holds_it(lengths, size, epoch, shuffle, n):
    plan = plan_batches(lengths, size, epoch=epoch, shuffle=shuffle, buckets=n)
    assert sorted(k for batch in plan for k in batch.indices) == list(range(len(lengths)))
    assert all(lengths[k] <= batch.frames for batch in plan for k in batch.indices)
    assert all(len(batch.indices) <= size for batch in plan)
    assert len({batch.frames for batch in plan}) <= n
    assert len(plan) == len(plan_batches(lengths, size, epoch=epoch + 1, buckets=n))


@given(lengths_lists, st.integers(1, 8))
def test_bounds_are_few_ascending_multiples_and_fit_the_longest(lengths, buckets):
    bounds = bucket_bounds(lengths, buckets)
    assert bounds == sorted(set(bounds))
    assert 1 <= len(bounds) <= buckets
    assert all(bound % MULTIPLE == 0 for bound in bounds)
    assert 0 <= bounds[-1] - max(lengths) < MULTIPLE


def test_bounds_can_be_given():
    assert bucket_bounds([10, 30], [64, 32]) == [32, 64]
    with pytest.raises(InputError, match=r"the longest utterance \(70 frames\)"):
        bucket_bounds([10, 70], [32, 64])
    with pytest.raises(InputError, match="buckets: got 0"):
        bucket_bounds([10], 0)


@given(st.lists(st.integers(1, 160), min_size=1, max_size=30), st.integers(1, 4))
def test_no_other_bounds_pad_less(lengths, buckets):
    def padded(bounds):
        return sum(min(b for b in bounds if b >= n) for n in lengths)

    ends = sorted({-(-n // MULTIPLE) * MULTIPLE for n in lengths})
    choices = [
        (*some, ends[-1])
        for count in range(buckets)
        for some in itertools.combinations(ends[:-1], count)
    ]
    assert padded(bucket_bounds(lengths, buckets)) == min(map(padded, choices))


def test_the_order_is_a_function_of_seed_and_epoch_alone():
    lengths = [len(row) for row in data()[0]]
    one = plan_batches(lengths, 4, seed=1, epoch=2)
    plan_batches(lengths, 4, seed=9, epoch=9)
    np.random.default_rng().random()
    assert plan_batches(lengths, 4, seed=1, epoch=2) == one
    assert plan_batches(lengths, 4, seed=1, epoch=3) != one
    assert plan_batches(lengths, 4, seed=2, epoch=2) != one


def test_remainders_can_be_dropped_but_for_buckets_without_a_full_batch():
    lengths = [16] * 5 + [32] * 4 + [48]
    plans = [
        plan_batches(lengths, 2, epoch=epoch, buckets=3, drop_remainder=True) for epoch in range(9)
    ]
    for plan in plans:
        assert sorted((batch.frames, len(batch.indices)) for batch in plan) == [
            (16, 2), (16, 2), (32, 2), (32, 2), (48, 1),
        ]  # fmt: skip
    missing = {k for plan in plans for k in set(range(10)) - {i for b in plan for i in b.indices}}
    assert len(missing) > 1  # not the same utterance each time


def test_without_shuffling_batches_go_from_short_to_long():
    lengths = [len(row) for row in data()[0]]
    plan = plan_batches(lengths, 4, shuffle=False)
    flat = [lengths[k] for batch in plan for k in batch.indices]
    assert flat == sorted(flat)


def test_batches_hold_padded_features_and_labels_with_true_lengths():
    features, labels = data()
    plan = plan_batches([len(row) for row in features], 4, seed=5, epoch=1)
    found = arrays(batches(features, labels, batch_size=4, seed=5, epoch=1))
    assert len(found) == len(plan)
    for element, batch in zip(found, plan, strict=True):
        assert element["features"].shape == (len(batch.indices), batch.frames, 5)
        assert [element[k].dtype for k in sorted(element)] == ["float32", "int32", "int32", "int32"]
        for row, k in enumerate(batch.indices):
            length, count = len(features[k]), len(labels[k])
            assert element["lengths"][row] == length
            assert element["label_lengths"][row] == count
            np.testing.assert_array_equal(element["features"][row, :length], features[k])
            np.testing.assert_array_equal(element["labels"][row, :count], labels[k])
            assert not element["features"][row, length:].any()
            assert not element["labels"][row, count:].any()


def test_full_batches_of_a_bucket_have_one_shape():
    features, labels = data(200)
    found = arrays(batches(features, labels, batch_size=8, buckets=3))
    full = [element for element in found if len(element["lengths"]) == 8]
    shapes = {(e["features"].shape, e["labels"].shape) for e in full}
    assert len(shapes) == len({e["features"].shape for e in full}) == 3


def test_the_number_of_batches_is_known_and_the_element_is_symbolic_in_its_sizes():
    features, labels = data()
    dataset = batches(features, labels, batch_size=4)
    assert int(dataset.cardinality()) == len(arrays(dataset))
    assert dataset.element_spec["features"].shape.as_list() == [None, None, 5]


def test_an_epoch_can_be_a_variable_that_is_read_at_each_iteration():
    features, labels = data()
    epoch = tf.Variable(0, dtype=tf.int64)
    dataset = batches(features, labels, batch_size=4, epoch=epoch)
    plans = []
    for number in (0, 1, 0):
        epoch.assign(number)
        plans.append(order(dataset))
    assert plans[0] == plans[2] != plans[1]
    assert plans[1] == order(batches(features, labels, batch_size=4, epoch=1))
    assert plans[1] == order(batches(features, labels, batch_size=4, epoch=lambda: 1))


def test_masks_are_a_function_of_seed_epoch_and_step_too():
    features, labels = data()
    arguments = {"batch_size": 4, "seed": 3, "augment": SpecAugment(time_width=30)}
    first = arrays(batches(features, labels, epoch=2, **arguments))
    again = arrays(batches(features, labels, epoch=2, **arguments))
    assert_same(first, again)
    plain = arrays(batches(features, labels, epoch=2, batch_size=4, seed=3))
    assert any((a["features"] != b["features"]).any() for a, b in zip(first, plain, strict=True))
    masks = {(e["features"][0, : e["lengths"][0]] == 0).tobytes() for e in first}
    assert len(masks) > len(first) // 2


@given(st.lists(st.integers(1, 4), max_size=8).map(np.array))
def test_required_frames_are_one_a_label_and_one_between_equal_ones(labels):
    written, last = 0, None
    for label in labels:
        written += 2 if label == last else 1
        last = label
    assert required_frames(labels) == written


def test_the_required_frames_are_where_the_loss_becomes_finite():
    labels = np.array([1, 1, 2], np.int32)
    for frames, finite in ((3, False), (4, True)):
        loss = tf.nn.ctc_loss(
            labels[None], tf.zeros((1, frames, 3)), [3], [frames], logits_time_major=False,
            blank_index=0,
        )  # fmt: skip
        assert bool(loss[0] < 100) is finite  # TensorFlow's infinity is 708
        assert (required_frames(labels) <= frames) is finite


def test_a_transcript_longer_than_ctc_allows_is_named():
    features = [np.zeros((40, 3), np.float32), np.zeros((16, 3), np.float32)]
    labels = [np.array([1, 2]), np.array([1, 2, 2, 3])]
    message = (
        "1 of 2 utterances .* first cen2: 16 frames give 4 .* strides of 4, its 4 labels need 5"
    )
    with pytest.raises(InputError, match=message):
        batches(features, labels, batch_size=2, time_reduction=4, names=["cen1", "cen2"])
    assert usable(features, labels, time_reduction=3) == [0, 1]


def test_too_long_transcripts_can_be_dropped_with_a_warning(capsys):
    features = [np.zeros((40, 3), np.float32), np.zeros((2, 3), np.float32)]
    labels = [np.array([1, 2]), np.array([1, 2, 2, 3])]
    dataset = batches(features, labels, batch_size=2, drop_impossible=True)
    assert [element["lengths"].tolist() for element in arrays(dataset)] == [[40]]
    assert "dropped 1 of 2 utterances" in capsys.readouterr().err
    with pytest.raises(InputError, match="2 of 2 utterances"):
        batches(features, labels, batch_size=2, time_reduction=40, drop_impossible=True)


def test_an_empty_transcript_is_padded_to_one_label():
    dataset = batches([np.zeros((9, 3), np.float32)], [np.zeros(0, np.int32)], batch_size=1)
    (element,) = arrays(dataset)
    assert element["labels"].tolist() == [[0]]
    assert element["label_lengths"].tolist() == [0]


def test_bad_arguments_are_refused():
    features, labels = data(3)
    with pytest.raises(InputError, match="got 3 utterances of features and 2 of labels"):
        batches(features, labels[:2], batch_size=2)
    with pytest.raises(InputError, match="batch_size: got 0"):
        batches(features, labels, batch_size=0)
    with pytest.raises(InputError, match="time_reduction: got 0"):
        batches(features, labels, batch_size=1, time_reduction=0)
    with pytest.raises(InputError, match="no utterances"):
        batches([], [], batch_size=1)
