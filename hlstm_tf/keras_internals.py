"""Keras's and TensorFlow's private attributes that this package uses, each in one function.

Keras has no public name for any of these. After an update of Keras this is the file to check: a
function that no longer finds its attribute fails with the attribute's name. Checked with Keras
3.15.1 and TensorFlow 2.21.
"""

from typing import Any

import keras
import tensorflow as tf


def all_layers(layer: keras.Layer) -> list[keras.Layer]:
    """A layer or model and all that it holds, however deep, each once.

    `keras.Model.layers` names the layers directly below only, and other layers have none.
    """
    return layer._flatten_layers()


def inner_layers(layer: keras.Layer) -> list[keras.Layer]:
    """All that a layer or model holds, however deep, each once, without itself."""
    return layer._flatten_layers(include_self=False)


def child_layers(layer: keras.Layer) -> list[keras.Layer]:
    """What a layer or model holds directly."""
    return layer._flatten_layers(include_self=False, recursive=False)


def own_trainable_variables(layer: keras.Layer) -> list[keras.Variable]:
    """The trainable variables of a layer itself, without those of the layers in it."""
    return layer._trainable_variables


def own_variables(layer: keras.Layer) -> list[keras.Variable]:
    """The variables of a layer itself, without those of the layers in it."""
    return [*layer._trainable_variables, *layer._non_trainable_variables]


def seed_generators(layer: keras.Layer) -> list[Any]:
    """The random states of a layer itself."""
    return layer._seed_generators


def forget_layer(model: keras.Model, layer: keras.Layer) -> None:
    """Takes a layer out of what a model tracks, so that another may stand in its attribute."""
    model._tracker.untrack(layer)


def takes_mask(layer: keras.Layer) -> bool:
    """Whether the `call` of a layer has an argument `mask`."""
    return layer._call_has_mask_arg


def takes_training(layer: keras.Layer) -> bool:
    """Whether the `call` of a layer has an argument `training`."""
    return layer._call_has_training_arg


def trained_variables(optimizer: keras.optimizers.Optimizer) -> list[keras.Variable]:
    """The variables that an optimizer was built with, in its order; empty before."""
    return list(getattr(optimizer, "_trainable_variables", ()))


def begin_fit_at(model: keras.Model, epoch: int | None) -> None:
    """Sets the epoch at which the next `fit` of a model begins; `None` for its `initial_epoch`.

    `keras.callbacks.BackupAndRestore` resumes a run through the same attribute.
    """
    model._initial_epoch = epoch


def forget_model(callback: keras.callbacks.Callback) -> None:
    """Takes a callback off its model, as before `set_model`."""
    callback._model = None


def variant_tensor(dataset: tf.data.Dataset) -> tf.Tensor:
    """The tensor that stands for a dataset in a graph; a subclass of `Dataset` is made with it."""
    return dataset._variant_tensor
