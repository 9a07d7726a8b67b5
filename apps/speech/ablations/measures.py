"""What is looked at in the models of a training: connections by layer, and zeros after ReLU."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

import hlstm_tf as hl
from apps.common.errors import InputError
from apps.speech.evaluate import Recognition
from apps.speech.iterations import iteration_file
from apps.speech.recipe import Recipe
from apps.speech.recognizer import load_keras
from apps.speech.train import GROWN, MODEL, build_from


def stages(folder: Path, recipe: Recipe, iterations: int) -> dict[str, Path]:
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
    folder: Path, recipe: Recipe, iterations: int, features: list[np.ndarray]
) -> dict[str, Any]:
    """Look at the models of a finished training.

    Args:
        folder: Of the run.
        recipe: Of the run.
        iterations: Complete pruning iterations.
        features: Of the utterances that activations are looked at with, `(frames, bands)` each.

    Returns:
        `layers`: connections and places of each layer with kernels, by stage, that of the seed
        architecture included; `hidden`: `hidden_zeros` of the trained model and of the last stage.

    Raises:
        InputError: A model is missing.
    """
    files = stages(folder, recipe, iterations)
    counts = {"seed": count_layers(build_from(recipe))} if recipe.grow_and_prune else {}
    models = {stage: load_keras(path) for stage, path in files.items()}
    counts |= {stage: count_layers(model) for stage, model in models.items()}
    looked = {name: models[name] for name in ("trained", list(models)[-1])}
    hidden = {name: hidden_zeros(model, features) for name, model in looked.items()}
    return {"layers": counts, "hidden": {name: rows for name, rows in hidden.items() if rows}}


def count_layers(model: keras.Model) -> dict[str, list[int]]:
    """Return `[connections, places]` of each layer with kernels; directions together.

    Example:

    >>> from keras import Sequential, Input, layers
    >>> model = Sequential([Input((4, 3)), layers.Bidirectional(layers.GRU(2, name="a"), name="b")])
    >>> count_layers(model)
    {'b': [60, 60]}
    """
    found: dict[str, list[int]] = {}
    for layer in hl.summary(model, level="layer", print_fn=None).to_dict()["layers"]:
        if layer["places"]:
            counts = found.setdefault(layer["name"].split("/")[0], [0, 0])
            counts[0] += layer["connections"]
            counts[1] += layer["places"]
    return found


def hidden_zeros(model: keras.Model, features: list[np.ndarray]) -> dict[str, dict[str, float]]:
    """Count the zeros that ReLU leaves in the gates of a recogniser's H-LSTM layers.

    A hidden neuron whose activation is zero need not be multiplied with its outgoing connections:
    that saves 2 FLOPs each.

    Args:
        model: A recogniser with gates of equal width, masked or not; it is left as it was.
        features: Of utterances, `(frames, bands)` each. They go through the network one by one, so
            that no frame counted is one of padding.

    Returns:
        For each H-LSTM layer, its directions together: `zeros`, the share of zeros among the
        activations of hidden neurons that feed anything; `flops` a frame without any such saving;
        and `saved`, the FLOPs a frame that the zeros save. Empty without such layers.
    """
    counters = {
        layer.name: [_Counter(cell) for cell in _cells(layer)]
        for layer in model.layers
        if _cells(layer)
    }
    if not counters:
        return {}
    recognition = Recognition(model)
    try:
        for counter in (c for several in counters.values() for c in several):
            counter.cell.hidden_activation = counter
        for rows in features:
            lengths = np.array([len(rows)], np.int32)
            recognition.logits({"features": rows[None], "lengths": lengths})
    finally:
        for counter in (c for several in counters.values() for c in several):
            counter.cell.hidden_activation = counter.activation
    counts = count_layers(model)
    return {name: _shares(counts[name][0], several) for name, several in counters.items()}


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


def _shares(connections: int, counters: list[_Counter]) -> dict[str, float]:
    zeros = alive = saved = 0.0
    for counter in counters:
        steps = int(counter.steps)
        for counted, feeds in zip(counter.zeros, counter.outgoing(), strict=True):
            rates = counted.numpy() / max(1, steps)
            zeros += float(rates[feeds > 0].sum())
            alive += int((feeds > 0).sum())
            saved += 2 * float((rates * feeds).sum())
    return {"zeros": zeros / max(1.0, alive), "flops": 2.0 * connections, "saved": saved}
