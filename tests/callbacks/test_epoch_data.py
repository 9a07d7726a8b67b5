"""An epoch's batches depend on the epoch alone."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import hlstm_tf as hl
from hlstm_tf.callbacks import EpochData, GradientGrowth


def shuffled(epoch: tf.Tensor) -> tf.data.Dataset:
    """Order, batches and augmentation by the epoch, read ahead."""
    data = tf.data.Dataset.range(12).shuffle(12, seed=epoch)
    data = data.map(
        lambda i: (i, tf.random.stateless_uniform((), seed=tf.stack([epoch, i]))),
        num_parallel_calls=2,
    )
    return data.batch(4).prefetch(2)


def batches(data: tf.data.Dataset) -> list:
    return [keras.tree.map_structure(lambda t: t.numpy().tolist(), batch) for batch in data]


def test_each_epoch_has_its_order_and_keeps_it_whatever_came_before() -> None:
    data = EpochData(shuffled)
    first = batches(data)
    assert first == batches(data)
    data.epoch = 3
    third = batches(data)
    assert third != first
    fresh = EpochData(shuffled, epoch=3)
    assert batches(fresh) == third
    assert sorted(i for ids, _ in third for i in ids) == list(range(12))


@pytest.mark.parametrize("seed", [0, 1, None])
def test_the_global_seed_has_no_influence(seed: int | None) -> None:
    expected = batches(EpochData(shuffled, epoch=2))
    if seed is not None:
        tf.random.set_seed(seed)
    np.random.default_rng().random()
    assert batches(EpochData(shuffled, epoch=2)) == expected


def test_another_seed_gives_other_orders() -> None:
    assert batches(EpochData(shuffled)) != batches(EpochData(shuffled, seed=1))


def test_what_is_made_of_it_follows_the_epoch_too() -> None:
    data = EpochData(shuffled)
    made = data.map(lambda i, noise: i).unbatch().batch(6).prefetch(1)
    first = batches(made)
    data.epoch = 1
    assert batches(made) != first
    data.epoch = 0
    assert batches(made) == first


def test_the_number_of_batches_is_known_where_the_pipelines_is() -> None:
    assert int(EpochData(shuffled).cardinality()) == 3
    unknown = EpochData(lambda epoch: shuffled(epoch).filter(lambda i, n: True))
    assert int(unknown.cardinality()) == tf.data.UNKNOWN_CARDINALITY


class Recorder(keras.Model):
    """Notes which examples it is trained on."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = hl.MaskedDense(1)
        self.seen: list[list[float]] = []

    def call(self, x, training=False):
        if training:
            self.seen.append(x.numpy().ravel().tolist())
        return self.scale(x)


def recorded(callbacks, initial_epoch: int = 0, epochs: int = 4, **choices) -> list[list[float]]:
    data = EpochData(
        lambda epoch: (
            tf.data.Dataset.from_tensor_slices((np.arange(12.0).reshape(12, 1), np.ones((12, 1))))
            .shuffle(12, seed=epoch)
            .batch(4)
            .prefetch(2)
        )
    )
    model = Recorder()
    model.compile("sgd", "mse", run_eagerly=True, **choices)
    model(np.ones((1, 1)))
    model.fit(
        data, initial_epoch=initial_epoch, epochs=epochs, callbacks=callbacks(data), verbose=0
    )
    return model.seen


def test_options_of_the_pipeline_are_options_of_the_whole() -> None:
    options = tf.data.Options()
    options.autotune.enabled = False
    data = EpochData(lambda epoch: shuffled(epoch).with_options(options))
    assert data.options().autotune.enabled is False
    assert data.map(lambda i, _: i).options().autotune.enabled is False


def test_a_resumed_fit_sees_the_batches_it_would_have_seen() -> None:
    whole = recorded(lambda data: [data.follow()])
    assert len(whole) == 12
    assert len({tuple(batch) for batch in whole}) == 12  # every epoch in another order
    assert recorded(lambda data: [data.follow()], initial_epoch=2) == whole[6:]


def test_growth_sets_the_epoch_of_its_data_and_does_not_disturb_the_order() -> None:
    whole = recorded(lambda data: [data.follow()])
    assert recorded(lambda data: [GradientGrowth(data, verbose=0)]) == whole


def test_a_distribution_strategy_takes_it() -> None:
    strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
    data = EpochData(shuffled)
    distributed = strategy.experimental_distribute_dataset(data)

    def order() -> list[int]:
        parts = [strategy.experimental_local_results(batch[0]) for batch in distributed]
        return [int(i) for part in parts for replica in part for i in replica]

    first = order()
    assert first == [i for ids, _ in batches(data) for i in ids]
    data.epoch = 1
    assert order() != first


@pytest.mark.parametrize(
    ("make", "message"), [(shuffled(tf.constant(0, tf.int64)), "function"), (lambda e: 3, "int")]
)
def test_what_is_no_function_of_the_epoch_is_refused(make: object, message: str) -> None:
    with pytest.raises(TypeError, match=message):
        EpochData(make)
