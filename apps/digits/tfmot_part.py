"""tfmot's magnitude pruning of LeNet-300-100, in a process of its own.

tfmot works with Keras 2 alone: importing it sets TF_USE_LEGACY_KERAS, and this process has
`tf_keras` for Keras. Network, digits, augmentation, optimizer, rates and number of epochs are those
of the shortened schedule, and as there the best of the last epochs by validation is what counts.
"""

from __future__ import annotations

import json
import math
import sys
from typing import Any

import numpy as np

BATCH = 256
WIDTHS = (300, 100, 10)
BEGIN = 2
"""Epochs before the first pruning; with all of the training before it, seed 0 ended worse."""
PEAK, PRUNING, LAST = 3e-3, 1e-3, 2e-3
"""Learning rates: training falls from its peak to that of pruning; the last epochs begin anew."""


def main(job: dict[str, Any]) -> None:
    """Train as the job says and write the network's weights.

    Args:
        job: `data_dir`, `seed`, `epochs` (those of `train`, `iterations` and `final`),
            `connections` (those that each layer ends with) and `out`, the file to write.
    """
    import tensorflow as tf
    import tensorflow_model_optimization as tfmot
    import tf_keras

    from apps.digits.augment import Affine
    from apps.digits.mnist import load

    tf_keras.utils.set_random_seed(job["seed"])
    digits = load(job["data_dir"])
    x = digits.train.images[..., None]
    y = np.eye(10, dtype=np.float32)[digits.train.labels]
    augment = Affine()

    def batch(images: Any, labels: Any) -> tuple[Any, Any]:
        key = tf.random.uniform((2,), 0, 1 << 30, tf.int32)
        return augment(tf.cast(images, tf.float32) / 255, key), labels

    data = tf.data.Dataset.from_tensor_slices((x, y)).shuffle(len(y), seed=job["seed"])
    size = min(BATCH, len(y))
    data = data.batch(size, drop_remainder=True).map(batch).prefetch(2)
    valid = digits.valid.images[..., None] / 255.0, np.eye(10)[digits.valid.labels]
    steps, epochs = len(y) // size, job["epochs"]
    pruned_at = epochs["train"] + epochs["iterations"]

    def layer(units: int, inputs: int, connections: int, activation: str | None) -> Any:
        schedule = tfmot.sparsity.keras.PolynomialDecay(
            initial_sparsity=0.0,
            final_sparsity=1 - connections / (inputs * units),
            begin_step=steps * BEGIN,
            end_step=steps * pruned_at,
            frequency=max(1, steps // 4),
        )
        dense = tf_keras.layers.Dense(units, activation=activation)
        return tfmot.sparsity.keras.prune_low_magnitude(dense, pruning_schedule=schedule)

    shapes = zip(WIDTHS, (784, *WIDTHS), job["connections"], ("relu", "relu", None), strict=False)
    flat = tf_keras.layers.Flatten(input_shape=(28, 28, 1))
    model = tf_keras.Sequential([flat, *(layer(*shape) for shape in shapes)])
    loss = tf_keras.losses.CategoricalCrossentropy(from_logits=True)
    model.compile(tf_keras.optimizers.Adam(PEAK), loss, metrics=["accuracy"])
    best: dict[str, Any] = {"accuracy": -1.0}

    def keep(epoch: int, logs: dict[str, float]) -> None:
        if epoch >= pruned_at and logs["val_accuracy"] >= best["accuracy"]:
            best.update(accuracy=logs["val_accuracy"], weights=model.get_weights())

    model.fit(
        data,
        validation_data=valid,
        epochs=sum(epochs.values()),
        verbose=0,
        callbacks=[
            tfmot.sparsity.keras.UpdatePruningStep(),
            tf_keras.callbacks.LearningRateScheduler(lambda epoch: rate(epoch, epochs)),
            tf_keras.callbacks.LambdaCallback(on_epoch_end=keep),
        ],
    )
    model.set_weights(best["weights"])
    np.savez(job["out"], *tfmot.sparsity.keras.strip_pruning(model).get_weights())


def rate(epoch: int, epochs: dict[str, int]) -> float:
    """Return an epoch's learning rate: a cosine, retraining, and a cosine at the end.

    >>> [rate(epoch, {"train": 8, "iterations": 12, "final": 8}) for epoch in (0, 8, 19, 20)]
    [0.003, 0.001, 0.001, 0.002]
    """
    pruned_at = epochs["train"] + epochs["iterations"]
    if epoch >= pruned_at:
        return LAST * _cosine((epoch - pruned_at) / epochs["final"])
    return (
        max(PRUNING, PEAK * _cosine(epoch / epochs["train"]))
        if epoch < epochs["train"]
        else PRUNING
    )


def _cosine(share: float) -> float:
    return 0.5 * (1 + math.cos(math.pi * share))


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
