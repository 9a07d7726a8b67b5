"""A cell of one's own: registered in one call, it is pruned, grown, shrunk, counted, exported."""

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from keras import ops

import hlstm_tf as hl
from hlstm_tf.pruning.architecture import Rule, prune_model
from hlstm_tf.scoring.score_source import ScoreSource

X = np.random.default_rng(0).normal(size=(6, 7, 5)).astype("float32")
Y = np.random.default_rng(1).normal(size=(6, 3)).astype("float32")


@keras.saving.register_keras_serializable(package="test_own_cell")
class MGUCell(keras.layers.Layer):
    """The minimal gated unit (arXiv 1603.09420, equations 8 to 10)."""

    def __init__(self, units: int, use_bias: bool = True, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.units, self.state_size, self.output_size = units, units, units
        self.use_bias = use_bias
        self.activation, self.recurrent_activation = ops.tanh, ops.sigmoid

    def build(self, input_shape: Any) -> None:
        both = 2 * self.units
        self.kernel = self.add_weight(shape=(input_shape[-1], both), name="kernel")
        self.recurrent_kernel = self.add_weight(shape=(self.units, both), name="recurrent_kernel")
        self.bias = self.add_weight(shape=(both,), name="bias") if self.use_bias else None

    def call(self, inputs: Any, states: Any, training: bool = False) -> Any:
        bias = 0.0 if self.bias is None else self.bias
        frame = ops.matmul(inputs, self.kernel) + bias
        return _step(self, frame, states[0], ops.convert_to_tensor(self.recurrent_kernel))

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "units": self.units, "use_bias": self.use_bias}


def _step(cell: MGUCell, frame: Any, h: Any, recurrent: Any) -> Any:
    x_f, x_h = ops.split(frame, 2, axis=-1)
    forget = ops.sigmoid(x_f + ops.matmul(h, recurrent[:, : cell.units]))
    new = ops.tanh(x_h + ops.matmul(forget * h, recurrent[:, cell.units :]))
    h = (1 - forget) * h + forget * new
    return h, [h]


class MGUForm(hl.CellForm):
    gates = ("forget", "candidate")
    content = "candidate"

    def project(self, sequence: Any) -> Any:
        product = ops.matmul(sequence, self.cell.kernel)
        return product if self.cell.bias is None else product + self.cell.bias

    def prepare(self) -> Any:
        recurrent = ops.convert_to_tensor(self.cell.recurrent_kernel)
        return lambda frame, states: _step(self.cell, frame, states[0], recurrent)


MaskedMGUCell = hl.register_cell(MGUCell, MGUForm)


def make_model(use_bias: bool = True) -> keras.Model:
    return keras.Sequential(
        [
            keras.Input((7, 5)),
            keras.layers.Dense(8, activation="relu", name="before"),
            keras.layers.RNN(MGUCell(6, use_bias), return_sequences=True, name="first"),
            keras.layers.RNN(MGUCell(4, use_bias), name="second"),
            keras.layers.Dense(3, name="after"),
        ]
    )


def masked_model(sparsity: float = 0.0, **arguments: Any) -> keras.Model:
    return hl.sparsify(make_model(**arguments), sparsity=sparsity, seed=0)


def sweep(model: keras.Model, structure: str | hl.Unit | hl.Neuron, **amount: float) -> int:
    model.compile("sgd", "mse")
    rule = Rule.of("magnitude", structure, "per_matrix")
    return prune_model(ScoreSource(model), rule, "a test", **amount)


def test_it_is_sparsified_and_stripped_with_the_same_numbers() -> None:
    plain = make_model()
    masked = hl.sparsify(plain, sparsity=0.0, seed=0)
    cells = [layer.cell for layer in masked.layers if isinstance(layer, keras.layers.RNN)]
    assert [type(cell) for cell in cells] == [MaskedMGUCell] * 2
    assert [kernel.gates for kernel in hl.masked_kernels(cells[0])] == [2, 2]
    np.testing.assert_allclose(masked(X), plain(X), atol=1e-6)
    stripped = hl.strip(masked_model(0.5), verify_with=X)
    assert type(stripped.get_layer("first").cell) is MGUCell


def test_it_is_saved_and_loaded_with_its_masks(tmp_path: Path) -> None:
    model = masked_model(0.5)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(loaded(X), model(X))
    for before, after in zip(hl.masked_kernels(model), hl.masked_kernels(loaded), strict=True):
        np.testing.assert_array_equal(before.mask, after.mask)


def test_it_is_trained_grown_and_pruned_by_connection() -> None:
    model = masked_model(0.5)
    model.compile(keras.optimizers.Adam(0.01), "mse")
    kernels = hl.masked_kernels(model.get_layer("first"))
    before = [int(kernel.mask.numpy().sum()) for kernel in kernels]
    growth = hl.GradientGrowth((X, Y), ratio=0.3, epochs=1, verbose=0)
    model.fit(X, Y, epochs=2, callbacks=[growth], verbose=0)
    grown = [int(kernel.mask.numpy().sum()) for kernel in kernels]
    assert all(after > one for one, after in zip(before, grown, strict=True))
    model.fit(X, Y, epochs=1, callbacks=[hl.MagnitudePruning(0.8)], verbose=0)
    for kernel in hl.masked_kernels(model):
        mask = kernel.mask.numpy()
        assert 1 - mask.mean() == pytest.approx(0.8, abs=0.05)
        assert not kernel.variable.numpy()[~mask].any()


@pytest.mark.representatives("unit-True", "neuron-False")
@pytest.mark.parametrize("use_bias", [True, False])
@pytest.mark.parametrize(
    ("structure", "units", "before"),
    [(hl.Unit(1, 1), [3, 2], 8), (hl.Neuron(1, 1), [6, 4], 4)],
    ids=["unit", "neuron"],
)
def test_units_and_neurons_are_pruned_and_physically_gone(
    structure: Any, units: list[int], before: int, use_bias: bool
) -> None:
    model = masked_model(use_bias=use_bias)
    assert sweep(model, structure, sparsity=0.5) > 0
    small = hl.shrink(model, verify_with=X)
    cells = [small.get_layer(name).cell for name in ("first", "second")]
    assert [cell.units for cell in cells] == units
    assert small.get_layer("before").units == before
    assert [cell.recurrent_kernel.shape[1] for cell in cells] == [2 * width for width in units]
    np.testing.assert_allclose(small(X), hl.strip(model)(X), atol=1e-5)


def test_it_is_counted_gate_by_gate() -> None:
    model = masked_model()
    kernel, recurrent = hl.masked_kernels(model.get_layer("first"))
    mask = np.ones(kernel.shape, bool)
    mask[:, 6:] = False  # the candidate's
    hl.edit_masks({kernel: mask})
    first = next(part for part in hl.summary(model).model.parts if part.name == "first")
    by_kernel = {part.name: part for part in first.parts}
    gates = [(gate.name, gate.connections) for gate in by_kernel["kernel"].parts]
    assert gates == [("forget gate", 48), ("candidate gate", 0)]
    assert by_kernel["recurrent_kernel"].connections == recurrent.mask.numpy().size
    assert first.biases == 12


@pytest.mark.representatives("step")
@pytest.mark.parametrize("form", ["sequence", "step"])
def test_it_is_exported_to_tflite_in_both_forms(form: str, tmp_path: Path) -> None:
    model = hl.strip(masked_model(0.5))
    path = tmp_path / "model.tflite"
    result = hl.export_tflite(model, path, form=form, verify_with=X[:1])
    assert result.error <= result.tolerance
    np.testing.assert_allclose(hl.load_tflite(path)(X[:1]), model(X[:1]), atol=1e-5)


def test_it_is_exported_as_a_saved_model_with_its_step(tmp_path: Path) -> None:
    import tensorflow as tf

    layers = hl.strip(masked_model(0.5)).layers[:2]
    model = keras.Sequential([keras.Input((7, 5)), *layers])
    path = tmp_path / "1"
    hl.export_saved_model(model, path, verify_with=X)
    loaded = tf.saved_model.load(str(path))
    assert {"serve", "step", "initial_state"} <= set(loaded.signatures)
    [output] = loaded.signatures["serve"](tf.constant(X)).values()
    np.testing.assert_allclose(output, model(X), atol=1e-5)


def test_a_cell_is_registered_once() -> None:
    with pytest.raises(ValueError, match="MGUCell is registered already"):
        hl.register_cell(MGUCell, MGUForm)
    with pytest.raises(TypeError, match="must be a Keras layer class; got 'MGUCell'"):
        hl.register_cell("MGUCell", MGUForm)  # type: ignore[arg-type]
