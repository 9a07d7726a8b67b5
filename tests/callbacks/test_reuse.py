"""A callback that is used for a second `fit` does what a fresh one does."""

import keras
import numpy as np
import pytest

import hlstm_tf as hl
from hlstm_tf import callbacks

RNG = np.random.default_rng(0)
X = RNG.normal(size=(32, 5, 4)).astype("float32")
Y = X[:, -1, :2]
MAPS = RNG.normal(size=(32, 4, 4, 1)).astype("float32")


FIRST = {
    "activation": lambda: hl.HLSTM(4, hidden_units=6, hidden_activation="leaky_relu"),
    "run": lambda: hl.HLSTM(4, hidden_units=6, hidden_activation="leaky_relu"),
    "number with units": lambda: hl.MaskedSimpleRNN(4),
}


def model(case):
    keras.utils.set_random_seed(1)
    layers = [FIRST[case]()] if case in FIRST else [keras.layers.Flatten(), hl.MaskedDense(6)]
    hidden = hl.MaskedDense(6, activation="relu", name="hidden")
    made = keras.Sequential([keras.Input((5, 4)), *layers, hidden, hl.MaskedDense(2)])
    made = hl.sparsify(made, sparsity=0.2, neurons={"hidden": 0.5})
    made.compile(keras.optimizers.SGD(0.01, momentum=0.9), "mse")
    return made


def map_model():
    keras.utils.set_random_seed(1)
    layers = [keras.Input((4, 4, 1)), hl.PartialAreaConv2D(3, 3), keras.layers.Flatten()]
    result = keras.Sequential([*layers, hl.MaskedDense(2)])
    result.compile("sgd", "mse")
    return result


def shuffled(epoch):
    import tensorflow as tf

    return tf.data.Dataset.from_tensor_slices((X, Y)).shuffle(32, seed=epoch).batch(8)


EPOCHS = callbacks.EpochData(shuffled)

CASES = {
    "number": lambda folder: hl.MagnitudePruning(0.8, end=3),
    "number by steps": lambda folder: hl.MagnitudePruning(0.8, end=5, per="step", frequency=2),
    "number at once": lambda folder: hl.MagnitudePruning(0.7, begin=1),
    "number with units": lambda folder: hl.MagnitudePruning(0.5, end=2, structure="unit"),
    "schedule": lambda folder: hl.MagnitudePruning(hl.Polynomial(0.1, 0.7, 0, 3)),
    "schedule by steps": lambda folder: hl.MagnitudePruning(
        hl.Polynomial(0.1, 0.7, 0, 5), per="step"
    ),
    "random pruning": lambda folder: hl.MagnitudePruning(0.8, end=3, score="random", seed=3),
    "pruning by data": lambda folder: hl.MagnitudePruning(
        0.8, end=3, score="saliency", data=EPOCHS
    ),
    "growth": lambda folder: hl.GradientGrowth(EPOCHS, ratio=0.7, epochs=2, verbose=0),
    "growth during the epoch": lambda folder: hl.GradientGrowth(
        (X, Y), ratio=0.7, epochs=[1, 2], during="epoch", verbose=0
    ),
    "random growth": lambda folder: hl.GradientGrowth(
        (X, Y), ratio=0.7, epochs=iter([0, 2]), score="random", verbose=0
    ),
    "births": lambda folder: hl.NeuronGrowth((X, Y), neurons={"hidden": 1}, epochs=2, verbose=0),
    "activation": lambda folder: callbacks.ActivationShift(epoch=1),
    "board": lambda folder: callbacks.SparsityBoard(folder),
    "follow": lambda folder: EPOCHS.follow(),
    "run": lambda folder: hl.GrowAndPrune(
        EPOCHS,
        growth=hl.Growth(ratio=0.7, epochs=1, neurons=1),
        pruning=hl.Pruning(
            step=0.3, retrain_epochs=2, learning_rate=0.005, structure=("neuron", "connection")
        ),
        monitor="loss",
        tolerance=0.5,
        verbose=0,
    ),
    "areas": lambda folder: hl.AreaPruning(0.2, (MAPS, Y), epochs=2, verbose=0),
}


def trained(callback, case):
    made, x = (map_model(), MAPS) if case == "areas" else (model(case), X)
    made.fit(x, Y, batch_size=16, epochs=4, shuffle=False, verbose=0, callbacks=[callback])
    return made


def what_it_did(callback, made):
    optimizer = [np.array(v) for v in made.optimizer.variables]
    history = getattr(callback, "history", None)
    for record in history or []:
        record.pop("seconds", None)
    return [np.array(w) for w in made.get_weights()] + optimizer, history


def arguments(callback):
    run = ("model", "params", "validation_data", "history", "progress")
    return {
        name: value
        for name, value in vars(callback).items()
        if not name.startswith("_") and name not in run
    }


@pytest.mark.representatives(
    "number by steps", "pruning by data", "growth during the epoch", "run", "areas"
)
@pytest.mark.parametrize("case", CASES)
def test_a_callback_used_again_does_what_a_fresh_one_does(case, tmp_path) -> None:
    used = CASES[case](tmp_path)
    given = arguments(used)
    expected, history = what_it_did(used, trained(used, case))
    found, told = what_it_did(used, trained(used, case))
    assert told == history
    for array, other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(array, other)
    assert given
    assert all(arguments(used)[name] is value for name, value in given.items())


def test_every_callback_is_tried(tmp_path) -> None:
    public = [getattr(callbacks, name) for name in callbacks.__all__]
    expected = {
        each
        for each in public
        if isinstance(each, type) and issubclass(each, keras.callbacks.Callback)
    }
    assert expected <= {type(make(tmp_path)) for make in CASES.values()}


def plain_model():
    made = keras.Sequential([keras.Input((5, 4)), keras.layers.Flatten(), hl.MaskedDense(2)])
    made.compile("sgd", "mse")
    return made


def sparsity(made):
    masks = [kernel.mask.numpy() for kernel in hl.masked_kernels(made)]
    return 1 - sum(mask.sum() for mask in masks) / sum(mask.size for mask in masks)


@pytest.mark.compiled
@pytest.mark.parametrize("per", ["epoch", "step"])
def test_three_models_in_turn_reach_the_sparsity_asked_for(per) -> None:
    pruning = hl.MagnitudePruning(0.8, end=3, per=per)
    for _ in range(3):
        made = plain_model()
        made.fit(X, Y, batch_size=8, epochs=5, verbose=0, callbacks=[pruning])
        assert sparsity(made) == pytest.approx(0.8)


def test_a_second_fit_of_one_model_begins_where_the_model_is() -> None:
    pruning, made = hl.MagnitudePruning(0.8, end=2), plain_model()
    made.fit(X, Y, epochs=3, verbose=0, callbacks=[pruning])
    made.fit(X, Y, epochs=1, verbose=0, callbacks=[pruning])
    assert pruning.history == []
    fresh = plain_model()
    fresh.fit(X, Y, epochs=1, verbose=0, callbacks=[pruning])
    assert sparsity(fresh) == 0.0  # the rise begins at this model, not at the one before
