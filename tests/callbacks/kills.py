"""A training that ends at the beginning of an epoch, as one that is killed there does."""

import os

import keras

import hlstm_tf as hl


class Killed(Exception):
    """What takes the place of a signal."""


class Kill(keras.callbacks.Callback):
    """Kills the training at the beginning of an epoch; never where it is `None`."""

    def __init__(self, at: int | None) -> None:
        super().__init__()
        self.at = at

    def on_epoch_begin(self, epoch: int, logs=None) -> None:
        if epoch == self.at:
            raise Killed


def run_births(
    model: keras.Model,
    data: tuple,
    births: hl.NeuronGrowthRule,
    directory: os.PathLike,
    kill: int | None,
) -> keras.Model:
    """Two epochs of growth of neurons and connections, one of training, one pruning iteration."""
    gp = hl.GrowAndPrune(
        data,
        hl.Growth(ratio=0.9, epochs=2, neurons=births),
        hl.Pruning(0.3, retrain_epochs=1, max_iterations=1),
        monitor="loss",
        threshold=1e6,
        train_epochs=0,
        directory=directory,
        verbose=0,
    )
    model.fit(*data, epochs=9, callbacks=[gp, Kill(kill)], verbose=0, shuffle=False)
    # The value of an epoch is not that of the neurons born at its end: one more is trained.
    phases = [record["phase"] for record in gp.history]
    assert phases == ["growth", "growth", "training", "retraining"]
    return model
