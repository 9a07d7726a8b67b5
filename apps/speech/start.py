"""Going on with a network that was trained before."""

from __future__ import annotations

import os

import hlstm_tf as hl
from apps.common.errors import InputError
from apps.speech.model import SpeechRecognizer
from apps.speech.recognizer import load_keras


def started(model: SpeechRecognizer, start: str | os.PathLike[str]) -> SpeechRecognizer:
    """Give a network the weights, masks included, of another of its architecture.

    Args:
        model: The network; gets masks where the other has them.
        start: `.keras` file of the other. The zeros of one of plain layers become masks.

    Returns:
        The network, or, where it had no masks and gets some, one like it.

    Raises:
        InputError: The other has another architecture, or masks where the network has none.
    """
    other = load_keras(start)
    if not hl.masked_kernels(other):
        other = hl.sparsify(other, seed_architecture="zeros")
    if len(hl.masked_kernels(model)) < len(hl.masked_kernels(other)):
        model = hl.sparsify(model, 0.0)  # what was pruned stays so in a training without pruning
    shapes, found = ([w.shape for w in network.weights] for network in (model, other))
    if shapes != found:
        raise InputError(
            f"start: {start} has another architecture than the recipe, or masks where that has"
            " none; give a model that was trained with the same layers and widths"
        )
    model.set_weights(other.get_weights())
    return model
