"""Measures of the models of a training: connections by layer, and zeros after ReLU."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

import hlstm_tf as hl
from apps.an4_study.iterations import iteration_file
from apps.an4_study.recipe import StudyRecipe
from apps.common.errors import InputError
from apps.common.run import MODEL
from apps.speech.model import Recognition
from apps.speech.recognizer import load_keras
from apps.speech.train import GROWN, build_from


def stages(folder: Path, recipe: StudyRecipe, iterations: int) -> dict[str, Path]:
    """Return the models that a training kept, by stage: "trained", "iteration 1", and so on.

    Args:
        folder: Of the run.
        recipe: Of the run.
        iterations: How many are complete.

    Raises:
        InputError: A model is missing.
    """
    files = {"trained": folder / (GROWN if recipe.grow_and_prune else MODEL)}
    for iteration in range(1, iterations + 1):
        files[f"iteration {iteration}"] = iteration_file(folder, iteration)
    for path in files.values():
        if not path.is_file():
            raise InputError(f"{path}: no such model; delete the run's folder to train it anew")
    return files


def measure(
    folder: Path, recipe: StudyRecipe, iterations: int, features: list[np.ndarray]
) -> dict[str, Any]:
    """Look at the models of a finished training.

    Args:
        folder: Of the run.
        recipe: Of the run.
        iterations: Complete pruning iterations.
        features: Of the utterances that activations are looked at with, `(frames, bands)` each.

    Returns:
        `layers`: for each stage, that of the seed architecture first, its name and `count_layers`;
        `hidden`: the same with `hidden_zeros`, of the trained model and of the last stage.

    Raises:
        InputError: A model is missing.
    """
    files = stages(folder, recipe, iterations)
    models = {stage: load_keras(path) for stage, path in files.items()}
    looked = {stage: models[stage] for stage in ("trained", list(models)[-1])}
    hidden = {stage: hidden_zeros(model, features) for stage, model in looked.items()}
    if recipe.grow_and_prune:
        models = {"seed": build_from(recipe), **models}
    return {
        "layers": [[stage, count_layers(model)] for stage, model in models.items()],
        "hidden": [[stage, found] for stage, found in hidden.items() if found],
    }


def count_layers(model: keras.Model) -> list[list[Any]]:
    """Return `[name, connections, places]` of each layer with kernels; directions together.

    Example:

    >>> from keras import Sequential, Input, layers
    >>> model = Sequential([Input((4, 3)), layers.Bidirectional(layers.GRU(2, name="a"), name="b")])
    >>> count_layers(model)
    [['b', 60, 60]]
    """
    found: dict[str, list[Any]] = {}
    for layer in hl.summary(model, level="layer", print_fn=None).to_dict()["layers"]:
        if layer["places"]:
            name = layer["name"].split("/")[0]
            counts = found.setdefault(name, [name, 0, 0])
            counts[1] += layer["connections"]
            counts[2] += layer["places"]
    return list(found.values())


def hidden_zeros(model: keras.Model, features: list[np.ndarray]) -> list[list[Any]]:
    """Count the zeros that ReLU leaves in the gates of a recogniser's H-LSTM layers.

    A hidden neuron whose activation is zero need not be multiplied with its outgoing connections:
    that saves 2 FLOPs each.

    Args:
        model: A recogniser with gates of equal width, masked or not; it is left as it was.
        features: Of utterances, `(frames, bands)` each. They go through the network one by one, so
            that no frame counted is one of padding.

    Returns:
        For each H-LSTM layer, its directions together, `[name, zeros, flops, saved]`: the share of
        zeros among the activations of hidden neurons that feed anything; the FLOPs a frame without
        any such saving; and those that the zeros save. Empty without such layers.
    """
    counters = {
        layer.name: [_Counter(cell) for cell in _cells(layer)]
        for layer in model.layers
        if _cells(layer)
    }
    if not counters:
        return []
    every = [counter for several in counters.values() for counter in several]
    recognition = Recognition(model)
    try:
        for counter in every:
            counter.cell.hidden_activation = counter
        for rows in features:
            lengths = np.array([len(rows)], np.int32)
            recognition.logits({"features": rows[None], "lengths": lengths})
    finally:
        for counter in every:
            counter.cell.hidden_activation = counter.activation
    connections = {name: count for name, count, _ in count_layers(model)}
    return [
        [name, zeros, 2.0 * connections[name], saved]
        for name, several in counters.items()
        for zeros, saved in [_shares(several)]
    ]


def _cells(layer: keras.Layer) -> list[Any]:
    directions = [getattr(layer, name, None) for name in ("forward_layer", "backward_layer")]
    found = [each for each in directions if each is not None] or [layer]
    return [each.cell for each in found if isinstance(each, hl.HLSTM) and each.hidden_units]


class _Counter:
    """A cell's hidden activation that counts the zeros of each neuron, step by step.

    The cell calls it for each gate of a hidden layer, layer by layer, in every step.
    """

    def __init__(self, cell: Any) -> None:
        self.cell = cell
        self.activation = cell.hidden_activation
        self.zeros = [
            tf.Variable(tf.zeros(int(width), tf.int64))
            for width in cell.hidden_units
            for _ in range(4)
        ]
        self.steps = tf.Variable(0, dtype=tf.int64)
        self._next = 0

    def __call__(self, x: Any) -> Any:
        active = self.activation(x)
        # A trace has whole steps, so that calls stay in turn however often the loop is traced.
        if self._next == 0:
            self.steps.assign_add(1)
        zeros = self.zeros[self._next]
        self._next = (self._next + 1) % len(self.zeros)
        zeros.assign_add(tf.reduce_sum(tf.cast(tf.equal(active, 0), zeros.dtype), axis=0))
        return active

    def outgoing(self) -> list[np.ndarray]:
        """How many connections each hidden neuron feeds, for each of `zeros`."""
        depth = len(self.cell.hidden_units)
        names = [f"hidden_kernel_{k}" for k in range(2, depth + 1)] + ["output_kernel"]
        kernels = [np.asarray(getattr(self.cell, name)) for name in names]
        return [np.count_nonzero(gate, axis=1) for kernel in kernels for gate in kernel]


def _shares(counters: list[_Counter]) -> tuple[float, float]:
    """The share of zeros, and the FLOPs that they save a frame."""
    zeros = alive = saved = 0.0
    for counter in counters:
        for counted, feeds in zip(counter.zeros, counter.outgoing(), strict=True):
            rates = counted.numpy() / max(1, int(counter.steps))
            zeros += float(rates[feeds > 0].sum())
            alive += int((feeds > 0).sum())
            saved += 2 * float((rates * feeds).sum())
    return zeros / max(1.0, alive), saved
