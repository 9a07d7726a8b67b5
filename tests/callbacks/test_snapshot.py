"""A snapshot holds all that training changes."""

import keras
import numpy as np
import pytest

import hlstm_tf as hl
from hlstm_tf.training_run.snapshot import layout, put, state_variables, take

X = np.random.default_rng(0).normal(size=(8, 4)).astype("float32")


def model_with(optimizer: keras.optimizers.Optimizer) -> keras.Model:
    model = keras.Sequential(
        [
            keras.Input((4,)),
            hl.MaskedDense(4),
            keras.layers.BatchNormalization(),
            keras.layers.Dropout(0.5),
        ]
    )
    model.compile(optimizer, "mse", metrics=["mae"], run_eagerly=True)
    model.fit(X, X, verbose=0)
    return model


OPTIMIZERS = {
    "momentum": lambda: keras.optimizers.SGD(0.1, momentum=0.9),
    "ema": lambda: keras.optimizers.Adam(0.1, use_ema=True),
    "scaled": lambda: keras.optimizers.LossScaleOptimizer(
        keras.optimizers.AdamW(0.1), dynamic_growth_steps=2
    ),
    "accumulating": lambda: keras.optimizers.Adam(0.1, gradient_accumulation_steps=2),
}


@pytest.mark.representatives("scaled", "accumulating")
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_training_goes_on_from_a_snapshot_as_if_nothing_had_been_between(name: str) -> None:
    model = model_with(OPTIMIZERS[name]())
    before = take(model, "before")
    model.fit(X, X, epochs=3, shuffle=False, verbose=0)
    expected = take(model, "expected")

    [kernel] = hl.masked_kernels(model)
    hl.edit_masks({kernel: np.eye(4, dtype=bool)}, optimizer=model.optimizer)
    model.optimizer.learning_rate = 0.5
    model.fit(X, -X, epochs=2, verbose=0)

    put(model, before)
    model.fit(X, X, epochs=3, shuffle=False, verbose=0)
    for variable, found, wanted in zip(
        state_variables(model), take(model, "again").arrays, expected.arrays, strict=True
    ):
        np.testing.assert_array_equal(found, wanted, err_msg=variable.path)


def test_a_snapshot_does_not_change_with_the_model() -> None:
    model = model_with(OPTIMIZERS["momentum"]())
    snapshot = take(model, "a")
    copies = [array.copy() for array in snapshot.arrays]
    model.fit(X, X, verbose=0)
    for array, copy in zip(snapshot.arrays, copies, strict=True):
        np.testing.assert_array_equal(array, copy)


def test_the_layout_tells_models_and_optimizers_apart_and_not_processes() -> None:
    first = layout(model_with(OPTIMIZERS["momentum"]()))
    assert first == layout(model_with(OPTIMIZERS["momentum"]()))
    assert first != layout(model_with(OPTIMIZERS["ema"]()))
    assert not any("mae" in str(entry) for entry in first)
