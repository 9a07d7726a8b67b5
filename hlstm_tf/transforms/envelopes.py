"""Envelopes: layers with room for more neurons than live in them at first."""

from collections.abc import Mapping, Sequence

import keras
import numpy as np

from hlstm_tf.layers import MaskedKernel
from hlstm_tf.sparsity import reset_entries
from hlstm_tf.sparsity.checks import check_count, check_fraction
from hlstm_tf.transforms.discovery import feed_forward_ends, layer_groups
from hlstm_tf.transforms.editing import Workshop, in_place_of
from hlstm_tf.transforms.groups import NeuronGroup

Neurons = float | Mapping[str, int | float]
"""A share of every layer's width, or a number or share for each layer named."""


def living_places(
    model: keras.Model, kernels: Sequence[MaskedKernel], neurons: Neurons
) -> dict[MaskedKernel, np.ndarray]:
    """Returns where living neurons may connect, and zeroes the biases of all others.

    Args:
        model: A model with masked kernels.
        kernels: Those whose masks are to be drawn.
        neurons: How many live, of each layer that can grow neurons; the first of it.

    Returns:
        For each kernel a mask of its own shape.

    Raises:
        ValueError: A number is out of its range, or a layer named has no neurons to leave out.
    """
    room = {kernel: np.ones(kernel.shape) for kernel in kernels}
    groups: dict[str, tuple[keras.Layer, NeuronGroup]] = {}
    for group in layer_groups(model, Workshop(in_place_of(room))):
        ends = feed_forward_ends(group)
        if ends is not None and not np.isnan(group.strength()).any():
            groups[ends[0].name] = ends[0], group
    if not isinstance(neurons, Mapping):
        neurons = dict.fromkeys(groups, check_fraction(neurons, "neurons"))
    for name, amount in neurons.items():
        if name not in groups:
            raise ValueError(
                f"`neurons`: layer '{name}' cannot have dormant neurons; it has to be a dense "
                "layer or convolution, masked as all that read it, which have to be such too "
                f"(such are: {', '.join(groups) or 'none'})"
            )
        layer, group = groups[name]
        gone = np.arange(group.writer.width) >= _living(amount, group.writer.width, name)
        group.remove(gone)
        if layer.use_bias:
            reset_entries(layer.bias, gone)
    return {kernel: array != 0 for kernel, array in room.items()}


def _living(amount: int | float, width: int, name: str) -> int:
    """How many of `width` neurons live: at least one."""
    if isinstance(amount, float):
        return max(1, round(check_fraction(amount, f"neurons['{name}']") * width))
    if check_count(amount, f"neurons['{name}']") > width:
        raise ValueError(f"`neurons`: layer '{name}' has {width} neurons, fewer than {amount}")
    return amount
