"""The H-LSTM against its equations in NumPy, and its loops against one another."""

import itertools
import json
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

import hlstm_tf as hl
from hlstm_tf.layers.operators import split_columns
from tests.layers.helpers import (
    assert_all_close,
    assert_all_equal,
    assert_gradients_close,
    gradients,
    hlstm_oracle,
    numpy,
    prune_at_random,
)

BATCH, TIME, INPUTS, UNITS = 3, 5, 2, 4
HIDDEN = [(), (5,), (5, 3)]
UNEQUAL: tuple[Any, ...] = (5, (4, 1, 3, 2))
# One padded at the end, one at the start and in the middle, one with no valid step at all.
PADDING = np.array([[1, 1, 1, 0, 0], [0, 1, 0, 1, 1], [0, 0, 0, 0, 0]], bool)
VARIANTS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "plain": ({}, {}),
    "no_bias": ({"use_bias": False}, {}),
    "forget_bias_zero": ({"unit_forget_bias": False, "implementation": 1}, {}),
    "padded": ({}, {"mask": PADDING}),
    "padded_zero_output": ({"zero_output_for_mask": True}, {"mask": PADDING}),
    "backwards": ({"go_backwards": True}, {}),
    "backwards_padded": ({"go_backwards": True}, {"mask": PADDING}),
    "initial_state": ({}, {"initial_state": True}),
    "initial_state_padded": ({}, {"initial_state": True, "mask": PADDING}),
    "unrolled_padded": ({"unroll": True}, {"mask": PADDING}),
}


def sequences(seed: int = 0, time: int = TIME) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return 2 * rng.standard_normal((BATCH, time, INPUTS)).astype("float32")


def call_arguments(call: dict[str, Any]) -> dict[str, Any]:
    if not call.get("initial_state"):
        return dict(call)
    rng = np.random.default_rng(5)
    states = [rng.standard_normal((BATCH, UNITS)).astype("float32") for _ in range(2)]
    return {**call, "initial_state": states}


def make_layer(hidden_units: tuple[Any, ...], **arguments: Any) -> hl.HLSTM:
    """A layer with every output, biases that are not zero and half of its connections dormant."""
    arguments = {"return_sequences": True, "return_state": True, "masked": True, **arguments}
    layer = hl.HLSTM(UNITS, hidden_units, bias_initializer="random_normal", **arguments)
    layer.build((None, None, INPUTS))
    prune_at_random(layer)
    return layer


@pytest.mark.representatives(
    "training-plain-(5, 3)",
    "training-no_bias-(5,)",
    "training-forget_bias_zero-()",
    "training-padded-(5, 3)",
    "training-padded_zero_output-(5,)",
    "training-backwards-()",
    "training-backwards_padded-(5, 3)",
    "training-initial_state-(5,)",
    "training-initial_state_padded-()",
    "training-unrolled_padded-(5, 3)",
    "inference-padded-(5,)",
    "inference-backwards_padded-()",
    "inference-initial_state_padded-(5, 3)",
)
@pytest.mark.parametrize("hidden_units", HIDDEN, ids=str)
@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("training", [False, True], ids=["inference", "training"])
def test_outputs_and_states_are_those_of_the_equations(
    hidden_units: tuple[int, ...], variant: str, training: bool
) -> None:
    arguments, call = VARIANTS[variant]
    layer, x, call = make_layer(hidden_units, **arguments), sequences(), call_arguments(call)
    expected = hlstm_oracle(layer, x, **call)
    assert_all_close(layer(x, training=training, **call), expected, atol=2e-6)
    assert np.abs(expected[0]).max() > 0.05


@pytest.mark.representatives(
    "training-backwards_padded", "training-no_bias", "inference-initial_state"
)
@pytest.mark.parametrize("variant", ["no_bias", "backwards_padded", "initial_state"])
@pytest.mark.parametrize("training", [False, True], ids=["inference", "training"])
def test_gates_of_different_widths_follow_the_equations(variant: str, training: bool) -> None:
    arguments, call = VARIANTS[variant]
    layer, x, call = make_layer(UNEQUAL, **arguments), sequences(), call_arguments(call)
    expected = hlstm_oracle(layer, x, **call)
    assert_all_close(layer(x, training=training, **call), expected, atol=2e-6)
    assert np.abs(expected[0]).max() > 0.05


def test_a_new_layer_with_gates_of_different_widths_follows_the_equations() -> None:
    layer = hl.HLSTM(UNITS, UNEQUAL, return_sequences=True, return_state=True, masked=False)
    outputs = layer(sequences())
    assert_all_close(outputs, hlstm_oracle(layer, sequences()), atol=2e-6)
    assert np.abs(outputs[0]).max() > 0.05


@pytest.mark.representatives(
    "training-padded-(5, 3)",
    "training-backwards_padded-(5,)",
    "inference-padded_zero_output-()",
    "inference-plain-(5, 3)",
)
@pytest.mark.parametrize("hidden_units", HIDDEN, ids=str)
@pytest.mark.parametrize("variant", ["plain", "padded", "padded_zero_output", "backwards_padded"])
@pytest.mark.parametrize("training", [False, True], ids=["inference", "training"])
def test_the_last_output_alone_is_the_last_of_all_outputs(
    hidden_units: tuple[int, ...], variant: str, training: bool
) -> None:
    arguments, call = VARIANTS[variant]
    every = make_layer(hidden_units, **arguments)
    last = make_layer(hidden_units, return_sequences=False, return_state=False, **arguments)
    last.set_weights(every.get_weights())
    outputs, *_ = every(sequences(), training=training, **call)
    assert_all_equal(outputs[:, -1], last(sequences(), training=training, **call))


@pytest.mark.representatives(
    "()-padded",
    "(5, 3)-padded",
    "(5, 3)-initial_state_padded",
    "(5, (4, 1, 3, 2))-backwards_padded",
)
@pytest.mark.parametrize(
    ("hidden_units", "variant"),
    [
        ((), "padded"),
        ((5,), "padded"),
        ((5,), "no_bias"),
        *(((5, 3), v) for v in VARIANTS),
        (UNEQUAL, "backwards_padded"),
    ],
    ids=str,
)
def test_every_loop_gives_the_plain_loop_s_outputs_and_gradients(
    hidden_units: tuple[Any, ...], variant: str
) -> None:
    arguments, call = VARIANTS[variant]
    layer, x, call = make_layer(hidden_units, **arguments), sequences(), call_arguments(call)
    plain = plain_loop(layer)
    expected = plain(x, **call)
    expected_gradients = gradients(plain, x, plain.trainable_weights, **call)
    for training in (False, True):
        assert_all_close(layer(x, training=training, **call), expected, atol=1e-6)
        found = gradients(layer, x, layer.trainable_weights, training=training, **call)
        assert_gradients_close(expected_gradients, found)


def plain_loop(layer: hl.HLSTM, **more: Any) -> keras.layers.RNN:
    """`keras.layers.RNN` over an `HLSTMCell`, with nothing hoisted out of its loop."""
    arguments = ("return_sequences", "return_state", "go_backwards", "zero_output_for_mask")
    cell = hl.HLSTMCell.from_config(layer.cell.get_config())
    plain = keras.layers.RNN(cell, **{name: getattr(layer, name) for name in arguments})
    plain.build((None, None, INPUTS))
    plain.set_weights(layer.get_weights())
    return plain


DROPOUTS = {
    "inputs": {"dropout": 0.4},
    "inputs_per_gate": {"dropout": 0.4, "implementation": 1},
    "recurrent": {"recurrent_dropout": 0.4},
    "hidden": {"hidden_dropout": 0.4},
    "all": {"dropout": 0.3, "recurrent_dropout": 0.3, "hidden_dropout": 0.3},
}


@pytest.mark.representatives(
    "(5,)-inputs_per_gate", "(5,)-recurrent", "(5, 3)-all", "(5, (4, 1, 3, 2))-all"
)
@pytest.mark.parametrize(
    ("hidden_units", "dropout"),
    [
        *itertools.product(HIDDEN[1:], DROPOUTS),
        (UNEQUAL, "all"),
        (UNEQUAL, "inputs_per_gate"),
    ],
    ids=str,
)
def test_dropout_drops_the_same_places_at_every_step(
    hidden_units: tuple[Any, ...], dropout: str
) -> None:
    layer, x = make_layer(hidden_units, seed=3, **DROPOUTS[dropout]), sequences()
    dropped = drawn_dropout(layer, x)
    assert_all_close(layer(x), hlstm_oracle(layer, x), atol=2e-6)
    layer = with_fresh_seed(layer)
    assert_all_close(layer(x, training=True), hlstm_oracle(layer, x, dropped=dropped), atol=2e-6)


def drawn_dropout(layer: hl.HLSTM, x: np.ndarray) -> tuple[np.ndarray, np.ndarray, list[Any]]:
    """The masks that a new cell with the layer's seed draws, in the shapes of the oracle."""
    cell = hl.HLSTMCell.from_config(layer.cell.get_config())
    inputs = cell.get_dropout_mask(x[:, 0])
    hidden = [
        numpy(split_columns(mask, cell.gate_widths[layer]))
        for layer, mask in enumerate(cell.get_hidden_dropout_masks(x[:, 0]) or [])
    ]
    recurrent = cell.get_recurrent_dropout_mask(tf.ones((BATCH, UNITS)))

    def per_gate(masks: Any, width: int) -> np.ndarray:
        masks = tf.ones((BATCH, width)) if masks is None else masks
        return np.stack(numpy(masks) if isinstance(masks, list) else numpy(masks) * 4)

    masks = per_gate(inputs, INPUTS), per_gate(recurrent, UNITS), hidden
    assert any((mask == 0).any() for mask in [*masks[:2], *itertools.chain(*hidden)])
    return masks


def with_fresh_seed(layer: hl.HLSTM) -> hl.HLSTM:
    fresh = hl.HLSTM.from_config(layer.get_config())
    fresh.build((None, None, INPUTS))
    fresh.set_weights(layer.get_weights())
    return fresh


@pytest.mark.representatives("inputs_per_gate", "all")
@pytest.mark.parametrize("dropout", DROPOUTS)
def test_the_plain_loop_and_the_fast_one_drop_the_same(dropout: str) -> None:
    layer, x = make_layer((5, 3), seed=3, **DROPOUTS[dropout]), sequences()
    plain, fast = plain_loop(layer), with_fresh_seed(layer)
    expected = gradients(plain, x, plain.trainable_weights, training=True)
    found = gradients(fast, x, fast.trainable_weights, training=True)
    assert_gradients_close(expected, found)
    assert_all_close(plain_loop(layer)(x, training=True), with_fresh_seed(layer)(x, training=True))


def test_dropout_differs_from_call_to_call_and_follows_the_seed() -> None:
    x = sequences()
    first, second = (make_layer((5,), seed=3, hidden_dropout=0.5) for _ in range(2))
    second.set_weights(first.get_weights())
    once, again = first(x, training=True)[0], first(x, training=True)[0]
    assert np.abs(once - again).max() > 1e-3
    assert_all_equal(once, second(x, training=True)[0])


def test_hidden_dropout_keeps_the_expected_hidden_layer() -> None:
    cell = hl.HLSTMCell(2, 400, hidden_dropout=0.25, seed=1)
    [mask] = cell.get_hidden_dropout_masks(tf.ones((20, 3)))
    assert tuple(mask.shape) == (20, 4 * 400)
    np.testing.assert_allclose(np.unique(mask), [0, 1 / 0.75])
    assert abs(mask.numpy().mean() - 1) < 0.02


@pytest.mark.parametrize("hidden_units", HIDDEN, ids=str)
def test_stateful_layer_goes_on_where_it_stopped(hidden_units: tuple[int, ...]) -> None:
    layer = make_layer(hidden_units)
    stateful = hl.HLSTM.from_config({**layer.get_config(), "stateful": True})
    stateful.build((BATCH, 3, INPUTS))
    stateful.set_weights(layer.get_weights())
    x = sequences(time=6)
    outputs, *states = layer(x)
    first, *_ = stateful(x[:, :3])
    second, *last = stateful(x[:, 3:], training=True)
    assert_all_close(outputs, np.concatenate(numpy([first, second]), 1))
    assert_all_close(states, last)
    assert_all_close(states, stateful.states)
    stateful.reset_state()
    assert_all_close(outputs[:, :3], stateful(x[:, :3])[0])


def test_numbers_from_constant_weights() -> None:
    # Worked out from the equations in float64 with every weight 0.1 or 0.2, every bias 0.05.
    layer = hl.HLSTM(
        1,
        2,
        return_sequences=True,
        kernel_initializer=keras.initializers.Constant(0.1),
        recurrent_initializer=keras.initializers.Constant(0.2),
        bias_initializer=keras.initializers.Constant(0.05),
    )
    outputs = layer(np.array([[[1.0, 2.0], [0.5, -1.0], [3.0, 0.0]]], "float32"))
    np.testing.assert_allclose(outputs[0, :, 0], GOLDEN, rtol=0, atol=1e-6)


# With s the sigmoid: hidden layers of both units relu(.05 + .1 x1 + .1 x2 + .2 h), gates
# z = .05 + .2 * hidden (1 + .2 * hidden for the forget gate), c = s(zf) c + s(z) tanh(z),
# h = s(z) tanh(c).
def _golden() -> list[float]:
    h = c = 0.0
    outputs = []
    for total in (3.0, -0.5, 3.0):
        hidden = max(0.05 + 0.1 * total + 0.2 * h, 0)
        z, forget = 0.05 + 0.2 * hidden, 1 + 0.2 * hidden
        gate = 1 / (1 + np.exp(-z))
        c = c / (1 + np.exp(-forget)) + gate * np.tanh(z)
        h = gate * np.tanh(c)
        outputs.append(h)
    return outputs


GOLDEN = _golden()


@pytest.mark.representatives("training-(5, 3)", "inference-()")
@pytest.mark.parametrize("hidden_units", HIDDEN, ids=str)
@pytest.mark.parametrize("training", [False, True], ids=["inference", "training"])
def test_unknown_length_and_batch_are_traced_once(
    hidden_units: tuple[int, ...], training: bool
) -> None:
    layer = make_layer(hidden_units)
    specs = [tf.TensorSpec([None, None, INPUTS]), tf.TensorSpec([None, None], tf.bool)]
    run = tf.function(lambda x, mask: layer(x, mask=mask, training=training), specs)
    for time in (5, 1):
        x, mask = sequences(time=time), PADDING[:, :time]
        assert_all_close(layer(x, mask=mask, training=training), run(x, mask), atol=1e-6)
    assert tuple(run.get_concrete_function().structured_outputs[0].shape) == (None, None, UNITS)


@pytest.mark.parametrize("activation", ["leaky_relu", keras.layers.LeakyReLU(0.01), "tanh", None])
def test_hidden_activation_is_kept_by_the_configuration(activation: Any) -> None:
    layer = make_layer((5,), hidden_activation=activation)
    revived = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(layer))
    revived.build((None, None, INPUTS))
    revived.set_weights(layer.get_weights())
    assert_all_equal(layer(sequences()), revived(sequences()))
    known: dict[Any, Any] = {
        "leaky_relu": lambda x: np.where(x > 0, x, 0.2 * x),
        "tanh": np.tanh,
        None: lambda x: x,
    }
    expected = known.get(activation, lambda x: np.where(x > 0, x, 0.01 * x))
    oracle = hlstm_oracle(layer, sequences(), hidden_activation=expected)
    assert_all_close(layer(sequences()), oracle, atol=2e-6)
    assert_all_close(layer(sequences(), training=True), oracle, atol=2e-6)


def test_hidden_activation_changes_on_a_compiled_model_and_nothing_else_does() -> None:
    layer = hl.HLSTM(UNITS, 5, hidden_activation=keras.layers.LeakyReLU(0.01))
    model = keras.Sequential([keras.Input((None, INPUTS)), layer, keras.layers.Dense(1)])
    model.compile(keras.optimizers.Adam(0.05), "mse", jit_compile=False)
    x, y = sequences(), np.ones((BATCH, 1), "float32")
    model.fit(x, y, verbose=0)
    before = numpy([v.value for v in [*model.variables, *model.optimizer.variables]])
    leaky = model(x)

    layer.hidden_activation = "relu"
    model.make_train_function(force=True)
    assert_all_equal(before, [v.value for v in [*model.variables, *model.optimizer.variables]])
    relu = model(x).numpy()
    assert np.abs(leaky - relu).max() > 1e-6
    head = model.layers[-1]
    expected = hlstm_oracle(layer, x)[0][:, -1] @ head.kernel.numpy() + head.bias.numpy()
    np.testing.assert_allclose(relu, expected, atol=1e-5)

    # The step that follows is the one that a model with ReLU from the start would take.
    other = keras.models.clone_model(model)
    assert other.layers[0].hidden_activation is keras.activations.relu
    other.compile(keras.optimizers.Adam(0.05), "mse", run_eagerly=True)
    other.set_weights(model.get_weights())
    other.optimizer.build(other.trainable_variables)
    for mine, yours in zip(other.optimizer.variables, model.optimizer.variables, strict=True):
        mine.assign(yours.value)
    model.fit(x, y, verbose=0)
    other.fit(x, y, verbose=0)
    assert_all_close(model.get_weights(), other.get_weights())
    assert int(model.optimizer.iterations) == 2


def test_a_failed_call_leaves_nothing_behind() -> None:
    layer = make_layer((5,), hidden_dropout=0.5, dropout=0.5, seed=1)
    layer.hidden_activation = failing
    for _ in range(2):
        with pytest.raises(RuntimeError, match="no activation"):
            tf.function(lambda: layer(sequences(), training=True))()
    layer.hidden_activation = "relu"
    assert np.isfinite(layer(sequences(), training=True)[0]).all()
    assert layer.cell.kernel is layer.weights[0]


def failing(x: Any) -> Any:
    raise RuntimeError("no activation")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"hidden_units": 0}, r"hidden_units must be a positive integer.*got 0\."),
        ({"hidden_units": (4, -1)}, r"hidden_units must be .* got \(4, -1\)\."),
        ({"hidden_units": 3.5}, r"hidden_units must be .* got 3\.5\."),
        ({"hidden_units": (4, True)}, "hidden_units must be"),
        ({"hidden_units": "12"}, "hidden_units must be .* got '12'"),
        ({"hidden_units": ((4, 3, 2),)}, r"one of them or four \(input, .* got \(\(4, 3, 2\),\)"),
        ({"hidden_units": (5, (4, 3, 2, 0))}, "hidden_units must be"),
        ({"hidden_dropout": 1.0}, r"hidden_dropout must be .* got 1\.0\."),
        ({"hidden_dropout": -0.1}, "hidden_dropout must be .* got -0.1"),
        ({"hidden_dropout": "a lot"}, "hidden_dropout must be .* got 'a lot'"),
        ({"hidden_dropout": float("nan")}, "hidden_dropout must be .* got nan"),
        ({"hidden_units": 4, "use_cudnn": True}, "use_cudnn=True was given with hidden_units"),
        ({"units": 0}, "units"),
        ({"units": -3, "hidden_units": ()}, "units"),
        ({"hidden_activation": "no such"}, "no such"),
    ],
)
def test_bad_arguments_are_named_in_one_line(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message) as error:
        hl.HLSTM(**{"units": 4, **arguments})
    if "hidden" in message:
        assert "\n" not in str(error.value)


def test_widths_may_be_numpy_integers_and_lists() -> None:
    cell = hl.HLSTMCell(4, hidden_units=[np.int64(3), 2])
    assert cell.hidden_units == (3, 2)
    assert hl.HLSTMCell(4).hidden_units == (4,)
    assert hl.HLSTMCell.from_config(cell.get_config()).hidden_units == (3, 2)


def test_a_layer_may_have_four_widths_and_four_equal_ones_are_one() -> None:
    cell = hl.HLSTMCell(4, hidden_units=[6, [np.int64(5), 2, 3, 1], (4, 4, 4, 4)])
    assert cell.hidden_units == (6, (5, 2, 3, 1), 4)
    assert cell.gate_widths == ((6, 6, 6, 6), (5, 2, 3, 1), (4, 4, 4, 4))
    assert not cell.has_equal_gates
    assert json.loads(json.dumps(cell.get_config()["hidden_units"])) == [6, [5, 2, 3, 1], 4]
    assert hl.HLSTMCell.from_config(cell.get_config()).hidden_units == cell.hidden_units
    assert hl.HLSTMCell(4, hidden_units=((4, 4, 4, 4), 3)).has_equal_gates
    assert hl.HLSTMCell(4, hidden_units=()).has_equal_gates


def test_variables_have_the_documented_names_shapes_and_order() -> None:
    cell = hl.HLSTMCell(4, hidden_units=(6, 5))
    cell.build((None, 3))
    assert [(v.name, tuple(v.shape)) for v in cell.weights] == [
        ("kernel", (3, 4, 6)),
        ("recurrent_kernel", (4, 4, 6)),
        ("bias", (4, 6)),
        ("hidden_kernel_2", (4, 6, 5)),
        ("hidden_bias_2", (4, 5)),
        ("output_kernel", (4, 5, 4)),
        ("output_bias", (4, 4)),
        ("kernel_mask", (3, 4, 6)),
        ("recurrent_kernel_mask", (4, 4, 6)),
        ("hidden_kernel_2_mask", (4, 6, 5)),
        ("output_kernel_mask", (4, 5, 4)),
    ]
    np.testing.assert_array_equal(cell.output_bias.numpy()[:, 0], [0, 1, 0, 0])
    assert not cell.bias.numpy().any()
    assert not cell.hidden_bias_2.numpy().any()
    assert [kernel.gates for kernel in hl.masked_kernels(cell)] == [4] * 4


def test_gates_of_different_widths_have_variables_of_their_own() -> None:
    cell = hl.HLSTMCell(4, hidden_units=(2, (6, 5, 3, 1)))
    cell.build((None, 3))
    gates = {"input": 6, "forget": 5, "cell": 3, "output": 1}
    shapes: list[tuple[str, tuple[int, ...]]] = [
        *((f"kernel_{gate}", (3, 2)) for gate in gates),
        *((f"recurrent_kernel_{gate}", (4, 2)) for gate in gates),
        *((f"bias_{gate}", (2,)) for gate in gates),
        *((f"hidden_kernel_2_{gate}", (2, width)) for gate, width in gates.items()),
        *((f"hidden_bias_2_{gate}", (width,)) for gate, width in gates.items()),
        *((f"output_kernel_{gate}", (width, 4)) for gate, width in gates.items()),
        *((f"output_bias_{gate}", (4,)) for gate in gates),
    ]
    kernels = [(name, shape) for name, shape in shapes if "kernel" in name]
    masks = [(f"{name}_mask", shape) for name, shape in kernels]
    assert [(v.name, tuple(v.shape)) for v in cell.weights] == [*shapes, *masks]
    assert cell.kernel_names == tuple(name for name, _ in kernels)
    assert [kernel.gates for kernel in hl.masked_kernels(cell)] == [1] * 16
    for gate in gates:
        np.testing.assert_array_equal(getattr(cell, f"output_bias_{gate}"), gate == "forget")
        assert not getattr(cell, f"bias_{gate}").numpy().any()
    with pytest.raises(AttributeError, match="has no `kernel`; each gate has one of its own"):
        _ = cell.kernel
    with pytest.raises(AttributeError, match="has no `kernel` before it is built"):
        _ = hl.HLSTMCell(4).kernel


def test_to_matrices_gives_each_gate_s_inputs_by_outputs() -> None:
    cell = hl.HLSTMCell(4, hidden_units=(6, 5))
    cell.build((None, 3))
    lstm = hl.HLSTMCell(4, hidden_units=(), masked=True)
    lstm.build((None, 3))
    for kernel in [*hl.masked_kernels(cell), *hl.masked_kernels(lstm)]:
        array = np.random.default_rng(0).standard_normal(kernel.shape)
        matrices = kernel.to_matrices(array)
        assert matrices.shape == kernel.matrices_shape
        np.testing.assert_array_equal(kernel.from_matrices(matrices), array)
        gates_axis = {"hidden_kernel_2": 0, "output_kernel": 0}.get(kernel.name, 1)
        for gate in range(4):
            if array.ndim == 3:
                expected = array.take(gate, gates_axis)
            else:
                expected = np.split(array, 4, axis=1)[gate]
            np.testing.assert_array_equal(matrices[gate], expected)
        matrices[:] = 0  # a copy: the caller's array stays
        assert array.all()
        with pytest.raises(ValueError, match=rf"{kernel.path}: an array of shape \(2,\)"):
            kernel.to_matrices(np.zeros(2))
        with pytest.raises(ValueError, match=rf"{kernel.path}: matrices of shape \(1, 2, 3\)"):
            kernel.from_matrices(np.zeros((1, 2, 3)))
