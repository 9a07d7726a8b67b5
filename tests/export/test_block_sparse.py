"""Matrices of blocks: what the files hold, and what LiteRT as it is by default computes of them."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema

import hlstm_tf as hl
from hlstm_tf.export import TFLiteExport, export_tflite, load_tflite
from hlstm_tf.export.block_sparse import FLOAT32, INT8, encode_blocks
from hlstm_tf.export.flatbuffer import packed, parsed

UNITS = 64
FRAMES = np.random.default_rng(0).normal(size=(2, 11, 32)).astype("float32")
FULLY_CONNECTED = schema.BuiltinOperator.FULLY_CONNECTED


@pytest.fixture(scope="module")
def pruned() -> keras.Model:
    """An H-LSTM in 1x16 blocks, 90 % of them gone, and a dense layer on it."""
    keras.utils.set_random_seed(0)
    lstm = hl.HLSTM(UNITS, hidden_units=UNITS, return_sequences=True, name="lstm")
    model = keras.Sequential(
        [keras.Input((None, 32), name="frames"), lstm, keras.layers.Dense(5)], name="pruned"
    )
    model.compile("sgd", "mse")
    callback = hl.MagnitudePruning(0.9, structure="1x16")
    model.fit(FRAMES, np.zeros((2, 11, 5), "float32"), callbacks=[callback], verbose=0)
    return model


@pytest.fixture(scope="module")
def export(
    pruned: keras.Model, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str, str], TFLiteExport]:
    folder = tmp_path_factory.mktemp("blocks")
    made: dict[tuple[str, str], TFLiteExport] = {}

    def once(quantization: str, form: str = "step") -> TFLiteExport:
        key = quantization, form
        if key not in made:
            path = folder / f"{quantization}_{form}.tflite"
            made[key] = export_tflite(
                pruned, path, form=form, quantization=quantization, verify_with=FRAMES
            )
        return made[key]

    return once


def products(content: bytes) -> list[tuple[int, Any]]:
    """Version and weights of each FULLY_CONNECTED."""
    file = parsed(content)
    return [
        (file.operatorCodes[operator.opcodeIndex].version, graph.tensors[operator.inputs[1]])
        for graph in file.subgraphs
        for operator in graph.operators
        if file.operatorCodes[operator.opcodeIndex].builtinCode == FULLY_CONNECTED
    ]


def dense(weights: np.ndarray, path: Path) -> bytes:
    """A float32 file of one Dense layer."""
    layer = keras.layers.Dense(weights.shape[1])
    model = keras.Sequential([keras.Input((len(weights),)), layer])
    layer.set_weights([weights, np.arange(weights.shape[1], dtype="float32")])
    export_tflite(model, path)
    return path.read_bytes()


@pytest.mark.representatives("sequence")
@pytest.mark.parametrize("form", ["step", "sequence"])
def test_blocks_compute_what_the_dense_int8_file_does(
    export: Callable[..., TFLiteExport], form: str
) -> None:
    sparse, plain = export("sparse", form), export("dynamic", form)
    assert sparse.quantization == "sparse"
    assert sparse.bytes < 0.55 * plain.bytes
    assert sparse.error <= plain.error + 1e-6 < sparse.tolerance
    expected = load_tflite(plain.path)(FRAMES)
    np.testing.assert_allclose(load_tflite(sparse.path)(FRAMES), expected, atol=1e-5)


def test_only_matrices_of_blocks_are_sparse(export: Callable[..., TFLiteExport]) -> None:
    versions = [
        (version, weights.sparsity is not None)
        for version, weights in products(export("sparse").path.read_bytes())
    ]
    # The projection, the recurrence, four gates' second layers; the Dense layer stays as it is.
    assert sorted(versions) == 6 * [(8, True)] + [(12, False)]


def test_trap_6_the_version_of_the_dense_operator_gives_wrong_numbers(
    export: Callable[..., TFLiteExport], tmp_path: Path, pruned: keras.Model
) -> None:
    """Why the version is set; should this fail, LiteRT has been repaired."""
    content = bytearray(export("sparse").path.read_bytes())
    file = schema.Model.GetRootAs(content, 0)
    for number in range(file.OperatorCodesLength()):
        code = file.OperatorCodes(number)
        if (code.BuiltinCode(), code.Version()) == (FULLY_CONNECTED, 8):
            place = code._tab.Pos + code._tab.Offset(8)
            content[place : place + 4] = (12).to_bytes(4, "little")
    (tmp_path / "m.tflite").write_bytes(content[: content.rindex(b"\xffhlstm:")])  # no checksum
    expected = pruned(FRAMES).numpy()
    wrong = load_tflite(tmp_path / "m.tflite")(FRAMES)
    assert np.abs(wrong - expected).max() > 0.2 * np.ptp(expected)


def test_blocks_of_four_compute_what_keras_does_in_float32(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    weights = rng.normal(size=(1200, 8)).astype("float32")  # 300 blocks: not all fit into a byte
    weights *= np.repeat(rng.random((300, 8)) < 0.1, 4, axis=0)
    layer = keras.layers.Dense(8, use_bias=False)
    model = keras.Sequential([keras.Input((1200,)), layer])
    layer.set_weights([weights])
    result = export_tflite(model, tmp_path / "m.tflite", quantization="sparse_float32")
    assert result.bytes < 4 * weights.size / 2
    values = rng.normal(size=(3, 1200)).astype("float32")
    np.testing.assert_allclose(load_tflite(result.path)(values), values @ weights, atol=1e-4)


def test_four_by_four_blocks_run_as_blocks_of_four(tmp_path: Path) -> None:
    weights = np.zeros((32, 16), "float32")
    weights[4:8, 8:12] = weights[16:20, :4] = 1.5
    content, rewritten = encode_blocks(dense(weights, tmp_path / "m.tflite"), FLOAT32)
    assert rewritten == 1
    (tmp_path / "m.tflite").write_bytes(content)
    values = np.random.default_rng(0).normal(size=(1, 32)).astype("float32")
    expected = values @ weights + np.arange(16)
    np.testing.assert_allclose(load_tflite(tmp_path / "m.tflite")(values), expected, atol=1e-5)


def test_the_encoding_is_that_of_the_schema(tmp_path: Path) -> None:
    """Worked by hand: 16 inputs to 3 outputs, the third block of the first output and the first of
    the third."""
    weights = np.zeros((16, 3), "float32")
    weights[8:12, 0] = 1, 0, 2, 3
    weights[0:4, 2] = 4, 5, 6, 7
    content, _ = encode_blocks(dense(weights, tmp_path / "m.tflite"), FLOAT32)
    [(version, tensor)] = products(content)
    assert version == 8
    data = np.asarray(parsed(content).buffers[tensor.buffer].data, np.uint8).view(np.float32)
    assert data.tolist() == [1, 0, 2, 3, 4, 5, 6, 7]
    outputs, blocks, block = tensor.sparsity.dimMetadata
    assert (outputs.denseSize, block.denseSize) == (3, 4)
    assert list(blocks.arraySegments.values) == [0, 1, 1, 2]
    assert list(blocks.arrayIndices.values) == [2, 0]


def test_a_matrix_of_zeros_keeps_a_block(tmp_path: Path) -> None:
    content, _ = encode_blocks(dense(np.zeros((16, 3)), tmp_path / "m.tflite"), FLOAT32)
    (tmp_path / "m.tflite").write_bytes(content)
    outputs = load_tflite(tmp_path / "m.tflite")(np.ones((1, 16), "float32"))
    np.testing.assert_array_equal(outputs, [[0, 1, 2]])


def test_weights_that_are_an_output_too_stay_dense(tmp_path: Path) -> None:
    weights = np.zeros((16, 3), "float32")
    file = parsed(dense(weights, tmp_path / "m.tflite"))
    [graph] = file.subgraphs
    [number] = [i for i, tensor in enumerate(graph.tensors) if list(tensor.shape) == [3, 16]]
    graph.outputs = np.append(graph.outputs, np.int32(number))
    assert encode_blocks(packed(file), FLOAT32)[1] == 0


@pytest.mark.parametrize(
    ("inputs", "kept", "kernel"),
    [
        (18, 0.0, FLOAT32),  # no whole blocks
        (16, 0.5, FLOAT32),  # half of the blocks are there
        (16, 0.0, INT8),  # float32 weights: not the int8 kernel's
    ],
)
def test_what_a_kernel_does_not_take_stays_dense(
    inputs: int, kept: float, kernel: Any, tmp_path: Path
) -> None:
    weights = np.zeros((inputs, 4), "float32")
    weights[: int(inputs * kept)] = 1.0
    content = dense(weights, tmp_path / "m.tflite")
    rewritten, count = encode_blocks(content, kernel)
    assert count == 0
    assert all(weights.sparsity is None for _, weights in products(rewritten))


def test_more_blocks_than_the_int8_kernel_counts_stay_dense(tmp_path: Path) -> None:
    model = keras.Sequential([keras.Input((4096,)), keras.layers.Dense(1, name="wide")])
    weights = np.zeros((4096, 1))
    weights[-3:] = 1
    model.layers[0].set_weights([weights, np.zeros(1)])
    with pytest.raises(ValueError, match="found no matrix") as caught:
        export_tflite(model, tmp_path / "m.tflite", quantization="sparse")
    assert "Prune it with structure='1x16', or use quantization='dynamic'" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []
