"""A subclassed model whose layers are not those of its constructor says so when it is saved."""

import warnings
from pathlib import Path

import keras
import numpy as np
import pytest

import hlstm_tf as hl

X = np.random.default_rng(0).normal(size=(4, 6)).astype("float32")
STEPS = np.random.default_rng(0).normal(size=(4, 3, 6)).astype("float32")
_register = keras.saving.register_keras_serializable(package="test_saving")


@_register
class Plain(keras.Model):
    def __init__(self, **arguments) -> None:
        super().__init__(**arguments)
        self.hidden = keras.layers.Dense(8, activation="relu")
        self.head = keras.layers.Dense(5)

    def call(self, x):
        return self.head(self.hidden(x))


@_register
class Masked(keras.Model):
    def __init__(self, **arguments) -> None:
        super().__init__(**arguments)
        self.hidden = hl.MaskedDense(8, activation="relu")
        self.head = hl.MaskedDense(5)

    def call(self, x):
        return self.head(self.hidden(x))


@_register
class Part(keras.layers.Layer):
    def __init__(self, **arguments) -> None:
        super().__init__(**arguments)
        self.inner = keras.layers.Dense(8)

    def build(self, shape) -> None:
        self.inner.build(shape)

    def call(self, x):
        return self.inner(x)


@_register
class Parts(keras.Model):
    def __init__(self, **arguments) -> None:
        super().__init__(**arguments)
        self.parts = [Part(), Part()]

    def call(self, x):
        for part in self.parts:
            x = part(x)
        return x


@_register
class Recurrent(keras.Model):
    def __init__(self, **arguments) -> None:
        super().__init__(**arguments)
        self.normal = keras.layers.LayerNormalization()
        self.both = keras.layers.Bidirectional(keras.layers.LSTM(4))
        self.head = {"out": keras.layers.Dense(5)}

    def call(self, x):
        return self.head["out"](self.both(self.normal(x)))


@_register
class Gates(keras.Model):
    def __init__(self, **arguments) -> None:
        super().__init__(**arguments)
        self.gates = hl.HLSTM(4, hidden_units=16)

    def call(self, x):
        return self.gates(x)


def built(cls: type[keras.Model], x: np.ndarray) -> keras.Model:
    model = cls()
    model(x)
    return model


CASES = [(Plain, X), (Parts, X), (Recurrent, STEPS)]


@pytest.mark.representatives("<lambda>-Plain-x0", "<lambda>-Parts-x1", "save_model-Recurrent-x2")
@pytest.mark.parametrize(("cls", "x"), CASES)
@pytest.mark.parametrize("save", [lambda m, p: m.save(p), keras.saving.save_model])
def test_a_file_that_could_not_be_loaded_warns_when_it_is_saved(
    tmp_path: Path, cls: type[keras.Model], x: np.ndarray, save
) -> None:
    sparse = hl.sparsify(built(cls, x), 0.5)
    with pytest.warns(UserWarning, match=rf"constructor of {cls.__name__} does not.*save_weights"):
        save(sparse, tmp_path / "model.keras")


@pytest.mark.parametrize(("cls", "x"), CASES)
def test_the_ways_out_that_the_warning_names_lead_out(
    tmp_path: Path, cls: type[keras.Model], x: np.ndarray
) -> None:
    sparse = hl.sparsify(built(cls, x), 0.5)
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message="the constructor of")
        sparse.save_weights(tmp_path / "model.weights.h5")
        again = hl.sparsify(built(cls, x), 0.5, seed=7)
        again.load_weights(tmp_path / "model.weights.h5")
        plain = hl.strip(sparse)
        plain.save(tmp_path / "plain.keras")
    np.testing.assert_array_equal(again(x), sparse(x))
    for ours, theirs in zip(hl.masked_kernels(again), hl.masked_kernels(sparse), strict=True):
        np.testing.assert_array_equal(ours.mask.numpy(), theirs.mask.numpy())
    loaded = keras.saving.load_model(tmp_path / "plain.keras")
    np.testing.assert_array_equal(loaded(x), sparse(x))


def test_a_file_that_can_be_loaded_is_saved_without_a_word(tmp_path: Path) -> None:
    functional = keras.Sequential([keras.Input((6,)), keras.layers.Dense(5)])
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message="the constructor of")
        for model in (built(Masked, X), hl.sparsify(built(Masked, X)), hl.sparsify(functional)):
            model.save(tmp_path / "model.keras")
            loaded = keras.saving.load_model(tmp_path / "model.keras")
            np.testing.assert_array_equal(loaded(X), model(X))


def test_a_shrunk_model_that_its_class_does_not_make_warns_too(tmp_path: Path) -> None:
    model = built(Gates, STEPS)
    for kernel in hl.masked_kernels(model):
        rows = kernel.name == "output_kernel"
        mask = kernel.to_matrices(kernel.mask)
        mask[:, 8:] = mask[:, 8:] & (not rows)
        mask[..., 8:] = mask[..., 8:] & rows
        hl.edit_masks({kernel: kernel.from_matrices(mask)})
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message="the constructor of")
        compact = hl.shrink(model)
    with pytest.warns(UserWarning, match="the constructor of Gates does not make the layers"):
        compact.save(tmp_path / "model.keras")
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message="the constructor of")
        hl.strip(hl.sparsify(compact))  # made again, not saved
