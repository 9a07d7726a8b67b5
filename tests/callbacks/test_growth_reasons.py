"""Why no neurons can be born into a layer, said layer by layer."""

from collections.abc import Callable
from typing import Any

import keras
import pytest

import hlstm_tf as hl
from hlstm_tf.pruning.neuron_growth import require_sites

layers = keras.layers


def _residual() -> keras.Model:
    x = keras.Input((6, 6, 4))
    y = layers.Conv2D(4, 3, padding="same", name="a")(x)
    z = layers.Conv2D(4, 3, padding="same", name="b")(layers.ReLU()(y))
    return keras.Model(x, layers.Dense(2)(layers.Flatten()(layers.Add(name="sum")([y, z]))))


def _chain(*behind: keras.Layer, **arguments: Any) -> keras.Model:
    last = layers.Conv2D(2, 3, padding="same", name="last")
    first = layers.Conv2D(4, 3, padding="same", name="a", **arguments)
    return keras.Sequential([keras.Input((6, 6, 4)), first, *behind, last])


def _recurrent() -> keras.Model:
    x = keras.Input((6, 4))
    y = layers.GRU(3, name="memory")(layers.Dense(4, name="a")(x))
    return keras.Model(x, layers.Dense(2, name="last")(y))


REASONS: dict[str, tuple[Callable[[], keras.Model], dict[str, str]]] = {
    "a residual": (
        _residual,
        {"a": "Add 'sum' couples its neurons with those of 'b'", "b": "Add 'sum' .* of 'a'"},
    ),
    "a grouped convolution behind": (
        lambda: _chain(layers.Conv2D(4, 3, groups=2, name="g")),
        {"a": "MaskedConv2D 'g' reads its neurons in groups=2", "g": "it is .* in groups=2"},
    ),
    "a multiplier": (
        lambda: _chain(layers.DepthwiseConv2D(3, depth_multiplier=2, name="dw")),
        {"a": "MaskedDepthwiseConv2D 'dw' makes 2 channels of each", "dw": "it is a depthwise"},
    ),
    "a multiplier of one": (
        lambda: _chain(layers.DepthwiseConv2D(3, name="dw")),
        {"a": "MaskedDepthwiseConv2D 'dw' has weights of its own for each of its neurons"},
    ),
    "a normalization": (
        lambda: _chain(layers.LayerNormalization(name="norm")),
        {"a": "LayerNormalization 'norm' does not treat each of its neurons by itself"},
    ),
    "a softmax": (
        lambda: _chain(activation="softmax"),
        {"a": "its activation 'softmax' mixes its neurons", "last": "its output is one of the"},
    ),
    "a separable convolution": (
        lambda: _chain(layers.SeparableConv2D(4, 3, name="s")),
        {"a": "MaskedSeparableConv2D 's' reads it", "s": "it is a MaskedSeparableConv2D"},
    ),
    "a recurrent layer": (
        _recurrent,
        {"a": "MaskedGRU 'memory' reads it", "memory": "it is recurrent, and no gate of it has"},
    ),
}


@pytest.mark.parametrize("kind", REASONS)
def test_a_layer_that_cannot_grow_says_why(kind: str) -> None:
    build, reasons = REASONS[kind]
    model = hl.sparsify(build(), sparsity=0.0)
    for name, reason in reasons.items():
        with pytest.raises(ValueError, match=f"no layer '{name}' into .* grow: '{name}': {reason}"):
            require_sites(model, hl.NeuronGrowthRule({name: 1}))
        with pytest.raises(ValueError, match=f"'{name}' cannot have dormant neurons: {reason}"):
            hl.sparsify(build(), sparsity=0.0, neurons={name: 1})
    with pytest.raises(ValueError, match=f"has no layer into .* grow: .*'a': {reasons['a']}.*; '"):
        require_sites(model, hl.NeuronGrowthRule(1))


def test_the_reasons_of_many_layers_are_cut_short() -> None:
    parts = [layers.Dense(3, activation="softmax") for _ in range(11)]
    model = hl.sparsify(keras.Sequential([keras.Input((3,)), *parts]), sparsity=0.0)
    with pytest.raises(ValueError, match=r"'dense_7': its activation 'softmax' .*; and 3 more\."):
        require_sites(model, hl.NeuronGrowthRule(1))
