"""Hidden neurons of H-LSTM gates are born where the bridging gradient says that they help."""

import functools
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import hlstm_tf as hl
from hlstm_tf.layers.observers import bridging, zero_bridge
from hlstm_tf.pruning.architecture import Rule, grow_model
from hlstm_tf.pruning.layer_sites import layer_sites, living_rooms
from hlstm_tf.pruning.neuron_growth import BridgingGradients, grow_neurons
from hlstm_tf.pruning.neuron_growth import _connect as connect
from hlstm_tf.pruning.sites import gate_sites
from hlstm_tf.scoring.gradients import MeanLoss
from hlstm_tf.scoring.score_source import ScoreSource
from hlstm_tf.sparsity import neuron_births
from tests.callbacks.kills import Killed, run_births
from tests.tiers import few

layers = keras.layers
RNG = np.random.default_rng(0)
X = RNG.normal(size=(12, 6, 3)).astype("float32")
LENGTHS = RNG.integers(2, 7, size=12)
LENGTHS[:4] = 6
X[np.arange(6) >= LENGTHS[:, None]] = 0.0  # padding
Y = np.stack([np.abs(X[:, 0, 0]), X[:, 1, 1] * X[:, 1, 2]], axis=1)


def net(
    recurrent: Callable[[], keras.Layer],
    neurons: Any = 0.5,
    sparsity: float = 0.2,
    **compiled: Any,
) -> keras.Model:
    keras.utils.set_random_seed(1)
    plain = keras.Sequential(
        [keras.Input((6, 3)), layers.Masking(), recurrent(), layers.Dense(2, name="out")]
    )
    model = hl.sparsify(plain, sparsity, seed=3, neurons=neurons)
    for kernel in hl.masked_kernels(model):
        if "recurrent" in kernel.path:  # so that what goes on through time matters
            kernel.variable.assign(2 * kernel.variable)
    # Eagerly, to save the tracing, where nothing else is said.
    model.compile(keras.optimizers.Adam(0.01), "mse", **{"run_eagerly": True, **compiled})
    return model


def hlstm(units: int = 3, hidden: Any = 6, **arguments: Any) -> keras.Layer:
    arguments = {"hidden_activation": "leaky_relu", "bias_initializer": "normal", **arguments}
    return hl.HLSTM(units, hidden, name="l", **arguments)


def measured(model: keras.Model, training: bool = False) -> list[tuple[np.ndarray, np.ndarray]]:
    return BridgingGradients(model, gate_sites(model), training).mean((X, Y), 5, "a test", 1.0)


class Oracle:
    """H-LSTM directions and the dense layer after them in float64, with bridges of any value."""

    def __init__(self, model: keras.Model, directions: list[tuple[hl.HLSTMCell, bool]]) -> None:
        self.directions = [(cell, *self._weights(cell), back) for cell, back in directions]
        out = model.get_layer("out")
        self.out = [np.float64(v.numpy()) for v in (out.kernel, out.bias)]
        self.bridges: dict[tuple[int, int, int], np.ndarray] = {}
        self.reads: dict[tuple[int, int], np.ndarray] = {}

    @staticmethod
    def _weights(cell: hl.HLSTMCell) -> tuple[list, list]:
        first = [cell.form.values_by_gate(name) for name in ("kernel", "recurrent_kernel")]
        kernels = [[np.concatenate(both) for both in zip(*first, strict=True)]]
        biases = [cell.form.values_by_gate("bias")]
        for layer in cell.form.layers[1:]:
            [(kernel, _)], bias = layer.kernels, layer.bias
            kernels.append(cell.form.values_by_gate(kernel))
            biases.append(cell.form.values_by_gate(bias))
        return kernels, biases

    def loss(self) -> float:
        ends = np.concatenate([self._last(cell, *each) for cell, *each in self.directions], axis=1)
        return float(np.mean((ends @ self.out[0] + self.out[1] - Y) ** 2))

    def _last(self, cell: hl.HLSTMCell, kernels: list, biases: list, back: bool) -> np.ndarray:
        h = np.zeros((len(X), cell.units))
        c = h
        self.reads |= {(id(cell), gate): np.zeros(3 + cell.units) for gate in range(4)}
        for t in range(5, -1, -1) if back else range(6):
            valid = (t < LENGTHS)[:, None]
            z = np.concatenate([X[:, t], h], axis=1, dtype=np.float64)
            for gate in range(4):  # the forget gate has nothing to forget in the first step
                matters = valid & c.any(axis=1, keepdims=True) if gate == 1 else valid
                self.reads[id(cell), gate] += (z * matters).mean(axis=0)
            i, f, g, o = (self._gate(cell, gate, z, kernels, biases) for gate in range(4))
            new = c / (1 + np.exp(-f)) + np.tanh(g) / (1 + np.exp(-i))
            c = np.where(valid, new, c)
            h = np.where(valid, np.tanh(new) / (1 + np.exp(-o)), h)
        return h

    def _gate(self, cell: Any, gate: int, z: np.ndarray, kernels: list, biases: list) -> np.ndarray:
        values, before = z @ kernels[0][gate] + biases[0][gate], z
        for layer in range(len(kernels) - 1):
            neurons = np.where(values > 0, values, 0.2 * values)
            values = neurons @ kernels[layer + 1][gate] + biases[layer + 1][gate]
            bridge = self.bridges.get((id(cell), layer, gate))
            values = values if bridge is None else values + before @ bridge
            before = neurons
        return values

    def gradient(self, cell: hl.HLSTMCell, layer: int, gate: int, shape: tuple) -> np.ndarray:
        bridge = self.bridges[id(cell), layer, gate] = np.zeros(shape)
        found = np.zeros(shape)
        for place in np.ndindex(*shape):
            sides = []
            for step in (1e-6, -1e-6):
                bridge[place] = step
                sides.append(self.loss())
            bridge[place] = 0.0
            found[place] = (sides[0] - sides[1]) / 2e-6
        return found


def directions_of(model: keras.Model) -> list[tuple[hl.HLSTMCell, bool]]:
    layer = model.layers[1]
    both = (
        [layer.forward_layer, layer.backward_layer]
        if isinstance(layer, layers.Bidirectional)
        else [layer]
    )
    return [(each.cell, each.go_backwards) for each in both]


@pytest.mark.representatives("deep", "cell")
@pytest.mark.parametrize(
    ("recurrent", "eager"),
    [
        (hlstm, True),
        (lambda: hlstm(go_backwards=True), True),
        (lambda: hlstm(2, ((4, 3, 2, 2),)), True),
        (lambda: hlstm(2, (4, (3, 4, 2, 2))), True),
        (lambda: layers.Bidirectional(hlstm(2, 4)), False),
        (lambda: layers.RNN(hl.HLSTMCell(2, (3, 4), "leaky_relu"), name="l"), True),
        (lambda: hlstm(2, 4, unroll=True), True),
    ],
    ids=["plain", "backwards", "unequal", "deep", "bidirectional", "cell", "unrolled"],
)
def test_the_bridging_gradient_is_that_of_finite_differences(
    recurrent: Callable[[], keras.Layer], eager: bool
) -> None:
    model = net(recurrent, run_eagerly=eager)
    directions = directions_of(model)
    oracle = Oracle(model, directions)
    assert oracle.loss() == pytest.approx(MeanLoss(model).mean((X, Y)), rel=1e-5)
    sites = gate_sites(model)
    depth = len(directions[0][0].hidden_units)
    assert len(sites) == len(directions) * 4 * depth
    for site, (found, mean) in zip(sites, measured(model), strict=True):
        expected = oracle.gradient(site.cell, *site.place, found.shape)
        expected[site.mute] = 0.0
        assert np.abs(expected).max() > 1e-5
        np.testing.assert_allclose(found, expected, rtol=2e-3, atol=2e-6)
        if site.layer == 0:  # over the valid steps of all sequences
            oracle.loss()
            reads = oracle.reads[id(site.cell), site.gate]
            np.testing.assert_allclose(mean, reads, rtol=1e-4, atol=1e-5)


def test_the_bridging_gradient_is_the_same_in_float16_with_a_scaled_loss() -> None:
    found = []
    for policy in ("float32", "mixed_float16"):
        keras.config.set_dtype_policy(policy)
        model = net(hlstm)
        keras.config.set_dtype_policy("float32")
        model.optimizer.build(model.trainable_variables)
        found.append(measured(model))
    assert hasattr(model.optimizer, "dynamic_scale")
    for exact, rough in zip(*found, strict=True):
        for one, other in zip(exact, rough, strict=True):
            assert one.any()
            np.testing.assert_allclose(other, one, atol=0.03 * np.abs(one).max())


def test_an_input_that_dropout_drops_has_no_bridge() -> None:
    model = net(lambda: hlstm(dropout=0.5, recurrent_dropout=0.4, hidden_dropout=0.3))
    site = gate_sites(model)[0]
    gradients = BridgingGradients(model, [site], training=True)
    dropped = []
    for number in range(4):
        one = slice(number, number + 1)
        [(found, mean)] = gradients.mean((X[one], Y[one]), 1, "a test", 1.0)
        np.testing.assert_array_equal(found.any(axis=1), mean != 0)
        dropped.append(~found.any(axis=1))
        [(found, _)] = BridgingGradients(model, [site]).mean((X[one], Y[one]), 1, "a test", 1.0)
        assert found.any(axis=1).all()
    assert np.any(dropped)
    assert not np.all(dropped)


def test_a_bridge_changes_no_output_and_only_while_it_is_in_force_the_loop() -> None:
    model = net(hlstm)
    layer = model.get_layer("l")
    before = model(X, training=True).numpy()
    places = [(0, gate) for gate in range(4)]
    bridges = {id(layer.cell): dict.fromkeys(places, zero_bridge(6, 3))}
    with bridging(bridges):
        assert not layer._fits_recurrence()
        np.testing.assert_allclose(model(X, training=True), before, rtol=1e-5, atol=1e-6)
        with bridging({}):
            assert layer._fits_recurrence()
        assert not layer._fits_recurrence()
    assert layer._fits_recurrence()


def ends(site: Any) -> tuple[np.ndarray, np.ndarray]:
    """For each neuron of a hidden layer whether anything leads to it, and from it."""
    incoming = [kernel.to_matrices(kernel.mask)[gate] for kernel, gate in site.producers]
    reader, gate = site.consumer
    return np.concatenate(incoming).any(axis=0), reader.to_matrices(reader.mask)[gate].any(axis=1)


def assert_sound(model: keras.Model) -> None:
    """Dormant weights are 0, and every neuron is connected at both ends or at none."""
    for kernel in hl.masked_kernels(model):
        assert not kernel.variable.numpy()[~kernel.mask.numpy()].any()
    for site in gate_sites(model):
        np.testing.assert_array_equal(*ends(site))


@functools.cache
def envelope(hidden: Any, use_bias: bool) -> tuple[keras.Model, list[np.ndarray]]:
    model = net(lambda: hlstm(2, hidden, use_bias=use_bias))
    return model, model.get_weights()


@few(5)
@given(
    st.sampled_from([6, (5, 4), ((6, 5, 3, 4),), (4, (6, 4, 4, 2))]),
    st.booleans(),
    st.integers(1, 8),
    st.sampled_from([0.0, 0.5, 0.9]),
    st.integers(0, 2**16),
)
def test_whatever_the_gradient_new_neurons_are_sound(
    hidden: Any, use_bias: bool, count: int, ratio: float, seed: int
) -> None:
    model, weights = envelope(hidden, use_bias)
    model.set_weights(weights)
    assert_sound(model)
    old = {k.path: (k.mask.numpy(), k.variable.numpy()) for k in hl.masked_kernels(model)}
    before, rng = gate_sites(model), np.random.default_rng(seed)
    drawn = []
    for site in before:
        gradient = rng.normal(size=site.bridge_shape) * rng.integers(0, 2, site.bridge_shape)
        gradient[site.mute] = 0.0
        for other in before:  # a dormant neuron, which nobody reads, has no gradient
            if other.place == (site.layer + 1, site.gate):
                gradient[:, other.dormant] = 0.0
        drawn.append(neuron_births(gradient, min(count, site.dormant.size), ratio, rng))
    connect(model, before, drawn, 1.0)
    assert_sound(model)
    for site, now, new in zip(before, gate_sites(model), drawn, strict=True):
        np.testing.assert_array_equal(now.dormant, site.dormant[len(new) :])
    for kernel in hl.masked_kernels(model):
        mask, values = old[kernel.path]
        np.testing.assert_array_equal(kernel.variable.numpy()[mask], values[mask])


@pytest.mark.parametrize("wanted", [2, 0.5, 20])
def test_each_gate_gets_as_many_as_are_wanted_and_it_has_room_for(wanted: int | float) -> None:
    model, weights = envelope(((8, 6, 6, 2),), True)
    model.set_weights(weights)
    room = [4, 3, 3, 1]
    assert [site.dormant.size for site in gate_sites(model)] == room
    expected = {2: [2, 2, 2, 1], 0.5: room, 20: room}[wanted]
    born = grow_neurons(ScoreSource(model, (X, Y)), hl.NeuronGrowthRule(wanted, 0.3), 0, "a test")
    assert born == {"l": sum(expected)}
    left = [site.dormant.size for site in gate_sites(model)]
    assert np.subtract(room, left).tolist() == expected
    assert_sound(model)


def test_the_loss_changes_by_a_new_neuron_as_the_bridging_gradient_says() -> None:
    model = net(lambda: hlstm(hidden_activation="linear"), sparsity=0.0)
    model.fit(X, Y, epochs=3, verbose=0)
    loss = MeanLoss(model)
    before, matrices, sites = loss.mean((X, Y)), measured(model), gate_sites(model)
    grow_neurons(ScoreSource(model, (X, Y)), hl.NeuronGrowthRule(2, 0.5, 0.05), 0, "a test")
    expected = 0.0
    for site, (matrix, _) in zip(sites, matrices, strict=True):
        into = np.concatenate([k.to_matrices(k.variable)[gate] for k, gate in site.producers])
        reader, gate = site.consumer
        out = reader.to_matrices(reader.variable)[gate]
        change = np.sum(matrix * (into[:, site.dormant] @ out[site.dormant]))
        assert change < 0
        expected += change
    assert loss.mean((X, Y)) - before == pytest.approx(expected, rel=0.03)


def test_new_neurons_are_of_the_scale_of_their_gate_and_begin_without_a_past() -> None:
    model = net(lambda: hlstm(bias_initializer="zeros"))
    cell = model.get_layer("l").cell
    cell.kernel.assign(cell.kernel.numpy() * np.array([1, 10, 1, 1])[:, None])
    model.fit(X, Y, epochs=1, verbose=0)
    assert not cell.bias.numpy()[:, 3:].any()
    bias = cell.bias.numpy()
    bias[2, 3] = 7.0  # left by an earlier life
    cell.bias.assign(bias)
    size = np.abs(np.concatenate([cell.kernel.numpy()[:, 1], cell.recurrent_kernel.numpy()[:, 1]]))
    grow_neurons(ScoreSource(model, (X, Y)), hl.NeuronGrowthRule(2, 0.5, 0.5), 0, "a test")
    assert not cell.bias.numpy()[:, 3:].any()
    new = np.abs(
        np.concatenate([cell.kernel.numpy()[:, 1, 3:5], cell.recurrent_kernel.numpy()[:, 1, 3:5]])
    )
    means = new.sum(axis=0) / np.count_nonzero(new, axis=0)
    np.testing.assert_allclose(means, 0.5 * size[size > 0].mean(), rtol=1e-5)
    moments = [v for v in model.optimizer.variables if v.shape == cell.kernel.shape]
    assert len(moments) == 4  # two of each kernel of the first layer
    for slot in moments:
        assert slot.numpy()[..., :3].any()
        assert not slot.numpy()[..., 3:].any()


def test_gates_dense_layers_and_convolutions_grow_together() -> None:
    keras.utils.set_random_seed(1)
    plain = keras.Sequential(
        [
            keras.Input((6, 3)),
            layers.Conv1D(4, 2, activation="relu", name="c"),
            layers.Conv1D(3, 2, activation="relu", name="d"),
            hlstm(),
            layers.Dense(6, activation="tanh", name="a"),
            layers.Dense(2, name="out"),
        ]
    )
    model = hl.sparsify(plain, 0.0, neurons=0.5)
    model.compile("sgd", "mse", run_eagerly=True)
    dense = next(site for site in layer_sites(model) if site.name == "a")
    gates = gate_sites(model)
    both = BridgingGradients(model, [gates[0], dense, *gates[1:]]).mean((X, Y), 5, "t", 1.0)
    alone = BridgingGradients(model, [dense]).mean((X, Y), 5, "t", 1.0) + measured(model)
    for one, other in zip([both[1], both[0], *both[2:]], alone, strict=True):
        assert other[0].any()
        for mine, yours in zip(one, other, strict=True):
            np.testing.assert_allclose(mine, yours, rtol=1e-4, atol=1e-6)
    born = grow_neurons(ScoreSource(model, (X, Y)), hl.NeuronGrowthRule(1, 0.5), 0, "a test")
    assert list(born) == ["c", "a", "l"]
    assert (born["a"], born["l"]) == (1, 4)
    assert_sound(model)


def test_each_direction_has_a_name_of_its_own() -> None:
    model = net(lambda: layers.Bidirectional(hlstm()), neurons={"forward_l": 2, "backward_l": 0.5})
    forward, backward = (cell for cell, _ in directions_of(model))
    assert [site.dormant.size for site in gate_sites(model)] == [4] * 4 + [3] * 4
    born = grow_neurons(
        ScoreSource(model, (X, Y)), hl.NeuronGrowthRule({"backward_l": 1}), 0, "a test"
    )
    assert born == {"backward_l": 4}
    assert [site.dormant.size for site in gate_sites(model)] == [4] * 4 + [2] * 4
    assert forward.bias.numpy()[:, :2].all()
    assert backward.bias.numpy()[:, :3].all()


def test_a_stacked_cell_goes_by_its_own_name() -> None:
    def stack() -> keras.Layer:
        cells = [hl.HLSTMCell(2, 4, name="low"), hl.HLSTMCell(2, 4, name="high")]
        return layers.RNN(cells)

    model = net(stack, neurons=0.5)
    born = grow_neurons(ScoreSource(model, (X, Y)), hl.NeuronGrowthRule({"high": 1}), 0, "a test")
    assert born == {"high": 4}


def test_connections_grow_as_in_a_model_of_the_living_neurons_alone() -> None:
    model = net(lambda: hlstm(hidden=(6, 4)), sparsity=0.6)
    small = net(lambda: hlstm(hidden=(3, 2)), neurons=None)
    rooms = living_rooms(model)
    pairs = list(zip(hl.masked_kernels(small), rooms, strict=True))
    for mine, kernel in pairs:
        inside = rooms[kernel]
        assert inside.sum() == np.prod(mine.shape)
        hl.edit_masks({mine: kernel.mask.numpy()[inside].reshape(mine.shape)})
        mine.variable.assign(kernel.variable.numpy()[inside].reshape(mine.shape))
    cell, little = model.get_layer("l").cell, small.get_layer("l").cell
    little.bias.assign(cell.bias.numpy()[:, :3])
    little.hidden_bias_2.assign(cell.hidden_bias_2.numpy()[:, :2])
    little.output_bias.assign(cell.output_bias.numpy())
    rule = Rule.of("gradient", "connection", "per_matrix")
    before = sum(int(kernel.mask.numpy().sum()) for kernel in rooms)
    for each, where in ((model, rooms), (small, None)):
        grow_model(ScoreSource(each, (X, Y)), rule, 0.5, 0, "a test", where)
    for mine, kernel in pairs:
        inside = rooms[kernel]
        assert not kernel.mask.numpy()[~inside].any()
        grown = kernel.mask.numpy()[inside].reshape(mine.shape)
        np.testing.assert_array_equal(grown, mine.mask.numpy())
    assert sum(int(kernel.mask.numpy().sum()) for kernel in rooms) > before
    assert_sound(model)


def test_what_stayed_dormant_is_removed_by_shrink() -> None:
    model = net(lambda: hlstm(hidden=(6, 4)))
    grow_neurons(ScoreSource(model, (X, Y)), hl.NeuronGrowthRule(1, 0.5), 0, "a test")
    small = hl.shrink(model)
    assert small.get_layer("l").hidden_units == (4, 3)
    np.testing.assert_allclose(small.predict(X), model.predict(X), rtol=1e-4, atol=1e-6)


def test_grow_and_prune_grows_gates_too_and_resumes_bit_for_bit(tmp_path) -> None:
    def run(directory, kill: int | None = None) -> keras.Model:
        model = net(lambda: hlstm(hidden=8, hidden_activation="relu"), neurons=0.25)
        return run_births(model, (X, Y), hl.NeuronGrowthRule({"l": 2}, ratio=0.5), directory, kill)

    whole = run(tmp_path / "whole")
    with pytest.raises(Killed):
        run(tmp_path / "killed", kill=1)
    resumed = run(tmp_path / "killed")
    alive = whole.get_layer("l").cell.output_kernel_mask.numpy().any(axis=2)
    assert (alive.sum(axis=1) >= 4).all()  # two lived at first, and a part was pruned
    for one, other in zip(whole.get_weights(), resumed.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


def test_gates_whose_neurons_do_not_stand_alone_do_not_grow() -> None:
    model = net(lambda: hlstm(hidden_activation="softmax"), neurons=None)
    assert gate_sites(model) == []
    with pytest.raises(ValueError, match="'l': an activation of its gates' hidden layers mixes"):
        grow_neurons(ScoreSource(model, (X, Y)), hl.NeuronGrowthRule({"l": 1}), 0, "a test")


def test_living_neurons_are_the_first_of_each_gate_with_a_bias() -> None:
    model = net(lambda: hlstm(2, (4, (6, 3, 1, 2)), bias_initializer="ones"), {"l": 0.5})
    cell = model.get_layer("l").cell
    expected = [(2, 2, 2, 2), (3, 2, 1, 1)]
    for layer, widths in enumerate(expected):
        biases = cell.form.values_by_gate(cell.form.layers[layer].bias)
        for bias, width in zip(biases, widths, strict=True):
            np.testing.assert_array_equal(bias, np.arange(bias.size) < width)
    for site in gate_sites(model):
        assert site.dormant.tolist() == list(range(expected[site.layer][site.gate], site.width))
    assert_sound(model)
    assert hl.shrink(model).get_layer("l").hidden_units == (2, (3, 2, 1, 1))


def test_more_living_neurons_than_a_gate_has_are_refused() -> None:
    with pytest.raises(ValueError, match="layer 'l' has 3 neurons, fewer than 4"):
        net(lambda: hlstm(2, ((6, 3, 5, 4),)), {"l": 4})
    with pytest.raises(ValueError, match=r"layer 'out' cannot have dormant.*such are: l\)"):
        net(hlstm, {"out": 1})
