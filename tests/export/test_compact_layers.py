"""Compact layers in every export form, compared with the model in the real interpreters."""

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

import hlstm_tf as hl
from tests.export.models import scrambled

X = np.random.default_rng(3).standard_normal((2, 7, 12)).astype("float32")
LAYERS: dict[str, Any] = {
    "LSTM-low-rank": lambda: hl.CompactLSTM(16, kernel_form=hl.LowRank(3)),
    "LSTM-shared-low-rank": lambda: hl.CompactLSTM(16, kernel_form=hl.SharedLowRank(5)),
    "LSTM-kronecker": lambda: hl.CompactLSTM(16, kernel_form=hl.Kronecker()),
    "LSTM-doped": lambda: hl.CompactLSTM(16, kernel_form=hl.Kronecker(doped=0.1)),
    "LSTM-toeplitz-like": lambda: hl.CompactLSTM(16, kernel_form=hl.ToeplitzLike(1)),
    "GRU-low-rank": lambda: hl.CompactGRU(16, kernel_form=hl.LowRank(3), reset_after=False),
    "GRU-shared-low-rank": lambda: hl.CompactGRU(16, kernel_form=hl.SharedLowRank(5)),
    "SimpleRNN-kronecker": lambda: hl.CompactSimpleRNN(16, kernel_form=hl.Kronecker()),
    "HLSTM-low-rank": lambda: hl.HLSTM(16, hidden_units=20, kernel_form=hl.LowRank(3)),
    "HLSTM-gates-of-different-widths": lambda: hl.HLSTM(
        16, hidden_units=((20, 8, 12, 10),), kernel_form=hl.LowRank(3)
    ),
    "FastGRNN": lambda: hl.FastGRNN(16),
    "FastGRNN-low-rank": lambda: hl.FastGRNN(16, kernel_form=hl.LowRank(3)),
    "cell": lambda: keras.layers.RNN(hl.CompactGRUCell(16, kernel_form=hl.LowRank(3))),
    "bidirectional": lambda: keras.layers.Bidirectional(
        hl.CompactLSTM(16, kernel_form=hl.LowRank(3))
    ),
}
each_layer = pytest.mark.parametrize("name", LAYERS)


def built(name: str) -> keras.Model:
    hidden = hl.CompactDense(6, kernel_form=hl.LowRank(2))
    return scrambled(keras.Sequential([keras.Input((None, 12), name="x"), LAYERS[name](), hidden]))


@pytest.mark.representatives("LSTM-low-rank", "LSTM-kronecker", "HLSTM-low-rank")
@each_layer
def test_a_file_in_step_form_computes_what_the_model_does(name: str, tmp_path: Path) -> None:
    model = built(name)
    hl.export_tflite(model, tmp_path / "m.tflite", form="step")
    [found] = hl.StepRunner(tmp_path / "m.tflite").run(X).values()
    np.testing.assert_allclose(found, model(X), rtol=1e-3, atol=1e-4)


@pytest.mark.representatives("LSTM-shared-low-rank", "GRU-low-rank")
@each_layer
def test_a_file_in_sequence_form_computes_what_the_model_does(name: str, tmp_path: Path) -> None:
    model = built(name)
    hl.export_tflite(model, tmp_path / "m.tflite")
    [found] = hl.TFLiteModel(tmp_path / "m.tflite").run(X).values()
    np.testing.assert_allclose(found, model(X), rtol=1e-3, atol=1e-4)


@pytest.mark.representatives("LSTM-toeplitz-like", "GRU-shared-low-rank")
@each_layer
def test_a_saved_model_computes_what_the_model_does_whole_and_in_steps(
    name: str, tmp_path: Path
) -> None:
    model = built(name)
    export = hl.export_saved_model(model, tmp_path / "m" / "1", warmup=False)
    signatures = tf.saved_model.load(str(tmp_path / "m" / "1")).signatures
    [whole] = signatures["serve"](x=X).values()
    np.testing.assert_allclose(whole, model(X), rtol=1e-3, atol=1e-4)
    if name == "bidirectional":
        assert "step" not in export.signatures
        return
    states = {key: tf.zeros((2, *spec.shape[1:])) for key, spec in inputs_of(signatures["step"])}
    for frame in range(X.shape[1]):
        results = signatures["step"](x=X[:, frame], **states)
        states = {key: results[key] for key in states}
    [last] = [value for key, value in results.items() if key not in states]
    np.testing.assert_allclose(last, model(X), rtol=1e-3, atol=1e-4)


def inputs_of(signature: Any) -> list[tuple[str, Any]]:
    _, named = signature.structured_input_signature
    return [(name, spec) for name, spec in named.items() if name != "x"]


@pytest.mark.representatives("int8")
@pytest.mark.parametrize("quantization", ["dynamic", "float16", "int8"])
def test_quantized_factors_stay_near(quantization: str, tmp_path: Path) -> None:
    model = built("LSTM-low-rank")
    representative = np.random.default_rng(4).standard_normal((20, 7, 12)).astype("float32")
    hl.export_tflite(
        model,
        tmp_path / "m.tflite",
        form="step",
        quantization=quantization,
        representative=representative if quantization == "int8" else None,
    )
    [found] = hl.StepRunner(tmp_path / "m.tflite").run(X).values()
    assert np.abs(found - model(X)).max() < 0.1 * np.abs(model(X)).max()


@pytest.mark.representatives("step")
@pytest.mark.parametrize("form", ["step", "sequence"])
def test_files_of_low_rank_are_smaller_and_those_of_toeplitz_like_matrices_are_not(
    form: str, tmp_path: Path
) -> None:
    def size(kernel_form: Any) -> int:
        layer = hl.CompactLSTM(64, kernel_form=kernel_form)
        model = keras.Sequential([keras.Input((None, 64), name="x"), layer])
        path = tmp_path / f"{form}-{kernel_form}.tflite"
        return hl.export_tflite(model, path, form=form).path.stat().st_size

    dense = size(None)
    assert size(hl.LowRank(4)) < 0.35 * dense  # an eighth of the weights, and the graph
    assert size(hl.Kronecker()) < 0.25 * dense
    assert 0.8 * dense < size(hl.ToeplitzLike(2)) < 1.2 * dense
