"""Exports of whole models, run on LiteRT; the traps of its converter are tested by name below."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

import hlstm_tf as hl
from hlstm_tf.export import TFLiteExport, TFLiteModel, VerificationError, export_tflite
from hlstm_tf.runtime.interpreter import open_interpreter
from tests.export import models

UNITS = 64


@dataclass
class Exported:
    model: keras.Model
    result: TFLiteExport

    @property
    def weight_bytes(self) -> int:
        return sum(4 * int(np.prod(weight.shape)) for weight in self.model.trainable_weights)

    def run(self, inputs: object) -> np.ndarray:
        return TFLiteModel(self.result.path)(inputs)

    def keras(self, inputs: object) -> np.ndarray:
        return self.model(inputs, training=False).numpy()


@pytest.fixture(scope="module")
def export(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Exported]:
    folder = tmp_path_factory.mktemp("tflite")
    made: dict[tuple, Exported] = {}

    def once(kind: str, quantization: str | None = None) -> Exported:
        key = (kind, quantization)
        if key not in made:
            model = MODELS[kind]()
            path = folder / f"{kind}_{quantization}.tflite"
            made[key] = Exported(model, export_tflite(model, path, quantization=quantization))
        return made[key]

    return once


def hlstm(sparsity: float = 0.0) -> keras.Model:
    keras.utils.set_random_seed(1)
    model = keras.Sequential(
        [
            keras.Input((None, 32), name="features"),
            hl.HLSTM(UNITS, hidden_units=UNITS, return_sequences=True),
            hl.MaskedDense(5),
        ]
    )
    if sparsity:
        models.prune(model, sparsity)
    return model


MODELS: dict[str, Callable[[], keras.Model]] = {
    "recognizer": models.recognizer,
    "language_model": models.language_model,
    "hlstm": hlstm,
    "sparse_hlstm": lambda: hlstm(0.9),
}

FRAMES = np.random.default_rng(0).normal(size=(1, 17, 32)).astype("float32")


def test_masked_bidirectional_layers_with_lengths_compute_the_same(
    export: Callable[..., Exported],
) -> None:
    exported = export("recognizer")
    batch = models.utterances()
    expected = exported.keras(batch)
    np.testing.assert_allclose(exported.run(batch), expected, atol=1e-5)
    longer = {**batch, "lengths": np.full(3, 13, "int32")}
    assert np.abs(exported.run(longer) - expected).max() > 1e-3  # the lengths do count


def test_every_recurrent_layer_computes_the_same_on_ids(export: Callable[..., Exported]) -> None:
    exported = export("language_model")
    words = np.random.default_rng(1).integers(0, 11, (2, 9))
    np.testing.assert_allclose(exported.run(words), exported.keras(words), atol=1e-5)


def test_the_result_says_what_was_written(export: Callable[..., Exported]) -> None:
    result = export("hlstm", "dynamic").result
    assert result.bytes == result.path.stat().st_size
    assert 0 < result.gzipped < result.bytes
    assert 0 < result.error <= result.tolerance == 0.1
    assert result.quantization == "dynamic"
    assert hl.file_size(result.path).sha256 == result.sha256


def test_a_pruned_model_is_exported_without_its_masks(export: Callable[..., Exported]) -> None:
    exported = export("sparse_hlstm", "dynamic")
    expected = exported.keras(FRAMES)
    assert np.abs(exported.run(FRAMES) - expected).max() < 0.05 * np.ptp(expected)
    assert hl.masked_kernels(exported.model)  # the model itself stays as it was


def test_a_larger_batch_can_be_fixed(tmp_path: Path) -> None:
    model = models.dense()
    export_tflite(model, tmp_path / "m.tflite", batch_size=4)
    runner = TFLiteModel(tmp_path / "m.tflite")
    assert runner.inputs["inputs"].shape == (4, 16)
    values = np.random.default_rng(0).normal(size=(8, 16)).astype("float32")
    np.testing.assert_allclose(runner(values), model(values).numpy(), atol=1e-5)


# The traps of the converter and the engine, in the order of the project's list of facts.


def test_trap_1_the_weights_are_in_the_file(export: Callable[..., Exported]) -> None:
    exported = export("hlstm")
    assert exported.result.bytes > exported.weight_bytes


def test_trap_2_time_stays_open_while_the_batch_is_fixed(export: Callable[..., Exported]) -> None:
    exported = export("hlstm")
    runner = TFLiteModel(exported.result.path)
    assert runner.inputs["features"].shape == (1, None, 32)
    for frames in (1, 5, 17):
        np.testing.assert_allclose(
            runner(FRAMES[:, :frames]), exported.keras(FRAMES[:, :frames]), atol=1e-5
        )


def test_trap_3_a_crash_of_the_calibrator_is_an_error_and_not_the_end_of_the_process(
    tmp_path: Path,
) -> None:
    model = keras.Sequential(
        [keras.Input((6, 5)), keras.layers.LSTM(4, return_sequences=True)], name="looping"
    )
    with pytest.raises(ValueError, match="int8 calibration of model 'looping' crashed") as caught:
        export_tflite(
            model,
            tmp_path / "m.tflite",
            quantization="int8",
            representative=np.random.default_rng(0).normal(size=(4, 6, 5)),
        )
    assert "use quantization='dynamic'" in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_trap_4_an_unrolled_layer_is_warned_of(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    model = keras.Sequential(
        [keras.Input((3, 2)), keras.layers.SimpleRNN(2, unroll=True, name="flat")]
    )
    export_tflite(model, tmp_path / "m.tflite")
    assert "layer 'flat' is unrolled" in caplog.text


def test_traps_5_to_7_zeros_are_stored_densely_and_compute_right(
    export: Callable[..., Exported],
) -> None:
    for quantization in (None, "dynamic"):
        exported = export("sparse_hlstm", quantization)
        interpreter = open_interpreter(exported.result.path, 1)
        encodings = [detail["sparsity_parameters"] for detail in interpreter.get_tensor_details()]
        assert not any(encodings)
        dense = export("hlstm", quantization).result.bytes
        assert exported.result.bytes == pytest.approx(dense, rel=0.02)
        assert exported.result.error <= exported.result.tolerance


def test_trap_8_float16_files_are_half_the_size(export: Callable[..., Exported]) -> None:
    whole, half = export("hlstm"), export("hlstm", "float16")
    assert half.result.bytes - whole.weight_bytes / 2 < 20_000
    assert half.result.bytes < 0.6 * whole.result.bytes
    expected = half.keras(FRAMES)
    assert np.abs(half.run(FRAMES) - expected).max() < 5e-3 * np.ptp(expected)


def test_trap_9_gzip_takes_a_pruned_int8_file_as_far_as_a_sparse_encoding(
    export: Callable[..., Exported],
) -> None:
    pruned, dense = export("sparse_hlstm", "dynamic"), export("hlstm", "dynamic")
    connections = pruned.weight_bytes // 4
    assert dense.result.bytes < 0.45 * dense.weight_bytes
    assert pruned.result.gzipped < 0.4 * dense.result.gzipped
    # A byte for each tenth weight that is left, one for its place, and the graph.
    assert pruned.result.gzipped < 2 * 0.1 * connections + 10_000


def test_full_int8_calibrates_on_samples(tmp_path: Path) -> None:
    model = models.dense()
    samples = np.random.default_rng(0).normal(size=(40, 16)).astype("float32")
    result = export_tflite(
        model,
        tmp_path / "m.tflite",
        quantization="int8",
        representative=(samples[i : i + 10] for i in range(0, 40, 10)),
        verify_with=samples,
    )
    runner = TFLiteModel(result.path)
    expected = model(samples).numpy()
    assert np.abs(runner(samples) - expected).max() / np.ptp(expected) == pytest.approx(
        result.error, abs=1e-6
    )
    assert 0 < result.error < 0.03
    dtypes = {detail["dtype"] for detail in runner._engine.interpreter.get_tensor_details()}
    assert np.int8 in dtypes


def test_int8_of_a_softmax_over_many_words_is_told_to_export_the_logits(tmp_path: Path) -> None:
    inputs = keras.Input((8,), name="features")
    logits = keras.layers.Dense(600)(inputs)
    words = keras.Model(inputs, {"words": keras.layers.Softmax()(logits)})
    samples = np.random.default_rng(0).normal(size=(32, 8)).astype("float32")
    arguments = {"quantization": "int8", "representative": samples}
    reason = (
        r"'words' is a softmax, which int8 rounds to multiples of 1/256, .* without its softmax"
    )
    with pytest.raises(VerificationError, match=reason):
        export_tflite(words, tmp_path / "m.tflite", **arguments)
    result = export_tflite(keras.Model(inputs, logits), tmp_path / "m.tflite", **arguments)
    assert result.error <= 0.05


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"quantization": "int4"}, "quantization must be None, 'float16', .*; got 'int4'"),
        ({"quantization": "int8"}, "quantization='int8' needs representative"),
        ({"quantization": "int8", "representative": iter([])}, "representative gave no batch"),
        ({"quantization": "int8", "representative": np.ones((2, 3))}, "representative: input"),
        ({"verify_with": np.ones((2, 3))}, r"verify_with: input .*\(samples, 16\); got \(2, 3\)"),
        ({"verify_with": np.ones((2, 16)), "batch_size": 4}, "only 2 samples were given"),
        ({"batch_size": 0}, "`batch_size` must be an integer of at least 1, got 0"),
        ({"threads": 0}, "`threads` must be an integer of at least 1, got 0"),
    ],
)
def test_a_wrong_argument_is_one_clear_line_and_leaves_nothing(
    tmp_path: Path, arguments: dict, message: str
) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        export_tflite(models.dense(), tmp_path / "m.tflite", **arguments)
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_computes_something_else_is_an_error_and_keeps_the_older_file(
    tmp_path: Path,
) -> None:
    path = tmp_path / "m.tflite"
    path.write_bytes(b"older")
    with pytest.raises(VerificationError, match=r"is off by .* of the range of 'outputs', and 0 "):
        export_tflite(models.dense(), path, quantization="float16", tolerance=0.0)
    assert path.read_bytes() == b"older"
    assert list(tmp_path.iterdir()) == [path]


@keras.saving.register_keras_serializable("tests")
class _SlightlyOff(keras.layers.Layer):
    """Computes something a little different where its batch is traced as one sample."""

    def __init__(self, off: float = 1.03, **arguments: Any) -> None:
        super().__init__(**arguments)
        self.off = off

    def call(self, x: Any) -> Any:
        return x * (self.off if x.shape[0] == 1 else 1.0)


@pytest.mark.representatives("float32-best", "mixed_bfloat16-dynamic")
@pytest.mark.parametrize("quantization", ["dynamic", "float16", "best"])
@pytest.mark.parametrize("dtype", ["float32", "mixed_bfloat16"])
def test_a_wrong_conversion_is_refused_however_wide_the_tolerance_of_the_quantization(
    quantization: str, dtype: str, tmp_path: Path
) -> None:
    model = keras.Sequential(
        [keras.Input((4,)), keras.layers.Dense(3, dtype=dtype), _SlightlyOff(dtype=dtype)]
    )
    batch = np.random.default_rng(0).normal(size=(4, 4)).astype("float32")
    with pytest.raises(VerificationError, match="in float32, before any quantization"):
        hl.export_tflite(
            model, tmp_path / "model.tflite", quantization=quantization, verify_with=batch
        )
    assert not list(tmp_path.iterdir())


def test_a_tolerance_of_ones_own_leaves_a_tenth_for_the_conversion(tmp_path: Path) -> None:
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3), _SlightlyOff(1.01)])
    batch = np.random.default_rng(0).normal(size=(4, 4)).astype("float32")

    def export(quantization: str | None, tolerance: float) -> None:
        hl.export_tflite(
            model,
            tmp_path / "model.tflite",
            quantization=quantization,
            tolerance=tolerance,
            verify_with=batch,
        )

    with pytest.raises(VerificationError, match="in float32, before any quantization"):
        export("dynamic", 0.03)
    export("dynamic", 0.2)
    export(None, 0.03)


def test_an_operation_without_a_builtin_form_is_named(tmp_path: Path) -> None:
    inputs = keras.Input((3, 3))
    model = keras.Model(inputs, keras.ops.inv(inputs), name="inverter")
    with pytest.raises(
        ValueError, match=r"model 'inverter' cannot become a TFLite file .*MatrixInverse"
    ) as caught:
        export_tflite(model, tmp_path / "m.tflite", verify_with=np.eye(3)[None] + 0.1)
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_a_stateful_layer_inside_another_is_refused(tmp_path: Path) -> None:
    inner = keras.layers.LSTM(2, stateful=True, name="memory")
    model = keras.Sequential(
        [keras.Input(batch_shape=(1, 2, 3, 2)), keras.layers.TimeDistributed(inner)]
    )
    with pytest.raises(ValueError, match="layer 'memory' is stateful=True inside another layer"):
        export_tflite(model, tmp_path / "model.tflite")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("dtype", "policy", "message"),
    [
        ("string", "float32", "input 'given' is of strings"),
        ("complex64", "float32", "input 'given' is of type complex64"),
        ("float64", "float64", "layer 'last' computes in float64"),
    ],
)
def test_what_a_file_cannot_hold_is_one_clear_line(
    dtype: str, policy: str, message: str, tmp_path: Path
) -> None:
    given = keras.Input((3,), dtype=dtype, name="given")
    x = given
    if dtype == "string":
        x = keras.layers.StringLookup(vocabulary=["a", "b"], output_mode="multi_hot")(x)
    if dtype == "complex64":
        x = keras.ops.real(x)
    model = keras.Model(given, keras.layers.Dense(2, dtype=policy, name="last")(x))
    with pytest.raises(ValueError, match=message) as error:
        export_tflite(model, tmp_path / "model.tflite")
    assert "\n" not in str(error.value)


@pytest.mark.representatives("float16", "uint8", "int64", "bool")
@pytest.mark.parametrize(
    "dtype", ["float64", "float16", "uint8", "int8", "int16", "int32", "int64", "bool"]
)
def test_every_numeric_input_is_tried_in_its_own_type(dtype: str, tmp_path: Path) -> None:
    given = keras.Input((3,), dtype=dtype, name="given")
    x = keras.ops.cast(given, "float32")
    model = keras.Model(given, keras.layers.Dense(2)(x))
    assert export_tflite(model, tmp_path / "model.tflite").error <= 1e-4
    assert TFLiteModel(tmp_path / "model.tflite").inputs["given"].dtype == dtype


def _of_fixed_batch() -> keras.Model:
    given = keras.Input(batch_shape=(4, 3, 2))
    return keras.Model(given, keras.layers.Dense(2)(keras.ops.reshape(given, (4, 6))))


def test_samples_respect_a_batch_that_the_model_fixes(tmp_path: Path) -> None:
    model = _of_fixed_batch()
    seven = np.random.default_rng(0).normal(size=(8, 3, 2)).astype("float32")
    for verify_with in (None, seven):
        result = export_tflite(
            model, tmp_path / "model.tflite", batch_size=4, verify_with=verify_with
        )
        assert result.error <= 1e-4
    with pytest.raises(ValueError, match=r"fixes its batch at 4.* Give batch_size=4") as error:
        export_tflite(model, tmp_path / "model.tflite")
    assert "\n" not in str(error.value)
    assert hl.export_saved_model(model, tmp_path / "toy" / "1", warmup=False).error <= 1e-4


def test_half_precision_layers_are_exported(tmp_path: Path) -> None:
    hidden = hl.MaskedDense(8, dtype="mixed_bfloat16", name="hidden")
    model = keras.Sequential([keras.Input((6,)), hidden, keras.layers.Dense(2)])
    result = export_tflite(model, tmp_path / "m.tflite")
    assert 1e-4 < result.error <= result.tolerance
    assert hidden.compute_dtype == "bfloat16"  # the model itself stays as it was

    values = np.random.default_rng(0).normal(size=(4, 6)).astype("float32")
    hidden.dtype_policy = "float32"
    np.testing.assert_allclose(TFLiteModel(result.path)(values), model(values), atol=1e-5)

    model = keras.Sequential(
        [keras.Input((6,)), keras.layers.Dense(8, dtype="float16", name="low")]
    )
    with pytest.raises(ValueError, match="layer 'low' has its weights in float16"):
        export_tflite(model, tmp_path / "low.tflite")
