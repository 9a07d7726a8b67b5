"""Archives: weights as constants of a graph, or as variables beside it."""

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

import hlstm_tf as hl
from hlstm_tf.export import archive
from hlstm_tf.export.archive import serve_endpoint, trace
from hlstm_tf.export.layout import input_layout
from hlstm_tf.export.verification import reference_outputs

layers = keras.layers


def convolutional() -> keras.Model:
    return keras.Sequential(
        [
            keras.Input((8, 8, 3)),
            hl.MaskedConv2D(4, 3),
            layers.BatchNormalization(),
            layers.GlobalAveragePooling2D(),
            hl.MaskedDense(5),
        ]
    )


def test_a_frozen_graph_holds_no_variable_and_computes_the_same() -> None:
    model = hl.strip(convolutional())
    endpoint = serve_endpoint(model, input_layout(model), 1)
    frozen, plain = (trace([endpoint], frozen=m)["serve"] for m in (model, None))
    assert len(plain.variables) == len(model.weights)
    assert not frozen.variables
    batch = np.random.default_rng(0).random((1, 8, 8, 3), dtype="float32")
    [a], [b] = (list(each(tf.constant(batch)).values()) for each in (frozen, plain))
    np.testing.assert_array_equal(a, b)


def test_a_frozen_graph_keeps_the_weights_of_its_time() -> None:
    model = keras.Sequential([keras.Input((2,)), layers.Dense(1, kernel_initializer="ones")])
    frozen = trace([serve_endpoint(model, input_layout(model), 1)], frozen=model)["serve"]
    model.layers[0].kernel.assign([[5.0], [5.0]])
    [output] = frozen(tf.ones((1, 2))).values()
    assert output.numpy().tolist() == [[2.0]]


@pytest.mark.representatives("sequence")
@pytest.mark.parametrize("form", ["sequence", "step"])
def test_weights_too_large_for_a_graph_stay_variables(
    form: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = keras.Sequential([keras.Input((None, 3)), hl.HLSTM(4, return_sequences=True)])
    constant = hl.export_tflite(model, tmp_path / "constant.tflite", form=form)
    monkeypatch.setattr(archive, "LARGEST_CONSTANTS", 10)
    endpoint = serve_endpoint(hl.strip(model), input_layout(model), 1)
    assert trace([endpoint], frozen=model)["serve"].variables
    variable = hl.export_tflite(model, tmp_path / "variable.tflite", form=form)
    assert constant.signatures == variable.signatures
    assert abs(constant.bytes - variable.bytes) < 200
    batch = np.random.default_rng(0).random((1, 6, 3), dtype="float32")
    a, b = (hl.load_tflite(each.path).run(batch) for each in (constant, variable))
    for name in a:
        np.testing.assert_array_equal(a[name], b[name])


def test_only_a_model_that_may_loop_is_traced_for_its_reference_outputs() -> None:
    eager: list[bool] = []

    def look(x: Any) -> Any:
        eager.append(tf.executing_eagerly())
        return x

    def outputs(*behind: keras.Layer) -> dict[str, np.ndarray]:
        model = keras.Sequential([keras.Input((4, 2)), layers.Lambda(look), *behind])
        eager.clear()
        layout = input_layout(model)
        return reference_outputs(model, layout, layout.random(2))

    outputs(layers.Dense(3))
    assert eager == [True]
    outputs(layers.LSTM(3))
    assert eager == [False]
