"""Dead hidden neurons of gates go, and the function stays."""

from typing import Any

import keras
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import hlstm_tf as hl
from hlstm_tf.pruning.architecture import Rule, prune_model
from hlstm_tf.pruning.dead_neurons import fold_constants, without_dead_neurons
from hlstm_tf.scoring.score_source import ScoreSource
from tests.tiers import few

X = np.random.default_rng(0).normal(size=(3, 2, 3)).astype("float32")


def pruned_layer(hidden: tuple[Any, ...], density: float, seed: int, **arguments):
    """A layer with biases, some of whose hidden neurons have lost an end."""
    rng = np.random.default_rng(seed)
    layer = hl.HLSTM(3, hidden_units=hidden, **arguments)
    layer(X)
    for variable in layer.trainable_variables:
        variable.assign(rng.normal(size=variable.shape).astype("float32"))
    kernels = hl.masked_kernels(layer)
    hl.edit_masks({kernel: rng.random(kernel.mask.shape) < density for kernel in kernels})
    return layer, kernels


def ends(kernels, gate: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """For each hidden layer of a gate: which neurons hear, which speak."""
    matrices = [matrix for kernel in kernels for matrix in kernel.to_matrices(kernel.mask)]
    masks = matrices[gate::4]
    hears = [masks[0].any(axis=0) | masks[1].any(axis=0)] + [m.any(axis=0) for m in masks[2:-1]]
    speaks = [m.any(axis=1) for m in masks[2:]]
    return list(zip(hears, speaks, strict=True))


@few(6)
@given(
    hidden=st.sampled_from([(3,), (4, 3), (2, 3, 2), ((2, 4, 1, 3), 2)]),
    density=st.floats(0.05, 0.6),
    seed=st.integers(0, 1000),
    activation=st.sampled_from(["relu", "tanh", "sigmoid"]),
)
def test_the_sweep_leaves_no_neuron_with_one_end_and_keeps_the_function(
    hidden: tuple[Any, ...], density: float, seed: int, activation: str
) -> None:
    layer, kernels = pruned_layer(hidden, density, seed, hidden_activation=activation)
    before = layer(X).numpy()
    masks = {kernel: kernel.mask.numpy() for kernel in kernels}
    swept = without_dead_neurons(masks)
    fold_constants(masks, swept)
    hl.edit_masks(swept)
    for gate in range(4):
        for hears, speaks in ends(kernels, gate):
            np.testing.assert_array_equal(hears, speaks)
    np.testing.assert_allclose(layer(X).numpy(), before, atol=2e-5)


def one_by_one(masks: list[np.ndarray]) -> list[np.ndarray]:
    """The masks of a gate, from input to output, less one half-dead neuron after another."""
    masks = [mask.copy() for mask in masks]
    while True:
        for layer, after in enumerate(masks[2:]):
            into = masks[:2] if layer == 0 else [masks[layer + 1]]
            fed = np.logical_or.reduce([mask.any(axis=0) for mask in into])
            half = np.flatnonzero(fed ^ after.any(axis=1))
            if half.size:
                for mask in into:
                    mask[:, half[0]] = False
                after[half[0]] = False
                break
        else:
            return masks


@few(6)
@given(
    hidden=st.sampled_from([(4,), (4, 3), (3, 4, 3)]),
    density=st.floats(0.1, 0.6),
    seed=st.integers(0, 1000),
)
def test_the_sweep_equals_removing_one_dead_neuron_at_a_time(
    hidden: tuple[int, ...], density: float, seed: int
) -> None:
    _, kernels = pruned_layer(hidden, density, seed)
    masks = {kernel: kernel.mask.numpy() for kernel in kernels}
    swept = without_dead_neurons(masks)
    for gate in range(4):
        expected = one_by_one([kernel.to_matrices(masks[kernel])[gate] for kernel in kernels])
        found = [kernel.to_matrices(swept[kernel])[gate] for kernel in kernels]
        for one, other in zip(found, expected, strict=True):
            np.testing.assert_array_equal(one, other)
    again = without_dead_neurons(swept)
    assert all((again[kernel] == swept[kernel]).all() for kernel in kernels)


def test_a_neuron_without_inputs_moves_its_constant_to_the_next_bias() -> None:
    layer, kernels = pruned_layer((2,), 1.0, 0)
    first, recurrent, output = kernels
    masks = {kernel: kernel.mask.numpy() for kernel in kernels}
    masks[first][:, 0, 1] = masks[recurrent][:, 0, 1] = False  # gate i, hidden neuron 1
    hl.edit_masks(masks)
    constant = max(float(layer.cell.bias.numpy()[0, 1]), 0.0)
    expected = layer.cell.output_bias.numpy()
    expected[0] += constant * output.variable.numpy()[0, 1]
    swept = without_dead_neurons(masks)
    fold_constants(masks, swept)
    np.testing.assert_allclose(layer.cell.output_bias.numpy(), expected, rtol=1e-6)
    assert not swept[output][0, 1].any()
    assert swept[output][0, 0].all()
    assert swept[output][1:].all()


def test_a_neuron_without_outputs_loses_its_inputs_and_no_bias_changes() -> None:
    layer, kernels = pruned_layer((2,), 1.0, 0)
    first, recurrent, output = kernels
    masks = {kernel: kernel.mask.numpy() for kernel in kernels}
    masks[output][2, 0] = False
    hl.edit_masks(masks)
    biases = [layer.cell.bias.numpy(), layer.cell.output_bias.numpy()]
    swept = without_dead_neurons(masks)
    fold_constants(masks, swept)
    assert not swept[first][:, 2, 0].any()
    assert not swept[recurrent][:, 2, 0].any()
    assert swept[first][:, 2, 1].all()
    np.testing.assert_array_equal(layer.cell.bias.numpy(), biases[0])
    np.testing.assert_array_equal(layer.cell.output_bias.numpy(), biases[1])


@pytest.mark.parametrize(("activation", "sweeps"), [("relu", True), ("sigmoid", False)])
def test_without_biases_a_constant_that_is_not_zero_keeps_its_neuron(
    activation: str, sweeps: bool
) -> None:
    layer, kernels = pruned_layer((3,), 0.2, 3, hidden_activation=activation, use_bias=False)
    before = layer(X).numpy()
    masks = {kernel: kernel.mask.numpy() for kernel in kernels}
    swept = without_dead_neurons(masks)
    fold_constants(masks, swept)
    hl.edit_masks(swept)
    assert bool(swept) is sweeps
    np.testing.assert_allclose(layer(X).numpy(), before, atol=1e-6)


def test_pruning_a_model_sweeps_its_gates() -> None:
    model = keras.Sequential([keras.Input((4, 3)), hl.HLSTM(3, hidden_units=4)])
    model.compile("adam", "mse")
    rule = Rule.of("magnitude", "connection", "per_matrix")
    removed = prune_model(ScoreSource(model), rule, "pruning", sparsity=0.9)
    kernels = hl.masked_kernels(model)
    places = sum(kernel.mask.numpy().size for kernel in kernels)
    left = sum(int(kernel.mask.numpy().sum()) for kernel in kernels)
    assert removed == places - left
    for gate in range(4):
        for hears, speaks in ends(kernels, gate):
            np.testing.assert_array_equal(hears, speaks)


def gated_model(hidden: tuple[Any, ...] = (24, 16)) -> keras.Model:
    keras.utils.set_random_seed(3)
    rnn = hl.HLSTM(4, hidden_units=hidden, return_sequences=True)
    model = keras.Sequential(
        [keras.Input((None, 3)), keras.layers.Bidirectional(rnn), hl.MaskedDense(2)]
    )
    model = hl.sparsify(model, sparsity=0.3, seed=1)
    model.compile(keras.optimizers.Adam(0.01), "mse", run_eagerly=True)  # nothing is traced
    return model


def data() -> tuple[np.ndarray, np.ndarray]:
    x = np.random.default_rng(0).normal(size=(8, 2, 3)).astype("float32")
    return x, np.stack([x.sum(-1), x[..., 0]], axis=-1)


def widths(model: keras.Model) -> list[tuple[Any, ...]]:
    layer = model.layers[0]
    return [each.cell.hidden_units for each in (layer.forward_layer, layer.backward_layer)]


def test_gates_lose_equally_many_neurons_and_shrink_takes_them_out() -> None:
    model = gated_model()
    output = hl.masked_kernels(model)[-1].mask.numpy()
    rule = Rule.of("magnitude", "neuron", "per_matrix")
    assert prune_model(ScoreSource(model), rule, "test", ratio=0.4) > 0
    compact = hl.shrink(model, verify_with=data()[0])
    assert widths(compact) == [(16, 8), (16, 8)]  # 14.4 and 9.6 of 24 and 16
    np.testing.assert_array_equal(hl.masked_kernels(model)[-1].mask.numpy(), output)


def test_a_sparsity_counts_neurons_of_the_whole_layer() -> None:
    model = gated_model((32,))
    rule = Rule.of("magnitude", hl.Neuron(multiple=4, minimum=4), "per_matrix")
    for sparsity, width in ((0.25, 24), (0.5, 16), (0.4, 16)):
        prune_model(ScoreSource(model), rule, "test", sparsity=sparsity)
        assert widths(hl.shrink(model)) == [(width,), (width,)]


def strengthen(model: keras.Model, gate: int, neurons: slice) -> None:
    """Makes some hidden neurons of a gate weigh more than all others, in both directions."""
    for kernel in hl.masked_kernels(model):
        if kernel.name == "output_kernel":
            weights = kernel.to_matrices(kernel.variable)
            weights[gate, neurons] += 100.0 * kernel.to_matrices(kernel.mask)[gate, neurons]
            kernel.variable.assign(kernel.from_matrices(weights))


def test_the_weakest_neurons_of_all_gates_go_where_widths_need_not_be_equal() -> None:
    model = gated_model((16,))
    for gate, strong in enumerate([16, 9, 4, 1]):
        strengthen(model, gate, slice(strong))
    structure = hl.Neuron(multiple=4, minimum=2, equal=False)
    rule = Rule.of("magnitude", structure, "per_matrix")
    prune_model(ScoreSource(model), rule, "test", ratio=1 - 30 / 64)
    # 16 + 9 + 4 + 1 stay; 9 is nearest to 8, and of 1 two stay at least.
    compact = hl.shrink(model, verify_with=data()[0])
    assert widths(compact) == [((16, 8, 4, 2),)] * 2
    again = hl.sparsify(compact, 0.0)
    again.compile("sgd", "mse")
    prune_model(ScoreSource(again), rule, "test", ratio=0.0)
    assert widths(hl.shrink(again)) == [((16, 8, 4, 2),)] * 2
    equal = Rule.of("magnitude", hl.Neuron(multiple=4, minimum=4), "per_matrix")
    prune_model(ScoreSource(again), equal, "test", ratio=0.5)
    assert widths(hl.shrink(again, verify_with=data()[0])) == [((8, 8, 4, 2),)] * 2


def test_a_sparsity_counts_the_neurons_of_all_gates() -> None:
    model = gated_model(((16, 8, 8, 8),))
    structure = hl.Neuron(multiple=1, minimum=1, equal=False)
    rule = Rule.of("magnitude", structure, "per_matrix")
    for sparsity, left in ((0.5, 20), (0.25, 20), (0.6, 16)):  # what is gone stays gone
        prune_model(ScoreSource(model), rule, "test", sparsity=sparsity)
        assert [sum(widths) for (widths,) in widths_by_gate(hl.shrink(model))] == [left, left]
    with pytest.raises(ValueError, match="`equal` must be True or False, got 'no'"):
        hl.Neuron(equal="no")


def widths_by_gate(model: keras.Model) -> list[tuple[Any, ...]]:
    layer = model.layers[0]
    return [each.cell.gate_widths for each in (layer.forward_layer, layer.backward_layer)]


def test_training_gates_of_different_widths_keeps_dormant_weights_zero() -> None:
    model = gated_model(((5, 2, 4, 3),))
    x, y = data()
    before = {k: (k.variable.numpy(), k.mask.numpy()) for k in hl.masked_kernels(model)}
    model.train_on_batch(x, y)
    for kernel, (weights, mask) in before.items():
        assert not kernel.variable.numpy()[~mask].any()
        assert (kernel.variable.numpy() != weights).any(), kernel
        np.testing.assert_array_equal(kernel.mask.numpy(), mask)


@pytest.mark.representatives("saliency")
@pytest.mark.parametrize("score", ["saliency", "gradient", "random"])
def test_neurons_go_by_any_score(score: str) -> None:
    model = gated_model((16,))
    rule = Rule.of(score, "neuron", "per_matrix")
    prune_model(ScoreSource(model, data()), rule, "test", ratio=0.5)
    assert widths(hl.shrink(model)) == [(8,), (8,)]


def test_grow_and_prune_narrows_gates_step_by_step_and_trains_on() -> None:
    model = gated_model((32,))
    x, y = data()
    pruning = hl.Pruning(step=0.25, retrain_epochs=1, structure="neuron", max_iterations=2)
    gp = hl.GrowAndPrune(
        (x, y), growth=hl.Growth(epochs=1), pruning=pruning, threshold=1e9, verbose=0,
        train_epochs=1,
    )  # fmt: skip
    model.fit(x, y, validation_data=(x, y), epochs=10, callbacks=[gp], verbose=0)
    assert gp.progress.iteration == 2
    assert widths(hl.shrink(model, verify_with=x)) == [(16,), (16,)]  # 32, 24, 18 to 16


def test_grow_and_prune_narrows_gates_first_and_thins_them_after() -> None:
    model = gated_model((32,))
    x, y = data()
    pruning = hl.Pruning(
        step=0.5, retrain_epochs=1, structure=("neuron", "connection"), max_iterations=3
    )
    gp = hl.GrowAndPrune((x, y), None, pruning, threshold=1e9, train_epochs=1, verbose=0)
    model.fit(x, y, validation_data=(x, y), epochs=10, callbacks=[gp], verbose=0)
    # 32 to 16 by the first iteration; of so few connections the others leave some neurons none.
    left = widths_by_gate(hl.shrink(model, verify_with=x))
    assert all(width <= 16 for (gates,) in left for width in gates)
    connections = [record["connections_after"] for record in gp.history]
    assert connections[1] / connections[0] <= 0.5
    assert connections[2] / connections[1] <= 0.5
    with pytest.raises(ValueError, match="`structure` is an empty tuple"):
        hl.Pruning(structure=())


def test_an_iteration_that_finds_no_neuron_takes_connections() -> None:
    model = gated_model((8,))  # the least width: 8 less a quarter is rounded up to 8
    x, y = data()
    pruning = hl.Pruning(
        step=0.25, retrain_epochs=1, structure=("neuron", "connection"), max_iterations=1
    )
    before = hl.summary(model, print_fn=None).connections
    gp = hl.GrowAndPrune((x, y), None, pruning, threshold=1e9, train_epochs=0, verbose=0)
    model.fit(x, y, validation_data=(x, y), epochs=5, callbacks=[gp], verbose=0)
    assert gp.progress.reason == "1 iterations are complete"
    # A quarter, and what is left of the neurons that lost an end by it.
    assert before / 2 < hl.summary(model, print_fn=None).connections <= before * 0.75


def test_a_schedule_narrows_gates() -> None:
    model = gated_model((32,))
    x, y = data()
    callback = hl.MagnitudePruning(0.5, structure="neuron")
    model.fit(x, y, epochs=2, callbacks=[callback], verbose=0)
    assert widths(hl.shrink(model)) == [(16,), (16,)]
    assert len(callback.history) == 1


def test_what_has_no_neurons_of_gates_says_so() -> None:
    model = keras.Sequential([keras.Input((3,)), hl.MaskedDense(2)])
    rule = Rule.of("magnitude", "neuron", "per_matrix")
    with pytest.raises(ValueError, match="needs a masked HLSTM with hidden layers, or masked"):
        prune_model(ScoreSource(model), rule, "test", ratio=0.5)
    with pytest.raises(ValueError, match="distribution must be 'per_matrix'; got 'global'"):
        hl.Pruning(structure="neuron", distribution="global")
    with pytest.raises(ValueError, match="growth's structure cannot be 'neuron'"):
        hl.Growth(structure="neuron")
    with pytest.raises(ValueError, match="growth's structure cannot be 'neuron'"):
        hl.GradientGrowth((np.ones((1, 3)), np.ones((1, 2))), structure="neuron")
