"""tfmot's magnitude pruning of LeNet-300-100, in a process of its own.

tfmot works with Keras 2 alone: importing it sets TF_USE_LEGACY_KERAS, and this process has
`tf_keras` for Keras. Network, digits, augmentation, optimizer and number of epochs are those of
the shortened schedule.
"""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path
from typing import Any

import numpy as np

BATCH = 256


def main(job: dict[str, Any]) -> None:
    """Train as the job says and write its record."""
    import tensorflow as tf
    import tensorflow_model_optimization as tfmot
    import tf_keras

    from apps.common.files import write_json
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
    steps, epochs = len(y) // size, job["epochs"]
    layers = tf_keras.layers
    model = tf_keras.Sequential(
        [
            layers.Input((28, 28, 1)),
            layers.Flatten(),
            layers.Dense(300, activation="relu"),
            layers.Dense(100, activation="relu"),
            layers.Dense(10),
        ]
    )
    places = 784 * 300 + 300 * 100 + 100 * 10
    schedule = tfmot.sparsity.keras.PolynomialDecay(
        initial_sparsity=0.0,
        final_sparsity=1 - job["target"] / places,
        begin_step=steps * 2,
        end_step=steps * (epochs - 8),
        frequency=max(1, steps // 4),
    )
    pruned = tfmot.sparsity.keras.prune_low_magnitude(model, pruning_schedule=schedule)
    loss = tf_keras.losses.CategoricalCrossentropy(from_logits=True)
    pruned.compile(tf_keras.optimizers.Adam(3e-3), loss, metrics=["accuracy"])

    def rate(epoch: int) -> float:
        # As the shortened schedule: a cosine, then retraining, then a cosine at the end.
        if epoch < epochs - 8:
            return (
                3e-3 * max(0.33, 0.5 * (1 + math.cos(math.pi * epoch / 8))) if epoch < 8 else 1e-3
            )
        return 2e-3 * 0.5 * (1 + math.cos(math.pi * (epoch - epochs + 8) / 8))

    pruned.fit(
        data,
        epochs=epochs,
        verbose=0,
        callbacks=[
            tfmot.sparsity.keras.UpdatePruningStep(),
            tf_keras.callbacks.LearningRateScheduler(rate),
        ],
    )
    plain = tfmot.sparsity.keras.strip_pruning(pruned)
    valid = digits.valid
    found = plain.predict(valid.images[..., None] / 255.0, batch_size=500, verbose=0).argmax(1)
    weights = [weight for weight in plain.get_weights() if weight.ndim == 2]
    alive = _living(weights)
    biases = [w for w in plain.get_weights() if w.ndim == 1]
    result = {
        "parameters": alive + sum(int(np.count_nonzero(bias)) for bias in biases),
        "weights": alive,
        "valid": {"errors": int((found != valid.labels).sum()), "total": len(valid)},
    }
    recipe = {"arch": "lenet-300-100", "seed": job["seed"], "epochs": epochs}
    Path(job["out"]).parent.mkdir(parents=True, exist_ok=True)
    write_json(job["out"], {"recipe": recipe, "epochs": [], "result": result})


def _living(weights: list[Any]) -> int:
    return sum(int(np.count_nonzero(weight)) for weight in weights)


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
