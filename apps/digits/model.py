"""The networks: LeNet-300-100, LeNet-5 as Caffe has it, AlexNet."""

from __future__ import annotations

from collections.abc import Sequence

import keras
from keras import layers

from apps.digits.mnist import SIDE


def lenet_300_100(widths: Sequence[int] = (300, 100)) -> keras.Model:
    """Return 784-300-100-10, 266,610 parameters (LeCun et al. 1998).

    Args:
        widths: Of the hidden layers.

    >>> lenet_300_100().count_params()
    266610
    """
    return keras.Sequential(
        [
            keras.Input((SIDE, SIDE, 1)),
            layers.Flatten(),
            layers.Dense(widths[0], activation="relu", name="first"),
            layers.Dense(widths[1], activation="relu", name="second"),
            layers.Dense(10, name="logits"),
        ],
        name="lenet-300-100",
    )


def lenet_5(widths: Sequence[int] = (20, 50, 500)) -> keras.Model:
    """Return Caffe's LeNet-5 with ReLU after convolutions, too; 431,080 parameters.

    Args:
        widths: Filters of the two convolutions, units of the hidden dense layer.

    >>> lenet_5().count_params()
    431080
    """
    return keras.Sequential(
        [
            keras.Input((SIDE, SIDE, 1)),
            layers.Conv2D(widths[0], 5, activation="relu", name="first"),
            layers.MaxPooling2D(),
            layers.Conv2D(widths[1], 5, activation="relu", name="second"),
            layers.MaxPooling2D(),
            layers.Flatten(),
            layers.Dense(widths[2], activation="relu", name="third"),
            layers.Dense(10, name="logits"),
        ],
        name="lenet-5",
    )


def alexnet(side: int = 224, classes: int = 1000, channels: int = 3) -> keras.Model:
    """Return AlexNet in one tower (Krizhevsky 2014, arXiv 1404.5997, figures of the 2012 paper).

    At 224 x 224 the first convolution is 11 x 11 with a stride of 4, as published. Small images
    would be gone after two poolings: up to 64 x 64 it is 5 x 5 with a stride of 1, and the dense
    layers have 1,024 units.

    Args:
        side: Height and width of the images, at least 28.
        classes: Outputs.
        channels: Of the images.

    >>> alexnet(32, classes=10).count_params()
    7139722
    """
    small = side <= 64
    first = {"kernel_size": 5} if small else {"kernel_size": 11, "strides": 4}
    units = 1024 if small else 4096
    return keras.Sequential(
        [
            keras.Input((side, side, channels)),
            layers.Conv2D(96, **first, padding="same", activation="relu", name="conv1"),
            layers.MaxPooling2D(3, 2),
            layers.Conv2D(256, 5, padding="same", activation="relu", name="conv2"),
            layers.MaxPooling2D(3, 2),
            layers.Conv2D(384, 3, padding="same", activation="relu", name="conv3"),
            layers.Conv2D(384, 3, padding="same", activation="relu", name="conv4"),
            layers.Conv2D(256, 3, padding="same", activation="relu", name="conv5"),
            layers.MaxPooling2D(3, 2),
            layers.Flatten(),
            layers.Dense(units, activation="relu", name="dense1"),
            layers.Dropout(0.5),
            layers.Dense(units, activation="relu", name="dense2"),
            layers.Dropout(0.5),
            layers.Dense(classes, name="logits"),
        ],
        name=f"alexnet-{side}",
    )


def network(arch: str, classes: int = 10, widths: Sequence[int] | None = None) -> keras.Model:
    """Return a network by name.

    Args:
        arch: "lenet-300-100", "lenet-5" or "alexnet-cifar".
        classes: Outputs of AlexNet.
        widths: Of a LeNet's hidden layers; as published by default.
    """
    if arch == "alexnet-cifar":
        return alexnet(32, classes)
    make = {"lenet-300-100": lenet_300_100, "lenet-5": lenet_5}[arch]
    return make() if widths is None else make(widths)
