import itertools

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from apps.speech.layers import ctc_loss


def collapse(path):
    return tuple(symbol for symbol, _ in itertools.groupby(path) if symbol != 0)


def loss_by_enumeration(labels, logits):
    """Sum over every path of the softmax's product: the definition of CTC."""
    probabilities = np.exp(logits - np.logaddexp.reduce(logits, axis=-1, keepdims=True))
    frames, symbols = probabilities.shape
    total = sum(
        np.prod([probabilities[t, s] for t, s in enumerate(path)])
        for path in itertools.product(range(symbols), repeat=frames)
        if collapse(path) == tuple(labels)
    )
    return -np.log(total)


@settings(max_examples=20, deadline=None)
@given(
    labels=st.lists(st.integers(1, 3), min_size=0, max_size=2),
    frames=st.integers(3, 4),
    seed=st.integers(0, 99),
)
def test_the_loss_is_the_sum_over_all_paths(labels, frames, seed):
    logits = np.random.default_rng(seed).normal(size=(frames, 4)).astype("float32")
    padded = np.zeros((1, 4), "int32")
    padded[0, : len(labels)] = labels
    loss = ctc_loss(padded, logits[None], [len(labels)], [frames])
    np.testing.assert_allclose(loss[0], loss_by_enumeration(labels, logits), rtol=1e-5)


def random_batch(seed=0):
    rng = np.random.default_rng(seed)
    logits = tf.constant(rng.normal(size=(3, 12, 6)).astype("float32"))
    labels = tf.constant(rng.integers(1, 6, size=(3, 5)).astype("int32"))
    return labels, logits, tf.constant([5, 2, 1]), tf.constant([12, 9, 4])


def test_loss_and_gradient_equal_those_of_keras_ctc():
    labels, logits, label_lengths, logit_lengths = random_batch()

    def both(loss):
        with tf.GradientTape() as tape:
            tape.watch(logits)
            value = loss(labels, logits, label_lengths, logit_lengths)
        return value, tape.gradient(value, logits)

    ours, our_gradient = both(ctc_loss)
    theirs, their_gradient = both(lambda y, x, n, t: keras.ops.ctc_loss(y, x, n, t, mask_index=0))
    np.testing.assert_allclose(ours, theirs, rtol=1e-5)
    np.testing.assert_allclose(our_gradient, their_gradient, atol=1e-5)


def test_frames_beyond_the_length_and_padded_labels_do_not_count():
    labels, logits, label_lengths, logit_lengths = random_batch()
    expected = ctc_loss(labels, logits, label_lengths, logit_lengths)
    changed = tf.concat([logits, tf.fill((3, 4, 6), 1e4)], axis=1)
    more_labels = tf.concat([labels, tf.fill((3, 2), 3)], axis=1)
    np.testing.assert_array_equal(
        ctc_loss(more_labels, changed, label_lengths, logit_lengths), expected
    )


def test_more_labels_than_frames_are_an_error():
    with pytest.raises(tf.errors.InvalidArgumentError):
        ctc_loss([[1, 2, 1]], tf.zeros((1, 2, 3)), [3], [2])


def test_the_loss_is_infinite_where_a_needed_blank_does_not_fit():
    assert np.isinf(ctc_loss([[1, 1]], tf.zeros((1, 2, 3)), [2], [2])[0])
    assert np.isfinite(ctc_loss([[1, 1]], tf.zeros((1, 3, 3)), [2], [3])[0])
