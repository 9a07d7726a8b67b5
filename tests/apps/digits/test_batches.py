import keras
import numpy as np
import pytest
import tensorflow as tf

from apps.digits.augment import Affine
from apps.digits.batches import scoring_data, training_data


def all_of(data):
    batches = list(data)
    return np.concatenate([x for x, _ in batches]), np.concatenate([y for _, y in batches])


def test_an_epoch_is_a_function_of_its_number_and_the_seed(splits):
    data = training_data(splits.train, 32, seed=5, augment=Affine())
    first = all_of(data)
    data.epoch = 1
    second = all_of(data)
    again = training_data(splits.train, 32, seed=5, augment=Affine())
    again.epoch = 1
    for found, expected in zip(all_of(again), second, strict=True):
        np.testing.assert_array_equal(found, expected)
    assert not np.array_equal(first[0], second[0])
    other = all_of(training_data(splits.train, 32, seed=6, augment=Affine()))
    assert not np.array_equal(first[1], other[1])


def test_without_augmentation_every_image_comes_once_as_it_is(splits):
    images, labels = all_of(training_data(splits.train, 44))
    expected, _ = scoring_data(splits.train)
    assert images.shape == expected.shape
    order = np.lexsort(images.reshape(len(images), -1).T)
    wanted = np.lexsort(expected.reshape(len(expected), -1).T)
    np.testing.assert_allclose(images[order], expected[wanted], atol=1e-6)
    np.testing.assert_array_equal(labels.argmax(1)[order], splits.train.labels[wanted])


def test_a_teacher_is_mixed_into_the_targets(splits):
    teacher = keras.Sequential(
        [keras.Input((28, 28, 1)), keras.layers.Flatten(), keras.layers.Dense(10)]
    )
    _, plain = all_of(training_data(splits.train, 44))
    images, mixed = all_of(
        training_data(splits.train, 44, teacher=teacher, share=0.25, temperature=2.0)
    )
    guesses = tf.nn.softmax(teacher(images) / 2.0)
    np.testing.assert_allclose(mixed, 0.75 * plain + 0.25 * guesses, atol=1e-5)


def test_no_change_leaves_images_alone(splits):
    images, _ = scoring_data(splits.valid)
    still = Affine(shift=0, turn=0, scale=0, slant=0)
    np.testing.assert_allclose(still(tf.constant(images), tf.constant([1, 2])), images, atol=1e-5)


@pytest.mark.parametrize("change", ["shift", "turn", "scale", "slant"])
def test_each_change_moves_a_square_and_keeps_about_its_ink(change):
    images = np.zeros((200, 28, 28, 1), np.float32)
    images[:, 9:19, 9:19] = 1
    values = {"shift": 0.0, "turn": 0.0, "scale": 0.0, "slant": 0.0}
    amount = {"shift": 2.0, "turn": 30.0, "scale": 0.2, "slant": 0.2}[change]
    changed = Affine(**{**values, change: amount})(tf.constant(images), tf.constant([3, 4])).numpy()
    ink = changed.sum((1, 2, 3))
    assert abs(ink.mean() - 100) < 8
    rows = (changed.sum((2, 3)) * np.arange(28)).sum(1) / ink
    columns = (changed.sum((1, 3)) * np.arange(28)).sum(1) / ink
    assert abs(rows.mean() - 13.5) < 0.3
    assert abs(columns.mean() - 13.5) < 0.3
    moves = max(np.abs(rows - 13.5).max(), np.abs(columns - 13.5).max())
    assert (1.5 < moves <= 2.01) if change == "shift" else moves < 0.6
    assert not np.allclose(changed[0], changed[1])
