import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st

from apps.common.bucketing import plan_batches
from apps.common.errors import InputError
from apps.speech.alphabet import Alphabet
from apps.speech.augment import SpecAugment
from apps.speech.batches import batches, prepare, required_frames, usable
from apps.speech.features import extract_all
from tests.apps.conftest import TINY


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


def test_batches_hold_padded_features_and_labels_with_true_lengths():
    features, labels = data()
    plan = plan_batches([len(row) for row in features], 4, seed=5, epoch=1)
    found = arrays(batches(features, labels, batch_size=4, seed=5, epoch=1))
    assert len(found) == len(plan)
    for element, batch in zip(found, plan, strict=True):
        assert element["features"].shape == (len(batch.indices), batch.length, 5)
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


def test_an_epoch_can_be_a_function_that_is_asked_at_each_iteration():
    features, labels = data()
    epochs = iter((0, 1, 0))
    dataset = batches(features, labels, batch_size=4, epoch=lambda: next(epochs))
    plans = [order(dataset) for _ in range(3)]
    assert plans[0] == plans[2] != plans[1]
    assert plans[1] == order(batches(features, labels, batch_size=4, epoch=1))


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


def test_copies_come_at_each_speed_then_from_each_room_at_the_speeds_in_turn(toy_corpus, cache):
    speeds = (0.9, 1.0)
    made = prepare(
        toy_corpus, "train", TINY.front_end, Alphabet(), cache, speeds=speeds, rooms=3, quiet=True
    )
    count = len(toy_corpus.train)
    assert len(made.features) == len(made.labels) == len(made.utterances) == 5 * count
    for number, (speed, room) in enumerate([(0.9, 0), (1.0, 0), (0.9, 1), (1.0, 2), (0.9, 3)]):
        wanted = extract_all(
            toy_corpus.train, TINY.front_end, cache, speed_factor=speed, room=room, quiet=True
        )
        for k in range(count):
            place = number * count + k
            np.testing.assert_array_equal(made.features[place], wanted[k])
            np.testing.assert_array_equal(made.labels[place], made.labels[k])
