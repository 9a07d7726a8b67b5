"""Models that train by several optimizers of their own."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import hlstm_tf as hl
from hlstm_tf.sparsity.edits import optimizer_slots

RNG = np.random.default_rng(0)
X = RNG.normal(size=(32, 3)).astype("float32")


class GAN(keras.Model):
    """A generator and a discriminator, each with an optimizer of its own."""

    def __init__(self):
        super().__init__()
        self.generator = keras.Sequential(
            [keras.Input((3,)), hl.MaskedDense(8, activation="relu"), hl.MaskedDense(3)]
        )
        self.discriminator = keras.Sequential(
            [keras.Input((3,)), hl.MaskedDense(8, activation="relu"), hl.MaskedDense(1)]
        )

    def compile(self, d_optimizer, g_optimizer):
        super().compile()
        self.d_optimizer, self.g_optimizer = d_optimizer, g_optimizer

    def call(self, x):
        return self.generator(x)

    def train_step(self, data):
        loss = keras.losses.BinaryCrossentropy(from_logits=True)
        made = self.generator(tf.random.normal(tf.shape(data)))
        with tf.GradientTape() as tape:
            real, false = self.discriminator(data), self.discriminator(made)
            d_loss = loss(tf.ones_like(real), real) + loss(tf.zeros_like(false), false)
            scaled = self.d_optimizer.scale_loss(d_loss)
        weights = self.discriminator.trainable_weights
        self.d_optimizer.apply_gradients(zip(tape.gradient(scaled, weights), weights, strict=True))
        with tf.GradientTape() as tape:
            false = self.discriminator(self.generator(tf.random.normal(tf.shape(data))))
            g_loss = loss(tf.ones_like(false), false)
            scaled = self.g_optimizer.scale_loss(g_loss)
        weights = self.generator.trainable_weights
        self.g_optimizer.apply_gradients(zip(tape.gradient(scaled, weights), weights, strict=True))
        return {"d_loss": d_loss, "g_loss": g_loss}


def gan(wrap=lambda optimizer: optimizer):
    keras.utils.set_random_seed(0)
    model = GAN()
    model.discriminator(model(X[:1]))
    model.compile(wrap(keras.optimizers.Adam(1e-3)), wrap(keras.optimizers.Adam(1e-3)))
    return model


def slots_at_dormant_places(model):
    found = []
    for optimizer in (model.d_optimizer, model.g_optimizer):
        for kernel in hl.masked_kernels(model):
            gone = ~kernel.mask.numpy()
            found += [
                slot.numpy()[gone] for _, _, slot in optimizer_slots(optimizer, kernel.variable)
            ]
    return np.concatenate(found)


@pytest.mark.representatives("epoch-LossScaleOptimizer", "step-<lambda>")
@pytest.mark.parametrize("wrap", [lambda each: each, keras.optimizers.LossScaleOptimizer])
@pytest.mark.parametrize("per", ["epoch", "step"])
def test_pruning_cleans_both_optimizers_of_a_gan(per, wrap) -> None:
    model = gan(wrap)
    pruning = hl.MagnitudePruning(0.7, begin=1, per=per)
    model.fit(X, batch_size=8, epochs=3, verbose=0, callbacks=[pruning])
    slots = slots_at_dormant_places(model)
    assert slots.size > 100
    assert not slots.any()


def test_steps_are_counted_where_the_optimizer_of_compile_does_nothing() -> None:
    model = gan()
    pruning = hl.MagnitudePruning(0.7, end=9, per="step", frequency=3)
    model.fit(X, batch_size=8, epochs=3, verbose=0, callbacks=[pruning])
    assert [record["step"] for record in pruning.history] == [3, 6, 9]
    assert pruning.history[-1]["sparsity"] == pytest.approx(0.7, abs=0.05)


def test_a_run_cleans_both_optimizers_of_a_gan() -> None:
    model = gan()
    run = hl.GrowAndPrune(
        None,
        growth=None,
        pruning=hl.Pruning(step=0.5, retrain_epochs=2, max_iterations=2),
        monitor="g_loss",
        threshold=0.0,
        mode="max",
        verbose=0,
    )
    model.fit(X, batch_size=8, epochs=12, verbose=0, callbacks=[run])
    slots = slots_at_dormant_places(model)
    assert slots.size > 100
    assert not slots.any()
