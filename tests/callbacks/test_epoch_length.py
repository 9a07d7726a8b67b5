"""Every pass over the user's data ends."""

import itertools
import math

import keras
import numpy as np
import pytest
import tensorflow as tf

import hlstm_tf as hl
from hlstm_tf.callbacks import DenseGradients
from hlstm_tf.export.calibration import batches
from hlstm_tf.scoring.data import batches_in, one_epoch, training_batches
from hlstm_tf.scoring.sizes import input_sizes, output_sizes
from hlstm_tf.sparsity import Score

RNG = np.random.default_rng(0)
X = RNG.normal(size=(12, 4)).astype("float32")
Y = X[:, :2]
IMAGES = RNG.normal(size=(12, 4, 4, 1)).astype("float32")


class Batches(keras.utils.PyDataset):
    """Batches of 4 examples; `num_batches` is `None` without an end."""

    def __init__(self, num_batches, x=X):
        super().__init__()
        self._num_batches, self._x = num_batches, x

    @property
    def num_batches(self):
        return self._num_batches

    def __getitem__(self, index):
        rows = slice(index % 3 * 4, index % 3 * 4 + 4)
        return self._x[rows], Y[rows]


def repeated(x=X):
    return tf.data.Dataset.from_tensor_slices((x, Y)).batch(4).repeat()


def filtered(x=X):
    return repeated(x).filter(lambda x, y: True)


def generated(x=X):
    whole = repeated(x)
    return tf.data.Dataset.from_generator(lambda: whole, output_signature=whole.element_spec)


def endless_sequence(x=X):
    return Batches(None, x)


ENDLESS = [repeated, filtered, generated, endless_sequence]
SURELY_ENDLESS = [repeated, endless_sequence]


def dense_model():
    keras.utils.set_random_seed(0)
    layers = [keras.Input((4,)), hl.MaskedDense(6, activation="relu"), hl.MaskedDense(2)]
    model = hl.sparsify(keras.Sequential(layers), sparsity=0.3, neurons=0.5)
    model.compile("sgd", "mse")
    return model


def area_model():
    keras.utils.set_random_seed(0)
    layers = [keras.Input((4, 4, 1)), hl.PartialAreaConv2D(2, 3), keras.layers.Flatten()]
    model = keras.Sequential([*layers, keras.layers.Dense(2)])
    model.compile("sgd", "mse")
    return model


def grow_and_prune(data, growth=None, pruning=None):
    return hl.GrowAndPrune(
        data, growth=growth, pruning=pruning, monitor="loss", threshold=9.0, verbose=0
    )


CALLBACKS = {
    "growth": lambda data: hl.GradientGrowth(data, ratio=0.5, epochs=2, verbose=0),
    "growth by activation during the epoch": lambda data: hl.GradientGrowth(
        data,
        score=Score("both", ("gradient", "activation"), lambda gradient, activation: gradient),
        during="epoch",
        verbose=0,
    ),
    "births": lambda data: hl.NeuronGrowth(data, epochs=2, verbose=0),
    "pruning by saliency": lambda data: hl.MagnitudePruning(0.6, score="saliency", data=data),
    "pruning by momentum": lambda data: hl.MagnitudePruning(0.6, score="momentum", data=data),
    "pruning by activation": lambda data: hl.MagnitudePruning(
        0.6, score="activation", data=data, per="step"
    ),
    "pruning by output": lambda data: hl.MagnitudePruning(
        0.5, score="output", structure="neuron", data=data
    ),
    "growth of a run": lambda data: grow_and_prune(data, growth=hl.Growth(epochs=2)),
    "births of a run": lambda data: grow_and_prune(
        data, growth=hl.Growth(epochs=2, during="epoch", neurons=1)
    ),
    "pruning of a run": lambda data: grow_and_prune(
        data, pruning=hl.Pruning(score="saliency", retrain_epochs=1, max_iterations=2)
    ),
    "recovery of a run": lambda data: grow_and_prune(
        data, pruning=hl.Pruning(recover=0.5, retrain_epochs=2, max_iterations=1)
    ),
}


@pytest.mark.representatives("births-generated", "pruning by activation-filtered")
@pytest.mark.parametrize(
    ("name", "make"),
    [
        *zip(CALLBACKS, itertools.cycle(ENDLESS), strict=False),
        *(("growth", m) for m in ENDLESS[1:]),
    ],
)
def test_a_callback_takes_of_endless_data_what_an_epoch_has(name, make) -> None:
    def state(data):
        model = dense_model()
        model.fit(Batches(3), epochs=4, verbose=0, callbacks=[CALLBACKS[name](data)])
        return model.get_weights()

    for found, expected in zip(state(make()), state(Batches(3)), strict=True):
        np.testing.assert_array_equal(found, expected)


@pytest.mark.representatives("generated", "endless_sequence")
@pytest.mark.parametrize("make", ENDLESS)
def test_areas_take_of_endless_data_what_an_epoch_has(make) -> None:
    def areas(data):
        model = area_model()
        pruning = hl.AreaPruning(0.3, data, verbose=0)
        model.fit(make(IMAGES), steps_per_epoch=3, verbose=0, callbacks=[pruning])
        return model.layers[0].area.numpy()

    np.testing.assert_array_equal(areas(make(IMAGES)), areas(Batches(3, IMAGES)))


@pytest.mark.representatives("repeated", "endless_sequence")
@pytest.mark.parametrize("make", ENDLESS)
def test_steps_per_epoch_of_fit_count(make) -> None:
    model = dense_model()
    growth = hl.GradientGrowth(make(), ratio=0.5, epochs=1, verbose=0)
    model.fit(make(), steps_per_epoch=2, verbose=0, callbacks=[growth])
    assert growth.history[0]["grown"] > 0


@pytest.mark.representatives(
    "growth-repeated",
    "growth by activation during the epoch-endless_sequence",
    "births-repeated",
    "pruning by activation-endless_sequence",
    "growth of a run-endless_sequence",
    "recovery of a run-repeated",
)
@pytest.mark.parametrize(
    ("name", "make"), zip(CALLBACKS, itertools.cycle(SURELY_ENDLESS), strict=False)
)
def test_endless_data_is_refused_before_training_where_fit_knows_no_steps(name, make) -> None:
    finite = tf.data.Dataset.from_tensor_slices((X, Y)).batch(4).filter(lambda x, y: True)
    with pytest.raises(ValueError, match=r"(data|train) has no end.*steps_per_epoch") as caught:
        dense_model().fit(finite, epochs=4, verbose=0, callbacks=[CALLBACKS[name](make())])
    assert "\n" not in str(caught.value)


@pytest.mark.representatives("growth during the epoch", "pruning by magnitude")
@pytest.mark.parametrize(
    "callback",
    [
        hl.GradientGrowth(repeated(), during="epoch", verbose=0),
        hl.GradientGrowth(repeated(), score="magnitude", verbose=0),
        hl.MagnitudePruning(0.5, data=repeated()),
        grow_and_prune(repeated(), growth=hl.Growth(epochs=1, during="epoch")),
    ],
    ids=["growth during the epoch", "growth by magnitude", "pruning by magnitude", "run"],
)
def test_endless_data_that_no_pass_reads_is_let_be(callback) -> None:
    finite = tf.data.Dataset.from_tensor_slices((X, Y)).batch(4).filter(lambda x, y: True)
    dense_model().fit(finite, epochs=2, verbose=0, callbacks=[callback])


@pytest.mark.parametrize("make", SURELY_ENDLESS)
def test_a_pass_outside_of_fit_refuses_endless_data(make) -> None:
    model = dense_model()
    passes = [
        lambda: DenseGradients(model).mean(make()),
        lambda: input_sizes(model, make()),
        lambda: output_sizes(model, make()),
        lambda: list(training_batches(make())),
    ]
    for start in passes:
        with pytest.raises(ValueError, match="has no end"):
            start()


def test_data_with_an_end_is_passed_whole_whatever_fit_takes() -> None:
    data = tf.data.Dataset.range(7)
    assert one_epoch(data, "data", steps=2) is data
    sequence = Batches(5)
    assert one_epoch(sequence, "data", steps=2) is sequence
    assert one_epoch((X, Y), "data", steps=1)[0] is X


def test_the_length_of_data_is_known_or_said_to_be_unknown() -> None:
    assert batches_in(Batches(None)) == batches_in(repeated()) == math.inf
    assert batches_in(Batches(3)) == batches_in(repeated().take(3)) == 3
    assert batches_in(filtered()) is batches_in(generated()) is batches_in((X, Y)) is None


def test_an_epoch_of_epoch_data_must_end() -> None:
    with pytest.raises(ValueError, match="make must return a dataset that ends"):
        hl.EpochData(lambda epoch: tf.data.Dataset.range(4).shuffle(4, seed=epoch).repeat())


@pytest.mark.parametrize("make", [*SURELY_ENDLESS, lambda: itertools.repeat(X[:1])])
def test_endless_samples_of_an_export_are_refused(make, tmp_path) -> None:
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)])
    with pytest.raises(ValueError, match=r"representative (has no|gave 10,000 .* did not) end"):
        hl.export_tflite(model, tmp_path / "m.tflite", quantization="int8", representative=make())
    with pytest.raises(ValueError, match=r"warmup (has no|gave 10,000 .* did not) end"):
        hl.export_saved_model(model, tmp_path / "1", warmup=make())


def test_samples_of_an_export_may_be_a_sequence_of_batches() -> None:
    found = list(batches(Batches(3), "representative"))
    np.testing.assert_array_equal(np.concatenate(found), X)
