"""Handles, files with masks, and what a thread knows while a layer runs."""

import contextlib
import gc
import threading
import weakref
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

import hlstm_tf as hl
from hlstm_tf.layers.kernels import in_force
from tests.layers.helpers import (
    GATES,
    assert_all_equal,
    assert_dormant_are_zero,
    masks_of,
    prune_at_random,
)


def dense(**arguments: Any) -> hl.MaskedDense:
    layer = hl.MaskedDense(2, **arguments)
    layer.build((None, 3))
    return layer


def test_kernels_come_in_the_order_of_the_layers_each_once() -> None:
    shared = hl.MaskedDense(3, name="shared")
    inner = keras.Sequential([keras.Input((3,)), shared, hl.MaskedDense(3, name="in")], name="m")
    sequence = keras.Input((4, 3))
    x = keras.layers.TimeDistributed(inner, name="td")(sequence)
    x = keras.layers.Bidirectional(hl.HLSTM(2, 3, return_sequences=True), name="bi")(x)
    cells = [hl.MaskedGRUCell(2, name="one"), hl.MaskedLSTMCell(2, name="two")]
    x = keras.layers.RNN(cells, name="rnn")(x)
    model = keras.Model(sequence, shared(hl.MaskedDense(3, name="last")(x)))
    kernels = hl.masked_kernels(model)
    assert [(kernel.path.split("/")[-2], kernel.name) for kernel in kernels] == [
        ("shared", "kernel"),
        ("in", "kernel"),
        *[("hlstm_cell", n) for n in ("kernel", "recurrent_kernel", "output_kernel")] * 2,
        *[("one", n) for n in ("kernel", "recurrent_kernel")],
        *[("two", n) for n in ("kernel", "recurrent_kernel")],
        ("last", "kernel"),
    ]
    assert "forward" in kernels[2].path
    assert "backward" in kernels[5].path
    assert [kernel.gates for kernel in kernels] == [1, 1, *[4] * 6, 3, 3, 4, 4, 1]


def test_handles_of_one_variable_are_one_key_and_paths_are_unique() -> None:
    model = _three_layers_of_one_name()
    first, second = hl.masked_kernels(model), hl.masked_kernels(model)
    assert first == second
    assert len({kernel.path for kernel in first}) == 3
    assert dict.fromkeys(first, 1) == dict.fromkeys(second, 1)
    assert len(set(first)) == 3
    assert first[0] != first[1]
    assert first[0] != first[0].variable


def _three_layers_of_one_name() -> keras.Model:
    class Three(keras.Model):
        def __init__(self) -> None:
            super().__init__()
            self.parts = [hl.MaskedDense(3, name="same") for _ in range(3)]

        def call(self, x: Any) -> Any:
            for part in self.parts:
                x = part(x)
            return x

    model = Three()
    for part in model.parts:
        part.build((None, 3))
    return model


def test_masked_kernels_of_something_else_is_a_type_error() -> None:
    with pytest.raises(TypeError, match=r"model must be a keras.Layer; got list\."):
        hl.masked_kernels([hl.MaskedDense(3)])
    assert hl.masked_kernels(keras.layers.Dense(3)) == []


def test_convolution_matrices_take_window_times_channels_as_inputs() -> None:
    layer = hl.MaskedConv2D(4, (3, 2))
    layer.build((None, 8, 8, 5))
    [kernel] = hl.masked_kernels(layer)
    array = np.random.default_rng(0).standard_normal((3, 2, 5, 4))
    np.testing.assert_array_equal(kernel.to_matrices(array), array.reshape(1, 30, 4))
    np.testing.assert_array_equal(kernel.from_matrices(array.reshape(1, 30, 4)), array)
    assert kernel.to_matrices(kernel.mask).dtype == bool


def test_a_file_with_a_mask_of_another_shape_is_refused_and_changes_nothing() -> None:
    layer = dense()
    prune_at_random(layer)
    store: dict[str, Any] = {}
    layer.save_own_variables(store)
    before = layer.get_weights()
    with pytest.raises(ValueError, match=r"shape \(3, 3\) was given for a kernel of shape \(3, 2"):
        layer.load_own_variables({**store, "kernel_mask": np.ones((3, 3), bool)})
    assert_all_equal(before, layer.get_weights())


def test_an_inconsistent_file_loads_with_dormant_weights_at_zero() -> None:
    layer = dense()
    mask = np.array([[1, 0], [0, 1], [1, 1]], bool)
    layer.load_own_variables(
        {"0": np.ones((3, 2), "float32"), "1": np.ones(2, "float32"), "kernel_mask": mask}
    )
    np.testing.assert_array_equal(layer.kernel.numpy(), mask)
    np.testing.assert_array_equal(layer.kernel_mask.numpy(), mask)


def test_zero_weights_are_not_taken_for_dormant_ones() -> None:
    model = keras.Sequential([keras.Input((3,)), hl.MaskedDense(2, kernel_initializer="zeros")])
    copied = keras.models.clone_model(model)
    copied.set_weights(model.get_weights())
    assert masks_of(copied)[0].all()


def test_the_user_s_constraint_holds_with_the_mask() -> None:
    layer = hl.MaskedDense(2, kernel_constraint="unit_norm", use_bias=False)
    model = keras.Sequential([keras.Input((3,)), layer])
    prune_at_random(model, keep=0.7)
    model.compile(keras.optimizers.SGD(0.5), "mse", run_eagerly=True)
    model.train_on_batch(np.ones((2, 3)), np.zeros((2, 2)))
    assert_dormant_are_zero(model)
    np.testing.assert_allclose(np.linalg.norm(layer.kernel.numpy(), axis=0), 1, rtol=1e-5)
    assert isinstance(layer.kernel_constraint, keras.constraints.UnitNorm)


class Failing(hl.MaskedDense):
    """A user's subclass with an activation that looks around and then fails."""

    def __init__(self, **arguments: Any) -> None:
        super().__init__(2, activation=self.look, **arguments)
        self.seen: Any = None

    def look(self, x: Any) -> Any:
        self.seen = self.kernel
        raise RuntimeError("on purpose")


@pytest.mark.parametrize("in_graph", [False, True], ids=["eager", "graph"])
def test_an_exception_inside_a_call_leaves_no_effective_kernel(in_graph: bool) -> None:
    layer = Failing()
    layer.build((None, 3))
    variable = layer.kernel
    run = tf.function(layer) if in_graph else layer
    for mode in (contextlib.nullcontext, hl.dense_gradients):
        with mode(), pytest.raises(RuntimeError, match="on purpose"):
            run(np.ones((1, 3), "float32"))
        assert layer.seen is not variable  # inside it was the effective one
        assert layer.kernel is variable
        assert in_force(layer) is None
    layer.activation = None
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(layer(np.ones((1, 3), "float32")))
    hl.edit_masks({hl.masked_kernels(layer)[0]: np.zeros((3, 2), bool)})
    with tf.GradientTape() as tape:  # dense_gradients has ended with its block
        loss = tf.reduce_sum(layer(np.ones((1, 3), "float32")))
    assert not tape.gradient(loss, variable.value).numpy().any()


def test_threads_do_not_see_one_another() -> None:
    layer = dense(use_bias=False)
    mask = np.array([[1, 0], [0, 1], [1, 1]], bool)
    hl.edit_masks({hl.masked_kernels(layer)[0]: mask})
    both_inside = threading.Barrier(2, timeout=60)
    found: dict[bool, np.ndarray] = {}

    def activation(x: Any) -> Any:
        both_inside.wait()  # each thread is in the middle of its call of the one layer
        return x

    layer.activation = activation

    def work(with_dense: bool) -> None:
        def run() -> Any:
            with tf.GradientTape() as tape:
                loss = tf.reduce_sum(layer(tf.ones((1, 3))))
            return tape.gradient(loss, layer.kernel.value)

        if with_dense:
            with hl.dense_gradients():
                found[with_dense] = run().numpy()
        else:
            found[with_dense] = run().numpy()

    threads = [threading.Thread(target=work, args=(flag,)) for flag in (False, True)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    np.testing.assert_array_equal(found[True], np.ones((3, 2)))
    np.testing.assert_array_equal(found[False], mask)


def test_a_layer_that_has_run_is_freed() -> None:
    layer = hl.HLSTM(2, 3)
    layer(np.ones((1, 2, 3), "float32"))
    gone = weakref.ref(layer.cell)
    del layer
    gc.collect()
    assert gone() is None


def test_variables_of_a_bfloat16_layer_can_be_edited() -> None:
    layer = hl.MaskedDense(2, dtype="bfloat16", kernel_initializer="ones")
    layer.build((None, 2))
    [kernel] = hl.masked_kernels(layer)
    hl.edit_masks({kernel: np.array([[1, 0], [0, 0]])})
    assert layer(np.ones((1, 2))).numpy().tolist() == [[1, 0]]
    hl.edit_masks({kernel: np.eye(2)}, values={kernel: np.full((2, 2), 2.0)})
    assert kernel.variable.numpy().tolist() == [[1, 0], [0, 2]]


def hlstm_cell(**arguments: Any) -> hl.HLSTMCell:
    cell = hl.HLSTMCell(40, hidden_units=(40, 40), **arguments)
    cell.build((None, 40))
    return cell


@pytest.mark.parametrize(
    "initializer",
    [
        "glorot_uniform",
        keras.initializers.GlorotUniform(seed=3),
        keras.initializers.GlorotUniform(seed=keras.random.SeedGenerator(3)),
    ],
    ids=["unseeded", "seed", "generator"],
)
def test_each_gate_of_each_kernel_is_drawn_on_its_own(initializer: Any) -> None:
    arguments = {"recurrent_initializer": initializer, "bias_initializer": "random_normal"}
    cell = hlstm_cell(kernel_initializer=initializer, **arguments)
    matrices = [m for k in hl.masked_kernels(cell) for m in k.to_matrices(k.variable)]
    assert len(matrices) == 16
    limit = np.sqrt(6 / 80)
    for one, matrix in enumerate(matrices):
        assert 0.95 * limit < np.abs(matrix).max() <= limit  # the fans of one gate's matrix
        for other in matrices[:one]:
            assert abs(np.corrcoef(matrix.ravel(), other.ravel())[0, 1]) < 0.1
    biases = cell.bias.numpy()
    assert len({tuple(bias) for bias in biases}) == 4


@pytest.mark.parametrize("seed", [3, None], ids=["seed", "unseeded"])
def test_a_gate_is_drawn_the_same_whatever_the_widths_of_the_others(seed: int | None) -> None:
    initializer = keras.initializers.GlorotUniform(seed=seed)
    arguments = {"kernel_initializer": initializer, "recurrent_initializer": initializer}
    equal, unequal = (
        hl.HLSTMCell(6, widths, bias_initializer="random_normal", seed=1, **arguments)
        for widths in (5, ((5, 4, 5, 5),))
    )
    equal.build((None, 3))
    unequal.build((None, 3))
    for name in ("kernel", "recurrent_kernel", "output_kernel"):
        for gate, matrix in enumerate(equal._masked[name].to_matrices(getattr(equal, name))):
            own = getattr(unequal, f"{name}_{GATES[gate]}").numpy()
            if GATES[gate] == "forget":
                assert own.shape[1 if name != "output_kernel" else 0] == 4
            else:
                np.testing.assert_array_equal(own, matrix)
    biases = [getattr(unequal, f"bias_{gate}").numpy() for gate in GATES if gate != "forget"]
    assert len({tuple(bias) for bias in biases}) == 3


def test_orthogonal_gates_are_orthogonal() -> None:
    cell = hlstm_cell()
    for gate in range(4):
        matrix = cell.recurrent_kernel.numpy()[:, gate]
        np.testing.assert_allclose(matrix.T @ matrix, np.eye(40), atol=1e-5)


def test_seeded_cells_repeat_and_the_global_seed_decides_the_rest() -> None:
    keras.utils.set_random_seed(1)
    first = hlstm_cell().get_weights()
    keras.utils.set_random_seed(1)
    assert_all_equal(first, hlstm_cell().get_weights())
    assert np.any(first[0] != hlstm_cell().get_weights()[0])


def frobenius_norm(matrix: Any) -> Any:
    assert len(matrix.shape) == 2
    return tf.norm(tf.convert_to_tensor(matrix))


@pytest.mark.parametrize("hidden_units", [(5, 3), (5, (3, 2, 1, 4))], ids=str)
def test_constraints_and_regularizers_see_one_gate_at_a_time(hidden_units: Any) -> None:
    cell = hl.HLSTMCell(
        4,
        hidden_units=hidden_units,
        kernel_constraint=keras.constraints.MaxNorm(0.1, axis=0),
        recurrent_constraint=keras.constraints.UnitNorm(axis=0),
        kernel_regularizer=frobenius_norm,
    )
    cell.build((None, 2))
    for kernel in hl.masked_kernels(cell):
        constrained = kernel.to_matrices(kernel.variable.constraint(kernel.variable))
        norms = np.linalg.norm(constrained, axis=1)
        if kernel.name.startswith("recurrent_kernel"):
            np.testing.assert_allclose(norms, 1, rtol=1e-4)
        else:
            assert norms.max() <= 0.1001
    expected = sum(
        float(cell.kernel_regularizer(matrix))
        for kernel in hl.masked_kernels(cell)
        if not kernel.name.startswith("recurrent_kernel")
        for matrix in kernel.to_matrices(kernel.variable)
    )
    assert float(sum(cell.losses)) == pytest.approx(expected, rel=1e-5)
