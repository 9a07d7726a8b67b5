"""AlexNet grows, prunes and exports, at 32 x 32 and in its true size."""

import dataclasses

import keras
import numpy as np
import pytest

import hlstm_tf as hl
from apps.digits.classifier import load
from apps.digits.export import export_digits
from apps.digits.mnist import Digits, Splits
from apps.digits.model import alexnet
from apps.digits.recipe import Stage
from apps.digits.recipes import recipe
from apps.digits.train import train


def test_alexnet_at_224_is_the_published_one():
    model = alexnet()
    assert model.count_params() == 62_378_344
    shapes = [layer.output.shape[1:] for layer in model.layers if layer.weights]
    assert shapes == [
        (56, 56, 96), (27, 27, 256), (13, 13, 384), (13, 13, 384), (13, 13, 256),
        (4096,), (4096,), (1000,),
    ]  # fmt: skip


@pytest.mark.training
def test_alexnet_at_32_trains_by_a_shortened_recipe(tmp_path):
    rng = np.random.default_rng(0)
    labels = np.arange(60) % 3
    images = rng.integers(0, 60, (60, 32, 32, 3))
    images[np.arange(60), :, :, labels] += 150
    digits = Digits(images.astype(np.uint8), labels, classes=3)
    stages = (
        Stage("grow", growth_epochs=1, train_epochs=10, rate=3e-4),
        Stage(
            "prune",
            step=0.5,
            iterations=2,
            retrain_epochs=2,
            retrain_rate=3e-4,
            distribution="global",
        ),
    )
    short = dataclasses.replace(
        recipe("alexnet-cifar", classes=3), stages=stages, batch_size=6, augment=None
    )
    trained = train(short, Splits(digits[:48], digits[48:], None), tmp_path / "run")
    assert trained.result["weights"] < 7_139_722 / 4
    assert trained.result["valid"]["errors"] <= 3


@pytest.mark.training
def test_alexnet_in_its_true_size_grows_is_pruned_and_exported(tmp_path):
    keras.utils.set_random_seed(0)
    rng = np.random.default_rng(0)
    x = rng.random((4, 224, 224, 3), np.float32)
    y = np.array([0, 1, 998, 999])
    model = hl.sparsify(alexnet(), 0.9, seed=0)
    model.compile(
        keras.optimizers.SGD(1e-3), keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    )
    seed = hl.summary(model, print_fn=None).connections
    growth = hl.GradientGrowth((x, y), ratio=0.9, epochs=1, batch_size=2, verbose=0)
    before = [w.numpy() for w in model.trainable_variables[-2:]]
    model.fit(x, y, batch_size=2, epochs=1, verbose=0, callbacks=[growth])
    grown = hl.summary(model, print_fn=None).connections
    assert grown > 1.3 * seed
    assert any(
        (a != b.numpy()).any() for a, b in zip(before, model.trainable_variables[-2:], strict=True)
    )
    pruning = hl.MagnitudePruning(0.99)
    model.fit(x, y, batch_size=2, epochs=1, verbose=0, callbacks=[pruning])
    assert hl.summary(model, print_fn=None).sparsity == pytest.approx(0.99, abs=1e-3)
    path = tmp_path / "alexnet.keras"
    model.save(path, include_optimizer=False)
    exported = export_digits(path, tmp_path / "out", images=x[:1])
    expected = np.asarray(model(x[:1]))
    found = load(exported.tflite)(x[:1])
    np.testing.assert_allclose(found, expected, atol=1e-3 * np.ptp(expected))
