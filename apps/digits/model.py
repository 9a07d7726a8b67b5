"""The networks: LeNet-300-100, LeNet-5 as Caffe has it, AlexNet."""

from __future__ import annotations

import keras
from keras import layers

from apps.digits.batches import CLASSES
from apps.digits.mnist import SIDE


def lenet_300_100() -> keras.Model:
    """Return 784-300-100-10, 266,610 parameters (LeCun et al. 1998).

    >>> lenet_300_100().count_params()
    266610
    """
    return keras.Sequential(
        [
            keras.Input((SIDE, SIDE, 1)),
            layers.Flatten(),
            layers.Dense(300, activation="relu", name="first"),
            layers.Dense(100, activation="relu", name="second"),
            layers.Dense(CLASSES, name="logits"),
        ],
        name="lenet-300-100",
    )


def lenet_5() -> keras.Model:
    """Return Caffe's LeNet-5 with ReLU after convolutions, too; 431,080 parameters.

    >>> lenet_5().count_params()
    431080
    """
    return keras.Sequential(
        [
            keras.Input((SIDE, SIDE, 1)),
            layers.Conv2D(20, 5, activation="relu", name="first"),
            layers.MaxPooling2D(),
            layers.Conv2D(50, 5, activation="relu", name="second"),
            layers.MaxPooling2D(),
            layers.Flatten(),
            layers.Dense(500, activation="relu", name="third"),
            layers.Dense(CLASSES, name="logits"),
        ],
        name="lenet-5",
    )
