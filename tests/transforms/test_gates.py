"""Shrink on the hidden layers of H-LSTM gates."""

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import hlstm_tf as hl
from hlstm_tf.layers import GATES
from hlstm_tf.transforms import shrink, sparsify, strip, summary
from tests.tiers import few
from tests.transforms.models import mask_at_random, outputs, randomize, zero

BATCH = np.random.default_rng(1).normal(size=(2, 4, 3)).astype("float32")


def _model(hidden: tuple[Any, ...] = (5,), **kwargs: Any) -> keras.Model:
    layer = hl.HLSTM(3, hidden_units=hidden, masked=False, **kwargs)
    return randomize(keras.Sequential([keras.Input((None, 3)), layer]))


def _cell(model: keras.Model) -> hl.HLSTMCell:
    return model.layers[0].cell


def _kill_inputs(cell: hl.HLSTMCell, gate: int, neurons: list[int]) -> None:
    zero(cell.kernel, (slice(None), gate, neurons))
    zero(cell.recurrent_kernel, (slice(None), gate, neurons))


def _shrunk(model: keras.Model) -> keras.Model:
    small = shrink(model, verify_with=BATCH)
    np.testing.assert_allclose(outputs(small, BATCH), outputs(model, BATCH), atol=1e-6)
    return small


def test_a_neuron_killed_in_each_gate_is_physically_gone() -> None:
    model = _model()
    kernel = _cell(model).kernel.numpy()
    for gate in range(4):
        _kill_inputs(_cell(model), gate, [gate])
    small = _shrunk(model)
    cell = _cell(small)
    assert cell.hidden_units == (4,)
    assert cell.kernel.shape == (3, 4, 4)
    assert cell.output_kernel.shape == (4, 4, 3)
    assert cell.bias.shape == (4, 4)
    for gate in range(4):
        living = [neuron for neuron in range(5) if neuron != gate]
        np.testing.assert_array_equal(cell.kernel.numpy()[:, gate], kernel[:, gate][:, living])


@pytest.mark.parametrize("gate", range(4))
def test_a_neuron_that_nobody_reads_goes_from_its_gate_alone(gate: int) -> None:
    model = _model()
    cell = _cell(model)
    zero(cell.output_kernel, (gate, [0, 2]))
    small = _cell(_shrunk(model))
    assert small.hidden_units == (tuple(3 if g == gate else 5 for g in range(4)),)
    kernel = getattr(small, f"kernel_{GATES[gate]}").numpy()
    np.testing.assert_array_equal(kernel, cell.kernel.numpy()[:, gate, [1, 3, 4]])
    bias = getattr(small, f"bias_{GATES[gate]}").numpy()
    np.testing.assert_array_equal(bias, cell.bias.numpy()[gate, [1, 3, 4]])


def test_gates_of_different_widths_shrink_further_and_to_equal_ones() -> None:
    model = _model(((5, 2, 4, 3), 2))
    zero(_cell(model).hidden_kernel_2_input, [1, 4])  # unread
    zero(_cell(model).kernel_cell, (slice(None), 2))  # unfed
    zero(_cell(model).recurrent_kernel_cell, (slice(None), 2))
    small = _shrunk(model)
    assert _cell(small).hidden_units == ((3, 2, 3, 3), 2)
    assert _cell(small).bias_input.shape == (3,)
    for gate in ("input", "cell", "output"):
        zero(getattr(_cell(small), f"hidden_kernel_2_{gate}"), 0)
    smaller = _shrunk(small)
    assert _cell(smaller).hidden_units == (2, 2)
    assert _cell(smaller).kernel.shape == (3, 4, 2)


def test_masks_with_other_dead_neurons_in_each_gate_shrink_to_what_is_left(tmp_path: Path) -> None:
    model = sparsify(_model((6,)), 0.0)
    kernels = {kernel.name: kernel for kernel in hl.masked_kernels(model)}
    masks = {name: np.ones(kernel.shape, bool) for name, kernel in kernels.items()}
    for gate, dead in enumerate([[0], [1, 2, 3], [], [0, 1, 2, 3, 4, 5]]):
        if gate % 2:
            masks["output_kernel"][gate, dead] = False
        else:
            masks["kernel"][:, gate, dead] = masks["recurrent_kernel"][:, gate, dead] = False
    hl.edit_masks({kernels[name]: mask for name, mask in masks.items()})
    small = _shrunk(model)
    assert _cell(small).hidden_units == ((5, 3, 6, 1),)  # one stays
    small.save(tmp_path / "small.keras")
    loaded = keras.saving.load_model(tmp_path / "small.keras")
    assert _cell(loaded).hidden_units == ((5, 3, 6, 1),)
    np.testing.assert_array_equal(outputs(loaded, BATCH), outputs(small, BATCH))


def test_gates_of_different_widths_get_masks_and_lose_them_again() -> None:
    model = _model(((4, 2, 3, 5),))
    masked = sparsify(model, 0.5, seed=1, seed_architecture="random")
    kernels = hl.masked_kernels(masked)
    assert [tuple(kernel.shape) for kernel in kernels[:4]] == [(3, 4), (3, 2), (3, 3), (3, 5)]
    for kernel in kernels:  # each matrix has its own share
        assert abs(kernel.mask.numpy().mean() - 0.5) < 0.17
        kept = np.where(kernel.mask, getattr(_cell(model), kernel.name), 0)
        np.testing.assert_array_equal(kernel.variable.numpy(), kept)
    plain = strip(masked, verify_with=BATCH)
    assert not hl.masked_kernels(plain)
    assert _cell(plain).hidden_units == ((4, 2, 3, 5),)


def test_the_constant_of_a_dead_neuron_goes_into_the_output_bias() -> None:
    model = _model((1,), hidden_activation="relu")
    cell = _cell(model)
    for gate in range(4):
        _kill_inputs(cell, gate, [0])
    cell.bias.assign([[2.0], [-1.0], [0.5], [0.0]])
    cell.output_kernel.assign(np.full((4, 1, 3), 10.0))
    cell.output_bias.assign(np.zeros((4, 3)))
    small = _shrunk(model)
    expected = np.repeat([[20.0], [0.0], [5.0], [0.0]], 3, axis=1)
    np.testing.assert_array_equal(_cell(small).output_bias.numpy(), expected)
    assert _cell(small).hidden_units == (1,)  # one stays
    assert not _cell(small).output_kernel.numpy().any()


def test_deaths_are_followed_through_several_hidden_layers() -> None:
    model = _model((4, 4), hidden_activation="leaky_relu")
    cell = _cell(model)
    for gate in range(4):
        zero(cell.output_kernel, (gate, [3]))  # unread ...
        kernel = cell.hidden_kernel_2.numpy()
        kernel[gate, 0, :3] = 0  # ... and the only one that reads neuron 0 of the first layer
        cell.hidden_kernel_2.assign(kernel)
        _kill_inputs(cell, gate, [1])
    small = _shrunk(model)
    assert _cell(small).hidden_units == (2, 3)
    assert _cell(small).hidden_kernel_2.shape == (4, 2, 3)


def test_dead_inputs_from_a_layer_before_make_hidden_neurons_constant() -> None:
    model = keras.Sequential(
        [
            keras.Input((None, 3)),
            keras.layers.Dense(2, activation="relu"),
            hl.HLSTM(3, hidden_units=4, masked=False),
        ]
    )
    randomize(model)
    dense, cell = model.layers[0], model.layers[1].cell
    zero(dense.kernel, (slice(None), 0))
    for gate in range(4):
        zero(cell.recurrent_kernel, (slice(None), gate, [2]))
        zero(cell.kernel, (1, gate, 2))  # neuron 2 hears the dead unit alone
    small = _shrunk(model)
    assert small.layers[0].units == 1
    assert small.layers[1].hidden_units == (3,)


def test_dead_inputs_go_from_gates_of_different_widths() -> None:
    model = keras.Sequential(
        [
            keras.Input((None, 3)),
            keras.layers.Dense(3, activation="relu"),
            hl.HLSTM(3, hidden_units=((4, 2, 3, 1),), masked=False),
        ]
    )
    randomize(model)
    zero(model.layers[0].kernel, (slice(None), 0))  # a constant now
    for gate in GATES:
        zero(getattr(model.layers[1].cell, f"kernel_{gate}"), 2)  # nobody reads unit 2
    small = _shrunk(model)
    assert small.layers[0].units == 1
    assert small.layers[1].cell.kernel_input.shape == (1, 4)
    assert small.layers[1].hidden_units == ((4, 2, 3, 1),)


def test_a_cell_without_hidden_layers_is_left_alone() -> None:
    model = _model(())
    zero(_cell(model).kernel, (slice(None), slice(0, 2)))
    assert _cell(_shrunk(model)).kernel.shape == (3, 12)


def test_a_hidden_activation_across_neurons_keeps_them() -> None:
    model = _model((4,), hidden_activation="softmax")
    for gate in range(4):
        _kill_inputs(_cell(model), gate, [0])
    assert _cell(_shrunk(model)).hidden_units == (4,)


@few(3)
@given(
    hidden=st.sampled_from([(4,), (3, 5), (2, 3, 2), ((2, 4, 3, 1), 3)]),
    activation=st.sampled_from(["relu", "leaky_relu", "sigmoid"]),
    use_bias=st.booleans(),
    wrap=st.sampled_from(["plain", "bidirectional", "cell"]),
    density=st.floats(0.0, 0.5),
    seed=st.integers(0, 1000),
)
def test_any_hlstm_with_random_masks_keeps_its_function(
    hidden: tuple[Any, ...], activation: str, use_bias: bool, wrap: str, density: float, seed: int
) -> None:
    arguments = {
        "hidden_units": hidden,
        "hidden_activation": activation,
        "use_bias": use_bias,
        "masked": True,
    }
    layer: keras.Layer
    if wrap == "cell":
        layer = keras.layers.RNN([hl.HLSTMCell(2, **arguments), hl.HLSTMCell(2, **arguments)])
    else:
        layer = hl.HLSTM(2, **arguments)
        layer = keras.layers.Bidirectional(layer) if wrap == "bidirectional" else layer
    model = randomize(keras.Sequential([keras.Input((2, 3)), layer]), seed)
    mask_at_random(model, density, seed)
    before = summary(model, print_fn=None)
    small = shrink(model, verify_with=BATCH[:, :2])
    after = summary(small, print_fn=None)
    assert after.connections <= before.connections
    assert after.bytes <= before.bytes
    again = summary(shrink(strip(small)), print_fn=None)
    assert again.to_dict() | {"name": ""} == after.to_dict() | {"name": ""}
