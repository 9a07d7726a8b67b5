"""Growth follows what a model's own `train_step` trains."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import hlstm_tf as hl
from hlstm_tf.callbacks import DenseGradients
from hlstm_tf.scoring.step_gradients import has_own_train_step
from tests.callbacks.test_held_optimizers import GAN, gan

RNG = np.random.default_rng(0)
X = RNG.normal(size=(32, 6)).astype("float32")
Y = X[:, :4]
TAUGHT = X[:, 2:]


def half_mask(kernel):
    places = np.arange(np.prod(kernel.shape)).reshape(kernel.shape)
    return places % 2 == 0


def student(**compiled):
    keras.utils.set_random_seed(0)
    inputs = keras.Input((6,))
    outputs = hl.MaskedDense(4, use_bias=False)(inputs)
    model = Distiller(inputs, outputs)
    [kernel] = hl.masked_kernels(model)
    hl.edit_masks({kernel: half_mask(kernel)})
    model.compile(**{"optimizer": "sgd", "loss": "mse"} | compiled)
    return model


class Distiller(keras.Model):
    """Trained to do what a teacher does; the compiled loss is that of the labels."""

    factor = 1.0

    def train_step(self, data):
        x, _ = data
        with tf.GradientTape() as tape:
            loss = self.factor * tf.reduce_mean(tf.square(self(x, training=True) - x[:, 2:]))
            scaled = self.optimizer.scale_loss(loss)
        weights = self.trainable_weights
        self.optimizer.apply_gradients(zip(tape.gradient(scaled, weights), weights, strict=True))
        return {"loss": loss}


def expected_gradient(model, x=X, target=TAUGHT):
    """Of the distillation loss, by hand."""
    [kernel] = hl.masked_kernels(model)
    weight = kernel.variable.numpy()
    return 2 * x.T @ (x @ weight - target) / target.size


@pytest.mark.compiled
@pytest.mark.representatives("no loss", "eager", "steps", "float16", "sums")
@pytest.mark.parametrize(
    "compiled",
    [
        {},
        {"loss": None},
        {"run_eagerly": True},
        {"steps_per_execution": 4},
        {"optimizer": keras.optimizers.Adam(weight_decay=0.1, clipnorm=0.01)},
        {"optimizer": keras.optimizers.LossScaleOptimizer(keras.optimizers.Adam())},
        {"optimizer": keras.optimizers.SGD(loss_scale_factor=64.0)},
        {"optimizer": keras.optimizers.SGD(gradient_accumulation_steps=4)},
        {"optimizer": keras.optimizers.Adam(use_ema=True)},
    ],
    ids=["plain", "no loss", "eager", "steps", "clipped", "float16", "factor", "sums", "ema"],
)
def test_the_gradient_is_that_of_the_training_steps_dormant_places_included(compiled) -> None:
    model = student(**compiled)
    before = model.get_weights()
    [gradient] = DenseGradients(model).mean((X, Y), batch_size=10).values()
    np.testing.assert_allclose(gradient, expected_gradient(model), rtol=1e-4, atol=1e-6)
    for now, then in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(now, then)


@pytest.mark.parametrize("how", ["pass", "epoch"])
def test_what_grows_is_what_the_trained_loss_asks_for(how) -> None:
    model = student(optimizer=keras.optimizers.SGD(0.0))
    [kernel] = hl.masked_kernels(model)
    before = kernel.mask.numpy()
    wanted = np.abs(expected_gradient(model))
    growth = hl.GradientGrowth((X, Y), ratio=0.7, epochs=1, during=how, verbose=0)
    model.fit(X, Y, verbose=0, callbacks=[growth])
    grown = kernel.mask.numpy() & ~before
    assert grown.any()
    assert np.array_equal(grown, ~before & (wanted > np.quantile(wanted, 0.7)))


def test_a_train_step_that_calls_keras_s_is_followed() -> None:
    class Counting(keras.Model):
        def train_step(self, data):
            return super().train_step(data)

    inputs = keras.Input((6,))
    model = Counting(inputs, hl.MaskedDense(4, use_bias=False)(inputs))
    model.compile("sgd", "mse", metrics=["mae"])
    assert has_own_train_step(model)
    [gradient] = DenseGradients(model).mean((X, TAUGHT)).values()
    np.testing.assert_allclose(gradient, expected_gradient(model), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("newer", [True, False])
def test_an_override_of_compute_loss_is_what_is_scored(newer) -> None:
    class Older(keras.Model):
        def compute_loss(self, inputs, targets, outputs, weights):
            return tf.reduce_mean(tf.square(outputs - inputs[:, 2:]))

    class Newer(keras.Model):
        def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
            return tf.reduce_mean(tf.square(y_pred - x[:, 2:]))

    inputs = keras.Input((6,))
    model = (Newer if newer else Older)(inputs, hl.MaskedDense(4, use_bias=False)(inputs))
    model.compile("sgd")
    [gradient] = DenseGradients(model).mean((X, Y)).values()
    np.testing.assert_allclose(gradient, expected_gradient(model), rtol=1e-4, atol=1e-6)


class VAE(keras.Model):
    """A variational autoencoder without a compiled loss."""

    def __init__(self):
        super().__init__()
        self.encoder = keras.Sequential([keras.Input((6,)), hl.MaskedDense(4)])
        self.norm = keras.layers.BatchNormalization()
        self.decoder = keras.Sequential([keras.Input((2,)), hl.MaskedDense(6)])
        self.seed = keras.random.SeedGenerator(1)
        self.tracker = keras.metrics.Mean(name="loss")
        self.steps = tf.Variable(0)

    def call(self, x):
        mean, log_variance = tf.split(self.norm(self.encoder(x), training=True), 2, axis=-1)
        noise = keras.random.normal(tf.shape(mean), seed=self.seed)
        return self.decoder(mean + tf.exp(0.5 * log_variance) * noise)

    def train_step(self, data):
        self.steps.assign_add(1)
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(tf.square(self(data) - data))
        gradients = tape.gradient(loss, self.trainable_weights)
        self.optimizer.apply(gradients, self.trainable_weights)
        self.tracker.update_state(loss)
        return {"loss": self.tracker.result()}


def images():
    return tf.data.Dataset.from_tensor_slices(X).batch(8)


def vae():
    keras.utils.set_random_seed(0)
    model = VAE()
    model(X[:1])
    hl.edit_masks({kernel: half_mask(kernel) for kernel in hl.masked_kernels(model)})
    model.compile("adam")
    return model


def test_a_pass_leaves_a_model_with_its_own_train_step_as_it_was() -> None:
    model = vae()
    model.fit(images(), verbose=0)
    variables = [*model.variables, *model.optimizer.variables, model.steps]
    before = [np.array(v) for v in variables]
    DenseGradients(model).mean(images())
    for variable, value in zip(variables, before, strict=True):
        np.testing.assert_array_equal(np.array(variable), value)
    assert "apply" not in vars(model.optimizer)
    model.fit(images(), verbose=0)
    assert any((np.array(v) != b).any() for v, b in zip(variables, before, strict=True))


@pytest.mark.representatives("during the epoch", "run")
@pytest.mark.parametrize(
    "callback",
    [
        lambda: hl.GradientGrowth(images(), ratio=0.5, epochs=1, verbose=0),
        lambda: hl.GradientGrowth(images(), ratio=0.5, epochs=1, during="epoch", verbose=0),
        lambda: hl.MagnitudePruning(0.6, score="saliency", data=images()),
        lambda: hl.MagnitudePruning(0.6, score="momentum", data=images(), per="step"),
        lambda: hl.GrowAndPrune(
            images(),
            growth=hl.Growth(ratio=0.5, epochs=1),
            pruning=hl.Pruning(retrain_epochs=2, recover=0.5, max_iterations=1),
            monitor="loss",
            threshold=9.0,
            verbose=0,
        ),
    ],
    ids=["growth", "during the epoch", "saliency", "momentum", "run"],
)
def test_a_vae_without_a_compiled_loss_grows_and_is_pruned(callback) -> None:
    model = vae()
    before = [kernel.mask.numpy() for kernel in hl.masked_kernels(model)]
    model.fit(images(), epochs=4, verbose=0, callbacks=[callback()])
    after = [kernel.mask.numpy() for kernel in hl.masked_kernels(model)]
    assert any((a != b).any() for a, b in zip(after, before, strict=True))


def gan_data():
    return tf.data.Dataset.from_tensor_slices(X[:, :3]).batch(8)


def test_each_part_of_a_gan_is_scored_by_what_its_optimizer_is_given() -> None:
    model = gan()
    gradients = list(DenseGradients(model).mean(gan_data()).values())
    weights, given = model.trainable_weights, {}
    batches = list(gan_data())
    for optimizer in (model.d_optimizer, model.g_optimizer):
        optimizer.apply = lambda grads, variables=None: [
            given.__setitem__(id(v), given.get(id(v), 0) + g.numpy() / len(batches))
            for g, v in zip(grads, variables, strict=True)
        ]
    model.run_eagerly = True
    for batch in batches:
        model.train_step(batch)
    found = [given[id(kernel.variable)] for kernel in hl.masked_kernels(model)]
    assert len(weights) == 8
    # The generator's inputs are drawn anew; the mean is near.
    for gradient, expected in zip(gradients, found, strict=True):
        assert np.sum(gradient * expected) > 0.5 * np.linalg.norm(gradient) * np.linalg.norm(
            expected
        )


def test_the_backward_passes_of_a_gan_are_not_mixed() -> None:
    growth = hl.GradientGrowth(gan_data(), during="epoch", verbose=0)
    with pytest.raises(ValueError, match="holds 3 optimizers; use during='pass'"):
        gan().fit(gan_data(), verbose=0, callbacks=[growth])


def test_births_are_refused_before_training_where_the_loss_is_the_step_s() -> None:
    for callback in (
        hl.NeuronGrowth(images(), verbose=0),
        hl.GrowAndPrune(images(), growth=hl.Growth(neurons=1), pruning=None, verbose=0),
    ):
        with pytest.raises(ValueError, match="override compute_loss in place of train_step") as no:
            vae().fit(images(), verbose=0, callbacks=[callback])
        assert "\n" not in str(no.value)


def test_an_optimizer_that_the_model_does_not_hold_is_named() -> None:
    hidden = [keras.optimizers.SGD()]

    class Outside(Distiller):
        def train_step(self, data):
            with tf.GradientTape() as tape:
                loss = tf.reduce_mean(tf.square(self(data[0])))
            hidden[0].apply(tape.gradient(loss, self.trainable_weights), self.trainable_weights)
            return {"loss": loss}

    inputs = keras.Input((6,))
    model = Outside(inputs, hl.MaskedDense(4)(inputs))
    model.compile("sgd", run_eagerly=True)
    before = model.get_weights()
    with pytest.raises(ValueError, match="gave no gradient of a masked kernel to an optimizer"):
        DenseGradients(model).mean((X, Y))
    for now, then in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(now, then)


def test_a_loss_that_is_not_finite_is_said_to_be_so() -> None:
    model = student()
    model.factor = np.nan
    with pytest.raises(FloatingPointError, match="the gradient of the model's train_step is not"):
        DenseGradients(model).mean((X, Y))


def test_only_a_train_step_that_is_not_keras_s_counts_as_own() -> None:
    assert has_own_train_step(GAN())
    assert not has_own_train_step(keras.Sequential([keras.layers.Dense(1)]))
