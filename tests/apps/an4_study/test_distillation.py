import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from apps.an4_study.distillation import Teacher
from apps.an4_study.train import train
from apps.common.errors import InputError
from apps.common.record import read_record
from apps.speech.model import ModelConfig, build
from apps.speech.recognizer import load_keras
from tests.apps.an4_study.conftest import TINY


def network(seed):
    config = ModelConfig(
        {}, " AB", bands=4, channels=(2, 2), kernels=((3, 3), (3, 3)), cell="lstm", layers=1,
        units=3, seed=seed,
    )  # fmt: skip
    return build(config)


@pytest.fixture
def batch():
    features = np.random.default_rng(0).standard_normal((2, 12, 4)).astype(np.float32)
    x = {"features": tf.constant(features), "lengths": tf.constant([12, 6])}
    return x, {"labels": tf.constant([[2, 3], [3, 0]]), "label_lengths": tf.constant([2, 1])}


def softmax(logits):
    odds = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return odds / odds.sum(axis=-1, keepdims=True)


def test_the_loss_is_ctc_and_the_divergence_from_the_teacher_in_their_shares(batch):
    x, y = batch
    model, teacher = network(0), network(1)
    logits = model(x)
    ctc = float(model.compute_loss(x=x, y=y, y_pred=logits))
    model.blend = Teacher(teacher, 0.25).blend
    p, q = softmax(teacher(x).numpy()), softmax(logits.numpy())
    frames = (p * (np.log(p) - np.log(q))).sum(axis=-1)
    divergence = np.mean([frames[0].sum(), frames[1, :2].sum()])
    blended = float(model.compute_loss(x=x, y=y, y_pred=logits))
    assert blended == pytest.approx(0.75 * ctc + 0.25 * divergence, rel=1e-5)
    assert float(model.compute_loss(x=x, y=y, y_pred=logits, training=False)) == ctc


def test_a_pupil_who_says_the_same_has_nothing_to_learn(batch):
    x, y = batch
    model = network(0)
    model.blend = Teacher(network(0), 1.0).blend
    with tf.GradientTape() as tape:
        loss = model.compute_loss(x=x, y=y, y_pred=model(x))
    assert float(loss) == pytest.approx(0.0, abs=1e-5)
    for gradient in tape.gradient(loss, model.trainable_variables):
        assert np.abs(tf.convert_to_tensor(gradient)).max() < 1e-4


def test_a_teacher_is_neither_trained_nor_saved(tmp_path):
    model, plain = network(0), network(0)
    model.blend = Teacher(network(1), 0.5).blend
    assert len(model.weights) == len(plain.weights)
    model.save(tmp_path / "pupil.keras")
    loaded = load_keras(tmp_path / "pupil.keras")
    assert loaded.blend is None
    assert len(loaded.weights) == len(plain.weights)


def test_a_share_out_of_range_is_refused():
    with pytest.raises(ValueError, match=r"share must be from 0 to 1; got 1\.5"):
        Teacher(network(0), 1.5)


@pytest.mark.training
def test_a_training_learns_from_a_teacher_and_says_so(gp_run, toy_corpus, cache, tmp_path):
    recipe = dataclasses.replace(TINY, teacher_share=0.9, epochs=1, warmup_epochs=0.5)
    run = train(recipe, toy_corpus, tmp_path / "run", cache, teacher=gp_run.model)
    assert len(read_record(run.folder)["teacher"]) == 64
    with pytest.raises(InputError, match="teacher: the recipe's teacher_share is"):
        train(recipe, toy_corpus, run.folder, cache)
    with pytest.raises(InputError, match=r"teacher: .*absent\.keras: no such file"):
        train(recipe, toy_corpus, run.folder, cache, teacher=tmp_path / "absent.keras")
